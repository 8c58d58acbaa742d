//! A plan carried out: group after group, many steps at once, each result taken into the base as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::backend::Guard;
use crate::error::{Error, Fault, Result};
use crate::job::Which;
use crate::path::{IGNORE_FILE, RelPath};
use crate::plan::{Plan, Step};
use crate::recent::Change;
use crate::report::{Problem, ProblemKind};
use crate::state::{BaseRow, Batch, Intent};
use crate::step::{Done, Failed, Means};
use crate::turn::Taken;

/// The base takes what happened after so many results…
const BATCH: usize = 1024;
/// …or after that long.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// How long a step under way may take to end when the job is stopped.
const GRACE: Duration = Duration::from_millis(1500);
/// Bytes that may be on their way at once, in units of [`UNIT`].
const BUDGET: u32 = 1024;
const UNIT: u64 = 64 * 1024;
/// From here on a file takes a quarter of the budget: a few large ones at once are as fast as many.
const LARGE: u64 = 8 << 20;
/// After so many refusals for lack of room in a row, nothing more is put on that side in this round.
const FULL_ENOUGH: u32 = 8;

/// So many paths in a round may fail as if the storage could not be reached, though it can be, before it is believed.
pub(crate) const FEW_ALONE: u32 = 8;

/// So many copied paths are told.
const FEW: usize = 64;

/// What was done, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files copied.
    pub copied: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Files moved.
    pub moved: u64,
    /// Files found equal.
    pub adopted: u64,
    /// Bytes transferred.
    pub bytes: u64,
}

/// How the steps of a round went.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub tally: Tally,
    /// What was deleted, made and moved, in its order.
    pub changes: Vec<Change>,
    /// What could not be done.
    pub problems: Vec<Problem>,
    /// What changed meanwhile and must be looked at again.
    pub unsettled: Vec<RelPath>,
    /// A fault that may pass.
    pub waits: Option<Error>,
    /// Paths that were copied, the first few.
    pub copied: Vec<RelPath>,
    /// Whether a `.wlignore` was changed: other rules hold from now on.
    pub rules_moved: bool,
}

/// What a step that was carried out did to the files that are there.
fn change(step: &Step, done: &Done) -> Option<Change> {
    match step {
        Step::Remove { path, .. } if done.deleted > 0 => Some(Change::deleted(path, step.on())),
        Step::Copy { path, guard: Guard::Absent, .. } if done.copied > 0 => Some(Change::made(path)),
        Step::Move { to, .. } if done.moved > 0 => Some(Change::moved(to)),
        _ => None,
    }
}

/// Carries out plans and keeps what they did until the base has it.
pub(crate) struct Executor<'a> {
    means: Means<'a>,
    base: BTreeMap<RelPath, Option<BaseRow>>,
    batch: Batch,
    last_commit: Instant,
    full_in_a_row: [u32; 2],
    /// How many paths failed alone.
    alone: u32,
    /// Directories that could not be made, or do not give way: what goes there need not be tried, nor told of.
    barred: Vec<(Which, RelPath)>,
    /// Conflicts that are over once the step about them has succeeded.
    settling: BTreeSet<RelPath>,
    /// Whether the state holds intents of this round.
    intended: bool,
    /// What may have been done though it failed: an answer that was lost says nothing of what it answered.
    doubtful: Vec<Intent>,
    pub results: Results,
    halted: Mutex<Halted>,
    /// The round's turn, until a user wants it.
    turn: Option<Taken<'a>>,
}

/// What is not begun any more.
#[derive(Debug, Default)]
struct Halted {
    /// Nothing at all, and why.
    all: Option<Error>,
    /// What needs room on a side that has none.
    full: [Option<Error>; 2],
}

impl Halted {
    fn bars(&self, step: &Step) -> bool {
        self.all.is_some() || self.full_for(step).is_some()
    }

    fn full_for(&self, step: &Step) -> Option<&Error> {
        self.full[step.on() as usize].as_ref().filter(|_| step.needs_room())
    }
}

impl<'a> Executor<'a> {
    pub fn new(means: Means<'a>, turn: Taken<'a>, doubtful: Vec<Intent>) -> Self {
        Self {
            means,
            base: BTreeMap::new(),
            batch: Batch::default(),
            last_commit: Instant::now(),
            full_in_a_row: [0; 2],
            alone: 0,
            barred: Vec::new(),
            settling: BTreeSet::new(),
            intended: false,
            doubtful,
            results: Results::default(),
            halted: Mutex::default(),
            turn: Some(turn),
        }
    }

    /// Adds to what the next commit takes.
    pub fn note(&mut self, fill: impl FnOnce(&mut BTreeMap<RelPath, Option<BaseRow>>, &mut Batch)) {
        fill(&mut self.base, &mut self.batch);
    }

    /// Runs all groups, or as much as was begun when a user wants the turn. Fails only if the job is stopped or the state
    /// cannot be written.
    pub async fn execute(&mut self, plan: Plan) -> Result<()> {
        self.settling = plan.settling;
        let takes_from_trash = plan.groups.iter().flatten().any(Step::takes_from_trash);
        self.means.at = Timestamp::now();
        for group in plan.groups {
            if self.gave_way() {
                break;
            }
            // What is kept counts from when it came there, and copying may take days. What one group puts there and another
            // takes has one place.
            if !takes_from_trash {
                self.means.at = Timestamp::now();
            }
            self.run_group(group).await?;
        }
        self.finish()
    }

    /// Whether a user was given the turn: nothing is begun any more.
    pub fn gave_way(&self) -> bool {
        self.turn.is_none()
    }

    /// Why nothing more is begun, if a storage went away.
    pub fn cut_off(&self) -> Option<Error> {
        lock(&self.halted).all.clone().filter(|error| error.fault == Fault::Offline)
    }

    /// Whether something may have been done though it failed.
    pub fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// The turn, unless it gave way.
    pub fn into_turn(self) -> Option<Taken<'a>> {
        self.turn
    }

    async fn run_group(&mut self, mut group: Vec<Step>) -> Result<()> {
        let run = self.means.run;
        group.retain(|step| !self.is_barred(step));
        // The largest content begins first, beside the others: at the end it would be all that goes on.
        let largest = (0..group.len()).max_by_key(|at| group[*at].bytes());
        if let Some(at) = largest.filter(|at| group[*at].bytes() >= LARGE) {
            group[..=at].rotate_right(1);
        }
        self.batch.intents = group.iter().flat_map(Step::intents).collect();
        if !self.batch.intents.is_empty() {
            self.intended = true;
            self.commit()?;
        }
        let at_once = self.at_once(&group);
        let budget = Semaphore::new(BUDGET as usize);
        // Taken out for as long as the steps borrow them; put back below.
        let halted = std::mem::take(&mut self.halted);
        let means = Means { limits: self.means.limits.clone(), roots: self.means.roots.clone(), ..self.means };
        let perform = |step: Step| {
            let (means, budget, halted) = (&means, &budget, &halted);
            async move {
                let _share = budget.acquire_many(share(step.bytes())).await;
                let barred = run.stop.is_cancelled() || lock(halted).bars(&step);
                let result = if barred { None } else { Some(means.perform(&step).await) };
                let result = match result {
                    Some(Err(failed)) => Some(Err(told_apart(means, failed).await)),
                    result => result,
                };
                (step, result)
            }
        };
        let mut running = futures::stream::iter(group).map(perform).buffer_unordered(at_once);
        let mut grace_ends = None;
        loop {
            let grace = tokio::time::sleep_until(grace_ends.unwrap_or_else(|| tokio::time::Instant::now() + GRACE));
            tokio::select! {
                next = running.next() => match next {
                    Some((step, result)) => self.settle(&step, result, &halted)?,
                    None => break,
                },
                () = run.stop.cancelled(), if grace_ends.is_none() => {
                    grace_ends = Some(tokio::time::Instant::now() + GRACE);
                }
                () = grace, if grace_ends.is_some() => break,
                () = run.pair.turn.wanted(), if self.turn.is_some() => self.give_way(&halted)?,
            }
        }
        drop(running);
        self.halted = halted;
        if run.stop.is_cancelled() {
            self.commit()?;
            return Err(Error::stopped());
        }
        Ok(())
    }

    /// Lets a user have the turn. The steps under way go on beside what the user does, which may take long: both name what
    /// they expect to find, as where somebody else changes a storage.
    fn give_way(&mut self, halted: &Mutex<Halted>) -> Result<()> {
        lock(halted).all = Some(Error::stopped());
        self.commit()?;
        self.turn = None;
        Ok(())
    }

    fn is_barred(&self, step: &Step) -> bool {
        let at = match step {
            Step::Move { to, .. } => to,
            other => other.path(),
        };
        let barred = self.barred.iter().any(|(on, dir)| *on == step.on() && at.is_at_or_below(dir));
        if barred {
            self.means.run.monitor.step_done(step.bytes());
        }
        barred
    }

    fn at_once(&self, group: &[Step]) -> usize {
        let pair = &self.means.run.pair;
        let pays = |which: Which| pair.side(which).backend.facts().in_flight;
        let transfers = group.iter().any(|step| matches!(step, Step::Copy { .. }));
        let limit = pair.options.transfers.filter(|_| transfers);
        limit.unwrap_or_else(|| pays(Which::Source).max(pays(Which::Target))).max(1)
    }

    /// Takes what came of a step; nothing if it was not begun.
    fn settle(&mut self, step: &Step, result: Option<Result<Done, Failed>>, halted: &Mutex<Halted>) -> Result<()> {
        self.means.run.monitor.step_done(step.bytes());
        match result {
            Some(Ok(done)) => {
                if step.needs_room() {
                    self.full_in_a_row[step.on() as usize] = 0;
                }
                self.take(step, done);
            }
            Some(Err(failed)) => self.fail(step, failed, halted),
            // It waits for room with the others.
            None => {
                if let Some(Error { message, .. }) = lock(halted).full_for(step).cloned() {
                    self.problem(step.path(), step.on(), ProblemKind::Full, message);
                }
            }
        }
        if self.base.len() >= BATCH || self.last_commit.elapsed() >= BATCH_TIME {
            self.commit()?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step, done: Done) {
        let tally = &mut self.results.tally;
        tally.copied += done.copied;
        tally.deleted += done.deleted;
        tally.moved += done.moved;
        tally.bytes += done.bytes;
        self.results.changes.extend(change(step, &done));
        if done.copied > 0 && self.results.copied.len() < FEW {
            self.results.copied.push(step.path().clone());
        }
        let goes_to = if let Step::Move { to, .. } = step { Some(to) } else { None };
        let paths = || [step.path()].into_iter().chain(goes_to);
        self.results.rules_moved |= paths().any(|path| path.name() == IGNORE_FILE);
        if let Some(why) = done.skipped {
            self.problem(step.path(), step.on(), ProblemKind::Skipped, why);
        }
        for path in paths() {
            if self.settling.remove(path) {
                self.batch.conflicts.push((path.clone(), None));
            }
        }
        self.base.extend(done.base);
        self.batch.history.extend(done.history);
    }

    fn fail(&mut self, step: &Step, failed: Failed, halted: &Mutex<Halted>) {
        let Failed { error, on, reading, alone } = failed;
        if !reading {
            // What a second attempt meets after the first, whose answer was lost, is refused; but so is what meets somebody
            // else's version, which must not be taken for ours by less than its sha256.
            let refused = matches!(error.fault, Fault::Refused | Fault::Missing);
            self.doubtful.extend(step.intents().into_iter().filter(|intent| !refused || intent.is_unmistakable()));
        }
        match step {
            Step::MakeDir { path, .. } => self.barred.push((on, path.clone())),
            Step::RemoveDir { path, for_file: true, .. } if error.fault == Fault::Refused => {
                self.barred.push((on, path.clone()));
                let message = "a file is to take the place of this directory, which still holds something that is not \
                               synced: move that away";
                self.problem(path, on, ProblemKind::Failed, message.to_owned());
            }
            _ => {}
        }
        match error.fault {
            Fault::Stopped => return,
            // What keeps a directory from being removed is excluded, or the next look sees it.
            Fault::Refused if matches!(step, Step::RemoveDir { .. }) => return,
            Fault::Refused | Fault::Missing => {
                self.results.unsettled.push(step.path().clone());
                if let Step::Move { to, .. } = step {
                    self.results.unsettled.push(to.clone());
                }
                return;
            }
            Fault::Offline if alone && self.alone < FEW_ALONE => self.alone += 1,
            Fault::Offline => lock(halted).all = Some(error.clone()),
            Fault::Full => {
                self.full_in_a_row[on as usize] += 1;
                if self.full_in_a_row[on as usize] >= FULL_ENOUGH {
                    lock(halted).full[on as usize] = Some(error.clone());
                }
            }
            _ => {}
        }
        tracing::warn!(path = %step.path(), storage = self.means.run.pair.id(on), "{}", error.message);
        let kind = match ProblemKind::of(error.fault) {
            ProblemKind::Denied if reading => ProblemKind::Unreadable,
            kind => kind,
        };
        self.problem(step.path(), on, kind, error.message.clone());
        if let Step::Move { to, .. } = step {
            self.problem(to, on, kind, error.message.clone());
        }
        if error.fault.passes() {
            self.results.waits = Some(error);
        }
    }

    fn problem(&mut self, path: &RelPath, on: Which, kind: ProblemKind, message: String) {
        let storage = self.means.run.pair.id(on).to_owned();
        self.results.problems.push(Problem { path: path.to_string(), storage, kind, message });
    }

    /// Lets the base take the rest: nothing more is intended, and only what is in doubt is looked at before the next round.
    fn finish(&mut self) -> Result<()> {
        self.doubtful.retain(|intent| !self.base.contains_key(&intent.path));
        self.batch.all_done = self.intended;
        self.batch.intents.clone_from(&self.doubtful);
        self.commit()
    }

    /// Lets the base take what happened so far.
    pub fn commit(&mut self) -> Result<()> {
        self.last_commit = Instant::now();
        self.doubtful.retain(|intent| !self.base.contains_key(&intent.path));
        let mut batch = std::mem::take(&mut self.batch);
        batch.base.extend(std::mem::take(&mut self.base));
        self.means.run.pair.state.commit(batch)
    }
}

fn lock(halted: &Mutex<Halted>) -> MutexGuard<'_, Halted> {
    halted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failure as of a storage that cannot be reached may be this path's alone, as where a disk behind a server cannot read
/// it: the others must not wait for that.
async fn told_apart(means: &Means<'_>, failed: Failed) -> Failed {
    let root = means.roots[failed.on as usize].as_str();
    let alone = failed.error.fault == Fault::Offline && means.run.pair.answers(failed.on, Some(root)).await;
    Failed { alone, ..failed }
}

/// A step's share of the budget.
fn share(bytes: u64) -> u32 {
    if bytes >= LARGE { BUDGET / 4 } else { u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(BUDGET).max(1) }
}
