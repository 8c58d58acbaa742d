//! What a syncer is given: two sides, options, their shared state, and somebody to tell.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::monitor::Monitor;
use crate::report::StorageView;
use crate::state::{PairState, State};
use crate::turn::Turn;

/// Which of the two storages of a pair. Unless a pair is unidirectional the two are symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// The first.
    Source = 0,
    /// The second.
    Target = 1,
}

impl Which {
    /// Both, the source first.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Target];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

/// One storage of a pair, opened.
pub struct Side {
    /// How it is shown; its backend-id names it everywhere.
    pub view: StorageView,
    /// Type and place: what cached hashes are kept under.
    pub place: String,
    /// The way to it.
    pub backend: Arc<dyn Backend>,
    /// Whether it is only read.
    pub read_only: bool,
    /// Scan it this often instead of watching it.
    pub watcher_interval: Option<Duration>,
    /// Bytes a second, at most, from and to it.
    pub bandwidth_limit: Option<u64>,
}

impl Side {
    /// The storage as what it really is, if it is one of those: for a syncer that knows more than [`Backend`] says.
    pub fn known_as<T: Backend>(&self) -> Option<&T> {
        let backend: &dyn Any = &*self.backend;
        backend.downcast_ref()
    }
}

/// How a pair is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether only the source's changes travel.
    pub unidirectional: bool,
    /// Patterns in gitignore syntax that are neither copied nor deleted.
    pub exclude: Vec<String>,
    /// The share of a side's known files, in percent, that one batch may delete.
    pub max_delete: u8,
    /// Whether this run may delete more than that.
    pub allow_deletes: bool,
    /// How long the trash keeps what a sync overwrote or deleted. Zero keeps nothing.
    pub keep_deleted: Duration,
    /// Parallel transfers; none leaves it to what the storages say pays.
    pub transfers: Option<usize>,
    /// Bytes a second, at most, for the whole job.
    pub bandwidth_limit: Option<u64>,
    /// How long a one-shot job waits for a fault to pass.
    pub retry_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            unidirectional: false,
            exclude: Vec::new(),
            max_delete: 50,
            allow_deletes: false,
            keep_deleted: Duration::from_hours(30 * 24),
            transfers: None,
            bandwidth_limit: None,
            retry_for: Duration::from_mins(1),
        }
    }
}

/// Two storages of one container and what is known about them.
pub struct Pair {
    /// `owner|container-uuid`, with `|backend-id` where it is one of several.
    pub job_id: String,
    /// The container's name.
    pub container: String,
    /// The two storages; index with [`Which`].
    pub sides: [Side; 2],
    /// How to keep them.
    pub options: Options,
    /// What both agreed on last, open conflicts, history.
    pub state: PairState,
    /// The database all pairs share, with the hash cache.
    pub store: State,
    /// Held by whoever changes the pair: a round, or the user's resolving or restoring.
    pub turn: Turn,
    /// Whether leave to delete, which was given for one run, is used up. A run that fails and begins anew has it no more.
    pub leave_used: AtomicBool,
}

impl Pair {
    /// Whether mass deletions do not stop the job now.
    pub fn deletes_allowed(&self) -> bool {
        self.options.allow_deletes && !self.leave_used.load(Ordering::Relaxed)
    }

    /// Whether a storage answers, and its root is the one it was, where that is known.
    pub(crate) async fn answers(&self, which: Which, root: Option<&str>) -> bool {
        self.side(which).backend.root().await.is_ok_and(|now| root.is_none_or(|root| root == now))
    }

    /// From now on mass deletions stop the job again.
    pub fn forbid_deletes(&self) {
        self.leave_used.store(true, Ordering::Relaxed);
    }

    /// One of the two.
    pub fn side(&self, which: Which) -> &Side {
        &self.sides[which as usize]
    }

    /// The side of that backend-id.
    pub fn which(&self, backend_id: &str) -> Option<Which> {
        Which::BOTH.into_iter().find(|which| self.side(*which).view.backend_id == backend_id)
    }

    /// How many requests pay at once where it matters to neither side which of them are for it.
    pub fn in_flight(&self) -> usize {
        self.sides.iter().map(|side| side.backend.facts().in_flight).max().unwrap_or(1).max(1)
    }

    /// The backend-id of a side.
    pub fn id(&self, which: Which) -> &str {
        &self.side(which).view.backend_id
    }
}

/// One run of a syncer over a pair.
#[derive(Clone)]
pub struct Run {
    /// What to keep equal.
    pub pair: Arc<Pair>,
    /// Who is told.
    pub monitor: Arc<Monitor>,
    /// Ends the run soon, with nothing half-written visible.
    pub stop: CancellationToken,
    /// Makes a continuous run look at everything again now.
    pub poke: Arc<Notify>,
}
