//! The job table: every job the daemon knows, and what may be done to one.

mod definition;
mod job;
mod keyed;
mod pairs;
mod record;
mod runner;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wl_core::Result;
use wl_core::job::Pair;
use wl_core::manifest::Storage;
use wl_core::report::{JobState, JobStatus, Mode};
use wl_core::state::State;
use wl_core::syncer::{Needs, Syncer, select};

pub use definition::{Definition, Environment, environment};
pub use job::{Job, first_status};
pub use pairs::{Defaults, Pairs, view};
pub use text::status_line;

use crate::clients::{ClientHandle, Filter};
use crate::protocol::{ErrorClass, WireError};
use crate::rooms::Rooms;
use keyed::Keyed;
use record::Record;

/// How long a run has to end by itself when it is stopped; then it is ended at the next point where it waits.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };
/// The same when the daemon ends.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(1500);
/// How often a job that lacks something looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// So long it is known how a one-shot job ended that was stopped then.
const CLEARED: Duration = Duration::from_secs(10);

/// All jobs. What is done to one job is done in turn; different jobs do not wait for each other.
pub struct Jobs {
    rooms: Arc<dyn Rooms>,
    state: State,
    base_dir: PathBuf,
    pairs: Pairs,
    table: Mutex<BTreeMap<String, Arc<Job>>>,
    cleared: Mutex<HashMap<String, (Instant, JobStatus)>>,
    turns: Keyed,
    ending: CancellationToken,
}

impl Jobs {
    /// An empty table. The manifests are in `base_dir`.
    pub fn new(rooms: Arc<dyn Rooms>, state: State, base_dir: PathBuf, defaults: Defaults) -> Self {
        let pairs = Pairs::new(rooms.clone(), state.clone(), defaults);
        Self {
            rooms,
            state,
            base_dir,
            pairs,
            table: Mutex::default(),
            cleared: Mutex::default(),
            turns: Keyed::default(),
            ending: CancellationToken::new(),
        }
    }

    /// The pairs, for those who look at one without running a job.
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// The job of that id.
    pub fn find(&self, job_id: &str) -> Option<Arc<Job>> {
        self.table().get(job_id).cloned()
    }

    /// The job of that id, or an error that says that there is none.
    pub fn get(&self, job_id: &str) -> Result<Arc<Job>, WireError> {
        self.find(job_id).ok_or_else(|| {
            let text = format!("sync for job {job_id} is not running: `wl status` lists the jobs there are");
            WireError::new(ErrorClass::JobError, text)
        })
    }

    /// The status of every job, by id.
    pub fn statuses(&self) -> Vec<JobStatus> {
        let jobs: Vec<_> = self.table().values().cloned().collect();
        jobs.into_iter().map(|job| job.monitor().status()).collect()
    }

    /// How a one-shot job ended that was stopped a moment ago: whoever else waits for it may not have looked yet.
    pub fn just_cleared(&self, job_id: &str) -> Option<JobStatus> {
        self.cleared().get(job_id).map(|(_, status)| status.clone())
    }

    fn cleared(&self) -> MutexGuard<'_, HashMap<String, (Instant, JobStatus)>> {
        let mut cleared = self.cleared.lock().unwrap_or_else(PoisonError::into_inner);
        cleared.retain(|_, (at, _)| at.elapsed() < CLEARED);
        cleared
    }

    /// Starts a job, remembers it, and returns once it runs. `client` hears its events.
    pub async fn start(
        &self,
        definition: Definition,
        listener: Option<(&ClientHandle, Filter)>,
    ) -> Result<String, WireError> {
        let _turn = self.turns.take(definition.job_id()).await;
        self.check_open()?;
        if let Some(job) = self.find(definition.job_id()).filter(|job| !job.gives_way()) {
            let name = job.definition().container().to_owned();
            let text = format!(
                "sync of container {name} is already running (job {}): stop it first with `wl container stop-sync {name}`",
                job.id()
            );
            return Err(WireError::new(ErrorClass::JobError, text));
        }
        let syncer = self.syncer(&definition)?;
        let pair = self.pairs.open_for_job(&definition).await?;
        let sentence = format!("syncing container {}", text::what(&definition));
        let job = Arc::new(Job::new(definition, &syncer.traits(), Some(&pair.state)));
        if let Some((client, filter)) = listener {
            client.set_filter(job.id(), filter);
            client.follow(job.id(), job.monitor());
        }
        self.save(&Record::of(&job))?;
        self.cleared().remove(job.id());
        if let Some(old) = self.find(job.id()) {
            // One that waits would begin, too, as soon as it can.
            old.halt(PATIENCE).await;
        }
        self.table().insert(job.id().to_owned(), job.clone());
        self.run(&job, pair, syncer);
        tracing::info!("job {}: {sentence}", job.id());
        Ok(sentence)
    }

    /// Stops a job and forgets it; returns when nothing of it runs any more.
    pub async fn stop(&self, job_id: &str) -> Result<String, WireError> {
        let _turn = self.turns.take(job_id).await;
        let job = self.get(job_id)?;
        job.halt(PATIENCE).await;
        if job.has_ended() {
            self.cleared().insert(job_id.to_owned(), (Instant::now(), job.monitor().status()));
        }
        // If it cannot be forgotten it stays listed, and can be stopped again.
        self.state.remove_job(job_id)?;
        self.table().remove(job_id);
        job.monitor().set_state(JobState::Stopped);
        tracing::info!("job {job_id}: stopped");
        Ok(format!("sync for job {job_id} stopped"))
    }

    /// Stops all jobs and forgets them.
    pub async fn stop_all(&self) -> Result<(), WireError> {
        let ids: Vec<_> = self.table().keys().cloned().collect();
        let stops = ids.iter().map(|id| async {
            match self.stop(id).await {
                // Somebody else stopped it meanwhile.
                Err(error) if error.class == ErrorClass::JobError => Ok(()),
                outcome => outcome.map(drop),
            }
        });
        futures::future::join_all(stops).await.into_iter().collect()
    }

    /// Ends everything that runs, fast, without forgetting it: the daemon ends. Nothing can be started any more.
    pub async fn halt_all(&self) {
        self.ending.cancel();
        let jobs: Vec<_> = self.table().values().cloned().collect();
        futures::future::join_all(jobs.iter().map(|job| job.halt(PATIENCE_AT_THE_END))).await;
    }

    /// Holds a job without forgetting it.
    pub async fn pause(&self, job_id: &str) -> Result<String, WireError> {
        let _turn = self.turns.take(job_id).await;
        let job = self.get(job_id)?;
        job.hold(PATIENCE).await?;
        self.save(&Record::of(&job))?;
        tracing::info!("job {job_id}: paused");
        Ok(format!("sync for job {job_id} paused"))
    }

    /// Lets a held job go on, with these values of environment variables beside those it has.
    pub async fn resume(&self, job_id: &str, environment: Environment) -> Result<String, WireError> {
        let _turn = self.turns.take(job_id).await;
        let job = self.get(job_id)?;
        job.check_held()?;
        self.check_open()?;
        let definition = job.definition().with_environment(environment).without_leave_to_delete();
        let syncer = self.syncer(&definition)?;
        let pair = self.pairs.open_for_job(&definition).await?;
        job.monitor().set_paused(false);
        self.save(&Record::of(&job))?;
        job.redefine(definition);
        self.run(&job, pair, syncer);
        tracing::info!("job {job_id}: resumed");
        Ok(format!("sync for job {job_id} resumed"))
    }

    /// Makes a job fail, and stay so until it is stopped.
    pub async fn fail(&self, job_id: &str) -> Result<(), WireError> {
        let _turn = self.turns.take(job_id).await;
        self.get(job_id)?.fail(PATIENCE).await;
        Ok(())
    }

    /// Shows in the status of the jobs of a pair what somebody else changed about it.
    pub fn refresh(&self, definition: &Definition) {
        let key = pairs::key(definition);
        let jobs: Vec<_> = self.table().values().cloned().collect();
        for job in jobs.iter().filter(|job| pairs::key(&job.definition()) == key) {
            if let Ok(known) = self.pairs.known(definition) {
                pairs::show_known(job.monitor(), &known);
            }
            job.poke().notify_one();
        }
    }

    /// Takes up the remembered jobs: continuous ones go on; a one-shot job that was cut off is listed as such.
    pub fn take_up(self: &Arc<Self>) -> Result<()> {
        for row in self.state.jobs()? {
            let job_id = row.job_id.clone();
            match Record::read(row, &self.base_dir) {
                Ok(record) => self.take_up_one(&record),
                Err(error) => tracing::error!("job {job_id} is remembered in a way that cannot be read: {error}"),
            }
        }
        Ok(())
    }

    fn take_up_one(self: &Arc<Self>, record: &Record) {
        let definition = record.definition.clone();
        let known = self.pairs.known(&definition).ok();
        let traits = self.syncer(&definition).map_or(Job::NO_SYNCER, |syncer| syncer.traits());
        let job = Arc::new(Job::new(definition, &traits, known.as_ref()));
        self.table().insert(job.id().to_owned(), job.clone());
        if !record.rests(&job) {
            job.wait_for(None);
            tokio::spawn(self.clone().begin_when_possible(job));
        }
    }

    /// Begins a job that was taken up, as soon as its storages can be opened.
    async fn begin_when_possible(self: Arc<Self>, job: Arc<Job>) {
        loop {
            {
                let _turn = self.turns.take(job.id()).await;
                if !job.is_waiting() || self.ending.is_cancelled() {
                    return;
                }
                match self.parts_of(&job).await {
                    Ok((pair, syncer)) => return self.run(&job, pair, syncer),
                    Err(error) => job.wait_for(Some(error.desc)),
                }
            }
            if self.ending.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    async fn parts_of(&self, job: &Job) -> Result<(Arc<Pair>, Arc<dyn Syncer>), WireError> {
        let definition = job.definition();
        let syncer = self.syncer(&definition)?;
        Ok((self.pairs.open_for_job(&definition).await?, syncer))
    }

    fn run(&self, job: &Arc<Job>, pair: Arc<Pair>, syncer: Arc<dyn Syncer>) {
        let state = self.state.clone();
        job.run(pair, syncer, move |job| {
            if let Err(error) = state.save_job(&Record::of(job).row()) {
                tracing::error!("job {}: cannot remember how it ended: {error}", job.id());
            }
        });
    }

    /// The syncer that would keep two storages equal in both directions.
    pub fn syncer_between(&self, source: &Storage, target: &Storage) -> Result<Arc<dyn Syncer>> {
        self.select(source, target, Mode::Continuous, false)
    }

    fn syncer(&self, definition: &Definition) -> Result<Arc<dyn Syncer>> {
        let [source, target] = definition.storages();
        self.select(source, target, definition.mode(), definition.unidirectional())
    }

    fn select(&self, source: &Storage, target: &Storage, mode: Mode, unidirectional: bool) -> Result<Arc<dyn Syncer>> {
        let (source_type, target_type) = (source.storage_type(), target.storage_type());
        let needs = Needs { source_type, target_type, mode, unidirectional, mounted: false };
        select(self.rooms.syncers(), &needs).cloned()
    }

    fn check_open(&self) -> Result<(), WireError> {
        if self.ending.is_cancelled() {
            return Err(WireError::new(ErrorClass::DaemonError, "the sync daemon is ending: run the command again"));
        }
        Ok(())
    }

    fn save(&self, record: &Record) -> Result<(), WireError> {
        self.state.save_job(&record.row()).map_err(Into::into)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
