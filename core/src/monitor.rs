//! What a job tells while it runs: its status, and events for whoever listens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use crate::path::RelPath;
use crate::report::{ConflictView, JobState, JobStatus, Problem, Summary};

/// The types of events, as the control socket names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// The state changed; the value is its name.
    State,
    /// `CREATE|MODIFY|DELETE <path>`.
    Progress,
    /// `Conflict detected on <path>…`.
    Conflict,
    /// What went wrong.
    Error,
}

/// Something that happened in a job.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// What.
    pub value: String,
    /// Which job.
    pub job_id: String,
}

/// How many events a slow listener may lag behind before it misses some. A job never waits for a listener.
const EVENT_BACKLOG: usize = 16_384;
/// The time over which the rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(3);

/// A job's status and events. Cheap to call from any thread; never waits.
pub struct Monitor {
    inner: Mutex<Inner>,
    events: broadcast::Sender<Event>,
    state: watch::Sender<JobState>,
}

struct Inner {
    status: JobStatus,
    current: BTreeSet<RelPath>,
    pending_bytes: u64,
    /// Bytes that went over of steps that have not ended.
    under_way: u64,
    samples: VecDeque<(Instant, u64)>,
}

impl Monitor {
    /// Begins with that status.
    pub fn new(status: JobStatus) -> Self {
        let state = watch::Sender::new(status.state);
        let inner =
            Inner { status, current: BTreeSet::new(), pending_bytes: 0, under_way: 0, samples: VecDeque::new() };
        Self { inner: Mutex::new(inner), events: broadcast::Sender::new(EVENT_BACKLOG), state }
    }

    /// The events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The state, and a way to wait for another one.
    pub fn state(&self) -> watch::Receiver<JobState> {
        self.state.subscribe()
    }

    /// The status now.
    pub fn status(&self) -> JobStatus {
        let mut inner = self.lock();
        let works = matches!(inner.status.state, JobState::OneShot | JobState::Running);
        let rate = if works { inner.rate() } else { 0 };
        let left = inner.pending_bytes.saturating_sub(inner.under_way);
        let mut status = inner.status.clone();
        status.rate_bytes_per_s = rate;
        status.eta_s = (rate > 0 && inner.pending_bytes > 0).then(|| left.div_ceil(rate));
        status.current = inner.current.iter().take(16).map(ToString::to_string).collect();
        status
    }

    /// Sets the state; tells if it is another one.
    pub fn set_state(&self, state: JobState) {
        let changed = std::mem::replace(&mut self.lock().status.state, state) != state;
        if changed {
            let name = serde_json::to_value(state).ok().and_then(|name| name.as_str().map(str::to_owned));
            self.emit(EventType::State, name.unwrap_or_default());
        }
        self.state.send_replace(state);
    }

    /// Fills or clears what the job waits for or failed with; tells if it is a new text.
    pub fn set_error(&self, error: Option<String>) {
        let changed = {
            let mut inner = self.lock();
            let changed = inner.status.error != error;
            inner.status.error.clone_from(&error);
            changed
        };
        if let Some(text) = error.filter(|_| changed) {
            self.emit(EventType::Error, text);
        }
    }

    /// Tells of a change that was carried out: `CREATE`, `MODIFY` or `DELETE`.
    pub fn progress(&self, verb: &str, path: &RelPath) {
        self.emit(EventType::Progress, format!("{verb} {path}"));
    }

    /// Tells of a conflict that was not open before.
    pub fn conflict(&self, path: &RelPath, detail: &str) {
        self.emit(EventType::Conflict, format!("Conflict detected on {path}: {detail}"));
    }

    /// Adds to what is planned.
    pub fn plan(&self, steps: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.status.pending += steps;
        inner.pending_bytes += bytes;
    }

    /// One planned step of so many bytes ended, well or not.
    pub fn step_done(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.status.pending = inner.status.pending.saturating_sub(1);
        inner.pending_bytes = inner.pending_bytes.saturating_sub(bytes);
        inner.under_way = inner.under_way.saturating_sub(bytes);
    }

    /// Forgets what was planned: the round is over.
    pub fn plan_over(&self) {
        let mut inner = self.lock();
        inner.status.pending = 0;
        inner.pending_bytes = 0;
        inner.under_way = 0;
        inner.current.clear();
    }

    /// A transfer begins.
    pub fn transfer_begins(&self, path: &RelPath) {
        self.lock().current.insert(path.clone());
    }

    /// Bytes went over.
    pub fn transferred(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.status.transferred_bytes += bytes;
        inner.under_way += bytes;
        let (now, total) = (Instant::now(), inner.status.transferred_bytes);
        if inner.samples.back().is_none_or(|(at, _)| now.duration_since(*at) > Duration::from_millis(100)) {
            inner.samples.push_back((now, total));
            // Nobody may ever ask for the rate.
            inner.forget_old(now);
        }
    }

    /// A transfer ended, with a whole file if `whole`.
    pub fn transfer_ends(&self, path: &RelPath, whole: bool) {
        let mut inner = self.lock();
        inner.current.remove(path);
        inner.status.transferred_files += u64::from(whole);
    }

    /// Sets how much both sides are known to agree on.
    pub fn set_agreed(&self, files: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.status.files = files;
        inner.status.bytes = bytes;
    }

    /// Sets what is open.
    pub fn set_open(&self, conflicts: Vec<ConflictView>, problems: Vec<Problem>) {
        let mut inner = self.lock();
        inner.status.conflicts = conflicts;
        inner.status.problems = problems;
    }

    /// Sets what the run has done.
    pub fn set_summary(&self, summary: Summary) {
        self.lock().status.summary = Some(summary);
    }

    /// Says whether the job is held.
    pub fn set_paused(&self, paused: bool) {
        self.lock().status.paused = paused;
    }

    fn emit(&self, event_type: EventType, value: String) {
        if self.events.receiver_count() > 0 {
            let job_id = self.lock().status.job_id.clone();
            // Nobody listening any more is no failure.
            let _ = self.events.send(Event { event_type, value, job_id });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget_old(&mut self, now: Instant) {
        while self.samples.len() > 1 && now.duration_since(self.samples[0].0) > RATE_WINDOW {
            self.samples.pop_front();
        }
    }

    fn rate(&mut self) -> u64 {
        let now = Instant::now();
        self.forget_old(now);
        let Some((at, total)) = self.samples.front() else { return 0 };
        let (elapsed, bytes) = (now.duration_since(*at), self.status.transferred_bytes - total);
        if elapsed > RATE_WINDOW * 2 || elapsed.is_zero() {
            return 0;
        }
        u64::try_from(u128::from(bytes) * 1000 / elapsed.as_millis().max(1)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StorageView;

    #[test]
    fn what_is_transferred_unwatched_leaves_no_more_than_the_rate_needs() {
        let view = || StorageView { backend_id: String::new(), storage_type: String::new(), location: String::new() };
        let monitor = Monitor::new(JobStatus::between(view(), view()));
        let Some(long_ago) = Instant::now().checked_sub(RATE_WINDOW * 2) else { return };
        monitor.lock().samples.extend((0..1000).map(|n| (long_ago, n)));
        monitor.transferred(1);
        assert_eq!(monitor.lock().samples.len(), 1);
    }
}
