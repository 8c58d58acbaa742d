//! What wl remembers: the base, conflicts, history and jobs in one embedded database, cached hashes in another.
//!
//! All of it may be lost without losing a file: a pair without a base goes by the rules of first contact.

mod base;
mod between;
mod cache;
mod columns;
mod conflicts;
mod db;
mod history;
mod intents;
mod jobs;
mod open;
mod pair;
mod schema;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use jiff::Timestamp;

use crate::entry::{Hash, Kind, Meta, Token};
use crate::error::Result;
use crate::path::RelPath;
use crate::report::{ConflictKind, HistoryEntry};

use db::Db;
pub use intents::{Becoming, Intent};
pub use pair::PairState;

/// What both storages agreed on when they were last equal, under one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRow {
    /// The path.
    pub path: RelPath,
    /// A file or a directory.
    pub kind: Kind,
    /// A file's sha256; none for a directory.
    pub hash: Option<Hash>,
    /// A file's bytes.
    pub size: u64,
    /// What travelled beside it.
    pub meta: Meta,
    /// The version each side held, the source's first; none where it vouches for nothing.
    pub tokens: [Option<Token>; 2],
}

/// One version of a path, as a conflict remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A file with that content.
    File(Hash),
}

/// An open conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// The path.
    pub path: RelPath,
    /// What the versions disagree in.
    pub kind: ConflictKind,
    /// When it was first seen.
    pub since: Timestamp,
    /// What each side held when it was last looked at, the source's first.
    pub versions: [Held; 2],
    /// What was below the side that held a directory then, as one hash over all versions; none if that is not known.
    pub trees: [Option<Hash>; 2],
}

/// Changes to a pair's state that take effect together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Base rows to set, or (none) to forget.
    pub base: Vec<(RelPath, Option<BaseRow>)>,
    /// Conflicts to set, or (none) to close.
    pub conflicts: Vec<(RelPath, Option<ConflictRow>)>,
    /// What was done.
    pub history: Vec<HistoryEntry>,
    /// What is about to be done. An intent is over when the base takes its path.
    pub intents: Vec<Intent>,
    /// Intents that are over though the base does not take their paths.
    pub not_done: Vec<RelPath>,
    /// Whether all earlier intents are over.
    pub all_done: bool,
}

/// A job that a restarted daemon must know of.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// `owner|container-uuid`, with `|backend-id` where it is one of several.
    pub job_id: String,
    /// Everything needed to start it again, without a secret in it.
    pub definition: serde_json::Value,
    /// Whether it is held.
    pub paused: bool,
}

/// The database. Cheap to clone; every clone is the same database.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
}

/// Dropped from the top: the lock goes last.
struct Shared {
    state: Db,
    cache: Db,
    /// The day on which the cache was rid of what is old.
    pruned: AtomicI64,
    _lock: Option<File>,
}

impl State {
    /// Opens the database in `dir`, making both if need be; the texts tell what was set aside. Fails if another process
    /// has it open.
    pub fn open(dir: &Path) -> Result<(Self, Vec<String>)> {
        let open::Opened { state, cache, lock, told } = open::open(dir)?;
        Ok((Self::of(state, cache, Some(lock)), told))
    }

    /// The state databases in a directory that were found damaged, set aside, and left there since, with when that was.
    pub fn set_aside_in(dir: &Path) -> Vec<(PathBuf, Timestamp)> {
        open::set_aside_in(dir)
    }

    /// A database in memory, for tests.
    pub fn in_memory() -> Result<Self> {
        let (state, cache) = (Db::in_memory(&schema::STATE)?, Db::in_memory(&schema::CACHE)?);
        Ok(Self::of(state, cache, None))
    }

    fn of(state: Db, cache: Db, lock: Option<File>) -> Self {
        Self { shared: Arc::new(Shared { state, cache, pruned: AtomicI64::new(0), _lock: lock }) }
    }
}
