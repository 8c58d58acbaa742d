//! Pairs: opened from definitions, and shared by all who change one.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wl_core::Result;
use wl_core::backend::Backend;
use wl_core::job::{Pair, Side};
use wl_core::manifest::Storage;
use wl_core::monitor::Monitor;
use wl_core::report::{ConflictView, StorageView};
use wl_core::state::{PairState, State};
use wl_core::turn::Turn;

use super::definition::{Definition, Environment, variable};
use crate::protocol::{ErrorClass, WireError};
use crate::rooms::Rooms;

/// What the configuration says where a job does not.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Parallel transfers a job; none leaves it to what the storages say pays.
    pub transfers: Option<usize>,
    /// Bytes a second, at most, for a whole job.
    pub bandwidth_limit: Option<u64>,
    /// How long a one-shot job waits for a fault to pass.
    pub retry_for: Duration,
}

/// Opens pairs.
pub struct Pairs {
    rooms: Arc<dyn Rooms>,
    state: State,
    defaults: Defaults,
    shared: Mutex<HashMap<Key, Weak<Pair>>>,
}

/// The container and its two places, whichever is the source.
pub type Key = (String, [String; 2]);

/// How a storage is opened: as it is, or only to be read.
type As = fn(&Storage) -> Storage;

impl Pairs {
    /// None is open yet.
    pub fn new(rooms: Arc<dyn Rooms>, state: State, defaults: Defaults) -> Self {
        Self { rooms, state, defaults, shared: Mutex::default() }
    }

    /// What the configuration says where a job does not.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What is remembered of a pair; no storage is opened. What other storages at these places left counts for nothing.
    pub fn known(&self, definition: &Definition) -> Result<PairState> {
        let known = self.ever_known(definition)?;
        if known.is_of(ids(definition))? { Ok(known) } else { Ok(known.blank()) }
    }

    /// What is remembered of a pair of places, whichever storages were there: for what was done in them.
    pub fn ever_known(&self, definition: &Definition) -> Result<PairState> {
        let [source, target] = definition.storages();
        self.state.known_pair(definition.container_id(), &source.place(), &target.place())
    }

    /// Opens a pair as the definition says, for one who only looks: nothing of it is remembered.
    pub async fn open(&self, definition: &Definition) -> Result<Arc<Pair>, WireError> {
        self.open_with(definition, self.known(definition)?, Storage::clone).await
    }

    /// The same for one who promises to change nothing anywhere: no backend writes, not even a trial that it takes away
    /// again. What would be written is planned all the same.
    pub async fn open_untouched(&self, definition: &Definition) -> Result<Arc<Pair>, WireError> {
        self.open_with(definition, self.known(definition)?, Storage::only_read).await
    }

    async fn open_with(
        &self,
        definition: &Definition,
        state: PairState,
        opened_as: As,
    ) -> Result<Arc<Pair>, WireError> {
        if let Some(what) = definition.lacks() {
            return Err(WireError::new(ErrorClass::JobError, what));
        }
        let [source, target] = definition.storages();
        let sides = [self.side(source, definition, opened_as).await?, self.side(target, definition, opened_as).await?];
        Ok(Arc::new(Pair {
            job_id: definition.job_id().to_owned(),
            container: definition.container().to_owned(),
            sides,
            options: definition.options(&self.defaults),
            state,
            store: self.state.clone(),
            turn: Turn::default(),
            leave_used: AtomicBool::default(),
        }))
    }

    /// Opens a pair for a job: whoever wants to change the same pair from now on shares it.
    ///
    /// RACE: somebody who is changing it already has another turn than this job. What one of them does under the
    /// other's hands its guards refuse, and the next pass sees it.
    pub async fn open_for_job(&self, definition: &Definition) -> Result<Arc<Pair>, WireError> {
        let [source, target] = definition.storages();
        let state = self.state.pair(definition.container_id(), &source.place(), &target.place())?;
        let pair = self.open_with(definition, state.clone(), Storage::clone).await?;
        // Whoever cannot be opened leaves what is remembered as it is.
        if state.set_storages(ids(definition))? {
            tracing::info!(job = definition.job_id(), "a storage is another than before: this is a first contact");
        }
        self.share(definition, &pair);
        Ok(pair)
    }

    /// The pair, perhaps the other way round, for one who changes it beside a job that may be running.
    pub async fn open_shared(&self, definition: &Definition) -> Result<Arc<Pair>, WireError> {
        let shared = self.shared().get(&key(definition)).and_then(Weak::upgrade);
        match shared {
            Some(pair) => Ok(pair),
            None => self.open_for_job(definition).await,
        }
    }

    async fn side(&self, storage: &Storage, definition: &Definition, opened_as: As) -> Result<Side, WireError> {
        let backend = self.backend(&opened_as(storage), definition.environment().clone()).await?;
        Ok(Side {
            view: view(storage),
            place: storage.place(),
            backend,
            read_only: storage.read_only(),
            watcher_interval: storage.watcher_interval(),
            bandwidth_limit: storage.bandwidth_limit(),
        })
    }

    /// Opens a storage with its secrets, which are looked up now. That may run a command and so takes a thread.
    pub async fn backend(&self, storage: &Storage, environment: Environment) -> Result<Arc<dyn Backend>, WireError> {
        let (rooms, storage) = (self.rooms.clone(), storage.clone());
        let opened = tokio::task::spawn_blocking(move || {
            rooms.open(&storage.resolve_secrets(&|name| variable(&environment, name))?)
        });
        let opened = opened.await.map_err(|error| {
            let text = format!("opening a storage met a bug in wl: {error}");
            WireError::new(ErrorClass::DaemonError, text)
        })?;
        opened.map_err(Into::into)
    }

    fn share(&self, definition: &Definition, pair: &Arc<Pair>) {
        let mut shared = self.shared();
        shared.retain(|_, pair| pair.strong_count() > 0);
        shared.insert(key(definition), Arc::downgrade(pair));
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Pair>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all definitions of one pair have in common.
pub fn key(definition: &Definition) -> Key {
    let mut places = definition.storages().each_ref().map(Storage::place);
    places.sort();
    (definition.container_id().to_owned(), places)
}

fn ids(definition: &Definition) -> [&str; 2] {
    definition.storages().each_ref().map(Storage::backend_id)
}

/// How a storage is shown.
pub fn view(storage: &Storage) -> StorageView {
    StorageView {
        backend_id: storage.backend_id().to_owned(),
        storage_type: storage.storage_type().to_owned(),
        location: storage.location(),
    }
}

/// Shows what is remembered of a pair in a job's status. What cannot be read is left out: a run shows it again.
pub fn show_known(monitor: &Monitor, known: &PairState) {
    if let Ok((files, bytes)) = known.agreed() {
        monitor.set_agreed(files, bytes);
    }
    if let (Ok(conflicts), Ok(problems)) = (known.conflicts(), known.problems()) {
        let conflicts = conflicts.into_iter().map(|row| ConflictView {
            path: row.path.to_string(),
            kind: row.kind,
            since: row.since,
        });
        monitor.set_open(conflicts.collect(), problems);
    }
}
