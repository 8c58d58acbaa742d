//! From hints to "look at these paths": what watchers and clocks say, gathered until it is worth a round.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::{Hint, WatchBy};
use crate::error::Fault;
use crate::job::{Run, Side, Which};
use crate::path::RelPath;
use crate::report::{JobState, Problem, ProblemKind};
use crate::survey::Scope;

/// A change is looked at after so much quiet, and at the latest after [`PROMPT`]`.1`.
const PROMPT: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(40));
/// What vanished, and what keeps changing, is given more time: moves, mass deletions and long writes are then seen whole.
const PATIENT: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// More paths than that are looked at by looking at everything.
const MANY: usize = 4096;
/// A path that was copied this often within [`HOT_TIME`] keeps changing.
const HOT: u32 = 3;
const HOT_TIME: Duration = Duration::from_secs(2);
/// How often a storage is scanned whose watcher failed, where neither the manifest nor the storage says.
const SCAN: Duration = Duration::from_mins(1);
/// A watcher that ends is begun anew at once, and one that ends again and again after longer and longer waits: the first and
/// the longest one. To have watched for as long as that is to have worked.
const ANEW: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Hints are only hints: everything is looked at this often all the same.
const FULL_SCAN: Duration = Duration::from_hours(1);

/// Paths that wait until nothing more is said for a while.
#[derive(Debug, Default)]
struct Waiting {
    paths: BTreeMap<RelPath, bool>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Waiting {
    fn add(&mut self, path: RelPath, below: bool, now: Instant) {
        *self.paths.entry(path).or_default() |= below;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    fn due(&self, (quiet, at_most): (Duration, Duration)) -> Option<Instant> {
        Some((self.last? + quiet).min(self.first? + at_most))
    }
}

/// Gathers hints.
#[derive(Debug, Default)]
pub struct Coalescer {
    prompt: Waiting,
    patient: Waiting,
    /// Paths in `patient` that keep changing, which a further change does not hasten.
    restless: HashMap<RelPath, Instant>,
    everything: Option<Instant>,
    copied: HashMap<RelPath, (Instant, u32)>,
}

impl Coalescer {
    /// Takes a hint.
    pub fn hint(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Look(paths) => paths.into_iter().for_each(|path| self.look(path, false, now)),
            Hint::LookBelow(paths) => paths.into_iter().for_each(|path| self.look(path, true, now)),
            Hint::Gone(paths) => paths.into_iter().for_each(|path| {
                if !self.prompt.paths.contains_key(&path) {
                    self.patient.add(path, false, now);
                }
            }),
            Hint::Everything | Hint::Degraded(_) => self.all(now + PATIENT.0),
        }
        if self.prompt.paths.len() + self.patient.paths.len() > MANY {
            self.all(now + PATIENT.0);
        }
    }

    /// Looks at everything, at that time.
    pub fn all(&mut self, at: Instant) {
        self.everything = Some(self.everything.map_or(at, |due| due.min(at)));
    }

    /// What changed while it was carried over is looked at again when it has calmed down.
    pub fn unsettled(&mut self, paths: Vec<RelPath>, now: Instant) {
        for path in paths {
            self.restless.insert(path.clone(), now);
            self.patient.add(path, false, now);
        }
    }

    /// Remembers what was copied, to notice what keeps changing.
    pub fn copied(&mut self, paths: &[RelPath], now: Instant) {
        self.copied.retain(|_, (at, _)| now.duration_since(*at) < HOT_TIME);
        self.restless.retain(|_, at| now.duration_since(*at) < HOT_TIME);
        for path in paths {
            let (at, times) = self.copied.entry(path.clone()).or_insert((now, 0));
            (*at, *times) = (now, *times + 1);
        }
    }

    fn look(&mut self, path: RelPath, below: bool, now: Instant) {
        if self.keeps_changing(&path, now) {
            self.restless.insert(path.clone(), now);
            self.patient.add(path, below, now);
            return;
        }
        // What vanished and came back, or came back elsewhere, is looked at together.
        let (waiting, restless): (BTreeMap<_, _>, _) = std::mem::take(&mut self.patient.paths)
            .into_iter()
            .partition(|(path, _)| !self.restless.contains_key(path));
        for (path, below) in waiting {
            self.prompt.add(path, below, now);
        }
        self.patient.paths = restless;
        if self.patient.paths.is_empty() {
            self.patient = Waiting::default();
        }
        self.prompt.add(path, below, now);
    }

    fn keeps_changing(&self, path: &RelPath, now: Instant) -> bool {
        let recently = |at: Instant| now.duration_since(at) < HOT_TIME;
        self.copied.get(path).is_some_and(|(at, times)| *times >= HOT && recently(*at))
            || self.restless.get(path).is_some_and(|at| recently(*at))
    }

    /// Whether a change is known that is not looked at yet because the path keeps changing.
    pub fn holds_back(&self) -> bool {
        self.patient.paths.keys().any(|path| self.restless.contains_key(path))
    }

    /// When to look.
    pub fn due(&self) -> Option<Instant> {
        [self.prompt.due(PROMPT), self.patient.due(PATIENT), self.everything].into_iter().flatten().min()
    }

    /// What to look at now.
    pub fn take(&mut self, now: Instant) -> Option<Scope> {
        if self.everything.is_some_and(|due| due <= now) {
            self.everything = None;
            self.prompt = Waiting::default();
            self.patient = Waiting::default();
            return Some(Scope::All);
        }
        let mut paths: BTreeMap<RelPath, bool> = BTreeMap::new();
        for (waiting, patience) in [(&mut self.prompt, PROMPT), (&mut self.patient, PATIENT)] {
            if waiting.due(patience).is_some_and(|due| due <= now) {
                for (path, below) in std::mem::take(waiting).paths {
                    *paths.entry(path).or_default() |= below;
                }
            }
        }
        (!paths.is_empty()).then_some(Scope::Paths(paths))
    }
}

/// Watches both storages of a run.
pub struct Watch {
    hints: mpsc::Receiver<(Which, Hint)>,
    /// How often each storage is scanned, where it is not watched.
    scans: [Option<(Duration, Instant)>; 2],
    full_scan: Instant,
    coalescer: Coalescer,
    /// Why a storage is scanned that should be watched.
    pub problems: Vec<Problem>,
    /// Whether a watcher could not begin: it is tried again with the next scan, or once a storage is back.
    pub unwatched: bool,
    /// When watching must begin anew, because a watcher ended or could not begin.
    pub again: Option<Instant>,
    begun: Instant,
    /// How long that waits.
    patience: Duration,
    /// Ends the watchers when dropped.
    watchers: JoinSet<()>,
}

impl Watch {
    /// Begins to watch: whatever changes from now on leads to a round.
    pub async fn begin(run: &Run) -> Self {
        let (send, hints) = mpsc::channel(256);
        let mut watchers = JoinSet::new();
        let (mut scans, mut problems, mut unwatched) = ([None, None], Vec::new(), false);
        for which in Which::BOTH {
            let side = run.pair.side(which);
            let facts = side.backend.facts();
            let scan = || {
                let every = scan_every(side);
                Some((every, Instant::now() + every))
            };
            // A watcher that looks at the interval named, and at less than everything.
            let looks_itself = facts.watcher == WatchBy::Scan && facts.scan_every_s.is_none();
            // A watcher whose messages may get lost, and scanning, each do what the other cannot.
            let both = facts.watcher == WatchBy::Native && facts.scan_every_s.is_some();
            let scanned = side.watcher_interval.is_some() || facts.watcher == WatchBy::Scan || both;
            if scanned && !looks_itself {
                scans[which as usize] = scan();
                if !both {
                    continue;
                }
            }
            match side.backend.watch().await {
                Ok(mut stream) => {
                    let send = send.clone();
                    watchers.spawn(async move {
                        while let Some(hint) = stream.next().await {
                            if send.send((which, hint)).await.is_err() {
                                return;
                            }
                        }
                    });
                }
                Err(error) => {
                    scans[which as usize] = scan();
                    if error.fault != Fault::Unsupported {
                        unwatched = true;
                        problems.push(degraded(run, which, &error.message));
                    }
                }
            }
        }
        let begun = Instant::now();
        Self {
            hints,
            scans,
            full_scan: begun + FULL_SCAN,
            coalescer: Coalescer::default(),
            problems,
            unwatched,
            again: None,
            begun,
            patience: Duration::ZERO,
            watchers,
        }
    }

    /// Waits longer than the one before, should a watcher end again, unless that one did watch for a while.
    pub fn follows(&mut self, before: &Self) {
        if before.begun.elapsed() < ANEW.1 {
            self.patience = (before.patience * 2).clamp(ANEW.0, ANEW.1);
        }
    }

    /// What to gather hints in.
    pub fn coalescer(&mut self) -> &mut Coalescer {
        &mut self.coalescer
    }

    /// How often everything is looked at whatever happens, by whichever storage is scanned least often; none if none is.
    pub fn scanned_every(&self) -> Option<Duration> {
        self.scans.iter().flatten().map(|(every, _)| *every).max()
    }

    /// Waits until there is something to look at. None once the run is stopped.
    pub async fn next(&mut self, run: &Run) -> Option<Scope> {
        loop {
            let now = Instant::now();
            self.tick(now);
            if let Some(scope) = self.coalescer.take(now) {
                return Some(scope);
            }
            if self.again.is_some_and(|at| at <= now) {
                return Some(Scope::All);
            }
            let clocks = self.scans.iter().flatten().map(|(_, at)| *at).chain([self.full_scan]).chain(self.again);
            let wake = clocks.chain(self.coalescer.due()).min().unwrap_or(self.full_scan);
            tokio::select! {
                biased;
                () = run.stop.cancelled() => return None,
                () = run.poke.notified() => return Some(Scope::All),
                Some((which, hint)) = self.hints.recv() => self.take_hint(run, which, hint),
                // A watcher ends with the root it watches.
                Some(_) = self.watchers.join_next() => {
                    self.again.get_or_insert(now + self.patience);
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn take_hint(&mut self, run: &Run, which: Which, hint: Hint) {
        let now = Instant::now();
        if let Hint::Degraded(why) = &hint {
            let every = scan_every(run.pair.side(which));
            self.scans[which as usize].get_or_insert((every, now + every));
            let problem = degraded(run, which, why);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.coalescer.hint(hint, now);
        if self.coalescer.holds_back() && *run.monitor.state().borrow() == JobState::Synced {
            run.monitor.set_state(JobState::Running);
        }
    }

    fn tick(&mut self, now: Instant) {
        for (every, at) in self.scans.iter_mut().flatten() {
            if *at <= now {
                *at = now + *every;
                self.coalescer.all(now);
                if self.unwatched {
                    self.again.get_or_insert(now);
                }
            }
        }
        if self.full_scan <= now {
            self.full_scan = now + FULL_SCAN;
            self.coalescer.all(now);
        }
    }
}

/// How often a side is scanned, if it is.
fn scan_every(side: &Side) -> Duration {
    let usual = || side.backend.facts().scan_every_s.map_or(SCAN, Duration::from_secs);
    side.watcher_interval.unwrap_or_else(usual)
}

fn degraded(run: &Run, which: Which, why: &str) -> Problem {
    let every = scan_every(run.pair.side(which)).as_secs_f64();
    let message = format!("{why}; changes are looked for every {every} s instead");
    Problem { path: String::new(), storage: run.pair.id(which).to_owned(), kind: ProblemKind::Failed, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn paths(texts: &[&str]) -> Scope {
        Scope::Paths(texts.iter().map(|text| (path(text), false)).collect())
    }

    /// What is taken at each due time, with the milliseconds since the beginning.
    fn drain(coalescer: &mut Coalescer, begun: Instant) -> Vec<(u128, Scope)> {
        let mut taken = Vec::new();
        while let Some(due) = coalescer.due() {
            taken.extend(coalescer.take(due).map(|scope| (due.duration_since(begun).as_millis(), scope)));
        }
        taken
    }

    #[test]
    fn a_change_is_prompt_and_a_deletion_patient() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        coalescer.hint(Hint::Look(vec![path("a"), path("a")]), now);
        assert_eq!(drain(&mut coalescer, now), [(4, paths(&["a"]))]);
        coalescer.hint(Hint::Gone(vec![path("b")]), now);
        coalescer.hint(Hint::Gone(vec![path("c")]), now + Duration::from_millis(100));
        assert_eq!(drain(&mut coalescer, now), [(400, paths(&["b", "c"]))]);
    }

    #[test]
    fn what_moved_is_looked_at_together() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        coalescer.hint(Hint::Gone(vec![path("old")]), now);
        coalescer.hint(Hint::Look(vec![path("new")]), now);
        assert_eq!(drain(&mut coalescer, now), [(4, paths(&["new", "old"]))]);
    }

    #[test]
    fn a_stream_of_changes_is_not_put_off_for_ever() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        for ms in 0..100 {
            coalescer.hint(Hint::Look(vec![path("a")]), now + Duration::from_millis(ms));
        }
        assert_eq!(drain(&mut coalescer, now), [(40, paths(&["a"]))]);
    }

    #[test]
    fn what_keeps_changing_is_given_time() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        for _ in 0..HOT {
            coalescer.copied(&[path("log")], now);
        }
        coalescer.hint(Hint::Look(vec![path("log"), path("other")]), now);
        coalescer.unsettled(vec![path("busy")], now);
        assert!(coalescer.holds_back());
        coalescer.hint(Hint::Look(vec![path("busy")]), now + Duration::from_millis(10));
        assert_eq!(drain(&mut coalescer, now), [(4, paths(&["other"])), (310, paths(&["busy", "log"]))]);
        assert!(!coalescer.holds_back());
    }

    #[test]
    fn too_many_paths_are_everything() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        coalescer.hint(Hint::Gone((0..=MANY).map(|n| path(&n.to_string())).collect()), now);
        assert_eq!(drain(&mut coalescer, now), [(300, Scope::All)]);
        coalescer.hint(Hint::Everything, now);
        assert_eq!(drain(&mut coalescer, now), [(300, Scope::All)]);
    }
}
