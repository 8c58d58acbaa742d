//! Creating a short content by one PUT that overwrites nothing, for servers that heed that and show a file only once it is
//! whole. What is there then is read: that proves its hash, and is the look that every write ends with.

use std::sync::Arc;

use reqwest::StatusCode;
use tokio::time::{Duration, Instant};
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::Entry;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::client::{Ask, TRIES, drain};
use crate::error::{of_answer, of_status};
use crate::read::head;
use crate::server::Server;
use crate::transfer::{Whole, collect, done, get_whole, no_directory, took_nothing};
use crate::version::{Precision, Seen};
use crate::write::{TICK, why_not};

/// A content up to this size arrives at once, or nearly so: a server that checks first and writes then has little to wait for.
pub const LARGEST: u64 = 64 << 10;

/// A name longer than this may be too long for what a server writes to before: lighttpd puts more behind it.
const LONGEST_NAME: usize = 200;

/// Whether a write is one that is done so.
pub async fn fits(server: &Server, path: &RelPath, content: &Content, guard: &Guard) -> Result<bool> {
    let short = content.size <= LARGEST && path.name().len() <= LONGEST_NAME;
    Ok(short && *guard == Guard::Absent && server.abilities().await?.creates_directly == Some(true))
}

/// Creates a file where nothing is. It takes its own turns: while it waits for a tick, others have theirs.
pub async fn create(server: &Arc<Server>, path: &RelPath, content: &Content) -> Result<Written> {
    server.can_hold(path).await?;
    let whole = collect(content).await?;
    let mut tried = 0;
    loop {
        tried += 1;
        let sent = {
            let _turn = server.turns.change().await;
            send(server, path, &whole).await?
        };
        let weak = server.abilities().await?.tags_begin_weak;
        if weak {
            // Whoever writes it from now on has another date, so that the entity tag, though weak, is this content's alone.
            tokio::time::sleep_until(sent.at + TICK).await;
        }
        let _turn = server.turns.change().await;
        match settle(server, path, &whole, sent).await? {
            Settled::Written(written) => return Ok(*written),
            // Nothing is there: the same condition makes it safe to try again.
            Settled::Absent(error) if tried >= TRIES => return Err(error.at(path)),
            Settled::Absent(_) => tokio::time::sleep(Duration::from_millis(50) * tried * tried).await,
        }
    }
}

/// A PUT whose condition was not refused.
struct Sent {
    /// What the answer says of the new version.
    named: Option<Seen>,
    /// Why it may not have been done.
    failure: Option<Error>,
    at: Instant,
}

async fn send(server: &Server, path: &RelPath, whole: &Whole) -> Result<Sent> {
    let mut ask = Ask::new("PUT", server.client.base.file(path))
        .with("if-none-match", "*")
        .with("content-type", "application/octet-stream")
        .with("x-hash", "sha256");
    if let Some(mtime) = whole.meta.mtime {
        ask = ask.with("x-oc-mtime", mtime.as_second().to_string());
    }
    // RACE: a server may check, take the content in and then write (Apache, Nextcloud). Who creates the file meanwhile loses
    // it; if wl is the loser, the look that follows tells.
    let answer = server.client.send(ask, Some(whole.bytes.clone())).await;
    let at = Instant::now();
    let response = match answer {
        Ok(response) => response,
        Err(error) => return Ok(Sent { named: None, failure: Some(error), at }),
    };
    let (seen, error) = (server.seen_in(&response), of_answer(&response));
    match drain(response).await {
        StatusCode::PRECONDITION_FAILED => Err(Error::changed(path)),
        status if done(status) => Ok(Sent { named: Some(seen), failure: None, at }),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(Sent { named: None, failure: Some(no_directory()), at }),
        _ => Ok(Sent { named: None, failure: Some(error), at }),
    }
}

/// What came of it.
enum Settled {
    Written(Box<Written>),
    /// It failed for now, and nothing is there.
    Absent(Error),
}

/// Looks at what is there after the PUT, whatever was answered.
async fn settle(server: &Arc<Server>, path: &RelPath, whole: &Whole, sent: Sent) -> Result<Settled> {
    let abilities = server.abilities().await?;
    let written = |seen: &Seen| {
        let seen = Seen { size: Some(whole.bytes.len() as u64), ..seen.clone() };
        let entry = Entry { token: seen.own_token(abilities.precision), ..seen.entry(abilities.precision) };
        Settled::Written(Box::new(Written { entry, hash: whole.hash }))
    };
    let opaque = |seen: &Seen| seen.etag.as_ref().map(|etag| etag.opaque().to_owned());
    let proven = |seen: &Seen| abilities.answers_hash && seen.hash == Some(whole.hash);
    let named = sent.named.as_ref().and_then(opaque);
    let told = abilities.precision == Precision::Fine && sent.named.as_ref().is_some_and(proven);
    let there = if named.is_some() && told {
        match head(server, path).await? {
            Some(seen) if opaque(&seen) == named && is_of(&seen, whole) => return Ok(written(&seen)),
            Some(_) => return Err(Error::changed(path)),
            None => None,
        }
    } else {
        get_whole(server, path).await?
    };
    match (there, sent.failure) {
        (Some((seen, held)), _) if held == whole.hash && is_of(&seen, whole) => Ok(written(&seen)),
        (Some((Seen { etag: None, .. }, _)), _) => Err(no_version(server, path).await?.at(path)),
        (Some(_), _) => Err(Error::changed(path)),
        // It was there.
        (None, None) if named.is_some() => Err(Error::changed(path)),
        (None, None) => Err(took_nothing().at(path)),
        (None, Some(error)) if error.fault == Fault::Missing => {
            // A directory in the way is a conflict to some servers, too (RFC 4918, section 9.7.1).
            let taken = server.see(path).await?.is_some();
            Err(if taken { Error::changed(path) } else { error.at(path) })
        }
        (None, Some(error)) if error.fault.passes() || error.fault == Fault::Broken => Ok(Settled::Absent(error)),
        (None, Some(error)) => Err(why_not(server, path, &Guard::Absent, None, error).await?.at(path)),
    }
}

fn is_of(seen: &Seen, whole: &Whole) -> bool {
    seen.size.is_none_or(|size| size == whole.bytes.len() as u64)
}

/// Why a GET names no version: the server makes something of its own of the file, or somebody between answered.
async fn no_version(server: &Server, path: &RelPath) -> Result<Error> {
    let there = server.see(path).await?.is_some_and(|seen| !seen.is_dir);
    let text = "the server answers something else under this name than the file that it was sent: rename it";
    Ok(if there { Error::new(Fault::Malformed, text) } else { of_status(StatusCode::OK) })
}
