//! A content that is being written, under a name that no listing reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Content;
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::error;
use crate::progress::{Progress, is_kept};
use crate::root::Dir;
use crate::seen::{Seen, What};
use crate::sys;

/// What marks a part name under which a user's version is held for a moment: it is never simply deleted.
const HELD: &str = "held-";

/// A name that nobody uses, unless a process of the same number elsewhere does.
pub fn fresh_name() -> String {
    format!("{PART_PREFIX}{}", fresh())
}

/// A fresh name to hold a user's version under.
pub fn held_name() -> String {
    format!("{PART_PREFIX}{HELD}{}", fresh())
}

/// Whether a part name holds a user's version.
pub fn is_held(name: &str) -> bool {
    name.strip_prefix(PART_PREFIX).is_some_and(|rest| rest.starts_with(HELD))
}

/// Whether a part name is one that this backend gives: what a user, or another backend on the same directory, named so is
/// left alone.
pub fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PART_PREFIX) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_fresh =
        |text: &str| text.split_once('-').is_some_and(|(process, count)| is_number(process) && is_number(count));
    is_kept(name) || is_fresh(rest.strip_prefix(HELD).unwrap_or(rest))
}

fn fresh() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A part file. It is locked while it lives, so that nobody takes it for a dead writer's; dropped under its part name,
/// it is deleted.
pub struct Part {
    dir: Arc<Dir>,
    name: String,
    here: bool,
    fd: Arc<OwnedFd>,
    /// Noted for a content that is worth going on with.
    progress: Option<Progress>,
}

impl Part {
    /// A new, empty one in that directory.
    pub fn create(dir: &Arc<Dir>) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = fresh_name();
            let fd = match rustix::fs::openat(&**dir, &name, flags, Mode::from_raw_mode(0o600)) {
                Err(Errno::EXIST) => continue,
                opened => opened?,
            };
            let part = Self { dir: dir.clone(), name, here: true, fd: Arc::new(fd), progress: None };
            let locked = rustix::fs::flock(&*part.fd, FlockOperation::NonBlockingLockExclusive);
            // Somebody sweeping came between creating and locking: leave it to them.
            if locked != Err(Errno::WOULDBLOCK) && sys::seen_of(&*part.fd)?.links > 0 {
                return Ok(part);
            }
        }
    }

    /// The one of that name, whether it is there already or not; none if somebody else has it.
    fn kept(dir: &Arc<Dir>, name: String) -> Result<Option<Self>, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&**dir, &name, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::LOOP | Errno::ISDIR | Errno::ACCESS | Errno::NXIO) => return Ok(None),
            opened => opened?,
        };
        let (seen, me) = (sys::seen_of(&fd)?, rustix::process::geteuid().as_raw());
        let mine = seen.what == What::File && seen.links == 1 && seen.owner.0 == me && seen.mode == 0o600;
        if !mine || rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let same = sys::seen_at(dir.as_fd(), &name).is_ok_and(|there| there.ino == seen.ino);
        let progress = Some(Progress::beside(dir, &name));
        Ok(same.then(|| Self { dir: dir.clone(), name, here: true, fd: Arc::new(fd), progress }))
    }

    /// Says that nobody is to go on with it.
    fn give_up(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.forget();
        }
    }

    /// The file, open.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// The directory it is in.
    pub fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// Its part name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says that it has another name now.
    pub fn renamed(&mut self) {
        self.here = false;
    }

    /// Says that it has its part name again.
    pub fn is_back(&mut self) {
        self.here = true;
    }

    /// Gives it mode, owner and modification time: those wanted, else the replaced file's, else the usual ones.
    pub fn dress(&self, meta: &Meta, old: Option<&Seen>, usual_mode: u32) -> Result<(), Errno> {
        if let Some((user, group)) = old.map(|old| old.owner)
            && sys::seen_of(&*self.fd)?.owner != (user, group)
        {
            // Only a privileged process may: the file is worth more than its owner.
            let _ = rustix::fs::fchown(&*self.fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        }
        let mode = meta.mode.or(old.map(|old| old.mode)).unwrap_or(usual_mode) & 0o777;
        if_taken(set_mode(&*self.fd, mode))?;
        meta.mtime.map_or(Ok(()), |mtime| if_taken(set_mtime(&*self.fd, mtime)))
    }
}

/// File systems without permission bits, or whose files are another user's, refuse to be told any, or a time.
fn if_taken(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => done,
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let worth_keeping = self.progress.as_ref().is_some_and(Progress::is_noted);
        if self.here && !worth_keeping {
            let _ = rustix::fs::unlinkat(&*self.dir, &self.name, rustix::fs::AtFlags::empty());
        }
    }
}

/// Sets the nine permission bits.
pub fn set_mode(fd: impl rustix::fd::AsFd, mode: u32) -> Result<(), Errno> {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)] // narrower on some systems
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as rustix::fs::RawMode))
}

/// Sets the modification time and leaves the access time.
pub fn set_mtime(fd: impl rustix::fd::AsFd, mtime: jiff::Timestamp) -> Result<(), Errno> {
    let nanos = mtime.as_nanosecond();
    let (Ok(seconds), Ok(fraction)) =
        (nanos.div_euclid(1_000_000_000).try_into(), nanos.rem_euclid(1_000_000_000).try_into())
    else {
        return Err(Errno::INVAL);
    };
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: fraction },
    };
    rustix::fs::futimens(fd, &times)
}

/// A content on its way into a part file, hashed as it is handed to the system.
pub struct Writer {
    part: Part,
    path: RelPath,
    hasher: Sha256,
    written: u64,
    size: u64,
    hash: Option<Hash>,
}

/// From this size on the room is taken before anything is written.
const ALLOCATE: u64 = 1 << 20;

impl Writer {
    /// Begins a content that will take the name of `path`, or goes on with what was written of that version before.
    pub fn begin(dir: &Arc<Dir>, path: &RelPath, content: &Content, called_off: &dyn Fn() -> bool) -> Result<Self> {
        let kept = Progress::part_name(path, content).map(|name| Part::kept(dir, name)).transpose();
        let part = match kept.map_err(|errno| error(errno, path))?.flatten() {
            Some(part) => part,
            None => Part::create(dir).map_err(|errno| error(errno, path))?,
        };
        Self::go_on(part, path, content, called_off)
    }

    fn go_on(mut part: Part, path: &RelPath, content: &Content, called_off: &dyn Fn() -> bool) -> Result<Self> {
        let fd = part.fd.clone();
        let proven = part.progress.as_mut().map(|progress| progress.proven(&fd, called_off)).transpose()?;
        let (written, hasher) = proven.unwrap_or_else(|| (0, Sha256::new()));
        if part.progress.is_some() {
            rustix::fs::ftruncate(&*fd, written)
                .and_then(|()| rustix::fs::seek(&*fd, SeekFrom::Start(written)))
                .map_err(|errno| error(errno, path))?;
        }
        if content.size >= ALLOCATE {
            sys::allocate(&**part.fd(), content.size).map_err(|errno| {
                // What is kept for later must not be what fills the disk.
                part.give_up();
                error(errno, path)
            })?;
        }
        Ok(Self { part, path: path.clone(), hasher, written, size: content.size, hash: content.hash })
    }

    /// How much is written already.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Says that nobody is to go on with it.
    pub fn give_up(mut self) {
        self.part.give_up();
    }

    /// Appends.
    pub fn write(&mut self, bytes: &Bytes) -> Result<()> {
        if self.written + bytes.len() as u64 > self.size {
            self.part.give_up();
            return Err(self.refused("the content is longer than announced"));
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match rustix::io::write(&**self.part.fd(), rest) {
                Ok(count) => {
                    self.hasher.update(&rest[..count]);
                    self.written += count as u64;
                    rest = &rest[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // A full disk is not helped by half a file.
                    self.part.give_up();
                    return Err(error(errno, &self.path));
                }
            }
        }
        if let Some(progress) = &mut self.part.progress {
            progress.note(self.written, &self.hasher);
        }
        Ok(())
    }

    /// The part and its hash, if everything announced was written and nothing else.
    pub fn finish(mut self) -> Result<(Part, Hash)> {
        self.part.give_up();
        if self.written < self.size {
            return Err(self.refused(&format!("the content ended after {} of {} bytes", self.written, self.size)));
        }
        let hash = Hash(self.hasher.clone().finalize().into());
        if self.hash.is_some_and(|expected| expected != hash) {
            return Err(self.refused("the content does not have the sha256 it should have"));
        }
        Ok((self.part, hash))
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(Fault::Refused, format!("{what}: it changed meanwhile")).at(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use wl_core::entry::Token;

    use super::*;
    use crate::root::Root;

    const SIZE: u64 = 64 << 20;

    /// A directory with a byte of a content of that size, which was cut off after it.
    fn cut_off(size: u64) -> (tempfile::TempDir, Arc<Dir>, Content) {
        let root = tempfile::tempdir().unwrap();
        let dir = Root::new(root.path().to_owned(), false).open().unwrap().dir(&RelPath::root()).unwrap();
        let content = Content::new(size, None, |_| Box::pin(std::future::pending()));
        let content = content.identified("there", &path(), &Token::new(b"1"));
        let name = Progress::part_name(&path(), &content).unwrap();
        let file = root.path().join(&name);
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(root.path().join(format!("{name}.at")), format!("1 {}\n", Hash::of(b"x"))).unwrap();
        (root, dir, content)
    }

    fn path() -> RelPath {
        RelPath::parse("f").unwrap()
    }

    fn left_in(root: &tempfile::TempDir) -> usize {
        std::fs::read_dir(root.path()).unwrap().count()
    }

    #[test]
    fn who_is_stopped_while_it_is_proven_is_gone_on_with_later() {
        let (root, dir, content) = cut_off(SIZE);
        assert_eq!(Writer::begin(&dir, &path(), &content, &|| true).err().unwrap().fault, Fault::Stopped);
        assert_eq!(left_in(&root), 2);
        assert_eq!(Writer::begin(&dir, &path(), &content, &|| false).unwrap().written(), 1);
    }

    #[test]
    fn what_finds_no_room_is_not_kept() {
        let (root, dir, content) = cut_off(1 << 62);
        assert!(Writer::begin(&dir, &path(), &content, &|| false).is_err());
        assert_eq!(left_in(&root), 0);
    }

    #[test]
    fn what_is_longer_than_announced_is_not_kept() {
        let (root, dir, content) = cut_off(SIZE);
        let mut writer = Writer::begin(&dir, &path(), &content, &|| false).unwrap();
        let more = vec![0; usize::try_from(SIZE).unwrap()];
        assert_eq!(writer.write(&more.into()).unwrap_err().fault, Fault::Refused);
        drop(writer);
        assert_eq!(left_in(&root), 0);
    }
}
