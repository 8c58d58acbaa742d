//! Uploads under way, written down in the bucket, so that a later process goes on with what a killed one began, or calls
//! it off: parts of an upload cost money until one of the two is done.
//!
//! A record is a small object `.wl-part-up-…` beside the key that is uploaded to. Who uploads the same content to the same
//! key takes over a record whose writer is not known to be alive; two who do so at once send the same bytes. A record whose
//! writer is dead is cleared, and its upload called off, when another content goes to that key, or at the end of a full
//! pass in which nobody tried to upload it. Of a writer on another machine that is assumed when nothing has moved for a day.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::primitives::ByteStream;
use jiff::{SignedDuration, Timestamp};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::object::Target;
use crate::page::{From, Object, page};
use crate::{Place, error};

/// What the name of a record begins with.
const UPLOAD: &str = "up-";
/// What the names of objects begin with that somebody tries the server with, and how long that may take.
pub(crate) const TRIAL: &str = "probe-";
const TRIAL_OVER: SignedDuration = SignedDuration::from_hours(1);
/// A record is never larger.
const LONGEST: usize = 16 << 10;
/// What nobody can be asked about is dead after that long.
const DEAD: SignedDuration = SignedDuration::from_hours(24);

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Record {
    pub key: String,
    pub upload: String,
    pub size: u64,
    /// The size of its parts.
    pub part: u64,
    pub sha256: Hash,
    writer: Writer,
    begun: Timestamp,
}

impl Record {
    /// A new upload of this process's.
    pub fn new(key: &str, upload: &str, size: u64, part: u64, sha256: Hash) -> Self {
        let (key, upload) = (key.to_owned(), upload.to_owned());
        Self { key, upload, size, part, sha256, writer: Writer::this(), begun: Timestamp::now() }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Writer {
    /// The machine since it was started, and the numbering of processes in it; none where the system does not tell.
    machine: Option<String>,
    pid: u32,
    /// When it was started, in the system's ticks.
    started: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    This,
    Alive,
    Dead,
    Unknown,
}

impl Writer {
    fn this() -> Self {
        static THIS: LazyLock<Writer> = LazyLock::new(|| {
            let pid = std::process::id();
            Writer { machine: machine(), pid, started: started(pid) }
        });
        THIS.clone()
    }

    fn fate(&self) -> Fate {
        let this = Self::this();
        if *self == this && self.machine.is_some() {
            return Fate::This;
        }
        if self.machine.is_none() || self.machine != this.machine {
            return Fate::Unknown;
        }
        if started(self.pid) == self.started { Fate::Alive } else { Fate::Dead }
    }
}

/// Names this machine until it is started again, and the process namespace (proc(5), random(4), pid_namespaces(7)).
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process was started; none if there is none of that number (proc_pid_stat(5), field 22).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
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
}

impl Claim {
    /// None if somebody else here has it.
    fn new(at: String, record: Record, resumed: bool) -> Option<Self> {
        under_way().insert(at.clone()).then(|| Self { at, record, resumed })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        under_way().remove(&self.at);
    }
}

/// What the names of all records for a key begin with.
fn records_of(target: &Target<'_>) -> Result<String> {
    let dir = target.place.dir(&target.path.parent().unwrap_or_else(RelPath::root))?;
    let name: String = Hash::of(target.path.name().as_bytes()).to_string().chars().take(16).collect();
    Ok(format!("{dir}{PART_PREFIX}{UPLOAD}{name}-"))
}

/// Writes down an upload that has just begun.
pub(crate) async fn note(target: &Target<'_>, record: Record) -> Result<Claim> {
    let at = format!("{}{}", records_of(target)?, uuid::Uuid::new_v4().simple());
    let claim = Claim::new(at, record, false).ok_or_else(|| Error::new(Fault::Broken, "a fresh name was taken"))?;
    write(target.place, &claim).await?;
    Ok(claim)
}

async fn write(place: &Place, claim: &Claim) -> Result<()> {
    // INVARIANT: texts, numbers and nothing that could not be written as JSON.
    let text = serde_json::to_vec(&claim.record).unwrap_or_default();
    let request = place.client().await?.put_object().bucket(place.bucket()).key(&claim.at);
    let written = request.content_type("application/json").body(ByteStream::from(text)).send().await;
    written.map(drop).map_err(|error| place.error(&error))
}

/// An upload of the same content to the same key that nobody goes on with. Uploads of other contents that nobody goes on
/// with are called off.
pub(crate) async fn find(target: &Target<'_>, size: u64, sha256: Hash) -> Result<Option<Claim>> {
    let place = target.place;
    place.tried().insert(target.key.clone());
    let page = page(place, &records_of(target)?, true, &From::Start, None).await?;
    let mut found = None;
    for object in page.objects {
        let Some(record) = read(place, &object).await?.filter(|record| record.key == target.key) else { continue };
        let fate = record.writer.fate();
        if fate != Fate::Alive && found.is_none() && record.sha256 == sha256 && record.size == size {
            let mine = Record { writer: Writer::this(), ..record };
            if let Some(claim) = Claim::new(object.key.clone(), mine, true) {
                write(place, &claim).await?;
                found = Some(claim);
            }
        } else if is_over(&object, &record) {
            call_off(place, &object.key, &record).await?;
        }
    }
    Ok(found)
}

/// Whether nobody will go on with an upload, unless somebody comes who wants just that.
fn is_over(object: &Object, record: &Record) -> bool {
    match record.writer.fate() {
        Fate::This => !under_way().contains(&object.key),
        Fate::Dead => true,
        Fate::Alive => false,
        Fate::Unknown => is_older(object, DEAD),
    }
}

fn is_older(object: &Object, than: SignedDuration) -> bool {
    object.stored.is_some_and(|stored| Timestamp::now().duration_since(stored) > than)
}

/// What a record says; none if it is gone, or says nothing.
async fn read(place: &Place, object: &Object) -> Result<Option<Record>> {
    if object.size > LONGEST as u64 {
        return Ok(None);
    }
    let request = place.client().await?.get_object().bucket(place.bucket()).key(&object.key);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error::status(&error) == 404 => return Ok(None),
        Err(error) => return Err(place.error(&error)),
    };
    let bytes = answer.body.collect().await.map_err(|error| Error::new(Fault::Offline, error.to_string()))?;
    Ok(serde_json::from_slice(&bytes.into_bytes()).ok())
}

/// Calls off an upload and forgets it.
pub(crate) async fn call_off(place: &Place, at: &str, record: &Record) -> Result<()> {
    let request = place.client().await?.abort_multipart_upload().bucket(place.bucket());
    match request.key(&record.key).upload_id(&record.upload).send().await {
        Ok(_) => {}
        // It was completed, or called off before.
        Err(error) if error::status(&error) == 404 => {}
        Err(error) => return Err(place.error(&error)),
    }
    forget(place, at).await
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
    if kind.starts_with(TRIAL) && !is_older(object, TRIAL_OVER) {
        return Ok(false);
    }
    if !kind.starts_with(UPLOAD) {
        forget(place, &object.key).await?;
        return Ok(true);
    }
    match read(place, object).await? {
        Some(record) if is_over(object, &record) => call_off(place, &object.key, &record).await?,
        None if is_older(object, DEAD) => forget(place, &object.key).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Clears what listings came across and nobody goes on with; how many there were.
pub(crate) async fn sweep(place: &Arc<Place>) -> Result<usize> {
    let leftovers = std::mem::take(&mut *place.leftovers());
    let tried = std::mem::take(&mut *place.tried());
    let mut removed = 0;
    for (key, leftover) in leftovers {
        let (size, stored) = (leftover.version.size, leftover.stored);
        let object = Object { key, size, version: Some(leftover.version), stored };
        // Who tried to upload it in this pass and failed will try again.
        let wanted = match read(place, &object).await {
            Ok(record) => record.is_some_and(|record| tried.contains(&record.key)),
            Err(_) => true,
        };
        if wanted {
            continue;
        }
        match clear(place, &object).await {
            Ok(done) => removed += usize::from(done),
            Err(error) => tracing::debug!(key = object.key, "a leftover could not be cleared: {error}"),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_known_by_its_machine_number_and_beginning() {
        let this = Writer::this();
        assert_eq!(this.fate(), Fate::This);
        let parent = std::os::unix::process::parent_id();
        for (writer, fate) in [
            (Writer { pid: parent, started: started(parent), ..this.clone() }, Fate::Alive),
            (Writer { started: Some(1), ..this.clone() }, Fate::Dead),
            (Writer { pid: u32::MAX, ..this.clone() }, Fate::Dead),
            (Writer { machine: Some("another".to_owned()), ..this.clone() }, Fate::Unknown),
            (Writer { machine: None, ..this }, Fate::Unknown),
        ] {
            assert_eq!(writer.fate(), fate, "{writer:?}");
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record::new("p/x", "id", 5 << 30, 8 << 20, Hash::of(b"x"));
        let text = serde_json::to_vec(&record).unwrap();
        assert!(text.len() < LONGEST);
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
    }
}
