//! The directory on the server that a storage is, and what is found out about the server.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::future::join_all;
use tokio::sync::{OnceCell, Semaphore};
use wl_core::backend::Guard;
use wl_core::entry::Entry;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::aside::Aside;
use crate::clock::Clock;
use crate::durable::Commits;
use crate::error::{error, is_missing, is_plain_refusal};
use crate::hash::Hasher;
use crate::identity::Introduced;
use crate::leftovers::Leftovers;
use crate::part::Names;
use crate::patch::Deltas;
use crate::seen::{Seen, What};
use crate::shell::Shell;
use crate::ssh::{Failure, Link, Pool, Settings};
use crate::width::Width;
use crate::wire::extension::{HARDLINK, POSIX_RENAME, STATVFS};
use crate::young::Young;

/// How often an operation is begun again whose connection was lost while it went on. Making a new connection has its own
/// patience, in the pool.
const ATTEMPTS: u32 = 6;
/// From this size on a content is worth a connection of its own.
const MUCH: u64 = 32 << 20;

/// The place of a storage, and all that is shared by the operations on it.
pub struct Root {
    pool: Pool,
    /// As the manifest has it.
    wanted: String,
    /// Whether nothing may be written, not even to find out what the server can do.
    pub read_only: bool,
    at: OnceCell<Arc<[u8]>>,
    pub known: Mutex<Known>,
    /// Which directory it is, if that was found out just now.
    pub introduced: Introduced,
    /// What commands there are; none inside where none can be run.
    pub shell: OnceCell<Option<Shell>>,
    pub clock: Clock,
    pub hasher: Hasher,
    /// What young versions contain.
    pub young: Young,
    pub leftovers: Leftovers,
    pub names: Names,
    /// Versions whose names are free for a moment.
    pub aside: Aside,
    /// Large uploads at once: each keeps some megabytes until they are answered.
    pub uploads: Semaphore,
    /// Small files written at once.
    pub width: Width,
    pub commits: Commits,
    /// How differences fared.
    pub deltas: Deltas,
    /// Directories of the trash that are there.
    pub trash_dirs: Mutex<HashSet<RelPath>>,
    /// Paths whose content is being exchanged or taken away, each by one of this process alone.
    turns: Mutex<HashMap<RelPath, Weak<tokio::sync::Mutex<()>>>>,
}

/// What was found out about the server so far.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Whether there was a connection.
    pub met: bool,
    /// Whether commands can be run, and which are there.
    pub shell: Option<Shell>,
    /// Whether a second name can be given to a file, and is refused where one is; none if it was not tried yet.
    pub links: Option<bool>,
    /// Whether one file can take another's name at once.
    pub replaces: bool,
    /// Whether writes are made durable.
    pub syncs: bool,
    /// Whether content is copied by the server.
    pub copies: bool,
    /// Whether the server tells how full it is.
    pub tells_room: bool,
    /// The mode of a new file where nothing else says one.
    pub usual_mode: u32,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            met: false,
            shell: None,
            links: None,
            replaces: false,
            syncs: false,
            copies: false,
            tells_room: false,
            usual_mode: 0o644,
        }
    }
}

/// One connection, and where the root is on it.
#[derive(Clone)]
pub struct At {
    pub link: Arc<Link>,
    root: Arc<[u8]>,
}

/// What is under a path.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    Nothing,
    Seen(Seen),
    /// Something that is neither file nor directory is on the way: what lies behind it is none of wl's.
    Behind(&'static str),
}

impl Root {
    /// A place, whatever is there.
    pub fn new(settings: Settings, path: &str, read_only: bool) -> Self {
        Self {
            pool: Pool::new(settings),
            wanted: path.to_owned(),
            read_only,
            at: OnceCell::new(),
            known: Mutex::default(),
            introduced: Introduced::default(),
            shell: OnceCell::new(),
            clock: Clock::default(),
            hasher: Hasher::default(),
            young: Young::default(),
            leftovers: Leftovers::default(),
            names: Names::default(),
            aside: Aside::default(),
            uploads: Semaphore::new(8),
            width: Width::default(),
            commits: Commits::default(),
            deltas: Deltas::default(),
            trash_dirs: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Whether another root is on the same server, and reached as the same user.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.pool.is_alike(&other.pool)
    }

    /// The connection that has the least to do, and where the root is.
    pub async fn open(&self) -> Result<At> {
        let link = self.pool.link().await?;
        let root = self.at.get_or_try_init(|| self.resolve(&link)).await?.clone();
        Ok(At { link, root })
    }

    /// Sees to the fastest connection there can be, where a content of that size is worth it.
    pub async fn prepare_for(&self, size: u64) -> Result<()> {
        if size >= MUCH { self.pool.wide_link().await.map(drop) } else { Ok(()) }
    }

    /// Has no use for connections that there are already.
    pub fn begin_anew(&self) {
        self.pool.begin_anew();
    }

    /// What much travels by, for people.
    pub async fn way(&self) -> Result<String> {
        self.pool.way().await
    }

    /// The same on a connection that is none of these, where there is one already.
    pub fn another(&self, than: &[Arc<Link>]) -> Option<At> {
        let root = self.at.get()?.clone();
        self.pool.another(than).map(|link| At { link, root })
    }

    async fn resolve(&self, link: &Arc<Link>) -> Result<Arc<[u8]>> {
        let has = |extension| link.server().extensions.has(extension);
        self.note(|known| {
            known.met = true;
            known.replaces = has(POSIX_RENAME);
            known.syncs = has(crate::wire::extension::FSYNC);
            known.copies = has(crate::wire::extension::COPY_DATA);
            known.tells_room = has(STATVFS);
            if !has(HARDLINK) {
                known.links = Some(false);
            }
        });
        let trimmed = self.wanted.trim_end_matches('/');
        let Some(below) = trimmed.strip_prefix('~') else {
            return Ok(Arc::from(if trimmed.is_empty() { &b"/"[..] } else { trimmed.as_bytes() }));
        };
        let home = link.realpath(b".").await.map_err(|failure| error(&failure, &RelPath::root()))?;
        let home = home.strip_suffix(b"/").unwrap_or(&home);
        Ok(Arc::from([home, below.as_bytes()].concat()))
    }

    /// Does something on a connection; again on another one when the connection is lost meanwhile. `attempt` is told
    /// how many came before.
    pub async fn attempt<T, F: Future<Output = Result<T>>>(&self, attempt: impl FnMut(At, u32) -> F) -> Result<T> {
        self.attempts(false, attempt).await
    }

    /// The same, but not more at once than get done before a connection is lost.
    pub async fn attempt_in_turn<T, F: Future<Output = Result<T>>>(
        &self,
        attempt: impl FnMut(At, u32) -> F,
    ) -> Result<T> {
        self.attempts(true, attempt).await
    }

    async fn attempts<T, F: Future<Output = Result<T>>>(
        &self,
        in_turn: bool,
        mut attempt: impl FnMut(At, u32) -> F,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            // First the turn, then a connection: one waited for long could be lost by then.
            let turn = if in_turn { Some(self.width.turn().await) } else { None };
            let at = self.open().await?;
            let link = at.link.clone();
            match attempt(at, tries).await {
                Err(error) if error.fault == Fault::Offline && link.is_lost() && tries + 1 < ATTEMPTS => {
                    tracing::debug!(%error, "the connection was lost: once more");
                    self.width.lost(&link);
                    tries += 1;
                }
                done => {
                    if let Some(turn) = turn.filter(|_| done.is_ok()) {
                        turn.done();
                    }
                    return done;
                }
            }
        }
    }

    /// What was found out so far.
    pub fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of something found out.
    pub fn note(&self, note: impl FnOnce(&mut Known)) {
        note(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The root itself: `Missing` if it is not there.
    pub async fn seen(&self, at: &At) -> Result<Seen> {
        let named = |fault, what: &str| Error::new(fault, format!("{}: {what}", self.wanted)).at(&RelPath::root());
        match at.link.stat(&at.root).await.map(|attrs| Seen::of(&attrs)) {
            Ok(seen) if seen.what == What::Dir => Ok(seen),
            Ok(_) => Err(named(Fault::Malformed, "this is not a directory: give the storage another path")),
            Err(failure) if is_missing(&failure) => Err(named(
                Fault::Missing,
                "there is no such directory on the server: make it, or mount what belongs there",
            )),
            Err(failure) => Err(error(&failure, &RelPath::root())),
        }
    }

    /// Makes the directory if its parent exists.
    pub async fn make(&self, at: &At) -> Result<()> {
        match at.link.mkdir(&at.root, crate::wire::Attrs::default()).await {
            Ok(()) => Ok(()),
            Err(failure) if is_missing(&failure) => Err(self.orphaned()),
            Err(failure) if is_plain_refusal(&failure) => match self.seen(at).await {
                Err(missing) if missing.fault == Fault::Missing => Err(at.why(&failure, &RelPath::root()).await),
                there => there.map(drop),
            },
            Err(failure) => Err(error(&failure, &RelPath::root())),
        }
    }

    /// Whether its parent exists.
    pub async fn can_be_made(&self, at: &At) -> Result<()> {
        let Some(slash) = at.root.iter().rposition(|byte| *byte == b'/') else { return Ok(()) };
        match at.link.stat(&at.root[..slash.max(1)]).await {
            Err(failure) if is_missing(&failure) => Err(self.orphaned()),
            Err(failure) => Err(error(&failure, &RelPath::root())),
            Ok(_) => Ok(()),
        }
    }

    fn orphaned(&self) -> Error {
        let text = "neither it nor the directory it is in exists on the server: make that first";
        Error::new(Fault::Missing, format!("{}: {text}", self.wanted)).at(&RelPath::root())
    }

    /// Waits until nobody else of this process exchanges or takes away what is under a path. Who comes from elsewhere is
    /// not kept away, which is what the guards are for.
    pub async fn turn(&self, path: &RelPath) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= 1024 {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            turns.get(path).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                turns.insert(path.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    /// The entry of what was seen at a path; an error if it is neither file nor directory.
    pub fn entry(&self, seen: &Seen, path: &RelPath) -> Result<Entry> {
        self.clock.entry(seen).ok_or_else(|| Error::changed(path))
    }
}

impl At {
    /// The same connection, for what lies below another root on its server.
    pub fn below(&self, other: &Self) -> Self {
        Self { link: self.link.clone(), root: other.root.clone() }
    }

    /// The path as the server has it.
    pub fn full(&self, path: &RelPath) -> Vec<u8> {
        if path.is_root() {
            return self.root.to_vec();
        }
        let root = self.root.strip_suffix(b"/").unwrap_or(&self.root);
        [root, b"/", path.as_str().as_bytes()].concat()
    }

    /// The root as the server has it.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Whether the server advertises an extension.
    pub fn has(&self, extension: &str) -> bool {
        self.link.server().extensions.has(extension)
    }

    /// One look at a path and at every directory on the way to it, all in one round trip.
    ///
    /// RACE: the protocol has no handle of a directory to work in. Who puts a link in the place of a directory between
    /// this look and what follows it makes wl work behind that link: it writes or reads one file there.
    pub async fn look(&self, path: &RelPath) -> Result<Found> {
        if path.is_root() {
            return match self.link.stat(&self.root).await {
                Ok(attrs) => Ok(Found::Seen(Seen::of(&attrs))),
                Err(failure) if is_missing(&failure) => Ok(Found::Nothing),
                Err(failure) => Err(error(&failure, path)),
            };
        }
        let mut way: Vec<RelPath> = path.ancestors().collect();
        way.reverse();
        let names: Vec<Vec<u8>> = way.iter().chain([path]).map(|path| self.full(path)).collect();
        let mut looks = join_all(names.iter().map(|name| self.link.lstat(name))).await;
        let last = looks.pop();
        for look in looks {
            match look.map(|attrs| Seen::of(&attrs).what) {
                Ok(What::Dir) => {}
                Ok(What::File) => return Ok(Found::Nothing),
                Ok(What::Special(what)) => return Ok(Found::Behind(what)),
                Err(failure) if is_missing(&failure) => return Ok(Found::Nothing),
                Err(failure) => return Err(error(&failure, path)),
            }
        }
        match last {
            Some(Ok(attrs)) => Ok(Found::Seen(Seen::of(&attrs))),
            Some(Err(failure)) if !is_missing(&failure) => Err(error(&failure, path)),
            _ => Ok(Found::Nothing),
        }
    }

    /// Looks whether a path holds what is expected; returns the file that is there.
    pub async fn check(&self, path: &RelPath, guard: &Guard) -> Result<Option<Seen>> {
        let in_the_way = |what: &str| Error::new(Fault::Refused, format!("a {what} is in the way")).at(path);
        match (self.look(path).await?, guard) {
            (Found::Nothing, Guard::Absent) => Ok(None),
            (Found::Nothing, Guard::Unchanged(_)) => Err(Error::changed(path)),
            (Found::Behind(what), _) => Err(in_the_way(what)),
            (Found::Seen(seen), guard) => match (seen.what, guard) {
                (What::Dir, _) => Err(in_the_way("directory")),
                (What::Special(what), _) => Err(in_the_way(what)),
                (What::File, Guard::Unchanged(token)) if seen.is(token) => Ok(Some(seen)),
                (What::File, _) => Err(Error::changed(path)),
            },
        }
    }
}

/// What vanished while it was expected to be there has changed.
pub fn refused_if_gone(failure: &Failure, path: &RelPath) -> Error {
    if is_missing(failure) { Error::changed(path) } else { error(failure, path) }
}

/// The directory that something belongs in is not there.
pub fn no_parent(path: &RelPath) -> Error {
    Error::new(Fault::Missing, "the directory it belongs in does not exist").at(path)
}
