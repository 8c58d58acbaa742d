//! MOVE and COPY, and uploading under a part name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{Body, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use wl_core::backend::{Content, Reading};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::client::{Ask, TRIES, Try, drain, fails_for_now, pieces};
use crate::error::{of_answer, of_status};
use crate::read::hash_of;
use crate::server::Server;
use crate::version::Seen;

/// A content that lies under a part name, proven.
#[derive(Debug)]
pub struct Uploaded {
    pub seen: Seen,
    pub hash: Hash,
    /// When the server had it all.
    pub at: Instant,
}

/// Uploads a content under a part name and proves its hash.
pub async fn upload(server: &Arc<Server>, part: &RelPath, content: &Content) -> Result<Uploaded> {
    let mut tried = 0;
    let (sent, answered) = loop {
        tried += 1;
        let failure = match put(server, part, content).await? {
            Put::Done(hash, seen) => break (hash, seen),
            Put::Failed(error) => error,
        };
        if tried >= TRIES {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(50) * tried * tried).await;
    };
    let at = Instant::now();
    let own = server.known_abilities().is_some_and(|abilities| abilities.answers_hash);
    let (seen, held) = match answered.hash.filter(|_| own) {
        Some(hash) => (see(server, part).await?, hash),
        None => read_back(server, part).await?,
    };
    if held != sent || seen.size.is_some_and(|size| size != content.size) {
        let text = "the server holds something else than was sent to it: nothing was changed, and it is tried again";
        return Err(Error::new(Fault::Broken, text));
    }
    let seen = Seen { size: Some(content.size), ..seen };
    Ok(Uploaded { seen, hash: sent, at })
}

enum Put {
    /// It was taken; the hash of what was sent, and what the answer says of it.
    Done(Hash, Seen),
    /// It may be taken if it is sent again: nobody else knows that name.
    Failed(Error),
}

async fn put(server: &Arc<Server>, part: &RelPath, content: &Content) -> Result<Put> {
    let reading = content.read(0).await?;
    let sending = Sending::of(content);
    let mut ask = Ask::new("PUT", server.client.base.file(part))
        .with("content-type", "application/octet-stream")
        .with("x-hash", "sha256");
    if let Meta { mtime: Some(mtime), .. } = reading.meta {
        ask = ask.with("x-oc-mtime", mtime.as_second().to_string());
    }
    let body = Body::wrap_stream(sending.watched(reading.body).await?);
    let tried = server.client.once(&ask, Some((content.size, body)), Some(&sending.progress)).await;
    if let Some(error) = sending.failure() {
        return Err(error);
    }
    let response = match tried {
        Ok(Try::Answer(response)) => response,
        Ok(Try::Again(error)) | Err(error) => return Ok(Put::Failed(error)),
    };
    let seen = server.seen_in(&response);
    match drain(response).await {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Put::Done(sending.hash(), seen)),
        status if fails_for_now(status) => Ok(Put::Failed(of_status(status))),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Err(no_directory()),
        status => Err(of_status(status)),
    }
}

/// The error where the directory that something belongs in is not there.
pub fn no_directory() -> Error {
    Error::new(Fault::Missing, "the directory it belongs in is not there")
}

/// A body on its way to a server.
struct Sending {
    progress: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
    size: u64,
    known: Option<Hash>,
}

#[derive(Default)]
struct State {
    hasher: Sha256,
    sent: u64,
    failure: Option<Error>,
}

impl Sending {
    fn of(content: &Content) -> Self {
        Self { progress: Arc::default(), state: Arc::default(), size: content.size, known: content.hash }
    }

    /// The body, hashed as it passes. Its last piece is sent only if all of it is what was announced: a server that takes
    /// the announced bytes does not look whether there are more.
    async fn watched(&self, body: wl_core::backend::Body) -> Result<wl_core::backend::Body> {
        let mut body = body;
        let first = self.next(&mut body).await?;
        let this = Self { progress: self.progress.clone(), state: self.state.clone(), ..*self };
        let pieces = futures::stream::try_unfold((body, first, this), |(mut body, waiting, this)| async move {
            let Some(piece) = waiting else { return Ok(None) };
            let next = this.next(&mut body).await?;
            Ok(Some((piece, (body, next, this))))
        });
        Ok(pieces.boxed())
    }

    /// The next piece; at the end everything is checked.
    async fn next(&self, body: &mut wl_core::backend::Body) -> Result<Option<Bytes>> {
        let next = body.try_next().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = next.and_then(|next| state.take(next, self.size, self.known));
        self.progress.store(state.sent, Ordering::Relaxed);
        state.failure = checked.as_ref().err().cloned();
        checked
    }

    /// Why the body itself ended early.
    fn failure(&self) -> Option<Error> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    fn hash(&self) -> Hash {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).hash()
    }
}

/// A short content in memory.
pub struct Whole {
    pub bytes: Bytes,
    pub hash: Hash,
    pub meta: Meta,
}

/// A short content, whole.
pub async fn collect(content: &Content) -> Result<Whole> {
    let sending = Sending::of(content);
    let Reading { meta, mut body } = content.read(0).await?;
    let mut whole = Vec::with_capacity(usize::try_from(content.size).unwrap_or_default());
    while let Some(piece) = sending.next(&mut body).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(Whole { bytes: Bytes::from(whole), hash: sending.hash(), meta })
}

impl State {
    fn take(&mut self, next: Option<Bytes>, size: u64, known: Option<Hash>) -> Result<Option<Bytes>> {
        if let Some(piece) = &next {
            self.sent += piece.len() as u64;
            self.hasher.update(piece);
        }
        if self.sent > size || next.is_none() && self.sent < size {
            return Err(Error::new(Fault::Refused, "what was read does not have the size it was announced with"));
        }
        if next.is_none() && known.is_some_and(|known| known != self.hash()) {
            return Err(Error::new(Fault::Refused, "what was read does not have the hash it was announced with"));
        }
        Ok(next)
    }

    fn hash(&self) -> Hash {
        Hash(self.hasher.clone().finalize().into())
    }
}

async fn see(server: &Server, path: &RelPath) -> Result<Seen> {
    server.see(path).await?.ok_or_else(|| Error::missing(path))
}

/// What the server holds under a name that nobody else writes to, and its hash, by reading it.
pub async fn read_back(server: &Arc<Server>, part: &RelPath) -> Result<(Seen, Hash)> {
    let (seen, hash) = get_whole(server, part).await?.ok_or_else(took_nothing)?;
    let agree = server.known_abilities().is_some_and(|abilities| abilities.heads_agree);
    Ok((if agree { seen } else { see(server, part).await? }, hash))
}

/// The error where nothing is to be found of what was taken.
pub fn took_nothing() -> Error {
    let text = "the server said that it took the content, but has nothing of it: who stands between may have said so";
    Error::new(Fault::Offline, text)
}

/// What a GET says and brings, with the hash of that; none if nothing is there.
pub async fn get_whole(server: &Server, path: &RelPath) -> Result<Option<(Seen, Hash)>> {
    let ask = Ask::new("GET", server.client.base.file(path))
        .with("accept-encoding", "identity")
        .with("cache-control", "no-cache");
    let response = server.client.send(ask, None).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        _ => return Err(of_answer(&response)),
    }
    let seen = server.seen_in(&response);
    let hash = hash_of(pieces(response).boxed()).await?;
    Ok(Some((seen, hash)))
}

/// Whether something may be put over what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// Nothing may be there.
    Nothing,
    /// What the condition names, as the value of an `If` header.
    If(String),
    /// What was looked at just now.
    Seen,
}

/// Moves a file, or a directory, on the server.
pub async fn move_to(server: &Server, from: &RelPath, to: &RelPath, is_dir: bool, over: &Over) -> Result<Response> {
    server.client.send(shipping(server, "MOVE", from, to, is_dir, over), None).await
}

/// The same now, or not at all.
pub async fn move_at_once(server: &Server, from: &RelPath, to: &RelPath, is_dir: bool, over: &Over) -> Result<Try> {
    server.client.at_once(&shipping(server, "MOVE", from, to, is_dir, over)).await
}

/// Copies a file on the server to where nothing is.
pub async fn copy_to(server: &Server, from: &RelPath, to: &RelPath) -> Result<Response> {
    server.client.send(shipping(server, "COPY", from, to, false, &Over::Nothing), None).await
}

fn shipping(server: &Server, method: &'static str, from: &RelPath, to: &RelPath, is_dir: bool, over: &Over) -> Ask {
    let base = &server.client.base;
    let place = |path: &RelPath| if is_dir { base.dir(path) } else { base.file(path) };
    let ask = Ask::new(method, place(from)).with("destination", place(to).as_str());
    match over {
        Over::Nothing => ask.with("overwrite", "F"),
        Over::Seen => ask.with("overwrite", "T"),
        Over::If(condition) => ask.with("overwrite", "T").with("if", condition),
    }
}

/// Whether a MOVE, COPY, DELETE or MKCOL says that it was done.
pub fn done(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 201 | 204)
}
