//! Uploads under way, written down in the bucket, so that a later process goes on with what a killed one began, or calls
//! it off: parts of an upload cost money until one of the two is done.
//!
//! A record is a small object `.wl-part-up-…` beside the key that is uploaded to, or beside what is copied in parts. Who
//! uploads the same content to the same key takes over a record whose writer is not known to be alive; two who do so at once
//! send the same bytes. A record whose writer is dead is cleared, and its upload called off, when another content goes to
//! that key, or at the end of the second full pass in a row in which nobody tried to upload it. A writer on another machine
//! is taken for dead when its upload has got no part for a day.
//!
//! The record is written before the upload is begun, and names it afterwards. Who is killed in between leaves a record that
//! names no upload: the uploads to its key that got no part for a day are called off for it. Others are other programs', and
//! nobody's business.

mod known;
mod sweep;
mod unnamed;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder as Create;
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
    /// Empty until it is begun.
    pub upload: String,
    pub size: u64,
    /// The size of its parts.
    pub part: u64,
    /// None for a copy, which nobody goes on with.
    pub sha256: Option<Hash>,
    /// What the upload was begun with, and cannot be changed.
    #[serde(default)]
    pub mtime: Option<Timestamp>,
    writer: Writer,
    begun: Timestamp,
}

impl Record {
    /// An upload that this process is about to begin.
    pub fn new(key: &str, layout: Layout, sha256: Option<Hash>, mtime: Option<Timestamp>) -> Self {
        let (key, upload, Layout { size, part }) = (key.to_owned(), String::new(), layout);
        Self { key, upload, size, part, sha256, mtime, writer: Writer::this(), begun: Timestamp::now() }
    }

    /// Whether it is an upload of that content, divided as that content is.
    fn is_of(&self, size: u64, sha256: Hash, mtime: Option<Timestamp>) -> bool {
        let layout = Layout { size: self.size, part: self.part };
        self.names_one() && (self.sha256, self.mtime, layout) == (Some(sha256), mtime, Layout::of(size))
    }

    /// Whether the upload had been begun when this was written.
    fn names_one(&self) -> bool {
        !self.upload.is_empty()
    }
}

/// What has become of a storage's uploads since it was swept.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The keys that large contents were to be put under.
    wanted: BTreeSet<String>,
    /// The records that nobody wanted before the last sweep: they are over if nobody wants them before the next.
    doubted: BTreeSet<String>,
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

/// Begins an upload that is written down beside a key.
pub(crate) async fn begin(place: &Place, beside: &str, record: Record, create: Create) -> Result<Claim> {
    let at = format!("{}{}", records_of(beside), uuid::Uuid::new_v4().simple());
    let claim = Claim::new(at, record, false);
    let mut claim = claim.ok_or_else(|| Error::new(Fault::Broken, "a fresh name was taken"))?;
    write(place, &claim).await?;
    let begun = match create.send().await.map_err(|error| place.error(&error)) {
        Ok(begun) => begun,
        Err(error) => {
            // Where no answer came, an upload may have begun all the same: the record stays for it.
            if !error.fault.passes()
                && let Err(stays) = forget(place, &claim.at).await
            {
                tracing::debug!(key = claim.record.key, "the record of an upload stays until it is swept: {stays}");
            }
            return Err(error);
        }
    };
    let upload = begun.upload_id().filter(|id| !id.is_empty());
    let upload = upload.ok_or_else(|| Error::new(Fault::Broken, "the server began an upload and did not name it"))?;
    upload.clone_into(&mut claim.record.upload);
    if let Err(error) = write(place, &claim).await {
        // What an upload that no record names leaves costs money until it is swept.
        if let Err(stays) = call_off(place, &claim.at, &claim.record).await {
            tracing::warn!(key = claim.record.key, upload, "an upload could not be called off: {stays}");
        }
        return Err(error);
    }
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
pub(crate) async fn find(
    target: &Target<'_>,
    size: u64,
    sha256: Hash,
    mtime: Option<Timestamp>,
) -> Result<Option<Claim>> {
    let place = target.place;
    let page = page(place, &records_of(&target.key), true, &From::Start, None).await?;
    let mut found = None;
    for object in page.objects {
        let Some(record) = read(place, &object).await?.filter(|record| record.key == target.key) else { continue };
        let fits = record.is_of(size, sha256, mtime) && record.writer.fate() != Fate::Alive;
        if found.is_none() && fits && has_parts(place, &record).await? {
            found = adopt(place, &object.key, record).await?;
        } else if record.names_one() && is_over(place, &object, &record).await? {
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
        Fate::Unknown => {
            Ok(is_older(object, DEAD) && (!record.names_one() || is_idle(place, &record.key, &record.upload).await?))
        }
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
        Some(record) if is_over(place, object, &record).await? => {
            if !record.names_one() {
                return unnamed::clear(place, object, &record).await;
            }
            call_off(place, &object.key, &record).await?;
        }
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
        let record = Record::new("p/x", Layout::of(5 << 30), Some(Hash::of(b"x")), Some(Timestamp::now()));
        let text = serde_json::to_vec(&record).unwrap();
        assert!(text.len() < known::LONGEST);
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn only_an_upload_that_is_divided_alike_is_gone_on_with() {
        let (size, hash) = (5 << 30, Hash::of(b"x"));
        let of = |record: &Record, size, hash| record.is_of(size, hash, None);
        let record = Record::new("p/x", Layout::of(size), Some(hash), None);
        assert!(!of(&record, size, hash), "it names none");
        let record = Record { upload: "id".to_owned(), ..record };
        assert!(of(&record, size, hash) && !of(&record, size + 1, hash) && !of(&record, size, Hash::of(b"y")));
        assert!(!record.is_of(size, hash, Some(Timestamp::now())), "it would have the time of the first try");
        for part in [0, 1, 5 << 20, 5 << 30, u64::MAX] {
            assert!(!Record { part, ..record.clone() }.is_of(size, hash, None), "{part}");
        }
        assert!(!Record { sha256: None, ..record }.is_of(size, hash, None));
    }

    #[test]
    fn records_lie_beside_the_key() {
        assert!(records_of("p/d/x").starts_with("p/d/.wl-part-up-") && records_of("x").starts_with(".wl-part-up-"));
        assert_ne!(records_of("p/x"), records_of("p/y"));
    }
}
