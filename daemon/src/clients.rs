//! One connected client, as the service sees it: whom events go to, and whether it is still there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wl_core::monitor::{Event, EventType, Monitor};

use crate::protocol::Answer;

/// The types of events a client wants of a job; empty is all.
pub type Filter = BTreeSet<EventType>;

/// Cheap to clone; every clone is the same client.
#[derive(Clone)]
pub struct ClientHandle {
    inner: Arc<Inner>,
}

struct Inner {
    events: mpsc::Sender<Answer>,
    gone: CancellationToken,
    jobs: Mutex<HashMap<String, Interest>>,
}

/// What a client wants to hear of a job.
struct Interest {
    filter: Filter,
    /// Ends what forwards the job's events; none while only a filter is set.
    forwarder: Option<CancellationToken>,
}

impl ClientHandle {
    /// A client that takes events from the other end of `events` (those it is too slow for are lost) until `gone`.
    pub fn new(events: mpsc::Sender<Answer>, gone: CancellationToken) -> Self {
        Self { inner: Arc::new(Inner { events, gone, jobs: Mutex::default() }) }
    }

    /// Cancelled when the client is no longer there.
    pub fn gone(&self) -> &CancellationToken {
        &self.inner.gone
    }

    /// Whether the client listens to any job.
    pub fn follows(&self) -> bool {
        self.jobs().values().any(|interest| interest.forwarder.is_some())
    }

    /// Sets what the client wants to hear of a job.
    pub fn set_filter(&self, job_id: &str, filter: Filter) {
        let mut jobs = self.jobs();
        match jobs.get_mut(job_id) {
            Some(interest) => interest.filter = filter,
            None => drop(jobs.insert(job_id.to_owned(), Interest { filter, forwarder: None })),
        }
    }

    /// Forwards a job's events from now on, until the job is forgotten or the client is gone. A job of the same id
    /// that was followed before is followed no longer.
    pub fn follow(&self, job_id: &str, monitor: &Monitor) {
        let stop = self.inner.gone.child_token();
        let before = {
            let mut jobs = self.jobs();
            let interest =
                jobs.entry(job_id.to_owned()).or_insert_with(|| Interest { filter: Filter::new(), forwarder: None });
            interest.forwarder.replace(stop.clone())
        };
        if let Some(before) = before {
            before.cancel();
        }
        let (client, events, job_id) = (self.clone(), monitor.events(), job_id.to_owned());
        tokio::spawn(async move {
            stop.run_until_cancelled(client.forward(&job_id, events)).await;
        });
    }

    async fn forward(&self, job_id: &str, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.push(job_id, &event),
                Err(RecvError::Lagged(missed)) => tracing::debug!("a client was too slow for {missed} events"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn push(&self, job_id: &str, event: &Event) {
        let wanted = self
            .jobs()
            .get(job_id)
            .is_none_or(|interest| interest.filter.is_empty() || interest.filter.contains(&event.event_type));
        if !wanted {
            return;
        }
        let Ok(event) = serde_json::to_string(event) else { return };
        if self.inner.events.try_send(Answer::Event { event }).is_err() {
            tracing::debug!("a client is too slow for an event of {job_id}, which it misses");
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Interest>> {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
