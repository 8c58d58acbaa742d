//! One upload in chunks: what the server has of it already is listed, the rest is sent, and all of it put together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Body, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use wl_core::backend::Content;
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use super::source::Source;
use super::{Layout, NAME, Uploads, name_of};
use crate::change::discard;
use crate::client::{Ask, TRIES, Try, drain, fails_for_now};
use crate::error::{of_answer, of_status};
use crate::server::{Depth, Server};
use crate::transfer::{Over, Uploaded, done, get_whole, move_to, read_back, took_nothing};
use crate::version::Seen;

/// What all chunks together that are read and not yet sent may take of memory, in this process.
const MEMORY: u64 = 48 << 20;
/// It is counted in pieces of this size.
const UNIT: u64 = 64 << 10;
/// How long is waited for a server to put chunks together after somebody between gave up waiting for it. A turn is held for as
/// long, and nothing is told meanwhile; what is put together later is found by the next try…
const ASSEMBLY: Duration = Duration::from_mins(5);
/// …and after the connection broke, which may mean that it was stopped.
const ASSEMBLY_UNKNOWN: Duration = Duration::from_secs(30);
/// How often is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What the one file is called that is all chunks.
const ALL: &str = ".file";
/// What Nextcloud writes to that hands chunks on to an object store (its `ChunkingV2Plugin`).
const TARGET: &str = ".target";

static WRITING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(units(MEMORY) as usize)));

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

/// The uploads under way in this process.
static UNDER_WAY: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub fn under_way() -> MutexGuard<'static, BTreeSet<String>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of an upload, in use until it is dropped.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        under_way().remove(&self.0);
    }
}

pub struct Session<'a> {
    server: &'a Arc<Server>,
    uploads: &'a Uploads,
    content: &'a Content,
    layout: Layout,
    hash: Hash,
    name: Name,
}

impl<'a> Session<'a> {
    /// The upload of a content to a path, which nobody else in this process is at.
    pub fn claim(
        server: &'a Arc<Server>,
        uploads: &'a Uploads,
        path: &RelPath,
        content: &'a Content,
        layout: Layout,
        hash: Hash,
    ) -> Result<Self> {
        let name = name_of(&uploads.files, path, layout, hash);
        if !under_way().insert(name.clone()) {
            return Err(Error::new(Fault::Busy, "the same content is being uploaded to this path already"));
        }
        Ok(Self { server, uploads, content, layout, hash, name: Name(name) })
    }

    /// Uploads what is missing and puts all of it together under a part name; its hash is proven.
    pub async fn run(&self, part: &RelPath, tells_hash: bool) -> Result<Uploaded> {
        let whole = self.whole(part)?;
        if !self.is_whole(&whole).await? {
            let there = self.begin(&whole).await?;
            let meta = self.send_missing(&there, &whole).await?;
            let held = match self.put_together(&whole, meta).await?.filter(|_| tells_hash) {
                Some(hash) => hash,
                None => read_back(self.server, &whole).await?.1,
            };
            if held != self.hash {
                discard(self.server, &whole).await;
                let text =
                    "the server holds something else than was sent to it: nothing was changed, and it is sent again";
                return Err(Error::new(Fault::Broken, text));
            }
        }
        let response = move_to(self.server, &whole, part, false, &Over::Nothing).await?;
        let error = of_answer(&response);
        if !done(drain(response).await) {
            return Err(error);
        }
        let at = Instant::now();
        let seen = self.server.see(part).await?.filter(|seen| seen.size == Some(self.layout.size));
        Ok(Uploaded { seen: seen.ok_or_else(took_nothing)?, hash: self.hash, at })
    }

    /// Where all of it is put together: under a name that whoever goes on with it finds, for a server may do that although
    /// nobody waits for it any more.
    fn whole(&self, part: &RelPath) -> Result<RelPath> {
        let digits = self.name.0.strip_prefix(NAME).unwrap_or_default();
        let dir = part.parent().unwrap_or_else(RelPath::root);
        dir.join(&format!("{PART_PREFIX}again-{digits}"))
            .map_err(|_| Error::new(Fault::Broken, "a part's name is none"))
    }

    /// Whether all of it was put together before. What lies there otherwise goes.
    async fn is_whole(&self, whole: &RelPath) -> Result<bool> {
        if self.server.see(whole).await?.is_none() {
            return Ok(false);
        }
        if get_whole(self.server, whole).await?.is_some_and(|(_, held)| held == self.hash) {
            tracing::info!(upload = self.name.0, "an upload was put together before");
            return Ok(true);
        }
        discard(self.server, whole).await;
        Ok(false)
    }

    /// Deletes what the server has of it, if it can be known that nobody will go on with it.
    pub async fn give_up_after(&self, error: &Error) {
        if matches!(error.fault, Fault::Refused | Fault::Malformed | Fault::Unsupported)
            && let Err(stays) = self.clear().await
        {
            tracing::debug!(upload = self.name.0, "an upload that was given up stays until it is swept: {stays}");
        }
    }

    /// Deletes what the server has of it.
    pub async fn clear(&self) -> Result<()> {
        delete(self.server, self.uploads, &self.name.0).await
    }

    fn dir(&self) -> Result<RelPath> {
        RelPath::root().join(&self.name.0).map_err(|_| Error::new(Fault::Broken, "the name of an upload is none"))
    }

    fn url(&self, name: &str) -> Result<Url> {
        let path = self.dir()?.join(name).map_err(|_| Error::new(Fault::Broken, "the name of a chunk is none"))?;
        Ok(self.uploads.base.file(&path))
    }

    /// The numbers of the chunks that the server has. If it has anything else there, it is begun again.
    async fn begin(&self, whole: &RelPath) -> Result<BTreeSet<u64>> {
        if let Some(listed) = listed(self.server, self.uploads, &self.dir()?).await? {
            if let Some(there) = self.known(&listed) {
                let (chunks, of) = (there.len(), self.layout.count());
                tracing::info!(upload = self.name.0, chunks, of, "an upload is gone on with");
                return Ok(there);
            }
            self.clear().await?;
        }
        let ask = Ask::new("MKCOL", self.uploads.base.dir(&self.dir()?)).with("destination", self.destination(whole));
        let response = self.server.client.send(ask, None).await?;
        let error = of_answer(&response);
        match drain(response).await {
            StatusCode::CREATED => Ok(BTreeSet::new()),
            StatusCode::METHOD_NOT_ALLOWED => {
                Err(Error::new(Fault::Busy, "somebody else is uploading the same content to this path"))
            }
            _ => Err(error),
        }
    }

    /// The numbers of chunks, if each is as long as it must be and nothing else is there: all of it would be put together.
    fn known(&self, listed: &BTreeMap<String, Seen>) -> Option<BTreeSet<u64>> {
        let chunks = listed.iter().filter(|(name, _)| *name != ALL && *name != TARGET);
        let known = chunks.map(|(name, seen)| {
            let number = name.parse().ok().filter(|number| (1..=self.layout.count()).contains(number))?;
            let range = self.layout.range(number);
            (!seen.is_dir && seen.size == Some(range.end - range.start)).then_some(number)
        });
        let numbers = known.collect::<Option<Vec<_>>>()?;
        let distinct: BTreeSet<_> = numbers.iter().copied().collect();
        (distinct.len() == numbers.len()).then_some(distinct)
    }

    fn destination(&self, whole: &RelPath) -> String {
        self.uploads.files.file(whole).to_string()
    }

    /// Reads and sends the chunks that are not there, several at a time; what travels beside the content.
    async fn send_missing(&self, there: &BTreeSet<u64>, whole: &RelPath) -> Result<Meta> {
        let first = (1..=self.layout.count()).find(|number| !there.contains(number));
        let source = Source::open(self.content, first.map_or(0, |first| self.layout.range(first).start)).await?;
        let meta = source.meta;
        let mut sending = JoinSet::new();
        let mut failure = self.read_missing(source, there, whole, &mut sending).await.err();
        // Whatever failed, what is under way comes to its end: the next try finds it there.
        while let Some(sent) = sending.join_next().await {
            if let Err(error) = flat(sent) {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(meta), Err)
    }

    /// Reads the chunks that are not there and gives each to a sender.
    async fn read_missing(
        &self,
        mut source: Source<'_>,
        there: &BTreeSet<u64>,
        whole: &RelPath,
        sending: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        for number in (1..=self.layout.count()).filter(|number| !there.contains(number)) {
            let range = self.layout.range(number);
            // Its turn first, then memory: those who have memory wait for nobody who waits for it with a turn.
            source.seek(range.start).await?;
            let memory = units((range.end - range.start).min(MEMORY));
            let memory = WRITING.clone().acquire_many_owned(memory).await.map_err(|_| Error::stopped())?;
            let (bytes, hash) = source.bytes(range).await?;
            // Whether it sorts them as numbers or as texts.
            let ask = Ask::new("PUT", self.url(&format!("{number:05}"))?)
                .with("destination", self.destination(whole))
                .with("oc-total-length", self.layout.size.to_string())
                .with("content-type", "application/octet-stream")
                .with("x-hash", "sha256");
            sending.spawn(send(self.server.clone(), ask, bytes, hash, memory));
            while let Some(sent) = sending.try_join_next() {
                flat(sent)?;
            }
        }
        source.end(self.hash).await
    }

    /// Makes one file of all chunks; the hash that the server tells of it. The upload is no more then.
    async fn put_together(&self, whole: &RelPath, meta: Meta) -> Result<Option<Hash>> {
        let mut ask = Ask::new("MOVE", self.url(ALL)?)
            .with("destination", self.destination(whole))
            .with("overwrite", "F")
            .with("oc-total-length", self.layout.size.to_string())
            .with("x-hash", "sha256");
        if let Some(mtime) = meta.mtime {
            ask = ask.with("x-oc-mtime", mtime.as_second().to_string());
        }
        let response = match self.server.client.send(ask, None).await {
            Ok(response) => response,
            Err(error) => return self.wait_for(whole, error, ASSEMBLY_UNKNOWN).await,
        };
        let (seen, error) = (Seen::in_headers(response.headers()), of_answer(&response));
        match drain(response).await {
            status if done(status) => Ok(seen.hash),
            StatusCode::NOT_FOUND => Err(vanished()),
            StatusCode::BAD_REQUEST => {
                // Nextcloud's words for a sum that is not as announced (its `ChunkingPlugin`).
                self.clear().await?;
                Err(Error::new(
                    Fault::Broken,
                    "the chunks on the server are not those that were sent: it is begun again",
                ))
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => {
                self.wait_for(whole, error, ASSEMBLY).await
            }
            _ => Err(error),
        }
    }

    /// Waits for what a server does although nobody told that it was done.
    async fn wait_for(&self, whole: &RelPath, error: Error, patience: Duration) -> Result<Option<Hash>> {
        let deadline = Instant::now() + patience;
        loop {
            let under_way = listed(self.server, self.uploads, &self.dir()?).await?.is_some();
            if self.server.see(whole).await?.is_some_and(|seen| seen.size == Some(self.layout.size)) {
                return Ok(None);
            }
            if !under_way || Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn flat(sent: Result<Result<()>, JoinError>) -> Result<()> {
    sent.map_err(|error| Error::new(Fault::Broken, error.to_string()))?
}

/// The error where an upload is not there any more.
fn vanished() -> Error {
    Error::new(Fault::Busy, "the server has cleared the upload away: it is begun again")
}

/// Sends one chunk, and holds its memory until it is sent.
async fn send(server: Arc<Server>, ask: Ask, bytes: Bytes, hash: Hash, _memory: OwnedSemaphorePermit) -> Result<()> {
    let mut tried = 0;
    loop {
        tried += 1;
        let failure = match send_once(&server, &ask, &bytes).await? {
            Ok(told) if told.is_none_or(|told| told == hash) => return Ok(()),
            Ok(_) => Error::new(Fault::Broken, "the server got something else than was sent to it"),
            Err(error) => error,
        };
        if tried >= TRIES {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(100) * tried * tried).await;
    }
}

/// The hash that the server tells of what it got, or why it may get it another time.
async fn send_once(server: &Server, ask: &Ask, bytes: &Bytes) -> Result<Result<Option<Hash>>> {
    let progress = Arc::new(AtomicU64::new(0));
    let (sent, rest) = (progress.clone(), bytes.clone());
    let pieces = futures::stream::unfold((rest, sent), |(mut rest, sent)| async move {
        let piece = rest.split_to(rest.len().min(64 << 10));
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        (!piece.is_empty()).then_some((Ok::<_, std::io::Error>(piece), (rest, sent)))
    });
    let body = (bytes.len() as u64, Body::wrap_stream(pieces));
    let response = match server.client.once(ask, Some(body), Some(&progress)).await {
        Ok(Try::Answer(response)) => response,
        Ok(Try::Again(error)) | Err(error) => return Ok(Err(error)),
    };
    let seen = Seen::in_headers(response.headers());
    match drain(response).await {
        status if done(status) => Ok(Ok(seen.hash)),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Err(vanished()),
        // Nextcloud answers so, too, if its database is locked for too long.
        status if fails_for_now(status) || status == StatusCode::LOCKED => Ok(Err(of_status(status))),
        status => Err(of_status(status)),
    }
}

/// What lies in an upload; none if there is no such upload.
pub async fn listed(server: &Server, uploads: &Uploads, dir: &RelPath) -> Result<Option<BTreeMap<String, Seen>>> {
    let mut found = BTreeMap::new();
    let listing = server.listed_at(&uploads.base, dir, Depth::One, |names, seen| {
        if let ([name], Some(seen)) = (&names[..], seen?) {
            found.insert(String::from_utf8_lossy(name).into_owned(), seen);
        }
        Ok(())
    });
    Ok(listing.await?.map(|()| found))
}

/// Deletes an upload, which is all right if it is not there.
pub async fn delete(server: &Server, uploads: &Uploads, name: &str) -> Result<()> {
    let dir = RelPath::root().join(name).map_err(|_| Error::new(Fault::Broken, "the name of an upload is none"))?;
    let response = server.client.send(Ask::new("DELETE", uploads.base.dir(&dir)), None).await?;
    let error = of_answer(&response);
    match drain(response).await {
        status if done(status) || status == StatusCode::NOT_FOUND => Ok(()),
        _ => Err(error),
    }
}
