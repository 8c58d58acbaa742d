//! Replacing by one PUT with `If-Match`, for servers whose MOVE leaves nothing under the name for a moment.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::StatusCode;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::change::discard;
use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::read::hash;
use crate::server::Server;
use crate::transfer::{collect, done};
use crate::write::{WEAK_PAUSE, WEAK_TRIES, holds, keep};

/// A content up to this size is held in memory, so that nothing can fail in the middle of sending it. A larger one takes
/// the server long to store: its name had better be free for a moment than hold a part for long.
pub const LARGEST: u64 = 8 << 20;

/// Replaces a known version by a content that is short enough. What it replaces is copied to the trash first.
pub async fn replace(
    server: &Arc<Server>,
    path: &RelPath,
    content: &Content,
    token: &Token,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let guard = Guard::Unchanged(token.clone());
    let (bytes, sent) = collect(content).await?;
    holds(server, path, &guard).await?;
    let copy = match trash {
        Some(trash) if server.abilities().await?.copies => Some(keep(server, path, token, trash).await?),
        _ => None,
    };
    let result = put(server, path, &guard, bytes, sent).await;
    if let (Err(error), Some(copy)) = (&result, copy)
        && error.fault == Fault::Refused
    {
        discard(server, &copy).await;
    }
    result
}

/// Sends it, until the condition holds or is known not to. None if that was done; else why it may not have been.
async fn send(server: &Server, path: &RelPath, guard: &Guard, bytes: &Bytes) -> Result<Option<Error>> {
    let mut tried = 0;
    loop {
        tried += 1;
        let there = holds(server, path, guard).await?;
        let etag = there.and_then(|seen| seen.etag).ok_or_else(|| Error::changed(path))?;
        let ask = Ask::new("PUT", server.client.base.file(path))
            .with("if-match", etag.quoted())
            .with("content-type", "application/octet-stream");
        // RACE: a server may check, take the content in and then write (Apache, ownCloud). Who writes the file meanwhile
        // loses it; if wl is the loser, the look that follows tells.
        let response = match server.client.send(ask, Some(bytes.clone())).await {
            Ok(response) => response,
            Err(error) => return Ok(Some(error.at(path))),
        };
        let error = of_answer(&response).at(path);
        match drain(response).await {
            StatusCode::PRECONDITION_FAILED if etag.is_weak() && tried < WEAK_TRIES => {
                tokio::time::sleep(WEAK_PAUSE).await;
            }
            StatusCode::PRECONDITION_FAILED => return Err(Error::changed(path)),
            status => return Ok((!done(status)).then_some(error)),
        }
    }
}

async fn put(server: &Arc<Server>, path: &RelPath, guard: &Guard, bytes: Bytes, sent: Hash) -> Result<Written> {
    let size = bytes.len() as u64;
    let failure = send(server, path, guard, &bytes).await?;
    // Whatever was answered, what is there now decides.
    let seen = server.see(path).await?.filter(|seen| !seen.is_dir);
    let Some(seen) = seen else { return Err(failure.unwrap_or_else(|| Error::changed(path))) };
    let token = seen.token(server.precision());
    if matches!(guard, Guard::Unchanged(old) if old.same(&token)) && failure.is_some() {
        return Err(failure.unwrap_or_else(|| Error::changed(path)));
    }
    let held = hash(server, path, &token).await?;
    if held != sent || seen.size != Some(size) {
        return Err(failure.unwrap_or_else(|| Error::changed(path)));
    }
    Ok(Written { entry: seen.entry(server.precision()), hash: sent })
}
