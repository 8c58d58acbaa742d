//! Replacing by one PUT with `If-Match`, for servers whose MOVE leaves nothing under the name for a moment.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Entry, Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::kept::{keep, kept_in};
use crate::read::hash;
use crate::server::Server;
use crate::transfer::{Whole, collect, done};
use crate::version::{ETag, Seen};
use crate::write::{WEAK_PAUSE, WEAK_TRIES, holds};

/// A content up to this size is held in memory, so that nothing can fail in the middle of sending it. A larger one takes
/// the server long to store: its name had better be free for a moment than hold a part for long.
pub const LARGEST: u64 = 8 << 20;

/// How long somebody else may have moved the file aside.
const ASIDE: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// Replaces a known version by a content that is short enough. What it replaces is copied to the trash first.
pub async fn replace(
    server: &Arc<Server>,
    path: &RelPath,
    content: &Content,
    token: &Token,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let guard = Guard::Unchanged(token.clone());
    let whole = collect(content).await?;
    let (size, sent) = (whole.bytes.len() as u64, whole.hash);
    let there = holds(server, path, &guard).await?;
    let kept = match kept_in(server, trash).await? {
        Some(trash) => Some(keep(server, path, token, there.and_then(|seen| seen.size), trash).await?),
        None => None,
    };
    let result = match send(server, path, &guard, &whole).await {
        Ok(answer) => settle(server, path, token, answer, size, sent).await,
        Err(error) => Err(error),
    };
    if let (Err(error), Some(kept)) = (&result, kept) {
        kept.change_failed(server, error).await;
    }
    result
}

/// What a PUT whose condition was not refused was answered with.
enum Sent {
    /// It was done; what the answer says of the new version.
    Done(Seen),
    /// Why it may not have been done.
    Unsure(Error),
}

/// Sends it, until the condition holds or is known not to: then it is an error, and nothing was replaced.
async fn send(server: &Server, path: &RelPath, guard: &Guard, whole: &Whole) -> Result<Sent> {
    let mut tried = 0;
    loop {
        tried += 1;
        let there = holds(server, path, guard).await?;
        let etag = there.and_then(|seen| seen.etag).ok_or_else(|| Error::changed(path))?;
        let mut ask = Ask::new("PUT", server.client.base.file(path))
            .with("if-match", etag.quoted())
            .with("content-type", "application/octet-stream");
        if let Some(mtime) = whole.meta.mtime {
            ask = ask.with("x-oc-mtime", mtime.as_second().to_string());
        }
        // RACE: a server may check, take the content in and then write (Apache, ownCloud). Who writes the file meanwhile
        // loses it; if wl is the loser, the look that follows tells.
        let response = match server.client.send(ask, Some(whole.bytes.clone())).await {
            Ok(response) => response,
            Err(error) => return Ok(Sent::Unsure(error.at(path))),
        };
        let (seen, error) = (server.seen_in(&response), of_answer(&response).at(path));
        match drain(response).await {
            StatusCode::PRECONDITION_FAILED if etag.is_weak() && tried < WEAK_TRIES => {
                tokio::time::sleep(WEAK_PAUSE).await;
            }
            StatusCode::PRECONDITION_FAILED => return Err(Error::changed(path)),
            status if done(status) => return Ok(Sent::Done(seen)),
            _ => return Ok(Sent::Unsure(error)),
        }
    }
}

/// Looks at what is there after the PUT, whatever was answered.
async fn settle(
    server: &Arc<Server>,
    path: &RelPath,
    old: &Token,
    answer: Sent,
    size: u64,
    sent: Hash,
) -> Result<Written> {
    let (named, failure) = match answer {
        Sent::Done(seen) => (seen.etag, None),
        Sent::Unsure(error) => (None, Some(error)),
    };
    let failed = |failure: Option<Error>| failure.unwrap_or_else(|| Error::changed(path));
    let mut seen = server.see(path).await?.filter(|seen| !seen.is_dir);
    for pause in ASIDE {
        // Who removes it moves it aside to look at it, and puts back what is not what they expected.
        if seen.is_some() || failure.is_some() {
            break;
        }
        tokio::time::sleep(pause).await;
        seen = server.see(path).await?.filter(|seen| !seen.is_dir);
    }
    let Some(seen) = seen else { return Err(failed(failure)) };
    let token = seen.token(server.precision());
    if failure.is_some() && old.same(&token) {
        return Err(failed(failure));
    }
    let held = hash(server, path, &token).await.map_err(|error| match error.fault {
        // Moved aside just now.
        Fault::Missing => Error::changed(path),
        _ => error,
    })?;
    if held == sent && seen.size == Some(size) {
        let entry = Entry { token: seen.written_token(server.precision()), ..seen.entry(server.precision()) };
        return Ok(Written { entry, hash: sent });
    }
    let opaque = |etag: &Option<ETag>| etag.as_ref().map(|etag| etag.opaque().to_owned());
    if named.is_some() && opaque(&named) == opaque(&seen.etag) {
        let text = "the server holds something else than was sent to it: it is tried again";
        return Err(Error::new(Fault::Broken, text).at(path));
    }
    Err(failed(failure))
}
