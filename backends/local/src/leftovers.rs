//! Part files that listings come across: those whose writer is dead are cleared away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fd::AsFd as _;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use wl_core::path::RelPath;

use crate::part::{is_held, is_ours};
use crate::progress::{KEPT, is_kept};
use crate::root::{Dir, Handle};
use crate::seen::{Seen, What};
use crate::sys;
use crate::trash::recover;

/// Part files seen and not judged yet.
#[derive(Default)]
pub struct Leftovers {
    seen: Mutex<BTreeSet<RelPath>>,
}

/// More than anybody takes between displacing a version and settling it.
const SETTLED: Duration = Duration::from_mins(1);

impl Leftovers {
    /// Remembers a part file until the next sweep.
    pub fn came_across(&self, path: RelPath) {
        if !is_ours(path.name()) {
            return;
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }

    /// Removes those whose writer is dead; a user's version that a crash left under a held name goes to the trash.
    pub fn sweep(&self, handle: &Arc<Handle>) -> usize {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let mut removed = 0;
        for path in seen {
            let Ok(dir) = handle.parent(&path) else { continue };
            match judge(handle, &dir, &path, true) {
                Ok(true) => removed += 1,
                Ok(false) => self.came_across(path),
                Err(Errno::NOENT) => {}
                Err(errno) => tracing::debug!(%path, %errno, "a part file could not be swept"),
            }
        }
        removed
    }
}

/// Removes every dead part file in a directory.
pub fn sweep_dir(handle: &Arc<Handle>, dir: &Dir, path: &RelPath) -> Result<usize, Errno> {
    let mut names = Vec::new();
    sys::names_in(dir, |name, _| names.extend(String::from_utf8(name.to_vec())))?;
    let parts = names.iter().filter(|name| is_ours(name)).filter_map(|name| path.join(name).ok());
    Ok(parts.filter(|part| judge(handle, dir, part, false) == Ok(true)).count())
}

/// Removes a part file if its writer is dead; whether it was. Given time, one that can be gone on with is kept for a while.
fn judge(handle: &Arc<Handle>, dir: &Dir, path: &RelPath, given_time: bool) -> Result<bool, Errno> {
    let seen = sys::seen_at(dir.as_fd(), path.name())?;
    if seen.what != What::File {
        return Err(Errno::NOENT);
    }
    if is_held(path.name()) {
        return Ok(untouched_for(&seen, SETTLED) && recover(handle, path).is_ok());
    }
    if given_time && is_kept(path.name()) && !untouched_for(&seen, KEPT) {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, path.name(), flags, Mode::empty())?;
    // A file system without locks gives no way to know: it stays.
    let dead = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && sys::seen_of(&file)?.ino == sys::seen_at(dir.as_fd(), path.name())?.ino;
    if dead {
        rustix::fs::unlinkat(dir, path.name(), AtFlags::empty())?;
    }
    Ok(dead)
}

fn untouched_for(seen: &Seen, time: Duration) -> bool {
    let changed = u64::try_from(seen.ctime.sec).map(Duration::from_secs).ok();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
    changed.zip(now).is_some_and(|(changed, now)| changed + time < now)
}
