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
const LOOK_AGAIN: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(30) };

/// So long it is known how a one-shot job ended that was stopped then.
const CLEARED: Duration = Duration::from_secs(10);

fn not_running(job_id: &str) -> WireError {
    let text = format!("sync for job {job_id} is not running: `wl status` lists the jobs there are");
    WireError::new(ErrorClass::JobError, text)
}

/// All jobs. What is done to one job is done in turn; different jobs do not wait for each other.
pub struct Jobs {
    rooms: Arc<dyn Rooms>,
    state: State,
    base_dir: PathBuf,
    pairs: Pairs,
    table: Mutex<BTreeMap<String, Arc<Job>>>,
    cleared: Mutex<HashMap<String, (Instant, JobStatus)>>,
    /// Jobs that are remembered in a way that cannot be read, until they are stopped or started again.
    unreadable: Mutex<BTreeMap<String, JobStatus>>,
    turns: Keyed<String>,
    /// Of those who start a job, whatever its id.
    pair_turns: Keyed<pairs::Key>,
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
            unreadable: Mutex::default(),
            turns: Keyed::default(),
            pair_turns: Keyed::default(),
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
        self.find(job_id).ok_or_else(|| not_running(job_id))
    }

    /// The status of every job, by id.
    pub fn statuses(&self) -> Vec<JobStatus> {
        let jobs: Vec<_> = self.table().values().cloned().collect();
        let mut all = self.unreadable().clone();
        all.extend(jobs.into_iter().map(|job| (job.id().to_owned(), job.monitor().status())));
        all.into_values().collect()
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

    /// Starts a job, remembers it, and returns once it runs. A job that it `replaces` goes on if it cannot be started.
    /// `client` hears its events.
    pub async fn start(
        &self,
        definition: Definition,
        replaces: bool,
        listener: Option<(&ClientHandle, Filter)>,
    ) -> Result<String, WireError> {
        let _turn = self.turns.take(definition.job_id()).await;
        let _pair_turn = self.pair_turns.take(pairs::key(&definition)).await;
        self.check_open()?;
        self.check_free(&definition, replaces)?;
        let syncer = self.syncer(&definition)?;
        let pair = self.pairs.open_for_job(&definition).await?;
        let sentence = format!("syncing container {}", text::what(&definition));
        let job = Arc::new(Job::new(definition, &syncer.traits(), Some(&pair.state)));
        if let Some((client, filter)) = listener {
            client.set_filter(job.id(), filter);
            client.follow(job.id(), job.monitor());
        }
        let old = self.find(job.id());
        if let Some(old) = old.as_ref().filter(|old| old.has_ended()) {
            // How it ended may not be written down yet, and must not be written over what is now.
            old.halt(PATIENCE).await;
        }
        // To look up a secret takes its time.
        self.check_open()?;
        self.save(&Record::of(&job))?;
        self.cleared().remove(job.id());
        self.unreadable().remove(job.id());
        if let Some(old) = old {
            // One that waits would begin, too, as soon as it can.
            old.halt(PATIENCE).await;
            if !old.has_ended() {
                old.monitor().set_state(JobState::Stopped);
            }
        }
        self.table().insert(job.id().to_owned(), job.clone());
        self.run(&job, pair, syncer)?;
        tracing::info!("job {}: {sentence}", job.id());
        Ok(sentence)
    }

    /// Stops a job and forgets it; returns when nothing of it runs any more.
    pub async fn stop(&self, job_id: &str) -> Result<String, WireError> {
        self.stop_if(job_id, |_| true).await
    }

    /// The same for a job that has ended, so that nobody stops another that has taken its place.
    pub async fn stop_ended(&self, job_id: &str) -> Result<String, WireError> {
        self.stop_if(job_id, Job::is_done).await
    }

    async fn stop_if(&self, job_id: &str, is_meant: impl Fn(&Job) -> bool) -> Result<String, WireError> {
        let _turn = self.turns.take(job_id).await;
        match self.find(job_id) {
            Some(job) if is_meant(&job) => self.end(&job).await?,
            Some(_) => {
                let text = format!("the job {job_id} has not ended: without `only-ended` it is stopped all the same");
                return Err(WireError::new(ErrorClass::JobError, text));
            }
            None if self.unreadable().contains_key(job_id) => self.state.remove_job(job_id)?,
            None => return Err(not_running(job_id)),
        }
        self.table().remove(job_id);
        self.unreadable().remove(job_id);
        tracing::info!("job {job_id}: stopped");
        Ok(format!("sync for job {job_id} stopped"))
    }

    async fn end(&self, job: &Job) -> Result<(), WireError> {
        job.halt(PATIENCE).await;
        if job.has_ended() {
            self.cleared().insert(job.id().to_owned(), (Instant::now(), job.monitor().status()));
        }
        if let Err(error) = self.state.remove_job(job.id()) {
            // It stays listed as what it is now: it can be stopped again, or started.
            if !job.has_ended() {
                let text = format!("it was stopped, but that cannot be remembered: {error}");
                job.rest_ended(JobState::Stopped, Some(text), None);
            }
            return Err(error.into());
        }
        job.monitor().set_state(JobState::Stopped);
        Ok(())
    }

    /// Stops all jobs and forgets them.
    pub async fn stop_all(&self) -> Result<(), WireError> {
        let ids: Vec<_> = self.statuses().into_iter().map(|job| job.job_id).collect();
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
        self.restore(&job).await?;
        let definition = job.definition().with_environment(environment).without_leave_to_delete();
        let syncer = self.syncer(&definition)?;
        let pair = self.pairs.open_for_job(&definition).await?;
        self.check_open()?;
        job.monitor().set_paused(false);
        if let Err(error) = self.save(&Record::of(&job)) {
            job.monitor().set_paused(true);
            return Err(error);
        }
        job.redefine(definition);
        self.run(&job, pair, syncer)?;
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
            match Record::read(row.clone(), &self.base_dir) {
                Ok(record) => self.take_up_one(&record),
                Err(error) => {
                    tracing::error!("job {} is remembered in a way that cannot be read: {error}", row.job_id);
                    self.unreadable().insert(row.job_id.clone(), record::unreadable(row, &error));
                }
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
            job.wait_for(job.definition().lacks().map(str::to_owned));
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
                    Ok((pair, syncer)) => {
                        // It fails only where the daemon ends: the next one takes it up.
                        let _ = self.run(&job, pair, syncer);
                        return;
                    }
                    Err(error) => job.wait_for(Some(error.desc)),
                }
            }
            if self.ending.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// Gives a job the secrets that it lacks, where its manifest has them now. Until then it is in nobody's way: its pair may
    /// be kept equal by another job meanwhile.
    async fn restore(&self, job: &Job) -> Result<(), WireError> {
        let row = self.state.jobs()?.into_iter().find(|row| row.job_id == job.id());
        let Some(row) = row.filter(|_| job.definition().lacks().is_some()) else { return Ok(()) };
        let base_dir = self.base_dir.clone();
        let read = tokio::task::spawn_blocking(move || Record::read(row, &base_dir)).await;
        let Ok(Ok(Record { definition, .. })) = read else { return Ok(()) };
        if definition.lacks().is_none() {
            let _pair_turn = self.pair_turns.take(pairs::key(&definition)).await;
            self.check_free(&definition, false)?;
            job.redefine(definition);
        }
        Ok(())
    }

    async fn parts_of(&self, job: &Job) -> Result<(Arc<Pair>, Arc<dyn Syncer>), WireError> {
        self.restore(job).await?;
        let definition = job.definition();
        let syncer = self.syncer(&definition)?;
        Ok((self.pairs.open_for_job(&definition).await?, syncer))
    }

    /// Begins a run of a job of the table. Whoever ends all jobs holds the table to find them: none begins after that.
    fn run(&self, job: &Arc<Job>, pair: Arc<Pair>, syncer: Arc<dyn Syncer>) -> Result<(), WireError> {
        let _table = self.table();
        self.check_open()?;
        let state = self.state.clone();
        job.run(pair, syncer, move |job| {
            if let Err(error) = state.save_job(&Record::of(job).row()) {
                tracing::error!("job {}: cannot remember how it ended: {error}", job.id());
            }
        });
        Ok(())
    }

    /// Refuses what is kept equal already: by the job of that id, or under another id by one of the same pair.
    fn check_free(&self, definition: &Definition, replaces: bool) -> Result<(), WireError> {
        let (id, key) = (definition.job_id(), pairs::key(definition));
        let in_the_way = |job: &&Arc<Job>| {
            let is_over =
                if job.id() == id { job.gives_way() || replaces && job.is_replaceable() } else { job.is_over() };
            !is_over && (job.id() == id || pairs::key(&job.definition()) == key)
        };
        // The file system is looked at, which may take for ever: not while the table is held.
        let jobs: Vec<_> = self.table().values().cloned().collect();
        let Some(job) = jobs.iter().find(in_the_way) else { return Ok(()) };
        let name = job.definition().container().to_owned();
        let text = format!(
            "sync of container {name} is already running (job {}): stop it first with `wl container stop-sync {name}`",
            job.id()
        );
        Err(WireError::new(ErrorClass::JobError, text))
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

    fn unreadable(&self) -> MutexGuard<'_, BTreeMap<String, JobStatus>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
