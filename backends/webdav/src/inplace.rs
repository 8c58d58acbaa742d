//! Replacing by one PUT with `If-Match`, for servers whose MOVE leaves nothing under the name for a moment.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::StatusCode;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Entry, Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::change::discard;
use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::read::hash;
use crate::server::Server;
use crate::transfer::{collect, done};
use crate::write::{holds, keep};

/// A content up to this size is held in memory, so that nothing can fail in the middle of sending it. A larger one takes
/// the server long to store: its name had better be free for a moment than hold a part for long.
pub const LARGEST: u64 = 8 << 20;

/// Replaces a known version by a content that is short enough. What it replaces is copied first, in any case.
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
    let part = server.part_for(path, false).await?;
    let copies = server.abilities().await?.copies;
    let copy = if copies { Some(keep(server, path, token, trash.unwrap_or(&part)).await?) } else { None };
    let result = put(server, path, &guard, bytes, sent).await;
    let unchanged = result.as_ref().is_err_and(|error| error.fault == Fault::Refused);
    if let Some(copy) = copy.filter(|_| trash.is_none() || unchanged) {
        discard(server, &copy).await;
    }
    result
}

async fn put(server: &Arc<Server>, path: &RelPath, guard: &Guard, bytes: Bytes, sent: Hash) -> Result<Written> {
    let there = holds(server, path, guard).await?;
    let etag = there.and_then(|seen| seen.etag).ok_or_else(|| Error::changed(path))?;
    let size = bytes.len() as u64;
    let ask = Ask::new("PUT", server.client.base.file(path))
        .with("if-match", etag.quoted())
        .with("content-type", "application/octet-stream");
    // RACE: a server may check and then write (sabre/dav). Who writes the file meanwhile loses it; if wl is the loser, the
    // look below tells.
    let failure = match server.client.send(ask, Some(bytes)).await {
        Ok(response) => {
            let error = of_answer(&response).at(path);
            let status = drain(response).await;
            if status == StatusCode::PRECONDITION_FAILED {
                return Err(Error::changed(path));
            }
            (!done(status)).then_some(error)
        }
        Err(error) => Some(error.at(path)),
    };
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
    let entry = Entry { token: seen.own_token(server.precision()), ..seen.entry(server.precision()) };
    Ok(Written { entry, hash: sent })
}
