//! One daemon a place: a locked file, which the system unlocks however its holder ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use wl_core::{Error, Fault, Result};

/// Held for as long as a daemon runs. The file stays behind: removing it would let two processes hold "the" lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says which process has it.
    pub fn take(path: &Path) -> Result<Self> {
        let broken = |error: io::Error| Error::new(Fault::Broken, format!("cannot lock {}: {error}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(broken)?;
        if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(broken(errno.into()));
            }
            let mut holder = String::new();
            // Who holds it is only told, so that failing to read it is no failure.
            let _ = file.read_to_string(&mut holder);
            return Err(Error::new(Fault::Busy, taken(path, holder.trim())));
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(broken)?;
        Ok(Self { _file: file })
    }

    /// The lock file of a state directory.
    pub fn of_state(dir: &Path) -> PathBuf {
        dir.join("daemon.lock")
    }

    /// The lock file of a socket.
    pub fn of_socket(socket: &Path) -> PathBuf {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        path.into()
    }
}

fn taken(path: &Path, holder: &str) -> String {
    let process = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
    format!("a sync daemon is running here already{process}: it holds {}; `wl daemon stop` ends it", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = Lock::of_state(dir.path());
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert_eq!(refused.fault, Fault::Busy);
        assert!(refused.message.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        Lock::take(&path).unwrap();
    }
}
