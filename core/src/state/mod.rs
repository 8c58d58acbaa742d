//! What wl remembers: one embedded database with the base, the hash cache, conflicts, history and jobs.

use std::path::Path;

use jiff::Timestamp;

use crate::entry::{Hash, Kind, Meta, Token};
use crate::error::Result;
use crate::path::RelPath;
use crate::report::{ConflictKind, HistoryEntry, Problem};

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
pub struct State {}

impl State {
    /// Opens the database in `dir`, making both if need be; the texts tell what was set aside. Fails if another process
    /// has it open.
    pub fn open(dir: &Path) -> Result<(Self, Vec<String>)> {
        let _ = dir;
        todo!()
    }

    /// A database in memory, for tests.
    pub fn in_memory() -> Result<Self> {
        todo!()
    }

    /// The state of one pair of places of one container (`owner|container-uuid`). The same two places the other way
    /// round are the same pair.
    pub fn pair(&self, container: &str, source_place: &str, target_place: &str) -> Result<PairState> {
        let _ = (container, source_place, target_place);
        todo!()
    }

    /// The sha256 remembered for that version of a file.
    pub fn cached_hash(&self, place: &str, path: &RelPath, token: &Token) -> Result<Option<Hash>> {
        let _ = (place, path, token);
        todo!()
    }

    /// Remembers hashes. Those of racy tokens are not kept.
    pub fn remember_hashes(&self, place: &str, hashes: &[(RelPath, Token, Hash)]) -> Result<()> {
        let _ = (place, hashes);
        todo!()
    }

    /// Remembers a job, or what changed about it.
    pub fn save_job(&self, job: &JobRecord) -> Result<()> {
        let _ = job;
        todo!()
    }

    /// Forgets a job.
    pub fn remove_job(&self, job_id: &str) -> Result<()> {
        let _ = job_id;
        todo!()
    }

    /// All remembered jobs, by id.
    pub fn jobs(&self) -> Result<Vec<JobRecord>> {
        todo!()
    }
}

/// What is known about one pair.
#[derive(Clone)]
pub struct PairState {}

impl PairState {
    /// Base rows below a directory, in path order, after that path, so many at most.
    pub fn base_after(&self, below: &RelPath, after: Option<&RelPath>, limit: usize) -> Result<Vec<BaseRow>> {
        let _ = (below, after, limit);
        todo!()
    }

    /// The base of one path.
    pub fn base_of(&self, path: &RelPath) -> Result<Option<BaseRow>> {
        let _ = path;
        todo!()
    }

    /// How many files the base holds, and their bytes; at no cost.
    pub fn agreed(&self) -> Result<(u64, u64)> {
        todo!()
    }

    /// Takes a batch in one transaction.
    pub fn commit(&self, batch: Batch) -> Result<()> {
        let _ = batch;
        todo!()
    }

    /// All open conflicts, in path order.
    pub fn conflicts(&self) -> Result<Vec<ConflictRow>> {
        todo!()
    }

    /// The open conflict under one path.
    pub fn conflict_of(&self, path: &RelPath) -> Result<Option<ConflictRow>> {
        let _ = path;
        todo!()
    }

    /// The problems last recorded.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        todo!()
    }

    /// Records the problems there are now, in place of those before.
    pub fn set_problems(&self, problems: &[Problem]) -> Result<()> {
        let _ = problems;
        todo!()
    }

    /// The last things done, the newest first; to one path if given.
    pub fn history(&self, path: Option<&RelPath>, limit: usize) -> Result<Vec<HistoryEntry>> {
        let _ = (path, limit);
        todo!()
    }

    /// The identity of each root as it was when the base last grew, the source's first.
    pub fn roots(&self) -> Result<[Option<String>; 2]> {
        todo!()
    }

    /// Remembers the identity of each root.
    pub fn set_roots(&self, roots: [&str; 2]) -> Result<()> {
        let _ = roots;
        todo!()
    }
}
