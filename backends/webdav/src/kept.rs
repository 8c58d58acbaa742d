//! What is kept of a version that is about to be replaced, on servers that copy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use wl_core::backend::Guard;
use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::change::discard;
use crate::client::drain;
use crate::error::of_answer;
use crate::learning::not_known_yet;
use crate::server::Server;
use crate::transfer::{Over, copy_to, done, move_to};
use crate::trash::make_parents;
use crate::write::holds;

/// How long is waited for a copy after somebody between gave up waiting for it: for any, and at most for a large one…
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(5);
/// …and after the connection broke, which may mean that it was stopped.
const UNKNOWN: Duration = Duration::from_secs(30);
/// What a server copies in a second at least.
const A_SECOND: u64 = 10 << 20;
/// How often is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Copies of versions for changes of which nobody knows whether they took effect, or will yet, and copies that were not
/// answered. They are superfluous once the same version is kept again.
#[derive(Default)]
pub struct Unsettled(Mutex<BTreeMap<RelPath, (Token, Vec<RelPath>)>>);

/// So many are remembered; what more there are stays in the trash for its time.
const REMEMBERED: usize = 65_536;

impl Unsettled {
    /// Where that version of a file was kept before; forgotten with it.
    fn take(&self, path: &RelPath, token: &Token) -> Vec<RelPath> {
        let earlier = self.lock().remove(path).filter(|(of, _)| of.same(token));
        earlier.map(|(_, places)| places).unwrap_or_default()
    }

    fn add(&self, path: &RelPath, token: &Token, places: Vec<RelPath>) {
        let mut all = self.lock();
        if !places.is_empty() && all.len() < REMEMBERED {
            all.insert(path.clone(), (token.clone(), places));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RelPath, (Token, Vec<RelPath>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A version that was kept before it is replaced.
pub struct Kept {
    path: RelPath,
    token: Token,
    at: RelPath,
}

impl Kept {
    /// The change that it was kept for failed. What was not answered may take effect yet: then it is all that is left.
    pub async fn change_failed(self, server: &Server, error: &Error) {
        if matches!(error.fault, Fault::Offline | Fault::Busy) {
            server.unsettled.add(&self.path, &self.token, vec![self.at]);
            return;
        }
        self.discard_if_there(server).await;
    }

    /// Discards it if what was kept is there still, where nothing is under way that may replace it. Otherwise it may be all that
    /// is left: a request that is refused may have been done when it was sent first, and somebody else may have written
    /// after this writer.
    pub async fn discard_if_there(self, server: &Server) {
        if holds(server, &self.path, &Guard::Unchanged(self.token)).await.is_ok() {
            discard(server, &self.at).await;
        }
    }
}

/// Where a version is kept that is about to be replaced: nowhere if the server does not copy. Fails while that is not known:
/// nothing is replaced unkept only because a server is slow.
pub async fn kept_in<'a>(server: &Server, trash: Option<&'a RelPath>) -> Result<Option<&'a RelPath>> {
    let Some(trash) = trash else { return Ok(None) };
    let copies = server.abilities().await?.copies.ok_or_else(not_known_yet)?;
    Ok(copies.then_some(trash))
}

/// Copies the version that is about to be replaced, of that size, into the trash, or takes a copy of it that is there.
pub async fn keep(server: &Server, path: &RelPath, token: &Token, size: Option<u64>, trash: &RelPath) -> Result<Kept> {
    let mut earlier = server.unsettled.take(path, token);
    let kept = match take_earlier(server, &mut earlier, size, trash).await {
        Ok(true) => Ok(()),
        Ok(false) => copy(server, path, token, size, trash).await,
        Err(error) => Err(error),
    };
    // What was copied is the version that is there both before and after.
    let kept = match kept {
        Ok(()) => holds(server, path, &Guard::Unchanged(token.clone())).await.map(drop),
        failed => failed,
    };
    if let Err(error) = kept {
        if error.fault == Fault::Offline {
            earlier.push(trash.clone());
        }
        server.unsettled.add(path, token, earlier);
        return Err(error);
    }
    for superfluous in earlier {
        discard(server, &superfluous).await;
    }
    Ok(Kept { path: path.clone(), token: token.clone(), at: trash.clone() })
}

/// Moves one of the earlier copies that is whole to where it is wanted; whether there was one.
async fn take_earlier(server: &Server, earlier: &mut Vec<RelPath>, size: Option<u64>, trash: &RelPath) -> Result<bool> {
    for at in 0..earlier.len() {
        if !arrives(server, &earlier[at], size, LOOK_EVERY).await? {
            continue;
        }
        make_parents(server, trash).await?;
        let response = move_to(server, &earlier[at], trash, false, &Over::Nothing).await?;
        if done(drain(response).await) {
            earlier.swap_remove(at);
            return Ok(true);
        }
    }
    Ok(false)
}

async fn copy(server: &Server, path: &RelPath, token: &Token, size: Option<u64>, trash: &RelPath) -> Result<()> {
    for tried in 0..2 {
        make_parents(server, trash).await?;
        let long = size.map_or(PATIENCE, |size| PATIENCE + Duration::from_secs(size / A_SECOND)).min(LONGEST);
        let response = match copy_to(server, path, trash).await {
            Ok(response) => response,
            Err(error) if error.fault == Fault::Offline => {
                let there = arrives(server, trash, size, long.min(UNKNOWN)).await?;
                return if there { Ok(()) } else { Err(error.at(path)) };
            }
            Err(error) => return Err(error),
        };
        let error = of_answer(&response).at(path);
        let status = drain(response).await;
        if done(status) {
            return Ok(());
        }
        // A proxy gave up waiting, and the server may go on. A page that is no answer says nothing of what was done.
        if matches!(status.as_u16(), 408 | 502 | 504) {
            return if arrives(server, trash, size, long).await? { Ok(()) } else { Err(error) };
        }
        // It may be the file that is not there any more, or a directory of the trash.
        holds(server, path, &Guard::Unchanged(token.clone())).await?;
        if tried > 0 || !matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::FORBIDDEN) {
            return Err(error);
        }
        server.made.forget();
    }
    Err(Error::changed(path))
}

/// Waits for a copy of which nobody told that it was done; whether it is there, and has its size each time that is looked.
async fn arrives(server: &Server, place: &RelPath, size: Option<u64>, patience: Duration) -> Result<bool> {
    let Some(size) = size else { return Ok(false) };
    let until = Instant::now() + patience;
    let mut was_whole = false;
    loop {
        let whole = server.see(place).await?.is_some_and(|seen| !seen.is_dir && seen.size == Some(size));
        if whole && was_whole {
            return Ok(true);
        }
        if !whole && Instant::now() >= until {
            return Ok(false);
        }
        was_whole = whole;
        sleep(LOOK_EVERY).await;
    }
}
