//! Reading a version: what arrives is of that version, whole, or an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use wl_core::backend::{Body, Reading};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::client::{Ask, drain, pieces};
use crate::error::of_answer;
use crate::looks::look;
use crate::note;
use crate::server::{Server, Wanted};
use crate::turns::Turn;
use crate::version::{ETag, Seen, size_in};

/// How a version is told from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// By the headers that come with it.
    Headers,
    /// By asking for its properties: the server's headers say something else.
    Properties,
}

/// How often a download that broke off is gone on with, unless so much came meanwhile.
const RESUMES: u32 = 3;
const PROGRESS: u64 = 1 << 20;

/// A server may list a new version and go on sending the old one for so long: lighttpd keeps for a second what it knows of a
/// file (lighttpd's manual, server.stat-cache-engine).
const LAG: Duration = Duration::from_millis(2500);
const LAG_PAUSE: Duration = Duration::from_millis(200);

/// Opens a version from an offset on.
pub async fn read(server: &Arc<Server>, path: &RelPath, token: &Token, from: u64, turn: Turn) -> Result<Reading> {
    let opened = open(server, path, token, from).await?;
    Ok(checked(server, path, token, from, opened, turn))
}

/// The same of a short content: all of it has come, and was held against its version, when this returns.
pub async fn read_short(server: &Arc<Server>, path: &RelPath, token: &Token, from: u64, turn: Turn) -> Result<Reading> {
    let Reading { meta, mut body } = read(server, path, token, from, turn).await?;
    let (mut pieces, mut left) = (Vec::new(), size_in(token).unwrap_or_default());
    while let Some(piece) = body.try_next().await? {
        // What is longer than the version was is another one, however long the server goes on.
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| Error::changed(path))?;
        pieces.push(piece);
    }
    Ok(Reading { meta, body: futures::stream::iter(pieces.into_iter().map(Ok)).boxed() })
}

fn checked(server: &Arc<Server>, path: &RelPath, token: &Token, from: u64, opened: Opened, turn: Turn) -> Reading {
    let Opened { meta, by, left, content } = opened;
    let (server, path, token) = (server.clone(), path.clone(), token.clone());
    let checked = Checked { server, path, token, by, left, at: from, resumes: 0, since: from, turn };
    Reading { meta, body: checked.body(content) }
}

/// A version whose bytes are about to come.
struct Opened {
    meta: Meta,
    by: By,
    /// Bytes to come, where the server says how many.
    left: Option<u64>,
    content: Body,
}

async fn open(server: &Arc<Server>, path: &RelPath, token: &Token, from: u64) -> Result<Opened> {
    let response = begin(server, path, token, from).await?;
    let skip = match response.status() {
        StatusCode::OK => from,
        StatusCode::PARTIAL_CONTENT => from - begins_at(&response, from)?,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            drain(response).await;
            let meta = still(server, path, token).await?.meta();
            return Ok(Opened { meta, by: By::Properties, left: Some(0), content: futures::stream::empty().boxed() });
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Error::missing(path)),
        StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => return Err(Error::changed(path)),
        _ => return Err(of_answer(&response).at(path)),
    };
    not_encoded(&response).map_err(|error| error.at(path))?;
    let seen = Seen::in_headers(response.headers());
    let (by, meta) = if seen.is(token) {
        (By::Headers, seen.meta())
    } else if is_behind(server, &response, token) {
        return Err(Error::changed(path));
    } else {
        let listed = still(server, path, token).await?;
        if seen.size.is_some() && seen.size != listed.size {
            return Err(Error::changed(path));
        }
        (By::Properties, listed.meta())
    };
    let left = seen.size.map(|size| size.saturating_sub(from));
    Ok(Opened { meta, by, left, content: skipping(pieces(response), skip).boxed() })
}

/// Asks for a version as often as the server needs to make up its mind which one it sends.
async fn begin(server: &Server, path: &RelPath, token: &Token, from: u64) -> Result<Response> {
    let mut response = get(server, path, token, from).await?;
    if let Some(wait) = Seen::in_headers(response.headers()).settles_in(token, server.precision()) {
        // Whoever rewrites it in this second leaves its token as it is: a mixture could not be told.
        drop(response);
        tokio::time::sleep(wait).await;
        response = get(server, path, token, from).await?;
    }
    let until = Instant::now() + LAG;
    while is_behind(server, &response, token) && Instant::now() < until {
        drop(response);
        still(server, path, token).await?;
        tokio::time::sleep(LAG_PAUSE).await;
        response = get(server, path, token, from).await?;
    }
    Ok(response)
}

/// Asks for a version from an offset on: a part of it only if it still is that version, where its entity tag can say so.
async fn get(server: &Server, path: &RelPath, token: &Token, from: u64) -> Result<Response> {
    let plain = Ask::new("GET", server.client.base.file(path)).with("accept-encoding", "identity");
    if from == 0 {
        return server.client.send(plain, None).await;
    }
    let part = plain.with("range", format!("bytes={from}-"));
    let agree = heads_agree(server);
    // A weak tag matches nothing (RFC 9110, section 13.1.1).
    let Some(etag) = ETag::of(token).filter(|_| agree && !token.is_racy()) else {
        return server.client.send(part, None).await;
    };
    let response = server.client.send(part.clone().with("if-match", etag.quoted()), None).await?;
    if response.status() != StatusCode::PRECONDITION_FAILED {
        return Ok(response);
    }
    drain(response).await;
    // It may be of the same version and weak by now.
    still(server, path, token).await?;
    server.client.send(part, None).await
}

/// Whether it sends another version than the one that it lists.
fn is_behind(server: &Server, response: &Response, token: &Token) -> bool {
    let seen = Seen::in_headers(response.headers());
    let named = response.status().is_success() && seen.etag.is_some() && ETag::of(token).is_some();
    named && heads_agree(server) && !seen.is(token)
}

fn heads_agree(server: &Server) -> bool {
    server.known_abilities().is_some_and(|abilities| abilities.heads_agree)
}

/// Where a part begins (RFC 9110, section 14.4): where it was asked for or, if the server likes that better, before.
fn begins_at(response: &Response, from: u64) -> Result<u64> {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let begin = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    begin.filter(|begin| *begin <= from).ok_or_else(|| {
        Error::new(Fault::Malformed, "the server answered with another part of the file than it was asked for")
    })
}

fn not_encoded(response: &Response) -> Result<()> {
    match response.headers().get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(Error::new(Fault::Malformed, "the server compresses files although it was asked not to: turn that off"))
        }
        _ => Ok(()),
    }
}

/// What is there, if it still is that version.
async fn still(server: &Server, path: &RelPath, token: &Token) -> Result<Seen> {
    server.see(path).await?.filter(|seen| seen.is(token)).ok_or_else(|| Error::changed(path))
}

/// What a HEAD says; none if nothing is there.
pub async fn head(server: &Server, path: &RelPath) -> Result<Option<Seen>> {
    let ask = Ask::new("HEAD", server.client.base.file(path))
        .with("accept-encoding", "identity")
        .with("want-repr-digest", "sha-256=10");
    let response = server.client.send(ask, None).await?;
    match response.status() {
        StatusCode::OK => Ok(Some(server.seen_in(&response))),
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        _ => Err(of_answer(&response).at(path)),
    }
}

fn skipping(
    pieces: impl futures::Stream<Item = Result<Bytes>> + Send + 'static,
    skip: u64,
) -> impl futures::Stream<Item = Result<Bytes>> + Send + 'static {
    let mut skip = skip;
    pieces.map_ok(move |piece| {
        let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= cut as u64;
        piece.slice(cut..)
    })
}

/// A body that is held against its version once it is at its end.
struct Checked {
    server: Arc<Server>,
    path: RelPath,
    token: Token,
    by: By,
    /// Bytes still to come, where the server said how many.
    left: Option<u64>,
    /// The offset that it has come to.
    at: u64,
    /// How often it was gone on with…
    resumes: u32,
    /// …since it had come to here.
    since: u64,
    /// Until all of it came.
    turn: Turn,
}

impl Checked {
    fn body(self, content: Body) -> Body {
        futures::stream::try_unfold((content, Some(self)), |(mut content, checked)| async move {
            let Some(mut checked) = checked else { return Ok(None) };
            loop {
                match content.try_next().await {
                    Ok(Some(piece)) => {
                        checked.came(piece.len() as u64);
                        return Ok(Some((piece, (content, Some(checked)))));
                    }
                    Ok(None) => return checked.at_the_end().await.map(|()| None),
                    Err(error) => content = checked.resumed(error).await?,
                }
            }
        })
        .boxed()
    }

    fn came(&mut self, bytes: u64) {
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        self.at += bytes;
        if self.at - self.since >= PROGRESS {
            (self.since, self.resumes) = (self.at, 0);
        }
    }

    /// The rest of what broke off, if it still is that version: a file that is made shorter while it is sent ends early, too.
    async fn resumed(&mut self, error: Error) -> Result<Body> {
        let token = &self.token;
        still(&self.server, &self.path, token).await.map_err(|now| match now.fault {
            Fault::Refused | Fault::Missing => now,
            _ => error.clone().at(&self.path),
        })?;
        if self.resumes >= RESUMES || error.fault != Fault::Offline {
            return Err(error.at(&self.path));
        }
        self.resumes += 1;
        let opened = open(&self.server, &self.path, token, self.at).await?;
        (self.by, self.left) = (opened.by, opened.left);
        Ok(opened.content)
    }

    async fn at_the_end(self) -> Result<()> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Error::new(Fault::Offline, "the server sent less than it announced").at(&self.path));
        }
        if !self.server.client.distance.is_near() {
            drop(self.turn);
        }
        // It may have been rewritten in place while it was sent.
        let there = match self.by {
            By::Headers => look(&self.server, &self.path).await?,
            By::Properties => self.server.see(&self.path).await?,
        };
        if there.is_some_and(|there| there.is(&self.token)) { Ok(()) } else { Err(Error::changed(&self.path)) }
    }
}

/// The sha256 of a version: as the server tells it, or as it was noted there, else by reading it, and then it is noted.
pub async fn hash_or_note(server: &Arc<Server>, path: &RelPath, token: &Token) -> Result<Hash> {
    if let Some(hash) = told(server, path, token).await? {
        return Ok(hash);
    }
    let opened = open(server, path, token, 0).await?;
    // Only now is it known how much would come. What a server can do need not be known: a note that is there says it.
    let (size, named) = (opened.left.unwrap_or_default(), opened.by == By::Headers);
    let noted = size >= note::WORTH && server.known_abilities().is_none_or(|abilities| abilities.keeps_notes);
    if noted && let Some(hash) = note::told(server, path, token).await? {
        return Ok(hash);
    }
    let hash = hash_of(checked(server, path, token, 0, opened, None).body).await?;
    // A note outlives this process: only what came with the version's own name is noted.
    if named {
        note::leave(server, path, token, size, hash).await;
    }
    Ok(hash)
}

/// The sha256 of a version: as the server computed it itself, else by reading it. Nothing that was noted counts.
pub async fn hash(server: &Arc<Server>, path: &RelPath, token: &Token) -> Result<Hash> {
    if let Some(hash) = told(server, path, token).await? {
        return Ok(hash);
    }
    hash_of(read(server, path, token, 0, None).await?.body).await
}

/// The sha256 of a version that the server computed itself, where it tells it.
async fn told(server: &Server, path: &RelPath, token: &Token) -> Result<Option<Hash>> {
    if !server.known_abilities().is_some_and(|abilities| abilities.tells_hash) {
        return Ok(None);
    }
    let seen = match server.see_all(path, Wanted::All).await? {
        Some((seen, _)) if seen.hash.is_some() => Some(seen),
        Some(_) => head(server, path).await?,
        None => None,
    };
    Ok(seen.filter(|seen| seen.is(token)).and_then(|seen| seen.hash))
}

/// The sha256 of a body.
pub async fn hash_of(mut body: Body) -> Result<Hash> {
    let mut hasher = Sha256::new();
    while let Some(piece) = body.try_next().await? {
        hasher.update(&piece);
    }
    Ok(Hash(hasher.finalize().into()))
}
