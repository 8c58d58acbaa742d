//! Deleting, moving and copying, and directories. What is to go is moved aside first and looked at there: nobody can change
//! it any more, and what was not expected is moved back.

use std::sync::Arc;

use reqwest::StatusCode;
use tokio::time::Instant;
use wl_core::backend::{Guard, Known, Listed};
use wl_core::entry::{Entry, Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::chunks;
use crate::client::{Ask, drain};
use crate::error::{of_answer, of_status};
use crate::list::children;
use crate::parts::{Fate, is_own};
use crate::read::hash;
use crate::server::{Server, parts_dir};
use crate::transfer::{Over, Uploaded, copy_to, done, move_to, no_directory, read_back};
use crate::trash::{make_parents, recovered, still_held};
use crate::version::Seen;
use crate::write::{LOOK_PAUSE, LOOKS, move_to_free, publish};

/// Deletes that version of a file.
pub async fn remove(server: &Arc<Server>, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
    let version = Version::at(server, path, token).await?;
    let Some(trash) = trash else {
        let held = server.part_for(path, true).await?;
        take_aside(server, path, &version, &held).await?;
        discard(server, &held).await;
        return Ok(());
    };
    make_parents(server, trash).await?;
    take_aside(server, path, &version, trash).await
}

/// A version of a file, and how it is known again once it was moved.
struct Version<'a> {
    token: &'a Token,
    /// Its size and hash, where tokens do not survive a move.
    content: Option<(Option<u64>, Hash)>,
}

impl<'a> Version<'a> {
    /// Fails unless that version is there.
    async fn at(server: &Arc<Server>, path: &RelPath, token: &'a Token) -> Result<Self> {
        let keeps_token = server.abilities().await?.move_keeps_token;
        let size = expect(server, path, token).await?.size;
        let content = if keeps_token { None } else { Some((size, hash(server, path, token).await?)) };
        Ok(Self { token, content })
    }

    /// Whether it is what was moved there.
    async fn is(&self, server: &Arc<Server>, at: &RelPath, moved: &Seen) -> bool {
        let Some((size, known)) = self.content.filter(|_| !moved.is_dir) else { return moved.is(self.token) };
        moved.size == size && hash(server, at, &moved.token(server.precision())).await.is_ok_and(|hash| hash == known)
    }
}

/// Moves a file aside; moves it back if it is not that version.
async fn take_aside(server: &Arc<Server>, path: &RelPath, version: &Version<'_>, aside: &RelPath) -> Result<()> {
    let moved = match shift(server, path, aside).await {
        // A directory of the trash that was there may not be there any more.
        Shifted::NoPlace(_) if look_for(server, path, version.token, aside, 1).await?.is_none() => {
            server.made.forget();
            make_parents_of_trash(server, aside).await?;
            expect(server, path, version.token).await?;
            shift(server, path, aside).await
        }
        moved => moved,
    };
    let moved = match moved {
        Shifted::Done => server.see(aside).await?,
        Shifted::Not(error) => return Err(error.at(path)),
        // Whatever was moved, nobody would look for it there later.
        Shifted::Unsure(error) => match look_for(server, path, version.token, aside, LOOKS).await? {
            None => return Err(error.at(path)),
            moved => moved,
        },
        Shifted::NoPlace(error) => match look_for(server, path, version.token, aside, 1).await? {
            None => return Err(error.at(path)),
            moved => moved,
        },
    };
    match moved {
        Some(moved) if version.is(server, aside, &moved).await => Ok(()),
        Some(moved) => put_back(server, path, aside, moved.is_dir).await,
        None => Err(Error::changed(path)),
    }
}

/// What came of moving a file aside.
enum Shifted {
    Done,
    /// The directory it was to go to may not be there.
    NoPlace(Error),
    /// It was refused.
    Not(Error),
    /// It may have been done all the same.
    Unsure(Error),
}

async fn shift(server: &Server, path: &RelPath, aside: &RelPath) -> Shifted {
    let response = match move_to(server, path, aside, false, &Over::Nothing).await {
        Ok(response) => response,
        Err(error) => return Shifted::Unsure(error),
    };
    let error = of_answer(&response);
    match drain(response).await {
        status if done(status) => Shifted::Done,
        StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR => Shifted::NoPlace(error),
        status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => Shifted::Not(error),
        _ => Shifted::Unsure(error),
    }
}

/// What lies where a file was moved to by a request that was not answered; none if the file still is where it was.
async fn look_for(server: &Server, path: &RelPath, token: &Token, aside: &RelPath, times: u32) -> Result<Option<Seen>> {
    for tried in 0..times {
        if tried > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        if !server.see(path).await?.is_some_and(|there| there.is(token)) {
            return server.see(aside).await;
        }
    }
    Ok(None)
}

async fn make_parents_of_trash(server: &Server, aside: &RelPath) -> Result<()> {
    if aside.is_ours() && aside.segments().next() == Some(wl_core::path::TRASH_DIR) {
        return make_parents(server, aside).await;
    }
    Ok(())
}

/// Moves back what was not expected; always an error.
async fn put_back(server: &Arc<Server>, path: &RelPath, aside: &RelPath, is_dir: bool) -> Result<()> {
    let back = move_to_free(server, aside, path, is_dir).await;
    if let Ok(response) = back
        && done(drain(response).await)
    {
        return Err(Error::changed(path));
    }
    // Somebody took the name meanwhile: both are kept.
    match rescue(server, aside, is_dir).await {
        Ok(()) => Err(Error::changed(path)),
        Err(error) => Err(still_held(aside, path, &error)),
    }
}

/// Moves what lies under a held name into the trash.
async fn rescue(server: &Arc<Server>, held: &RelPath, is_dir: bool) -> Result<()> {
    let place = recovered(held);
    make_parents(server, &place).await?;
    let response = move_to(server, held, &place, is_dir, &Over::Nothing).await?;
    let error = of_answer(&response);
    if done(drain(response).await) { Ok(()) } else { Err(error) }
}

/// Fails unless that version is there.
async fn expect(server: &Server, path: &RelPath, token: &Token) -> Result<Seen> {
    let seen = server.see(path).await?.ok_or_else(|| Error::missing(path))?;
    if seen.is(token) { Ok(seen) } else { Err(Error::changed(path)) }
}

/// Deletes a file that is wl's own, if it is there. One that cannot be deleted now is swept later.
pub async fn discard(server: &Server, own: &RelPath) {
    if let Ok(response) = server.client.send(Ask::new("DELETE", server.client.base.file(own)), None).await {
        drain(response).await;
    }
}

/// Moves that version of a file to where nothing is.
pub async fn move_within(server: &Arc<Server>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    server.can_hold(to).await?;
    let version = Version::at(server, from, token).await?;
    nothing_at(server, to).await?;
    let response = move_to_free(server, from, to, false).await?;
    finish(server, response, to).await?;
    match server.see(to).await? {
        Some(moved) if version.is(server, to, &moved).await => Ok(moved.entry(server.precision())),
        Some(moved) if !moved.is_dir => {
            put_back(server, from, to, false).await.and_then(|()| Err(Error::changed(from)))
        }
        Some(_) => {
            // lighttpd moves a file into a directory of that name.
            let inside = to.join(from.name()).map_err(|_| Error::changed(to))?;
            put_back(server, from, &inside, false).await.and_then(|()| Err(Error::changed(to)))
        }
        None => Err(Error::changed(to)),
    }
}

/// Copies that version of a file to where nothing is.
pub async fn copy_within(server: &Arc<Server>, known: Known<'_>, to: &RelPath) -> Result<Entry> {
    let from = known.path;
    server.can_hold(to).await?;
    if server.abilities().await?.copies != Some(true) {
        return Err(Error::new(Fault::Unsupported, "this server cannot copy a file").at(from));
    }
    let size = expect(server, from, known.token).await?.size;
    nothing_at(server, to).await?;
    // By way of a part name: nobody sees a half-written copy, and what turns out to be another version vanishes.
    let part = server.part_for(to, false).await?;
    let copied = async {
        let response = copy_to(server, from, &part).await?;
        finish(server, response, to).await?;
        let at = Instant::now();
        // That it was done says nothing of what lies there now.
        let (seen, held) = read_back(server, &part).await?;
        if held != known.hash {
            return Err(Error::new(Fault::Broken, "the server's copy holds something else than the file").at(from));
        }
        let uploaded = Uploaded { seen: Seen { size, ..seen }, hash: held, at };
        Ok(publish(server, &part, to, &uploaded, &Guard::Absent, None).await?.entry)
    }
    .await;
    if copied.is_err() {
        discard(server, &part).await;
    }
    copied
}

async fn nothing_at(server: &Server, path: &RelPath) -> Result<()> {
    match server.see(path).await? {
        None => Ok(()),
        Some(_) => Err(Error::changed(path)),
    }
}

async fn finish(server: &Server, response: reqwest::Response, to: &RelPath) -> Result<()> {
    let error = of_answer(&response).at(to);
    let status = drain(response).await;
    if done(status) {
        return Ok(());
    }
    let parent = to.parent().unwrap_or_else(RelPath::root);
    if error.fault != Fault::Denied && server.see(&parent).await?.is_none() {
        return Err(no_directory().at(to));
    }
    Err(error)
}

/// Makes a directory in an existing one.
pub async fn make_dir(server: &Server, path: &RelPath) -> Result<()> {
    server.can_hold(path).await?;
    make_collection(server, path).await
}

/// The same for a name that the server lists, or that is wl's own.
pub async fn make_collection(server: &Server, path: &RelPath) -> Result<()> {
    let response = server.client.send(Ask::new("MKCOL", server.client.base.dir(path)), None).await?;
    let error = of_answer(&response).at(path);
    let status = drain(response).await;
    if status == StatusCode::CREATED {
        return Ok(());
    }
    match server.see(path).await? {
        Some(there) if there.is_dir => Ok(()),
        Some(_) => Err(Error::changed(path)),
        None if matches!(status, StatusCode::CONFLICT | StatusCode::NOT_FOUND) => Err(no_directory().at(path)),
        None if done(status) => Err(of_status(StatusCode::OK).at(path)),
        None => Err(error),
    }
}

/// Removes a directory that holds nothing but wl's own leftovers. A DELETE takes everything below with it, so the directory
/// is moved aside first: what is in it then is all there is.
pub async fn remove_dir(server: &Arc<Server>, path: &RelPath) -> Result<()> {
    server.abilities().await?;
    match server.see(path).await? {
        None => return Err(Error::missing(path)),
        Some(there) if !there.is_dir => return Err(Error::changed(path)),
        Some(_) => {}
    }
    is_empty(server, path).await?;
    let held = server.part_for(path, true).await?;
    // What the server does not list, of whatever kind, may be in it: that is kept as long as everything else in the trash.
    let kept = !path.is_ours();
    let aside = if kept { recovered(path) } else { RelPath::clone(&held) };
    if kept {
        make_parents(server, &aside).await?;
    }
    let response = move_to(server, path, &aside, true, &Over::Nothing).await?;
    let error = of_answer(&response).at(path);
    if !done(drain(response).await) {
        return Err(error);
    }
    match is_empty(server, &aside).await {
        Ok(()) if kept => Ok(()),
        Ok(()) => {
            let response = server.client.send(Ask::new("DELETE", server.client.base.dir(&aside)), None).await?;
            let error = of_answer(&response).at(path);
            if done(drain(response).await) { Ok(()) } else { Err(error) }
        }
        Err(_) => put_back(server, path, &aside, true).await,
    }
}

/// Fails unless a directory holds nothing but what dead writers left.
async fn is_empty(server: &Server, dir: &RelPath) -> Result<()> {
    let not_empty = || Error::new(Fault::Refused, "the directory is not empty").at(dir);
    match children(server, dir, None).await? {
        Some(children) if children.is_empty() => {}
        Some(_) => return Err(not_empty()),
        None => return Err(Error::missing(dir)),
    }
    let alive = server.parts.any_in(dir, |fate| fate != Fate::Goes);
    if alive { Err(not_empty()) } else { Ok(()) }
}

/// Removes what dead writers left where listings came across it; how many files that were.
pub async fn sweep(server: &Arc<Server>) -> Result<usize> {
    // Whoever opened the storage may close it now, which ends a trial wherever it is.
    server.learning.settled().await;
    let mut swept = 0;
    if server.known_abilities().is_some_and(|abilities| abilities.hides_dotfiles()) {
        let all = children(server, &parts_dir(), None).await?.unwrap_or_default();
        for child in all {
            if let Listed::Entry(part, _) = child {
                server.parts.came_across(part);
            }
        }
    }
    for part in server.parts.take_seen() {
        match clear(server, &part).await {
            Ok(cleared) => swept += usize::from(cleared),
            // Nobody answers: the rest is met again by the next listing.
            Err(error) if error.fault == Fault::Offline => return Err(error),
            Err(error) => tracing::warn!(%part, "a leftover stays for now: {error}"),
        }
    }
    Ok(swept + chunks::sweep(server).await)
}

/// Removes one of those; whether it was to go, and was there.
async fn clear(server: &Arc<Server>, part: &RelPath) -> Result<bool> {
    if *part == parts_dir() {
        return Ok(false);
    }
    let there = match server.parts.fate(part) {
        Fate::Stays => return Ok(false),
        Fate::Goes | Fate::IsKept => server.see(part).await?,
    };
    let Some(there) = there else { return Ok(false) };
    if server.parts.fate(part) == Fate::IsKept {
        rescue(server, part, there.is_dir).await?;
    } else if there.is_dir && !is_own(part) {
        return Ok(false);
    } else if there.is_dir {
        // A trial that was cut off.
        let response = server.client.send(Ask::new("DELETE", server.client.base.dir(part)), None).await?;
        drain(response).await;
    } else {
        discard(server, part).await;
    }
    Ok(true)
}
