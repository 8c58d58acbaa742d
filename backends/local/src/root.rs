//! The directory that a storage is, and everything that is opened below it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::{error, words};
use crate::mounts::{Mounts, missing};
use crate::part::{set_mode, set_mtime};
use crate::scratch::Scratch;
use crate::seen::{Clock, Seen, What};
use crate::sys;

/// The place of a storage. Its directory may appear, vanish and be replaced by another at any time.
pub struct Root {
    path: PathBuf,
    read_only: bool,
    last: Mutex<Option<Last>>,
    /// Which directory was told of last, as the one that what follows is meant for.
    told: Mutex<Option<(u64, u64)>>,
}

/// The directory that was there last, open only while it is used: an idle storage can be unmounted.
struct Last {
    id: (u64, u64),
    nature: Arc<Nature>,
    mounts: Arc<Mounts>,
    measured: Instant,
    handle: Weak<Handle>,
}

/// How long the clock of a file system is known after it was measured: a server's and ours drift apart, or are set.
const KNOWN_FOR: Duration = Duration::from_mins(5);

impl Last {
    /// Whether its clock is to be measured again. It does not matter whose it is where every change has a date of its own.
    fn is_stale(&self) -> bool {
        self.nature.clock != Clock::Fine && self.measured.elapsed() > KNOWN_FOR
    }
}

/// What was found out about the file system.
pub struct Nature {
    /// How finely it dates changes; measured where the root is.
    pub clock: Clock,
    /// Whether it can rename without replacing.
    pub no_replace: AtomicBool,
    /// Whether it can exchange two names.
    pub exchange: AtomicBool,
    /// Whether others may change it without this system being told.
    pub remote: bool,
    /// The mode of a new file where nothing else says one.
    pub usual_mode: u32,
    /// What of a file's meta it keeps.
    pub keeps: Keeps,
}

impl Nature {
    fn measure(fd: &OwnedFd, read_only: bool) -> Self {
        Self {
            clock: Clock::measure(fd.as_fd(), read_only),
            no_replace: AtomicBool::new(true),
            exchange: AtomicBool::new(true),
            remote: sys::is_remote(fd),
            usual_mode: usual_mode(fd.as_fd()),
            keeps: Keeps::measure(fd.as_fd(), read_only),
        }
    }

    /// The same with what its clock says now.
    fn with_clock(&self, clock: Clock) -> Self {
        let again = |ability: &AtomicBool| AtomicBool::new(ability.load(Ordering::Relaxed));
        let Self { ref no_replace, ref exchange, remote, usual_mode, keeps, .. } = *self;
        Self { clock, no_replace: again(no_replace), exchange: again(exchange), remote, usual_mode, keeps }
    }
}

/// What of a file's meta a file system keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    pub mtime: bool,
    pub mode: bool,
    /// How finely modification times, in nanoseconds.
    pub resolution: u64,
}

impl Keeps {
    /// Taken for so until it was measured.
    pub const EVERYTHING: Self = Self { mtime: true, mode: true, resolution: 1 };

    /// Measures with a file that is gone afterwards. Everything where none can be made: nothing is written there.
    pub fn measure(dir: BorrowedFd<'_>, read_only: bool) -> Self {
        Scratch::new(dir, read_only).map_or(Self::EVERYTHING, |scratch| Self::of(scratch.file()))
    }

    fn of(file: &OwnedFd) -> Self {
        const ODD: i128 = 1_000_000_000_123_456_789;
        const MODE: u32 = 0o640;
        const STEPS: [u64; 6] = [1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000];
        let dressed = jiff::Timestamp::from_nanosecond(ODD).is_ok_and(|odd| set_mtime(file, odd).is_ok());
        let _ = set_mode(file, MODE);
        let Ok(seen) = sys::seen_of(file) else { return Self { mtime: false, mode: false, resolution: 1 } };
        let lost = (ODD - seen.mtime.nanos()).unsigned_abs();
        let resolution = STEPS.into_iter().find(|step| lost < u128::from(*step));
        Self {
            mtime: dressed && resolution.is_some(),
            mode: seen.mode == MODE,
            resolution: resolution.unwrap_or(2_000_000_000),
        }
    }
}

/// The root, open.
pub struct Handle {
    fd: OwnedFd,
    dev: u64,
    ino: u64,
    /// What was found out about its file system.
    pub nature: Arc<Nature>,
    /// What is mounted below it.
    pub mounts: Arc<Mounts>,
    dirs: Mutex<HashMap<RelPath, Weak<Dir>>>,
}

/// A directory, open.
pub struct Dir {
    fd: OwnedFd,
    /// The file system it is on.
    pub dev: u64,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// A place, whatever is there. One that is `read_only` is given no file, not even for a moment, but one without a name.
    pub fn new(path: PathBuf, read_only: bool) -> Self {
        Self { path, read_only, last: Mutex::default(), told: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing may be written there.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Opens the directory that is there now.
    pub fn open(&self) -> Result<Arc<Handle>> {
        let found = rustix::fs::stat(&self.path).map_err(|errno| self.error(errno))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)] // the types differ from system to system
        let id = (found.st_dev as u64, found.st_ino as u64);
        let same = last.as_ref().filter(|last| last.id == id);
        let fresh = same.filter(|last| !last.is_stale());
        if let Some(handle) = fresh.and_then(|last| last.handle.upgrade()) {
            return Ok(handle);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| self.error(errno))?;
        let seen = sys::seen_of(&fd).map_err(|errno| self.error(errno))?;
        let (nature, measured) = match (fresh, same) {
            (Some(last), _) => (last.nature.clone(), last.measured),
            (None, Some(last)) => {
                let clock = Clock::measure(fd.as_fd(), self.read_only);
                (Arc::new(last.nature.with_clock(clock)), Instant::now())
            }
            (None, None) => (Arc::new(Nature::measure(&fd, self.read_only)), Instant::now()),
        };
        let mounts = same.map_or_else(Arc::default, |last| last.mounts.clone());
        let (id, dirs) = ((seen.dev, seen.ino), Mutex::default());
        let (dev, ino) = id;
        let handle = Arc::new(Handle { fd, dev, ino, nature: nature.clone(), mounts: mounts.clone(), dirs });
        *last = Some(Last { id, nature, mounts, measured, handle: Arc::downgrade(&handle) });
        Ok(handle)
    }

    /// Opens the directory for a change, if it is the one that was told of last: a change that was decided on by what was
    /// in one directory is not made in another that has taken its place, as under a disk that was unmounted meanwhile.
    pub fn open_to_change(&self) -> Result<Arc<Handle>> {
        let handle = self.open()?;
        match *self.told() {
            Some(told) if told != (handle.dev, handle.ino) => {
                Err(self
                    .named(Fault::Refused, "another directory is here now than a moment ago: it is looked at again"))
            }
            _ => Ok(handle),
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<(u64, u64)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text that tells this directory from any other that may take its place. A birth time says more than a device
    /// number, which is another after the next boot for many kinds of disk.
    pub fn identity(&self) -> Result<String> {
        let handle = self.open()?;
        let seen = sys::seen_of(&*handle).map_err(|errno| self.error(errno))?;
        *self.told() = Some((seen.dev, seen.ino));
        Ok(match seen.born {
            Some(at) => format!("{} born {}.{:09}", seen.ino, at.sec, at.ns),
            None => format!("{} on {:x}", seen.ino, seen.dev),
        })
    }

    /// Makes the directory if its parent exists.
    pub fn make(&self) -> Result<()> {
        *self.told() = None;
        match rustix::fs::mkdir(&self.path, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.open().map(drop),
            Err(Errno::NOENT) => Err(self.orphaned()),
            Err(errno) => Err(self.error(errno)),
        }
    }

    /// Whether its parent exists.
    pub fn can_be_made(&self) -> Result<()> {
        match self.path.parent().map(rustix::fs::stat) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(Errno::NOENT)) => Err(self.orphaned()),
            Some(Err(errno)) => Err(self.error(errno)),
        }
    }

    fn orphaned(&self) -> Error {
        self.named(Fault::Missing, "neither it nor the directory it is in exists: make that first")
    }

    /// What was found out about the file system last; none if the root was never seen.
    pub fn nature(&self) -> Option<Arc<Nature>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|last| last.nature.clone())
    }

    fn error(&self, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => {
                self.named(Fault::Missing, "there is no such directory: make it, or mount what belongs there")
            }
            Errno::NOTDIR => self.named(Fault::Malformed, "this is not a directory: give the storage another location"),
            _ => self.named(crate::error::fault(errno), &words(errno)),
        }
    }

    fn named(&self, fault: Fault, what: &str) -> Error {
        Error::new(fault, format!("{}: {what}", self.path.display())).at(&RelPath::root())
    }
}

impl Handle {
    /// Opens a path, through no link.
    pub fn open(&self, path: &RelPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        sys::open_beneath(self.fd.as_fd(), path.as_str(), flags, Mode::empty())
    }

    /// Opens a directory, or shares it while another operation has it open.
    ///
    /// RACE: one that is renamed or replaced meanwhile is worked in where it went, as if it had been opened just before.
    pub fn dir(&self, path: &RelPath) -> rustix::io::Result<Arc<Dir>> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = dirs.get(path).and_then(Weak::upgrade) {
            return Ok(dir);
        }
        let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let dev = sys::seen_of(&fd)?.dev;
        let dir = Arc::new(Dir { fd, dev });
        if dirs.len() >= 256 {
            dirs.retain(|_, dir| dir.strong_count() > 0);
        }
        dirs.insert(path.clone(), Arc::downgrade(&dir));
        Ok(dir)
    }

    /// The directory a path is in, to change what is there: refused where what was mounted is not.
    pub fn parent(&self, path: &RelPath) -> Result<Arc<Dir>> {
        let Some(parent) = path.parent() else {
            return Err(Error::new(Fault::Refused, "this is the storage's root").at(path));
        };
        if self.misses(&parent) {
            return Err(Error::new(Fault::Refused, missing().message).at(path));
        }
        self.dir(&parent).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => {
                Error::new(Fault::Missing, "the directory it belongs in does not exist").at(path)
            }
            _ => error(errno, path),
        })
    }

    /// One look at a path; none if nothing is there, or a file is where its parent should be.
    pub fn look(&self, path: &RelPath) -> rustix::io::Result<Option<Seen>> {
        let found = match path.parent() {
            None => sys::seen_of(self),
            Some(parent) if parent.is_root() => sys::seen_at(self.as_fd(), path.name()),
            Some(parent) => self
                .open(&parent, sys::path_only() | OFlags::DIRECTORY)
                .and_then(|dir| sys::seen_at(dir.as_fd(), path.name())),
        };
        match found {
            Ok(seen) => Ok(Some(seen)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether another file system was seen at a path or above it that is there no more.
    pub fn misses(&self, path: &RelPath) -> bool {
        let dev = |path: &RelPath| self.look(path).ok().flatten().map(|seen| seen.dev);
        let is_missed =
            |place: &RelPath| dev(place).is_some_and(|here| place.parent().and_then(|at| dev(&at)) == Some(here));
        self.mounts.around(path).iter().any(is_missed)
    }

    /// How finely the file system that this was seen on dates changes.
    pub fn clock(&self, seen: &Seen) -> Clock {
        if seen.dev == self.dev { self.nature.clock } else { Clock::Coarse { ahead: 0 } }
    }
}

/// Whether a root's text is of one directory alone: what is mounted next often gets inode and device number of the last.
pub fn is_named(identity: &str) -> bool {
    identity.contains(" born ")
}

/// Opens a file to look at it again, if it is what was seen first.
pub fn keep_an_eye_on(dir: &Dir, path: &RelPath, seen_first: &Seen) -> Result<OwnedFd> {
    let flags = sys::path_only() | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, path.name(), flags, Mode::empty()).map_err(|errno| refused_if_gone(errno, path))?;
    let seen = sys::seen_of(&fd).map_err(|errno| error(errno, path))?;
    if seen == *seen_first { Ok(fd) } else { Err(Error::changed(path)) }
}

/// What vanished while it was expected to be there has changed.
pub fn refused_if_gone(errno: Errno, path: &RelPath) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Error::changed(path),
        _ => error(errno, path),
    }
}

/// Refuses what is no regular file.
pub fn need_file(seen: &Seen, path: &RelPath) -> Result<()> {
    match seen.what {
        What::File => Ok(()),
        What::Dir => Err(Error::new(Fault::Refused, "a directory is in the way").at(path)),
        What::Special(what) => Err(Error::new(Fault::Refused, format!("a {what} is in the way")).at(path)),
    }
}

/// What the process's mask leaves of read and write for all, seen on a file without a name.
fn usual_mode(dir: BorrowedFd<'_>) -> u32 {
    sys::unnamed(dir).and_then(sys::seen_of).map_or(0o644, |seen| seen.mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As under a disk that is unmounted during a round.
    #[test]
    fn what_takes_the_place_of_a_root_is_not_changed_before_it_was_told_of() {
        let home = tempfile::tempdir().unwrap();
        let (place, aside) = (home.path().join("root"), home.path().join("aside"));
        let root = Root::new(place.clone(), false);
        root.make().unwrap();
        root.identity().unwrap();
        assert!(root.open_to_change().is_ok());
        std::fs::rename(&place, &aside).unwrap();
        std::fs::create_dir(&place).unwrap();
        let refused = root.open_to_change().map(drop).unwrap_err();
        assert_eq!(refused.fault, Fault::Refused);
        assert!(root.open().is_ok(), "to be looked at");
        std::fs::remove_dir(&place).unwrap();
        std::fs::rename(&aside, &place).unwrap();
        assert!(root.open_to_change().is_ok());
        std::fs::rename(&place, &aside).unwrap();
        std::fs::create_dir(&place).unwrap();
        root.identity().unwrap();
        assert!(root.open_to_change().is_ok());
    }

    #[test]
    fn only_a_time_of_birth_names_a_directory() {
        for (text, named) in [("131 born 1732312345.000000001", true), ("1 on 2f", false)] {
            assert_eq!(is_named(text), named, "{text}");
        }
    }

    #[test]
    fn a_clock_that_was_measured_long_ago_is_measured_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().to_owned(), false);
        let set_back = Clock::Coarse { ahead: 3_600_000_000_000 };
        let pretend_measured = |age: Duration| {
            let handle = root.open().unwrap();
            handle.nature.exchange.store(false, Ordering::Relaxed);
            let mut last = root.last.lock().unwrap();
            let last = last.as_mut().unwrap();
            last.nature = Arc::new(handle.nature.with_clock(set_back));
            last.handle = Weak::new();
            last.measured = Instant::now().checked_sub(age).unwrap();
        };
        for (age, known) in [(KNOWN_FOR / 2, true), (KNOWN_FOR * 2, false)] {
            pretend_measured(age);
            let nature = root.open().unwrap().nature.clone();
            assert_eq!(nature.clock == set_back, known, "{age:?}");
            assert!(!nature.exchange.load(Ordering::Relaxed), "what else was found out stays");
        }
    }
}
