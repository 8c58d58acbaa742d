//! Clearing what is over, at the end of a full pass.

use std::sync::Arc;

use wl_core::error::Result;
use wl_core::path::PART_PREFIX;

use super::known::read;
use super::{DEAD, Rounds, UPLOAD, abort, clear, has_parts, is_idle, is_past, records_of, time};
use crate::Place;
use crate::page::{From, Object, page};

/// Clears what listings came across and nobody goes on with; how many there were.
pub(crate) async fn sweep(place: &Arc<Place>) -> Result<usize> {
    let leftovers = std::mem::take(&mut *place.leftovers());
    let rounds = std::mem::take(&mut *place.rounds());
    place.records.keep_only(&leftovers.keys().map(String::as_str).collect());
    let (mut removed, mut any) = (0, rounds.begun);
    for (key, leftover) in leftovers {
        let (size, stored) = (leftover.version.size, leftover.stored);
        let object = Object { key, size, version: Some(leftover.version), stored };
        any |= object.key.contains(&format!("{PART_PREFIX}{UPLOAD}"));
        let cleared =
            async { if is_wanted(place, &object, &rounds).await? { Ok(false) } else { clear(place, &object).await } };
        match cleared.await {
            Ok(done) => removed += usize::from(done),
            Err(error) => tracing::debug!(key = object.key, "a leftover could not be cleared: {error}"),
        }
    }
    if any {
        match clear_unrecorded(place).await {
            Ok(cleared) => removed += cleared,
            Err(error) => tracing::debug!("uploads that nothing tells of could not be looked for: {error}"),
        }
    }
    Ok(removed)
}

/// Whether somebody may go on with an upload: who tried and failed will try again, and who did not come to try in this pass
/// may in the next.
async fn is_wanted(place: &Place, object: &Object, rounds: &Rounds) -> Result<bool> {
    let Some(record) = read(place, object).await? else { return Ok(false) };
    if rounds.wanted.contains(&record.key) {
        return Ok(true);
    }
    if rounds.doubted.contains(&object.key) || record.sha256.is_none() || !has_parts(place, &record).await? {
        return Ok(false);
    }
    place.rounds().doubted.insert(object.key.clone());
    Ok(true)
}

/// Calls off the uploads below the prefix that no record tells of, and that have got no part for a day; how many.
async fn clear_unrecorded(place: &Place) -> Result<usize> {
    let request = place.client().await?.list_multipart_uploads().bucket(place.bucket());
    let listed = request.prefix(place.config.keys.prefix()).send().await.map_err(|error| place.error(&error))?;
    let mut cleared = 0;
    for listed in listed.uploads() {
        let (Some(key), Some(upload)) = (listed.key(), listed.upload_id()) else { continue };
        let old = listed.initiated().and_then(time).is_some_and(|begun| is_past(begun, DEAD));
        if old && !is_recorded(place, key, upload).await? && is_idle(place, key, upload).await? {
            abort(place, key, upload).await?;
            tracing::info!(key, upload, "an upload that nothing told of was called off");
            cleared += 1;
        }
    }
    Ok(cleared)
}

async fn is_recorded(place: &Place, key: &str, upload: &str) -> Result<bool> {
    for object in page(place, &records_of(key), true, &From::Start, None).await?.objects {
        if read(place, &object).await?.is_some_and(|record| record.upload == upload) {
            return Ok(true);
        }
    }
    Ok(false)
}
