//! How far a large content has come, noted beside its part file: what a crash or a lost connection cut off is gone on
//! with, if it is the same version.
//!
//! A note is a line of bytes written and their sha256. What lies in the part file counts only as far as it still has that
//! hash, so that a note need not be durable: after a power failure the worst is to begin again.

use std::sync::Arc;
use std::time::Duration;

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Content;
use wl_core::entry::Hash;
use wl_core::error::{Error, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::root::Dir;

/// Contents of this size on are gone on with; beginning again with less is cheap.
const LARGE: u64 = 64 << 20;
/// Progress is noted each time so much more has been written.
const STEP: u64 = 32 << 20;
/// What nobody came back for within this time is swept.
pub const KEPT: Duration = Duration::from_hours(24);
/// What marks the names of such part files, and of the notes beside them.
const MARK: &str = "resume-";
const NOTE: &str = ".at";
/// Digits that name what is being written.
const ID: usize = 32;

/// Whether a part name is that of a content to be gone on with, or of its note.
pub fn is_kept(name: &str) -> bool {
    let id = name.strip_prefix(PART_PREFIX).and_then(|rest| rest.strip_prefix(MARK));
    id.map(|id| id.strip_suffix(NOTE).unwrap_or(id))
        .is_some_and(|id| id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The note of one content being written.
pub struct Progress {
    dir: Arc<Dir>,
    note: String,
    noted: u64,
}

impl Progress {
    /// The part name under which this version of a path's content is written; none where it is not worth going on with.
    pub fn part_name(path: &RelPath, content: &Content) -> Option<String> {
        let version = content.version.filter(|_| content.size >= LARGE)?;
        let id = Hash::of(&[path.as_str().as_bytes(), b"\0", &version.0].concat());
        Some(format!("{PART_PREFIX}{MARK}{}", &id.to_string()[..ID]))
    }

    /// The note beside that part file.
    pub fn beside(dir: &Arc<Dir>, part: &str) -> Self {
        Self { dir: dir.clone(), note: format!("{part}{NOTE}"), noted: 0 }
    }

    /// What of the part file is proven by the note: how many bytes, and what has hashed them.
    pub fn proven(&mut self, part: &OwnedFd, called_off: &dyn Fn() -> bool) -> Result<(u64, Sha256)> {
        let Some((size, expected)) = self.read() else { return Ok(self.nothing()) };
        // Who is stopped while it is proven keeps it for the next time.
        self.noted = size;
        let (mut hasher, mut at, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        while at < size {
            if called_off() {
                return Err(Error::stopped());
            }
            let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
            match rustix::io::pread(part, &mut buffer[..wanted], at) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return Ok(self.nothing()),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
            }
        }
        if Hash(hasher.clone().finalize().into()) != expected {
            return Ok(self.nothing());
        }
        Ok((size, hasher))
    }

    fn nothing(&mut self) -> (u64, Sha256) {
        self.noted = 0;
        (0, Sha256::new())
    }

    fn read(&self) -> Option<(u64, Hash)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir.as_fd(), &self.note, flags, Mode::empty()).ok()?;
        let mut buffer = [0; 128];
        let count = rustix::io::read(&file, &mut buffer).ok()?;
        let (size, hash) = std::str::from_utf8(&buffer[..count]).ok()?.strip_suffix('\n')?.split_once(' ')?;
        Some((size.parse().ok()?, hash.parse().ok()?))
    }

    /// Notes how much is written, if that is worth it. A note that cannot be written only costs beginning again.
    pub fn note(&mut self, written: u64, hasher: &Sha256) {
        if written < self.noted + STEP {
            return;
        }
        self.noted = written;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let line = format!("{written} {}\n", Hash(hasher.clone().finalize().into()));
        let file = rustix::fs::openat(self.dir.as_fd(), &self.note, flags, Mode::from_raw_mode(0o600));
        let _ = file.and_then(|file| rustix::io::write(&file, line.as_bytes()));
    }

    /// Whether anything is noted, so that the part file is worth keeping.
    pub fn is_noted(&self) -> bool {
        self.noted > 0
    }

    /// Removes the note: the content is complete, or given up.
    pub fn forget(self) {
        let _ = rustix::fs::unlinkat(self.dir.as_fd(), &self.note, AtFlags::empty());
    }
}
