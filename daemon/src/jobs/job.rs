//! One job of the table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wl_core::job::{Pair, Run};
use wl_core::monitor::Monitor;
use wl_core::report::{JobState, JobStatus, Mode, Summary};
use wl_core::state::PairState;
use wl_core::syncer::{Syncer, Traits};

use super::{Definition, pairs, runner};
use crate::protocol::{ErrorClass, WireError};

/// A job. Who changes what it does has its turn in the table.
pub struct Job {
    id: String,
    definition: Mutex<Arc<Definition>>,
    monitor: Arc<Monitor>,
    poke: Arc<Notify>,
    doing: Mutex<Doing>,
    /// Whether a one-shot job has come to its end. Set before anything of how it ended is told.
    ended: AtomicBool,
}

/// What a job does now.
enum Doing {
    /// Nothing: held, ended, cut off, or not yet begun.
    Nothing,
    /// A run, which may have ended by itself.
    Running { run: Run, task: JoinHandle<()> },
    /// Nothing, until somebody starts it again with what it lacks.
    Waiting,
    /// Nothing, until it is stopped: it was made to fail.
    Failed,
}

impl Job {
    /// What a job declares whose syncer is not there.
    pub const NO_SYNCER: Traits = Traits {
        name: "none",
        source_types: &[],
        target_types: &[],
        one_shot: false,
        continuous: false,
        unidirectional: false,
        requires_mount: false,
    };

    /// A job that does nothing yet, with what is known about its pair.
    pub fn new(definition: Definition, syncer: &Traits, known: Option<&PairState>) -> Self {
        let monitor = Arc::new(Monitor::new(first_status(&definition, syncer.name)));
        if let Some(known) = known {
            pairs::show_known(&monitor, known);
        }
        Self {
            id: definition.job_id().to_owned(),
            definition: Mutex::new(Arc::new(definition)),
            monitor,
            poke: Arc::default(),
            doing: Mutex::new(Doing::Nothing),
            ended: AtomicBool::new(false),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is.
    pub fn definition(&self) -> Arc<Definition> {
        self.definition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what it is, from its next run on.
    pub fn redefine(&self, definition: Definition) {
        *self.definition.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(definition);
    }

    /// Its status and events.
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Makes it look at everything again soon.
    pub fn poke(&self) -> &Arc<Notify> {
        &self.poke
    }

    /// Whether it is a one-shot job that came to its end, well or not, or was cut off.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether nothing of it will run by itself: it has ended, or was made to fail.
    pub fn is_done(&self) -> bool {
        self.has_ended() || matches!(*self.doing(), Doing::Failed)
    }

    /// Whether another job of the same id may take its place.
    pub fn gives_way(&self) -> bool {
        self.is_waiting() || self.is_over()
    }

    /// Whether another job of the same id may take its place if that is what its user asked for. The end of a one-shot
    /// job may be written down at any moment, and who holds a job wants it to rest.
    pub fn is_replaceable(&self) -> bool {
        self.definition().mode() == Mode::Continuous && !self.monitor.status().paused
    }

    /// Whether it never runs again unless it is started again.
    pub fn is_over(&self) -> bool {
        self.has_ended() || self.definition().lacks().is_some()
    }

    /// Whether it lacks something that it cannot run without.
    pub fn is_waiting(&self) -> bool {
        matches!(*self.doing(), Doing::Waiting)
    }

    /// Begins a run; `at_end` is called when a one-shot run has come to its end.
    pub fn run(
        self: &Arc<Self>,
        pair: Arc<Pair>,
        syncer: Arc<dyn Syncer>,
        at_end: impl FnOnce(&Self) + Send + 'static,
    ) {
        self.ended.store(false, Ordering::Release);
        self.monitor.set_paused(false);
        self.monitor.set_error(None);
        self.monitor.set_state(JobState::OneShot);
        let (monitor, poke) = (self.monitor.clone(), self.poke.clone());
        let run = Run { pair, monitor, poke, stop: CancellationToken::new() };
        let (job, its_run) = (self.clone(), run.clone());
        let task = tokio::spawn(async move {
            match job.definition().mode() {
                Mode::Continuous => runner::keep(&*syncer, &its_run).await,
                Mode::OneShot => {
                    let Some(outcome) = runner::once(&*syncer, &its_run).await else { return };
                    job.ended.store(true, Ordering::Release);
                    let outcome = outcome.show(&job.monitor);
                    job.monitor.set_state(outcome);
                    at_end(&job);
                }
            }
        });
        *self.doing() = Doing::Running { run, task };
    }

    /// Ends what runs; returns when nothing of it does. Gives it so long to end by itself.
    pub async fn halt(&self, patience: Duration) {
        let before = std::mem::replace(&mut *self.doing(), Doing::Nothing);
        let Doing::Running { run, mut task } = before else { return };
        run.stop.cancel();
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            tracing::warn!("job {}: did not end in {patience:?} when it was stopped; it is cut off", self.id());
            task.abort();
            // Its end is all that is waited for.
            let _ = task.await;
        }
        self.monitor.plan_over();
    }

    /// Ends what runs and holds the job.
    pub async fn hold(&self, patience: Duration) -> Result<(), WireError> {
        let refused = match *self.doing() {
            Doing::Failed => Some("was made to fail; stop it"),
            _ if self.has_ended() => Some("has ended; there is nothing to pause"),
            _ if self.definition().lacks().is_some() => Some("waits to be started again; there is nothing to pause"),
            _ => None,
        };
        if let Some(why) = refused {
            return Err(WireError::new(ErrorClass::JobError, format!("the job {} {why}", self.id())));
        }
        self.halt(patience).await;
        if self.has_ended() {
            // It came to its end before it could be held.
            return Ok(());
        }
        self.rest_held();
        Ok(())
    }

    /// Lists the job as held.
    pub fn rest_held(&self) {
        self.monitor.set_error(None);
        self.monitor.set_paused(true);
        self.monitor.set_state(JobState::Stopped);
    }

    /// Lists the job as one that came to its end before.
    pub fn rest_ended(&self, state: JobState, error: Option<String>, summary: Option<Summary>) {
        self.ended.store(true, Ordering::Release);
        self.monitor.set_error(error);
        if let Some(summary) = summary {
            self.monitor.set_summary(summary);
        }
        self.monitor.set_state(state);
    }

    /// Fails unless the job is held.
    pub fn check_held(&self) -> Result<(), WireError> {
        if self.monitor.status().paused {
            return Ok(());
        }
        Err(WireError::new(ErrorClass::JobError, format!("the job {} is not paused", self.id())))
    }

    /// Lists the job as one that cannot run yet, with what it lacks, where that is known.
    pub fn wait_for(&self, what: Option<String>) {
        if let Some(what) = what.as_ref().filter(|what| self.monitor.status().error.as_ref() != Some(what)) {
            tracing::warn!("job {}: waits: {what}", self.id());
        }
        *self.doing() = Doing::Waiting;
        self.monitor.set_error(what);
        // What it lacks only the user can give.
        let needs_user = self.definition().lacks().is_some();
        self.monitor.set_state(if needs_user { JobState::Error } else { JobState::Running });
    }

    /// Ends what runs and makes the job fail until it is stopped.
    pub async fn fail(&self, patience: Duration) {
        self.halt(patience).await;
        *self.doing() = Doing::Failed;
        self.ended.store(false, Ordering::Release);
        self.monitor.set_paused(false);
        self.monitor.set_error(Some("Test sync exception".to_owned()));
        self.monitor.set_state(JobState::Error);
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of a pair of which nothing is known yet.
pub fn first_status(definition: &Definition, syncer: &str) -> JobStatus {
    let [source, target] = definition.storages().each_ref().map(pairs::view);
    JobStatus {
        job_id: definition.job_id().to_owned(),
        container: definition.container().to_owned(),
        mode: definition.mode(),
        unidirectional: definition.unidirectional(),
        syncer: syncer.to_owned(),
        ..JobStatus::between(source, target)
    }
}
