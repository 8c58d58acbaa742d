//! How much is asked of a server at once: more waits here, not in front of a server that has no more workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Operations at a time, and as many contents being read. A server with fewer workers than connections lets the others wait
/// until an idle one is closed: Apache with 64 workers took 8.1 s for 3,000 small files over 96 connections, 2.8 s over 56.
pub const AT_ONCE: usize = 56;
/// The same of a server that is near: it has no more to do at any time than it has processors for, and Apache with 64 busy
/// workers closes connections that wait for their next request. Over 32 it does not, and takes no longer.
const AT_ONCE_NEAR: usize = 32;
/// A server that answers within this when it has little to do is near.
const NEAR: Duration = Duration::from_millis(5);
/// What is known of its quickest answers counts for less with each slower one: it may be far by now.
const FADING: u64 = 1024;

/// How far away a server is: about as many microseconds as its quickest answers took.
#[derive(Debug)]
pub struct Distance(AtomicU64);

impl Default for Distance {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Distance {
    /// It answered after that time.
    pub fn answered_after(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let known = self.0.load(Ordering::Relaxed);
        // If another answer comes between, that one counts instead.
        self.0.store(time.min(known.saturating_add(known / FADING + 1)), Ordering::Relaxed);
    }

    /// Whether a round trip costs less than the work on both ends.
    pub fn is_near(&self) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) < NEAR.as_micros()
    }
}

/// A turn, which ends when it is dropped.
pub type Turn = Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>;

/// The turns of one storage. Who has a turn to change something may wait for one to read, never the reverse.
#[derive(Debug)]
pub struct Turns {
    distance: Arc<Distance>,
    changes: Lane,
    reads: Lane,
}

#[derive(Debug)]
struct Lane {
    far: Arc<Semaphore>,
    near: Arc<Semaphore>,
}

impl Turns {
    pub fn new(distance: Arc<Distance>) -> Self {
        Self { distance, changes: Lane::new(), reads: Lane::new() }
    }

    /// A turn to change or look at something.
    pub async fn change(&self) -> Turn {
        self.changes.turn(&self.distance).await
    }

    /// A turn to read.
    pub async fn read(&self) -> Turn {
        self.reads.turn(&self.distance).await
    }
}

impl Lane {
    fn new() -> Self {
        Self { far: Arc::new(Semaphore::new(AT_ONCE)), near: Arc::new(Semaphore::new(AT_ONCE_NEAR)) }
    }

    /// Nobody closes the semaphores, so there always is one.
    async fn turn(&self, distance: &Distance) -> Turn {
        let far = self.far.clone().acquire_owned().await.ok()?;
        let near = if distance.is_near() { self.near.clone().acquire_owned().await.ok() } else { None };
        Some((far, near))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn less_is_asked_at_once_of_a_server_that_is_near() {
        let turns = Turns::new(Arc::default());
        turns.distance.answered_after(Duration::from_millis(50));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.change().await);
        }
        assert!(tokio::time::timeout(Duration::from_millis(10), turns.change()).await.is_err());
        held.clear();
        turns.distance.answered_after(Duration::from_millis(1));
        turns.distance.answered_after(Duration::from_millis(50));
        for _ in 0..AT_ONCE_NEAR {
            held.push(turns.change().await);
        }
        assert!(tokio::time::timeout(Duration::from_millis(10), turns.change()).await.is_err());
        assert!(turns.read().await.is_some());
        for _ in 0..3_000 {
            turns.distance.answered_after(Duration::from_millis(50));
        }
        assert!(!turns.distance.is_near(), "it went away");
    }
}
