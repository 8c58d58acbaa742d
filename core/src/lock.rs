//! One process at a time changes what users write: a manifest is read, changed and written anew, and what somebody else
//! wrote in between would be forgotten.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::document::fault_of;
use crate::error::{Error, Fault, Result};

/// Much longer than anybody takes to read and write a few small files.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How often to look whether it is free.
const LOOK: Duration = Duration::from_millis(5);

/// Held from reading to writing. It is on the base dir itself: nothing is left behind, and the system lets go of it
/// however its holder ends.
#[derive(Debug)]
pub struct Lock {
    _dir: File,
}

impl Lock {
    /// Waits until nobody else changes what is in that base dir, which is made if need be. Whoever holds it must not take
    /// it again.
    ///
    /// RACE: where the file system locks no directory (NFS), nobody waits: of two who change one manifest in the same
    /// instant, the change of the first is lost. No stored file is.
    pub fn take(base_dir: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            let dir = base_dir.display();
            Error::new(fault_of(&error), format!("cannot write in {dir}: {error}; check its permissions and room"))
        };
        let dir = fs::create_dir_all(base_dir).and_then(|()| File::open(base_dir)).map_err(failed)?;
        let begun = Instant::now();
        while let Err(Errno::WOULDBLOCK | Errno::INTR) = flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            if begun.elapsed() > PATIENCE {
                let dir = base_dir.display();
                let what = format!("another wl is changing what is in {dir} and does not end: end it, then try again");
                return Err(Error::new(Fault::Busy, what));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Self { _dir: dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first_and_says_so_when_it_waits_in_vain() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("deep/base");
        let first = Lock::take(&base).unwrap();
        let refused = Lock::take(&base).unwrap_err();
        assert_eq!(refused.fault, Fault::Busy);
        let second = std::thread::spawn(move || Lock::take(&base).map(drop));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
