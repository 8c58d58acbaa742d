//! A storage in memory that keeps every promise of [`Backend`], and whatever faults a test asks for. It serves the pure
//! core and the simulator; no user's file ever lies in it.
//!
//! Nothing in it depends on a clock or on chance: the same calls in the same order leave the same bytes, versions and times.

mod listing;
mod ops;
mod tree;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use wl_core::backend::{Facts, HashBy, Hint, Swap, Vouch, WatchBy};
use wl_core::entry::Hash;
use wl_core::error::{Error, Result};
use wl_core::path::RelPath;

use tree::Tree;
pub use user::{Lost, lost};

/// Where in an operation the hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before anything happens.
    Before,
    /// In the middle of a body or a listing.
    Midway,
    /// Everything is read and proven, nothing is visible yet.
    Publish,
    /// The expectation was checked and nothing is visible yet; only where the facts say [`Swap::Checked`].
    Window,
    /// It took effect, the answer is not given yet: an error here is a lost answer.
    After,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// `root`.
    Root,
    /// `make_root`.
    MakeRoot,
    /// `list`.
    List,
    /// `stat`.
    Stat,
    /// `hash`.
    Hash,
    /// `read`.
    Read,
    /// `replace`.
    Replace,
    /// `remove`.
    Remove,
    /// `make_dir`.
    MakeDir,
    /// `remove_dir`.
    RemoveDir,
    /// `move_within`.
    Move,
    /// `copy_within`.
    Copy,
    /// `set_meta`.
    SetMeta,
}

impl What {
    /// Whether it changes the storage.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Root | Self::List | Self::Stat | Self::Hash | Self::Read)
    }
}

/// One moment of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What is being done.
    pub what: What,
    /// How far it is.
    pub stage: Stage,
    /// What it is done to.
    pub path: RelPath,
}

/// What becomes of an operation at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    GoesOn,
    /// It ends with that error.
    Fails(Error),
    /// It never ends: as good as a crash, for whoever then drops what waits for it.
    Hangs,
}

/// Asked at every moment of every operation, with no lock held: it may change the storage as a user would.
pub type Hook = Arc<dyn Fn(&Op) -> Fate + Send + Sync>;

/// Says whether a name is meant.
type Names = Arc<dyn Fn(&RelPath) -> bool + Send + Sync>;

/// A storage in memory.
pub struct Memory {
    disk: Mutex<Disk>,
    hints: broadcast::Sender<Hint>,
}

/// Everything about the storage that may change.
struct Disk {
    facts: Facts,
    racy: bool,
    untimed: bool,
    claimed: Option<Hash>,
    /// The root that is mounted, and those that were.
    root: Option<(u64, Tree)>,
    away: Vec<(u64, Tree)>,
    roots: u64,
    nameless: bool,
    unwatched: bool,
    versions: u64,
    hook: Option<Hook>,
    unreadable: BTreeSet<RelPath>,
    cut: Option<RelPath>,
    forbidden: Option<Names>,
    unlisted: Option<Names>,
    ledger: user::Ledger,
    operations: BTreeMap<(What, Stage), u64>,
}

/// How many hints a watcher may lag behind before it is told that everything may have changed.
const HINTS: usize = 4096;

impl Memory {
    /// An empty storage that can do everything, atomically.
    pub fn new() -> Arc<Self> {
        Self::with(Self::able())
    }

    /// An empty storage of which these facts hold.
    pub fn with(facts: Facts) -> Arc<Self> {
        let disk = Disk {
            facts,
            racy: false,
            untimed: false,
            claimed: None,
            root: Some((1, Tree::default())),
            away: Vec::new(),
            roots: 1,
            nameless: false,
            unwatched: false,
            versions: 0,
            hook: None,
            unreadable: BTreeSet::new(),
            cut: None,
            forbidden: None,
            unlisted: None,
            ledger: user::Ledger::default(),
            operations: BTreeMap::new(),
        };
        Arc::new(Self { disk: Mutex::new(disk), hints: broadcast::Sender::new(HINTS) })
    }

    /// What a storage that can do everything says of itself.
    pub fn able() -> Facts {
        Facts {
            hash: HashBy::Read,
            token: Vouch::Strong,
            replace: Swap::Atomic,
            create: Swap::Atomic,
            delete: Swap::Atomic,
            watcher: WatchBy::Native,
            scan_every_s: None,
            server_copy: true,
            server_move: true,
            trash: true,
            mtime: true,
            mode: true,
            mtime_resolution_ns: 1,
            in_flight: 8,
            windows: Vec::new(),
        }
    }

    /// Asks `hook` from now on, in place of the one before.
    pub fn on_op(&self, hook: impl Fn(&Op) -> Fate + Send + Sync + 'static) {
        self.disk().hook = Some(Arc::new(hook));
    }

    /// Asks nobody any more.
    pub fn undisturbed(&self) {
        self.disk().hook = None;
    }

    /// Makes listings leave out modification times and modes from now on.
    pub fn lists_without_times(&self) {
        self.disk().untimed = true;
    }

    /// From now on it tells this hash of every file when it is asked for one, as a storage does that believes a client.
    pub fn claims(&self, hash: Hash) {
        self.disk().claimed = Some(hash);
    }

    fn claimed_hash(&self) -> Option<Hash> {
        self.disk().claimed
    }

    /// From now on every token vouches for nothing.
    pub fn tokens_are_racy(&self) {
        self.disk().racy = true;
    }

    /// From now on nothing tells its root from another.
    pub fn has_no_name(&self) {
        self.disk().nameless = true;
    }

    /// From now on its root is told from another again.
    pub fn has_a_name(&self) {
        self.disk().nameless = false;
    }

    /// From now on whoever watches it is told nothing, and that soon.
    pub fn ends_watching(&self) {
        self.disk().unwatched = true;
    }

    /// Names that it cannot hold, from now on.
    pub fn forbid(&self, names: impl Fn(&RelPath) -> bool + Send + Sync + 'static) {
        self.disk().forbidden = Some(Arc::new(names));
    }

    /// Names that it holds and does not list, from now on.
    pub fn unlist(&self, names: impl Fn(&RelPath) -> bool + Send + Sync + 'static) {
        self.disk().unlisted = Some(Arc::new(names));
    }

    /// Takes names that differ only in case for one, from now on.
    ///
    /// # Panics
    /// If it has no root.
    pub fn fold_names(&self) {
        self.disk().root.as_mut().expect("a root").1.folds = Some(str::to_lowercase);
    }

    /// Takes an e with its accent for one, whichever way it is spelled, and lists it with the accent behind the letter, from
    /// now on: as macOS does.
    ///
    /// # Panics
    /// If it has no root.
    pub fn take_accents_apart(&self) {
        let mut disk = self.disk();
        let tree = &mut disk.root.as_mut().expect("a root").1;
        tree.folds = Some(|name| name.replace("e\u{301}", "\u{e9}"));
        tree.spells = Some(|name| name.replace('\u{e9}', "e\u{301}"));
    }

    /// Tells versions of one content the same, from now on, whatever their names: as S3 does.
    ///
    /// # Panics
    /// If it has no root.
    pub fn tell_by_content(&self) {
        self.disk().root.as_mut().expect("a root").1.by_content = true;
    }

    /// How many operations of that kind were begun.
    pub fn count(&self, what: What) -> u64 {
        self.disk().operations.get(&(what, Stage::Before)).copied().unwrap_or(0)
    }

    /// How many operations changed something.
    pub fn writes(&self) -> u64 {
        self.disk().operations.iter().filter(|((_, stage), _)| *stage == Stage::After).map(|(_, count)| count).sum()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the hook about this moment.
    async fn moment(&self, what: What, stage: Stage, path: &RelPath) -> Result<()> {
        let hook = {
            let mut disk = self.disk();
            if matches!(stage, Stage::Before | Stage::After) {
                *disk.operations.entry((what, stage)).or_default() += 1;
            }
            disk.hook.clone()
        };
        let op = Op { what, stage, path: path.clone() };
        match hook.map_or(Fate::GoesOn, |hook| hook(&op)) {
            Fate::GoesOn => Ok(()),
            Fate::Fails(error) => Err(error),
            Fate::Hangs => std::future::pending().await,
        }
    }

    fn tell(&self, hint: Hint) {
        // Nobody watching is no failure.
        let _ = self.hints.send(hint);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.snapshot()).finish()
    }
}
