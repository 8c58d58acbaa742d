//! Records of uploads that were about to begin when their writer died: which one that is, if it began, nothing tells.

use std::collections::BTreeSet;

use aws_sdk_s3::types::MultipartUpload;
use jiff::{SignedDuration, Timestamp};
use wl_core::error::Result;

use super::known::read;
use super::{DEAD, Record, abort, forget, is_idle, is_past, records_of, time};
use crate::Place;
use crate::page::{From, Object, page};

/// How far the server's clock may be behind.
const BEHIND: SignedDuration = SignedDuration::from_hours(1);

/// Calls off the uploads to a record's key that began after it, that no other record names, and that have got no part for a
/// day; forgets the record when none is left that may be meant. Whether it did.
pub(super) async fn clear(place: &Place, object: &Object, record: &Record) -> Result<bool> {
    let request = place.client().await?.list_multipart_uploads().bucket(place.bucket()).prefix(&record.key);
    let listed = match request.send().await.map_err(|error| place.error(&error)) {
        Ok(listed) => listed,
        Err(error) if error.fault.passes() => return Err(error),
        // Who may not list uploads cannot tell: what it stood for, if anything, has no part, and waits for nobody any more.
        Err(_) if is_past(record.begun, DEAD) => return forget(place, &object.key).await.map(|()| true),
        Err(_) => return Ok(false),
    };
    let named = named(place, &record.key).await?;
    let since = record.begun.checked_sub(BEHIND).unwrap_or(Timestamp::MIN);
    let mut over = listed.is_truncated() != Some(true);
    for listed in listed.uploads().iter().filter(|listed| listed.key() == Some(record.key.as_str())) {
        let (Some(upload), Some(begun)) = (listed.upload_id(), begun(listed)) else { continue };
        if begun < since || named.contains(upload) {
            continue;
        }
        if is_past(begun, DEAD) && is_idle(place, &record.key, upload).await? {
            abort(place, &record.key, upload).await?;
            tracing::info!(key = record.key, upload, "an upload that nothing named was called off");
        } else {
            over = false;
        }
    }
    if over {
        forget(place, &object.key).await?;
    }
    Ok(over)
}

fn begun(listed: &MultipartUpload) -> Option<Timestamp> {
    listed.initiated().and_then(time)
}

/// The uploads that records beside a key name.
async fn named(place: &Place, key: &str) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for object in page(place, &records_of(key), true, &From::Start, None).await?.objects {
        named.extend(read(place, &object).await?.map(|record| record.upload));
    }
    Ok(named)
}
