//! Safe replace: uploaded beside and proven, then moved to its name if that still holds what is expected, then looked at
//! again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use wl_core::backend::{Content, Guard, Reading, Written};
use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::abilities::Conditions;
use crate::change::discard;
use crate::chunks::upload;
use crate::client::{TRIES, Try, drain};
use crate::error::{of_answer, of_status};
use crate::inplace;
use crate::kept::{keep, kept_in};
use crate::lock::Lock;
use crate::note;
use crate::read::{hash, head, read};
use crate::server::Server;
use crate::transfer::{Over, Uploaded, done, move_at_once, move_to, no_directory};
use crate::version::Seen;

/// From here on it pays to look before uploading whether the guard still holds.
const LARGE: u64 = 1 << 20;
/// More than a tick of any server's clock. A part gets its name so long after it was written: whoever writes there later has
/// another date, so that its entity tag, though still weak, is this content's alone.
pub const TICK: Duration = Duration::from_millis(20);
/// How often a condition is tried again that failed because the entity tag was still weak…
pub const WEAK_TRIES: u32 = 8;
/// …and how long is waited in between: Apache's tags are weak for a second after a write.
pub const WEAK_PAUSE: Duration = Duration::from_millis(200);

/// How often is looked for what was moved to a name…
pub const LOOKS: u32 = 3;
/// …and how long is waited in between.
pub const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Puts a content under a path if that is what the guard says, and leaves a note of its hash.
pub async fn replace(
    server: &Arc<Server>,
    path: &RelPath,
    content: Content,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let written = put(server, path, content, guard, trash).await?;
    note::leave(server, path, &written.entry.token, written.entry.size, written.hash).await;
    Ok(written)
}

async fn put(
    server: &Arc<Server>,
    path: &RelPath,
    content: Content,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    server.can_hold(path).await?;
    if content.size >= LARGE {
        holds(server, path, guard).await?;
    }
    if let Guard::Unchanged(token) = guard {
        // Before anything is uploaded in vain.
        let conditions = server.conditions().await?;
        kept_in(server, trash).await.map_err(|error| error.at(path))?;
        if content.size <= inplace::LARGEST && conditions == Conditions::InPlace {
            return inplace::replace(server, path, &content, token, trash).await;
        }
    }
    let part = server.part_for(path, false).await?;
    let result = async {
        let uploaded = upload(server, &part, path, &content).await.map_err(|error| error.at(path))?;
        publish(server, &part, path, &uploaded, guard, trash).await
    }
    .await;
    if let Err(error) = &result {
        if matches!(error.fault, Fault::Missing | Fault::Broken) {
            // It may be the directory that parts lie in that is missing: nginx answers 500 then.
            server.made.forget();
        }
        discard(server, &part).await;
    }
    result
}

/// Gives a part that is proven its name, if that is what the guard says.
pub async fn publish(
    server: &Arc<Server>,
    part: &RelPath,
    path: &RelPath,
    uploaded: &Uploaded,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    if uploaded.seen.is_weak() {
        tokio::time::sleep_until(uploaded.at + TICK).await;
    }
    match guard {
        Guard::Absent => create(server, part, path, uploaded).await,
        Guard::Unchanged(token) => exchange(server, part, path, token, trash, uploaded).await,
    }
}

fn gone_is_refused(error: Error, path: &RelPath) -> Error {
    if error.fault == Fault::Missing { Error::changed(path) } else { error }
}

/// Fails unless the guard holds now; what is there.
pub async fn holds(server: &Server, path: &RelPath, guard: &Guard) -> Result<Option<Seen>> {
    let there = server.see(path).await?;
    let as_expected = match (guard, &there) {
        (Guard::Absent, there) => there.is_none(),
        (Guard::Unchanged(token), Some(there)) => there.is(token),
        (Guard::Unchanged(_), None) => false,
    };
    if as_expected { Ok(there) } else { Err(Error::changed(path)) }
}

/// Moves a part to where nothing is.
async fn create(server: &Arc<Server>, part: &RelPath, path: &RelPath, uploaded: &Uploaded) -> Result<Written> {
    let moved = async { answered(move_to_free(server, part, path, false).await?).await };
    let failure = moved.await.err();
    settle(server, part, path, uploaded, &Guard::Absent, failure).await
}

/// Moves a file, or a directory, to where nothing is.
pub async fn move_to_free(server: &Server, from: &RelPath, to: &RelPath, is_dir: bool) -> Result<Response> {
    if !server.abilities().await?.keeps_existing {
        // This server overwrites although told not to.
        return move_as_seen(server, from, to, is_dir, &Guard::Absent).await;
    }
    // RACE: a server may look and then rename (Apache, sabre/dav). Who creates the file within those microseconds loses it;
    // if wl is the loser, the look that follows tells.
    move_to(server, from, to, is_dir, &Over::Nothing).await
}

/// Moves to where there is what the guard says, on a server that heeds nothing that goes with a MOVE. Each try has a
/// look of its own right before it: while a server asks for patience, somebody may write there.
async fn move_as_seen(server: &Server, from: &RelPath, to: &RelPath, is_dir: bool, guard: &Guard) -> Result<Response> {
    let over = if *guard == Guard::Absent { Over::Nothing } else { Over::Seen };
    let mut tried = 0;
    loop {
        tried += 1;
        holds(server, to, guard).await?;
        // RACE: who writes the file within this round trip loses it.
        match move_at_once(server, from, to, is_dir, &over).await? {
            Try::Answer(response) => return Ok(response),
            Try::Again(error) if tried >= TRIES => return Err(error),
            Try::Again(_) => tokio::time::sleep(Duration::from_millis(50) * tried * tried).await,
        }
    }
}

/// Fails unless a MOVE was answered with that it was done.
async fn answered(response: Response) -> Result<()> {
    let error = of_answer(&response);
    let status = drain(response).await;
    if done(status) { Ok(()) } else { Err(refusal(&error, status)) }
}

/// Puts a part in place of a known version, which is kept first.
async fn exchange(
    server: &Arc<Server>,
    part: &RelPath,
    path: &RelPath,
    token: &Token,
    trash: Option<&RelPath>,
    uploaded: &Uploaded,
) -> Result<Written> {
    let guard = Guard::Unchanged(token.clone());
    let conditions = server.conditions().await?;
    // A lock on nothing would make an empty file.
    let there = holds(server, path, &guard).await?;
    // Before anything is locked: to copy a large file may take longer than a lock lives.
    let kept = match kept_in(server, trash).await? {
        Some(trash) => Some(keep(server, path, token, there.as_ref().and_then(|seen| seen.size), trash).await?),
        None => None,
    };
    let result = if conditions == Conditions::Lock {
        match Lock::take(server, path).await {
            Ok(lock) => move_locked(server, lock, part, path, uploaded, &guard).await,
            Err(error) => {
                if let Some(kept) = kept {
                    kept.discard_if_there(server).await;
                }
                return Err(gone_is_refused(error, path));
            }
        }
    } else {
        let failure = move_over(server, part, path, &guard, conditions, there).await.err();
        settle(server, part, path, uploaded, &guard, failure).await
    };
    if let (Err(error), Some(kept)) = (&result, kept) {
        kept.change_failed(server, error).await;
    }
    result
}

/// Moves a part over a file that is locked, if it is the known version.
async fn move_locked(
    server: &Arc<Server>,
    lock: Lock,
    part: &RelPath,
    path: &RelPath,
    uploaded: &Uploaded,
    guard: &Guard,
) -> Result<Written> {
    let moved = async {
        holds(server, path, guard).await?;
        let condition = Over::If(lock.condition(server));
        answered(move_to(server, part, path, false, &condition).await?).await
    };
    let failure = moved.await.err();
    let result = settle(server, part, path, uploaded, guard, failure).await;
    lock.release(server).await;
    result
}

/// Moves a part over a known version, which is `there`: under a condition on its entity tag where that is heeded.
async fn move_over(
    server: &Server,
    part: &RelPath,
    path: &RelPath,
    guard: &Guard,
    conditions: Conditions,
    mut there: Option<Seen>,
) -> Result<()> {
    let heeded = matches!(conditions, Conditions::IfHeader | Conditions::InPlace);
    let mut tried = 0;
    loop {
        tried += 1;
        let response = match there.as_ref().and_then(|seen| seen.etag.as_ref()).filter(|_| heeded) {
            Some(etag) => {
                // RACE: a server may check and then rename (Apache, sabre/dav). Who writes the file within those
                // microseconds loses it; if wl is the loser, the look that follows tells.
                let condition = format!("<{}> ([{}])", server.client.base.file(path), etag.quoted());
                move_to(server, part, path, false, &Over::If(condition)).await?
            }
            None => move_as_seen(server, part, path, false, guard).await?,
        };
        let Err(error) = answered(response).await else { return Ok(()) };
        // The condition may have failed only because the tag is weak yet, or was when it was looked at.
        let was_weak = there.as_ref().is_some_and(Seen::is_weak);
        if error.fault != Fault::Refused || !was_weak || tried >= WEAK_TRIES {
            return Err(error);
        }
        tokio::time::sleep(WEAK_PAUSE).await;
        there = holds(server, path, guard).await?;
    }
}

/// What a refusal of a MOVE or COPY means: Apache answers 500 where a directory is missing, nginx 409 where one is in the way.
fn refusal(error: &Error, status: StatusCode) -> Error {
    match status {
        StatusCode::CONFLICT | StatusCode::NOT_FOUND => of_status(StatusCode::CONFLICT),
        _ => error.clone(),
    }
}

/// Looks at what is there after a MOVE, whatever was answered: the part, or something else.
async fn settle(
    server: &Arc<Server>,
    part: &RelPath,
    path: &RelPath,
    uploaded: &Uploaded,
    guard: &Guard,
    failure: Option<Error>,
) -> Result<Written> {
    let abilities = server.abilities().await?;
    let token = uploaded.seen.own_token(abilities.precision);
    // The cheapest look first. What is not the part is looked at again.
    let mut there = None;
    if failure.is_none() && abilities.heads_agree && abilities.move_keeps_token {
        there = head(server, path).await.ok().flatten().filter(|seen| seen.is(&token));
    }
    for tried in 0..LOOKS {
        if there.is_some() || failure.is_some() && tried > 0 {
            break;
        }
        if tried > 0 {
            // Somebody else's move may be under way: what it moved aside comes back if it is not what it expected.
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        there = server.see(path).await?;
    }
    let written =
        |seen: &Seen, token| Written { entry: Entry { token, ..seen.entry(abilities.precision) }, hash: uploaded.hash };
    match (there, failure) {
        (Some(there), None) if there.is(&token) => Ok(written(&there, token)),
        (Some(there), None) if !abilities.move_keeps_token && !there.is_dir => {
            let token = there.token(abilities.precision);
            match hash(server, path, &token).await {
                Ok(found) if found == uploaded.hash => Ok(written(&there, token)),
                Ok(_) => Err(Error::changed(path)),
                Err(error) => Err(error),
            }
        }
        (Some(there), None) => {
            if there.is_dir {
                // lighttpd moves a file into a directory of that name.
                let inside = path.join(part.name()).map_err(|_| Error::changed(path))?;
                discard(server, &inside).await;
            }
            Err(Error::changed(path))
        }
        (None, None) => Err(Error::changed(path)),
        // The connection broke after the MOVE was done.
        (Some(there), Some(_)) if there.is(&token) && server.see(part).await?.is_none() => Ok(written(&there, token)),
        (there, Some(error)) => Err(why_not(server, path, guard, there, error).await?.at(path)),
    }
}

/// Why a MOVE was not done.
pub async fn why_not(
    server: &Server,
    path: &RelPath,
    guard: &Guard,
    there: Option<Seen>,
    error: Error,
) -> Result<Error> {
    if error.fault.passes() || error.fault == Fault::Stopped {
        return Ok(error);
    }
    let parent = path.parent().unwrap_or_else(RelPath::root);
    Ok(match (guard, there) {
        (Guard::Unchanged(token), Some(there)) if there.is(token) => error,
        (Guard::Absent, None) => match server.see(&parent).await? {
            None => no_directory(),
            Some(parent) if !parent.is_dir => Error::changed(path),
            // The directory is there and nothing is in the way: it is the name that the server does not take.
            Some(_) if error.fault == Fault::Broken => {
                Error::new(Fault::Malformed, "the server failed to give the file this name: it may not take such names")
            }
            Some(_) => error,
        },
        _ => Error::changed(path),
    })
}

/// Sets a file's modification time by writing it again, where a write can set it.
pub async fn set_meta(server: &Arc<Server>, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
    let seen = server.see(path).await?.ok_or_else(|| Error::missing(path))?;
    if !seen.is(token) {
        return Err(Error::changed(path));
    }
    if meta.mtime.is_none() || seen.modified.map(Timestamp::as_second) == meta.mtime.map(Timestamp::as_second) {
        return Ok(seen.entry(server.precision()));
    }
    if !server.abilities().await?.keeps_mtime {
        return Err(Error::new(Fault::Unsupported, "this server keeps no modification times").at(path));
    }
    let (source, from, version, meta) = (server.clone(), path.clone(), token.clone(), *meta);
    let content = Content::new(seen.size.unwrap_or_default(), None, move |offset| {
        let (source, from, version) = (source.clone(), from.clone(), version.clone());
        Box::pin(async move {
            let reading = read(&source, &from, &version, offset, None).await?;
            Ok(Reading { meta, ..reading })
        })
    });
    let guard = Guard::Unchanged(token.clone());
    Ok(replace(server, path, content, &guard, None).await?.entry)
}
