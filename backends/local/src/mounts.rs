//! File systems mounted below the root. One that was there and is there no more has taken its files with it: nobody has
//! deleted them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wl_core::backend::Obstacle;
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;

/// Where other file systems were seen, as long as this program runs.
#[derive(Default)]
pub struct Mounts(Mutex<BTreeSet<RelPath>>);

impl Mounts {
    /// Notices a directory and the file systems that it and its parent are on; whether another one was there before.
    pub fn misses(&self, path: &RelPath, dev: u64, parent: u64) -> bool {
        let mut known = self.lock();
        if dev != parent {
            known.insert(path.clone());
        }
        dev == parent && known.contains(path)
    }

    /// Where other file systems were seen, at a path or above it.
    pub fn around(&self, path: &RelPath) -> Vec<RelPath> {
        self.lock().iter().filter(|place| path.is_at_or_below(place)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<RelPath>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of such a place, and of everything below it.
pub fn missing() -> Obstacle {
    let message =
        "what was mounted here is not: mount it again; if it is not to come back, `wl daemon stop` forgets it";
    Obstacle { kind: ProblemKind::Offline, message: message.to_owned() }
}
