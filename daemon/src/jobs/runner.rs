//! Runs of a syncer: caught when they panic, begun again when they fail.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use wl_core::job::Run;
use wl_core::monitor::Monitor;
use wl_core::report::{JobState, Summary};
use wl_core::syncer::Syncer;
use wl_core::{Error, Fault, Result};

/// How long a run that failed waits at first before it begins again.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// And at most. A run that lasted longer begins anew with the first delay.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// How a one-shot run ended.
pub struct Outcome(Result<Summary>);

impl Outcome {
    /// Tells it, but for the state it leads to, which is returned.
    pub fn show(self, monitor: &Monitor) -> JobState {
        monitor.plan_over();
        match self.0 {
            Ok(summary) => {
                let state = summary.state;
                monitor.set_open(summary.conflicts.clone(), summary.problems.clone());
                monitor.set_summary(summary);
                state
            }
            Err(error) => {
                monitor.set_error(Some(error.to_string()));
                JobState::Error
            }
        }
    }
}

/// Runs a one-shot job; none if it was stopped.
pub async fn once(syncer: &dyn Syncer, run: &Run) -> Option<Outcome> {
    let outcome = caught(syncer.one_shot(run)).await;
    match outcome {
        Err(error) if error.fault == Fault::Stopped && run.stop.is_cancelled() => None,
        outcome => {
            if let Err(error) = &outcome {
                tracing::error!("job {}: {error}", run.pair.job_id);
            }
            Some(Outcome(outcome))
        }
    }
}

/// Runs a continuous job until it is stopped. The engine waits out by itself the faults that pass: what comes through
/// to here needs the user or is a bug, so the job says so and begins again after a growing delay.
pub async fn keep(syncer: &dyn Syncer, run: &Run) {
    let mut delay = FIRST_DELAY;
    loop {
        let begun = Instant::now();
        let outcome = caught(syncer.continuous(run)).await;
        if run.stop.is_cancelled() {
            return;
        }
        let error =
            outcome.err().unwrap_or_else(|| Error::new(Fault::Broken, "the syncer ended without being stopped"));
        tracing::error!("job {}: {error}; it begins again in {delay:?}", run.pair.job_id);
        run.monitor.plan_over();
        run.monitor.set_error(Some(error.to_string()));
        run.monitor.set_state(JobState::Error);
        if begun.elapsed() > LONGEST_DELAY {
            delay = FIRST_DELAY;
        }
        tokio::select! {
            () = run.stop.cancelled() => return,
            () = run.poke.notified() => {}
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// A panic becomes an error.
async fn caught<T>(running: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| {
        let text = format!("met a bug in wl ({}): please report it with the daemon's log", message(&*panic));
        Err(Error::new(Fault::Broken, text))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}
