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
    /// Takes the lock for a daemon that will listen at that socket, or says which process has it.
    pub fn take(path: &Path, socket: &Path) -> Result<Self> {
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
            return Err(Error::new(Fault::Busy, taken(path, &holder, socket)));
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}\n{}", std::process::id(), socket.display())
        };
        write(&mut file).map_err(broken)?;
        Ok(Self { _file: file })
    }

    /// The process that holds a lock, as it says, and the socket that it listens at; none if nobody holds it.
    pub fn holder(path: &Path) -> Option<(String, PathBuf)> {
        let mut file = File::open(path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            _ => return None,
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).ok()?;
        let (process, socket) = holder.split_once('\n')?;
        Some((process.to_owned(), PathBuf::from(socket.trim_end_matches('\n'))))
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

fn taken(path: &Path, holder: &str, socket: &Path) -> String {
    let mut lines = holder.lines();
    let process = lines.next().map_or_else(String::new, |process| format!(" (process {process})"));
    let elsewhere = lines.next().filter(|theirs| *theirs != socket.to_string_lossy());
    let place = elsewhere.map_or_else(String::new, |theirs| format!(" --socket-path {theirs}"));
    let path = path.display();
    format!("a sync daemon is running here already{process}: it holds {path}; `wl daemon stop{place}` ends it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = Lock::of_state(dir.path());
        let socket = Path::new("/run/one.sock");
        let first = Lock::take(&path, socket).unwrap();
        let refused = Lock::take(&path, socket).unwrap_err();
        assert!(refused.message.ends_with("`wl daemon stop` ends it"), "{refused}");
        let elsewhere = Lock::take(&path, Path::new("/run/other.sock")).unwrap_err();
        assert!(elsewhere.message.contains("`wl daemon stop --socket-path /run/one.sock`"), "{elsewhere}");
        assert_eq!(refused.fault, Fault::Busy);
        assert!(refused.message.contains(&format!("(process {})", std::process::id())), "{refused}");
        assert_eq!(Lock::holder(&path), Some((std::process::id().to_string(), socket.to_owned())));
        drop(first);
        assert_eq!(Lock::holder(&path), None);
        Lock::take(&path, socket).unwrap();
    }
}
