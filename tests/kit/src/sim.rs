//! A world of two storages in memory and the engine between them, driven round by round, without a daemon or a clock.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wl_core::backend::Hint;
use wl_core::error::{Error, Result};
use wl_core::job::{Options, Pair, Run, Side, Which};
use wl_core::monitor::Monitor;
use wl_core::path::RelPath;
use wl_core::report::{ConflictKind, JobState, JobStatus, Mode, Problem, StorageView};
use wl_core::round::{Engine, Round};
use wl_core::state::{BaseRow, State};
use wl_core::survey::Scope;
use wl_core::turn::Turn;
use wl_core::watch::Coalescer;
use wl_syncer_generic::Generic;

use crate::memory::{Fate, Lost, Memory, Op, lost};
use crate::tree::Tree;

/// How many rounds a world may take to come to rest.
pub const ROUNDS: usize = 8;

/// After so long everything that waits is due.
const LONG: Duration = Duration::from_hours(1);

/// Two storages in memory, what is remembered about them, and how to keep them equal.
pub struct World {
    /// The source and the target; index with [`Which`].
    pub sides: [Arc<Memory>; 2],
    /// How to keep them. Changes count from the next round on.
    pub options: Options,
    /// Which sides are only read.
    pub read_only: [bool; 2],
    /// The state of all worlds of a thread is one database: making one takes longer than most worlds live.
    state: State,
    number: u64,
    crashed: Arc<Notify>,
}

impl World {
    /// Two empty storages that can do everything.
    pub fn new() -> Self {
        Self::of([Memory::new(), Memory::new()])
    }

    /// These two storages.
    pub fn of(sides: [Arc<Memory>; 2]) -> Self {
        let (options, read_only) = (Options::default(), [false; 2]);
        let (state, number) = (STATE.with(State::clone), fresh_number());
        Self { sides, options, read_only, state, number, crashed: Arc::new(Notify::new()) }
    }

    /// One of the two.
    pub fn side(&self, which: Which) -> &Arc<Memory> {
        &self.sides[which as usize]
    }

    /// Forgets everything but what the storages hold.
    pub fn forget(&mut self) {
        self.number = fresh_number();
    }

    /// Asks `hook` at every moment of every operation, with the side it is on. A hook that answers [`Fate::Hangs`] ends
    /// the round there and then, as a crash would.
    pub fn on_op(&self, hook: impl Fn(Which, &Op) -> Fate + Send + Sync + 'static) {
        let hook = Arc::new(hook);
        for which in Which::BOTH {
            let (hook, crashed) = (hook.clone(), self.crashed.clone());
            self.side(which).on_op(move |op| {
                let fate = hook(which, op);
                if fate == Fate::Hangs {
                    crashed.notify_one();
                }
                fate
            });
        }
    }

    /// Asks nobody any more.
    pub fn undisturbed(&self) {
        self.sides.iter().for_each(|side| side.undisturbed());
    }

    /// One round over everything, by a process that knows nothing but the state.
    pub async fn round(&self) -> Result<Round> {
        self.round_over(&Scope::All).await
    }

    /// One round over a scope. Fails with `Stopped` if a crash ended it.
    pub async fn round_over(&self, scope: &Scope) -> Result<Round> {
        let run = self.run()?;
        let mut engine = Engine::new(&run, &Generic)?;
        // Two operations at once may both have met their end in a round before.
        let _ = self.crashed.notified().now_or_never();
        tokio::select! {
            biased;
            () = self.crashed.notified() => Err(Error::stopped()),
            round = engine.round(scope) => round,
        }
    }

    /// Rounds until one changes nothing on either storage and nothing is due; how many it took.
    ///
    /// # Panics
    /// If a round fails, or the world does not come to rest.
    pub async fn settle(&self) -> usize {
        for rounds in 1..=ROUNDS {
            let before = self.writes();
            let round = self.round().await.unwrap_or_else(|error| panic!("{error}\n{self:?}"));
            let due = !round.unsettled.is_empty() || round.restless;
            if before == self.writes() && !due {
                return rounds;
            }
        }
        panic!("no rest after {ROUNDS} rounds\n{self:?}");
    }

    /// Keeps both sides equal as a continuous job does, with only the watchers' hints to go by: a full round, then `meddle`
    /// once before each of so many steps, each followed by rounds over what was hinted at until nothing is due.
    pub async fn watch(&self, steps: usize, mut meddle: impl FnMut(usize)) -> Result<()> {
        let run = self.run()?;
        let mut engine = Engine::new(&run, &Generic)?;
        let mut hints = Vec::new();
        for side in &run.pair.sides {
            hints.push(side.backend.watch().await?);
        }
        let mut hints = futures::stream::select_all(hints);
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let mut scope = Some(Scope::All);
        for step in 0..=steps {
            for rounds in 0.. {
                while let Some(Some(hint)) = hints.next().now_or_never() {
                    coalescer.hint(hint, now);
                }
                let Some(due) = scope.take().or_else(|| coalescer.take(now + LONG)) else { break };
                assert!(rounds < ROUNDS * 2, "no rest in step {step}, next would be {due:?}\n{self:?}");
                let round = engine.round(&due).await?;
                coalescer.unsettled(round.unsettled, now);
                if due != Scope::All {
                    coalescer.hint(Hint::LookBelow(round.rules_changed), now);
                }
                if round.restless || round.full_due || round.waits.is_some() {
                    coalescer.all(now);
                }
            }
            if step < steps {
                meddle(step);
            }
        }
        Ok(())
    }

    /// Operations so far that changed something.
    pub fn writes(&self) -> u64 {
        self.sides.iter().map(|side| side.writes()).sum()
    }

    /// What a side's user sees.
    pub fn tree(&self, which: Which) -> Tree {
        Tree::on(self.side(which))
    }

    /// Open conflicts.
    pub fn conflicts(&self) -> Vec<(RelPath, ConflictKind)> {
        let rows = self.pair_state().and_then(|state| state.conflicts());
        rows.unwrap_or_default().into_iter().map(|row| (row.path, row.kind)).collect()
    }

    /// What cannot be synced.
    pub fn problems(&self) -> Vec<Problem> {
        self.pair_state().and_then(|state| state.problems()).unwrap_or_default()
    }

    /// What both sides are known to have agreed on.
    pub fn base(&self) -> Vec<BaseRow> {
        let rows = self.pair_state().and_then(|state| state.base_after(&RelPath::root(), None, 10_000));
        rows.unwrap_or_default()
    }

    /// What users made and nobody gave up, and that neither side shows any more; and what was taken away past the trash.
    pub fn lost(&self) -> Vec<Lost> {
        let mut all = lost(&[&*self.sides[0], &*self.sides[1]]);
        if !self.options.keep_deleted.is_zero() {
            all.extend(self.sides.iter().flat_map(|side| side.taken_without_trash()));
        }
        all
    }

    /// A run of this world's job.
    pub fn run(&self) -> Result<Run> {
        let pair = Pair {
            job_id: "local|world".to_owned(),
            container: "world".to_owned(),
            sides: Which::BOTH.map(|which| self.opened(which)),
            options: self.options.clone(),
            state: self.pair_state()?,
            store: self.state.clone(),
            turn: Turn::default(),
            leave_used: AtomicBool::default(),
        };
        let monitor = Arc::new(Monitor::new(status(&pair)));
        let (stop, poke) = (CancellationToken::new(), Arc::new(Notify::new()));
        Ok(Run { pair: Arc::new(pair), monitor, stop, poke })
    }

    fn pair_state(&self) -> Result<wl_core::state::PairState> {
        let [source, target] = Which::BOTH.map(|which| self.place(which));
        self.state.pair("local|world", &source, &target)
    }

    fn place(&self, which: Which) -> String {
        let name = if which == Which::Source { "source" } else { "target" };
        format!("memory:{name}/{}", self.number)
    }

    fn opened(&self, which: Which) -> Side {
        let backend_id = if which == Which::Source { "source-id" } else { "target-id" }.to_owned();
        Side {
            view: StorageView { backend_id, storage_type: "memory".to_owned(), location: self.place(which) },
            place: self.place(which),
            backend: self.side(which).backend(),
            read_only: self.read_only[which as usize],
            watcher_interval: None,
            bandwidth_limit: None,
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for which in Which::BOTH {
            writeln!(text, "{which:?}: {}", self.tree(which))?;
        }
        let base = self.base();
        let base: Vec<_> = base.iter().map(|row| row.path.as_str()).collect();
        write!(f, "{text}base: {base:?}\nconflicts: {:?}\nproblems: {:?}", self.conflicts(), self.problems())
    }
}

thread_local! {
    static STATE: State = State::in_memory().unwrap_or_else(|error| panic!("{error}"));
}

/// Tells worlds that share a database apart.
fn fresh_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn status(pair: &Pair) -> JobStatus {
    let [source, target] = pair.sides.each_ref().map(|side| side.view.clone());
    JobStatus {
        job_id: pair.job_id.clone(),
        container: pair.container.clone(),
        state: JobState::OneShot,
        mode: Mode::OneShot,
        unidirectional: pair.options.unidirectional,
        syncer: "generic".to_owned(),
        ..JobStatus::between(source, target)
    }
}
