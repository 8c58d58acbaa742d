//! Uploads under way, written down in the bucket, so that a later process goes on with what a killed one began, or calls
//! it off: parts of an upload cost money until one of the two is done.
//!
//! A record is a small object `.wl-part-up-…` beside the key that is uploaded to, or beside what is copied in parts. Who
//! uploads the same content to the same key takes over a record whose writer is not known to be alive; two who do so at once
//! send the same bytes. A record whose writer is dead is cleared, and its upload called off, when another content goes to
//! that key, or at the end of the second full pass in a row in which nobody tried to upload it. A writer on another machine
//! is taken for dead when its upload has got no part for a day.
//!
//! Who is killed before the record is written leaves an upload that nothing tells of: a sweep of a storage with large
//! contents also looks for those.

mod known;
mod sweep;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use jiff::{SignedDuration, Timestamp};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::PART_PREFIX;

pub(crate) use self::known::Known;
use self::known::read;
pub(crate) use self::sweep::sweep;
use self::writer::{Fate, Writer};
use crate::object::Target;
use crate::page::{From, Object, page};
use crate::parts::Layout;
use crate::{Place, error, probe, remove};

/// What the name of a record begins with.
const UPLOAD: &str = "up-";
/// What the names of objects begin with that somebody tries the server with, and how long that may take.
pub(crate) const TRIAL: &str = "probe-";
const TRIAL_OVER: SignedDuration = SignedDuration::from_hours(1);
/// What nobody can be asked about is dead after that long.
const DEAD: SignedDuration = SignedDuration::from_hours(24);
/// How often in a row an upload is called off at most.
const ABORTS: usize = 3;

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Record {
    pub key: String,
    pub upload: String,
    pub size: u64,
    /// The size of its parts.
    pub part: u64,
    /// None for a copy, which nobody goes on with.
    pub sha256: Option<Hash>,
    writer: Writer,
    begun: Timestamp,
}

impl Record {
    /// A new upload of this process's.
    pub fn new(key: &str, upload: &str, layout: Layout, sha256: Option<Hash>) -> Self {
        let (key, upload, Layout { size, part }) = (key.to_owned(), upload.to_owned(), layout);
        Self { key, upload, size, part, sha256, writer: Writer::this(), begun: Timestamp::now() }
    }

    /// Whether it is an upload of that content, divided as that content is.
    fn is_of(&self, size: u64, sha256: Hash) -> bool {
        self.sha256 == Some(sha256) && Layout { size: self.size, part: self.part } == Layout::of(size)
    }
}

/// What has become of a storage's uploads since it was swept.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The keys that large contents were to be put under.
    wanted: BTreeSet<String>,
    /// The records that nobody wanted before the last sweep: they are over if nobody wants them before the next.
    doubted: BTreeSet<String>,
    /// Whether anything was begun that leaves an upload behind if it is killed.
    begun: bool,
}

/// The records of uploads that go on in this process.
static UNDER_WAY: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

fn under_way() -> MutexGuard<'static, BTreeSet<String>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record that is this process's to go on with.
pub(crate) struct Claim {
    /// The record's key.
    pub at: String,
    pub record: Record,
    /// Whether an earlier try has begun it.
    pub resumed: bool,
    /// Whether somebody began it who may be at it yet.
    pub foreign: bool,
}

impl Claim {
    /// None if somebody else here has it.
    fn new(at: String, record: Record, resumed: bool) -> Option<Self> {
        let foreign = record.writer.fate() == Fate::Unknown;
        under_way().insert(at.clone()).then(|| Self { at, record, resumed, foreign })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        under_way().remove(&self.at);
    }
}

/// What the names of all records for a key begin with.
fn records_of(key: &str) -> String {
    let (dir, name) = key.split_at(key.rfind('/').map_or(0, |slash| slash + 1));
    let name: String = Hash::of(name.as_bytes()).to_string().chars().take(16).collect();
    format!("{dir}{PART_PREFIX}{UPLOAD}{name}-")
}

/// That a large content is to be put there: what an earlier try has left stays.
pub(crate) fn wanted(target: &Target<'_>) {
    target.place.rounds().wanted.insert(target.key.clone());
}

/// Writes down, beside a key, an upload that has just begun.
pub(crate) async fn note(place: &Place, beside: &str, record: Record) -> Result<Claim> {
    place.rounds().begun = true;
    let at = format!("{}{}", records_of(beside), uuid::Uuid::new_v4().simple());
    let claim = Claim::new(at, record, false).ok_or_else(|| Error::new(Fault::Broken, "a fresh name was taken"))?;
    write(place, &claim).await?;
    Ok(claim)
}

async fn write(place: &Place, claim: &Claim) -> Result<()> {
    // INVARIANT: texts, numbers and nothing that could not be written as JSON.
    let text = serde_json::to_vec(&claim.record).unwrap_or_default();
    let request = place.client().await?.put_object().bucket(place.bucket()).key(&claim.at);
    let written = request.content_type("application/json").body(ByteStream::from(text)).send().await;
    written.map(drop).map_err(|error| place.error(&error))
}

/// An upload of the same content to the same key that nobody is known to go on with. Uploads of other contents that nobody
/// goes on with are called off.
pub(crate) async fn find(target: &Target<'_>, size: u64, sha256: Hash) -> Result<Option<Claim>> {
    let place = target.place;
    let page = page(place, &records_of(&target.key), true, &From::Start, None).await?;
    let mut found = None;
    for object in page.objects {
        let Some(record) = read(place, &object).await?.filter(|record| record.key == target.key) else { continue };
        let fits = record.is_of(size, sha256) && record.writer.fate() != Fate::Alive;
        if found.is_none() && fits && has_parts(place, &record).await? {
            found = adopt(place, &object.key, record).await?;
        } else if is_over(place, &object, &record).await? {
            call_off(place, &object.key, &record).await?;
        }
    }
    Ok(found)
}

/// Takes over an upload. The record goes on naming a writer of whom nothing is known: it may be at it yet.
async fn adopt(place: &Place, at: &str, record: Record) -> Result<Option<Claim>> {
    let foreign = record.writer.fate() == Fate::Unknown;
    let record = if foreign { record } else { Record { writer: Writer::this(), ..record } };
    let Some(claim) = Claim::new(at.to_owned(), record, true) else { return Ok(None) };
    if !foreign {
        write(place, &claim).await?;
    }
    Ok(Some(claim))
}

/// Whether nobody will go on with an upload, unless somebody comes who wants just that.
async fn is_over(place: &Place, object: &Object, record: &Record) -> Result<bool> {
    match record.writer.fate() {
        Fate::This => Ok(!under_way().contains(&object.key)),
        Fate::Dead => Ok(true),
        Fate::Alive => Ok(false),
        Fate::Unknown => Ok(is_older(object, DEAD) && is_idle(place, &record.key, &record.upload).await?),
    }
}

fn is_older(object: &Object, than: SignedDuration) -> bool {
    object.stored.is_some_and(|stored| is_past(stored, than))
}

fn is_past(time: Timestamp, than: SignedDuration) -> bool {
    Timestamp::now().duration_since(time) > than
}

fn time(time: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}

/// Whether an upload has got no part for a day, or is none any more.
async fn is_idle(place: &Place, key: &str, upload: &str) -> Result<bool> {
    let request = place.client().await?.list_parts().bucket(place.bucket()).key(key).upload_id(upload);
    let mut pages = request.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) if error::status(&error) == 404 => return Ok(true),
            Err(error) => return Err(place.error(&error)),
        };
        let mut times = page.parts().iter().filter_map(|part| part.last_modified().and_then(time));
        if times.any(|time| !is_past(time, DEAD)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an upload has any part.
async fn has_parts(place: &Place, record: &Record) -> Result<bool> {
    let request = place.client().await?.list_parts().bucket(place.bucket()).key(&record.key);
    match request.upload_id(&record.upload).max_parts(1).send().await {
        Ok(page) => Ok(!page.parts().is_empty()),
        Err(error) if error::status(&error) == 404 => Ok(false),
        Err(error) => Err(place.error(&error)),
    }
}

/// Calls off an upload, and forgets it once nothing is left of it: parts that arrive meanwhile may survive, and it "might be
/// necessary to abort a given multipart upload multiple times" (Amazon S3 API reference, AbortMultipartUpload).
pub(crate) async fn call_off(place: &Place, at: &str, record: &Record) -> Result<()> {
    for _ in 0..ABORTS {
        abort(place, &record.key, &record.upload).await?;
        if !has_parts(place, record).await? {
            return forget(place, at).await;
        }
    }
    Err(Error::new(Fault::Busy, "parts of an upload that was called off still arrive"))
}

/// Calls off an upload, which is all right if it was completed, or called off before.
async fn abort(place: &Place, key: &str, upload: &str) -> Result<()> {
    let request = place.client().await?.abort_multipart_upload().bucket(place.bucket());
    match request.key(key).upload_id(upload).send().await {
        Ok(_) => Ok(()),
        Err(error) if error::status(&error) == 404 => Ok(()),
        Err(error) => Err(place.error(&error)),
    }
}

/// Deletes the record of an upload that is over.
pub(crate) async fn forget(place: &Place, at: &str) -> Result<()> {
    let request = place.client().await?.delete_object().bucket(place.bucket()).key(at);
    request.send().await.map(drop).map_err(|error| place.error(&error))
}

/// Removes a part object, and calls off the upload that it stands for unless that is alive; whether it did.
pub(crate) async fn clear(place: &Arc<Place>, object: &Object) -> Result<bool> {
    let name = object.key.rsplit('/').next().unwrap_or_default();
    let kind = name.strip_prefix(PART_PREFIX).unwrap_or_default();
    if kind.starts_with(TRIAL) {
        let over = is_older(object, TRIAL_OVER);
        if over {
            forget(place, &object.key).await?;
        }
        return Ok(over);
    }
    if !kind.starts_with(UPLOAD) {
        // Of a kind that others make who see the same files in another way, or a user's.
        return Ok(false);
    }
    match read(place, object).await? {
        Some(record) if is_over(place, object, &record).await? => call_off(place, &object.key, &record).await?,
        // It says nothing.
        None if is_older(object, DEAD) => return discard(place, object).await,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Deletes what is not known to be this storage's own if nobody has touched it meanwhile; whether it did.
async fn discard(place: &Arc<Place>, object: &Object) -> Result<bool> {
    let Some(version) = &object.version else { return Ok(false) };
    let traits = probe::traits(place).await?;
    match remove::delete(place, &traits, &object.key, version).await {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.fault, Fault::Missing | Fault::Refused) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record::new("p/x", "id", Layout::of(5 << 30), Some(Hash::of(b"x")));
        let text = serde_json::to_vec(&record).unwrap();
        assert!(text.len() < known::LONGEST);
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn only_an_upload_that_is_divided_alike_is_gone_on_with() {
        let (size, hash) = (5 << 30, Hash::of(b"x"));
        let record = Record::new("p/x", "id", Layout::of(size), Some(hash));
        assert!(record.is_of(size, hash) && !record.is_of(size + 1, hash) && !record.is_of(size, Hash::of(b"y")));
        for part in [0, 1, 5 << 20, 5 << 30, u64::MAX] {
            assert!(!Record { part, ..record.clone() }.is_of(size, hash), "{part}");
        }
        assert!(!Record { sha256: None, ..record }.is_of(size, hash));
    }

    #[test]
    fn records_lie_beside_the_key() {
        assert!(records_of("p/d/x").starts_with("p/d/.wl-part-up-") && records_of("x").starts_with(".wl-part-up-"));
        assert_ne!(records_of("p/x"), records_of("p/y"));
    }
}
