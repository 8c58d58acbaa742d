//! Clearing what is over, at the end of a full pass.

use std::sync::Arc;

use wl_core::error::Result;

use super::known::read;
use super::{Rounds, clear, has_parts};
use crate::Place;
use crate::page::Object;

/// Clears what listings came across and nobody goes on with; how many there were.
pub(crate) async fn sweep(place: &Arc<Place>) -> Result<usize> {
    let leftovers = std::mem::take(&mut *place.leftovers());
    let rounds = std::mem::take(&mut *place.rounds());
    place.records.keep_only(&leftovers.keys().map(String::as_str).collect());
    let mut removed = 0;
    for (key, leftover) in leftovers {
        let (size, stored) = (leftover.version.size, leftover.stored);
        let object = Object { key, size, version: Some(leftover.version), stored };
        let cleared =
            async { if is_wanted(place, &object, &rounds).await? { Ok(false) } else { clear(place, &object).await } };
        match cleared.await {
            Ok(done) => removed += usize::from(done),
            Err(error) => tracing::debug!(key = object.key, "a leftover could not be cleared: {error}"),
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
    if !record.names_one()
        || rounds.doubted.contains(&object.key)
        || record.sha256.is_none()
        || !has_parts(place, &record).await?
    {
        return Ok(false);
    }
    place.rounds().doubted.insert(object.key.clone());
    Ok(true)
}
