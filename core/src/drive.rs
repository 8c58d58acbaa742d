//! Rounds one after the other: once, or until stopped.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, Fault, Result};
use crate::job::Run;
use crate::report::{JobState, ProblemKind, Summary};
use crate::round::{Engine, LOOKS, Round, busy};
use crate::survey::Scope;
use crate::syncer::Carrier;
use crate::trash;
use crate::watch::Watch;

/// The first and the longest wait for a fault to pass.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A job in ERROR looks again this often at first, and then less and less often, as after a fault that passes: a look may
/// be a listing of everything, or one more failed login.
const ERROR_LOOK: Duration = Duration::from_secs(5);
/// The trash is swept this often.
const SWEEP: Duration = Duration::from_hours(24);

/// Waits that grow.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF.0)
    }

    fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(BACKOFF.1);
        wait
    }
}

/// Makes both sides equal once.
pub async fn one_shot(run: &Run, carrier: &dyn Carrier) -> Result<Summary> {
    let (begun, monitor) = (Instant::now(), &run.monitor);
    monitor.set_state(JobState::OneShot);
    let mut engine = Engine::new(run, carrier)?;
    let mut backoff = Backoff::new();
    let mut waiting_since: Option<Instant> = None;
    let mut looks = 0;
    let unsettled = loop {
        let round = engine.round(&Scope::All).await;
        let waits = match round {
            Ok(Round { full_due: true, .. }) => continue,
            Ok(Round { waits: None, unsettled, restless, .. }) => {
                waiting_since = None;
                looks += 1;
                if unsettled.is_empty() && !restless || looks >= LOOKS {
                    break unsettled;
                }
                pause(run, Duration::from_millis(20 << looks)).await?;
                continue;
            }
            Ok(Round { waits: Some(error), .. }) => error,
            Err(error) if error.fault.passes() => error,
            Err(error) => return Err(error),
        };
        if waiting_since.is_none() && waits.fault == Fault::Full {
            // What was kept for long enough may make room.
            sweep(run).await;
        }
        let since = *waiting_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= run.pair.options.retry_for {
            let text = format!("gave up after {} s: {waits}", run.pair.options.retry_for.as_secs());
            return Err(Error::new(waits.fault, text));
        }
        monitor.set_error(Some(format!("waiting: {waits}")));
        pause(run, backoff.next()).await?;
    };
    monitor.set_error(None);
    engine.report(&busy(&run.pair, &unsettled))?;
    sweep(run).await;
    Ok(summary(run, &engine, begun))
}

fn summary(run: &Run, engine: &Engine<'_>, begun: Instant) -> Summary {
    let (tally, status) = (engine.tally(), run.monitor.status());
    Summary {
        state: JobState::Synced,
        copied: tally.copied,
        deleted: tally.deleted,
        moved: tally.moved,
        adopted: tally.adopted,
        bytes: tally.bytes,
        seconds: begun.elapsed().as_secs_f64(),
        conflicts: status.conflicts,
        problems: status.problems,
    }
}

/// Waits, unless the run is stopped.
async fn pause(run: &Run, time: Duration) -> Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        () = run.stop.cancelled() => Err(Error::stopped()),
    }
}

/// Removes what the trashes have kept for long enough, or as much of it as there is time for until the run is stopped.
async fn sweep(run: &Run) {
    let swept = tokio::select! {
        swept = trash::sweep(&run.pair, run.pair.options.keep_deleted) => swept,
        () = run.stop.cancelled() => return,
    };
    for problem in swept.problems {
        tracing::warn!(storage = problem.storage, "the trash was not swept: {}: {}", problem.path, problem.message);
    }
}

/// Keeps both sides equal until the run is stopped.
pub async fn continuous(run: &Run, carrier: &dyn Carrier) -> Result<()> {
    run.monitor.set_state(JobState::OneShot);
    let mut engine = Engine::new(run, carrier)?;
    // At first contact a root may have to be made before it can be watched. What fails here fails in the first round, too.
    let _ = engine.look_at_roots().await;
    let mut watched = engine.roots().cloned();
    // Watching begins before the first look: what changes in between is seen by one or the other.
    let mut watch = Watch::begin(run).await;
    let mut backoff = Backoff::new();
    let mut swept: Option<Instant> = None;
    let (mut scope, mut lost, mut away) = (Scope::All, false, false);
    loop {
        if watch.again.is_some_and(|at| at <= Instant::now()) {
            // What changed while nobody watched, no watcher has told.
            watch = rewatched(run, watch).await;
            scope = Scope::All;
        }
        let round = engine.round(&scope).await;
        let failed = round.is_err();
        let no_room = matches!(&round, Ok(Round { waits: Some(error), .. }) if error.fault == Fault::Full);
        match round {
            Ok(Round { full_due: true, .. }) => {
                scope = Scope::All;
                continue;
            }
            Ok(round) => {
                if scope == Scope::All {
                    run.pair.forbid_deletes();
                }
                after_round(run, &mut engine, &mut watch, &mut backoff, round, &scope)?;
            }
            Err(error) if error.fault == Fault::Stopped => return Ok(()),
            Err(error) => lost |= trouble(run, &mut watch, &mut backoff, &error),
        }
        // A watcher watches what was there when it began: not what was mounted over it since, nor what has come back, be it
        // below the root.
        let is_away = engine.problems().any(|problem| problem.kind == ProblemKind::Offline);
        lost |= away && !is_away;
        away = is_away;
        if engine.roots() != watched.as_ref() || lost && !failed {
            watched = engine.roots().cloned();
            lost = false;
            watch = rewatched(run, watch).await;
            scope = Scope::All;
            continue;
        }
        let rests = *run.monitor.state().borrow() == JobState::Synced;
        if (rests || no_room) && swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            sweep(run).await;
        }
        match watch.next(run).await {
            // What a failed round left undone is known to nobody: look at everything.
            Some(_) if failed => scope = Scope::All,
            Some(next) => scope = next,
            None => return Ok(()),
        }
    }
}

fn after_round(
    run: &Run,
    engine: &mut Engine<'_>,
    watch: &mut Watch,
    backoff: &mut Backoff,
    round: Round,
    scope: &Scope,
) -> Result<()> {
    let (monitor, now) = (&run.monitor, Instant::now());
    if !watch.problems.is_empty() {
        engine.report(&watch.problems)?;
    }
    let settled = round.unsettled.is_empty() && !round.restless && round.waits.is_none();
    let scanned_every = watch.scanned_every();
    let coalescer = watch.coalescer();
    coalescer.copied(&round.copied, now);
    coalescer.unsettled(round.unsettled, now);
    if round.restless {
        coalescer.all(now + BACKOFF.0);
    }
    if *scope != Scope::All {
        coalescer.hint(crate::backend::Hint::LookBelow(round.rules_changed), now);
    }
    if let Some(error) = round.waits {
        coalescer.all(now + backoff.next());
        monitor.set_error(Some(format!("waiting: {error}")));
    } else {
        *backoff = Backoff::new();
        monitor.set_error(None);
        if engine.problems().any(|problem| may_pass(problem.kind)) {
            coalescer.all(now + look_again(scanned_every));
        }
    }
    // A look that found nothing to do does not take the job out of its rest.
    let rests = settled && !watch.coalescer().holds_back();
    monitor.set_state(if rests { JobState::Synced } else { JobState::Running });
    Ok(())
}

/// Whether a problem is worth another look though nothing hints at a change.
fn may_pass(kind: ProblemKind) -> bool {
    !matches!(kind, ProblemKind::Skipped | ProblemKind::Name | ProblemKind::ReadOnly)
}

/// How long it takes until everything is looked at again for such a problem. That may cost as many requests as a scan, and
/// most of what stays wrong needs the user: it is done no more often than one.
fn look_again(scanned_every: Option<Duration>) -> Duration {
    scanned_every.map_or(BACKOFF.1, |every| every.max(BACKOFF.1))
}

/// Says what is wrong and looks again later. Whether watchers may lose what they watch, or could not begin for it.
fn trouble(run: &Run, watch: &mut Watch, backoff: &mut Backoff, error: &Error) -> bool {
    let now = Instant::now();
    run.monitor.plan_over();
    tracing::warn!(job = run.pair.job_id, "{error}");
    if error.fault.passes() {
        run.monitor.set_error(Some(format!("waiting: {error}")));
        run.monitor.set_state(JobState::Running);
        watch.coalescer().all(now + backoff.next());
        return watch.unwatched;
    }
    run.monitor.set_error(Some(error.to_string()));
    run.monitor.set_state(JobState::Error);
    watch.coalescer().all(now + backoff.next().max(ERROR_LOOK));
    error.fault != Fault::Refused
}

/// Watches anew and keeps what was due.
async fn rewatched(run: &Run, mut old: Watch) -> Watch {
    let mut watch = Watch::begin(run).await;
    std::mem::swap(watch.coalescer(), old.coalescer());
    watch.follows(&old);
    watch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_wrong_has_nobody_look_more_often_than_a_scan() {
        let of = |seconds: Option<u64>| look_again(seconds.map(Duration::from_secs)).as_secs();
        assert_eq!([None, Some(1), Some(60), Some(3600)].map(of), [30, 30, 60, 3600]);
        let denied = [ProblemKind::Unreadable, ProblemKind::Denied, ProblemKind::Full, ProblemKind::Failed];
        assert!(denied.into_iter().all(may_pass));
        assert!(![ProblemKind::Skipped, ProblemKind::Name, ProblemKind::ReadOnly].into_iter().any(may_pass));
    }
}
