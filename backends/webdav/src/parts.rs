//! Names for files that are still being written, or were moved aside, and the clearing away of those that dead writers left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use wl_core::path::{PART_PREFIX, RelPath};

/// What follows the prefix in the name of something moved aside, which may be a user's only copy.
const HELD: &str = "held-";
/// A part of another machine's writer that is older than this is taken for dead: nobody uploads a file for longer.
const DEAD_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The part names in use here, and those that listings came across.
pub struct Parts {
    /// This machine, in a few letters.
    host: String,
    used: Mutex<BTreeSet<RelPath>>,
    seen: Mutex<BTreeMap<RelPath, Option<Timestamp>>>,
}

/// A part name in use. What is still under it when it is dropped is swept.
pub struct Part {
    path: RelPath,
    parts: Arc<Parts>,
}

impl Deref for Part {
    type Target = RelPath;

    fn deref(&self) -> &RelPath {
        &self.path
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.parts.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// What is to become of a part file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its writer may be alive.
    Stays,
    /// Its writer is dead.
    Goes,
    /// Its writer is dead and had moved it aside: it goes to the trash.
    IsKept,
}

impl Parts {
    pub fn new() -> Arc<Self> {
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        let digest = Sha256::digest(&name);
        let host = format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
        Arc::new(Self { host, used: Mutex::default(), seen: Mutex::default() })
    }

    /// A name in that directory for something that is being written, or (`held`) was moved aside.
    pub fn fresh(self: &Arc<Self>, dir: &RelPath, held: bool) -> Part {
        // In a directory whose name says it all, the names begin with no dot: they are listed by servers that hide those.
        let prefix = if dir.name().starts_with(PART_PREFIX) { "" } else { PART_PREFIX };
        let kind = if held { HELD } else { "" };
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}{kind}{}-{}-{}", self.host, std::process::id(), &random[..20]);
        // INVARIANT: the name has neither a slash nor a NUL.
        let path = dir.join(&name).unwrap_or_else(|_| RelPath::root());
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        Part { path, parts: self.clone() }
    }

    /// A listing came across this one.
    pub fn came_across(&self, part: RelPath, age: Option<Timestamp>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(part, age);
    }

    /// Those that listings came across since the last time.
    pub fn take_seen(&self) -> BTreeMap<RelPath, Option<Timestamp>> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether any part that was come across in a directory has such a fate.
    pub fn any_in(&self, dir: &RelPath, is: impl Fn(Fate) -> bool) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let inside: Vec<_> = seen.iter().filter(|(part, _)| part.parent().as_ref() == Some(dir)).collect();
        inside.into_iter().any(|(part, modified)| is(self.fate(part, *modified)))
    }

    /// What is to become of a part, modified then by the server's clock.
    pub fn fate(&self, part: &RelPath, modified: Option<Timestamp>) -> Fate {
        if self.used.lock().unwrap_or_else(PoisonError::into_inner).contains(part) {
            return Fate::Stays;
        }
        let rest = part.name().strip_prefix(PART_PREFIX).unwrap_or(part.name());
        let (dead, rest) = match rest.strip_prefix(HELD) {
            Some(rest) => (Fate::IsKept, rest),
            None => (Fate::Goes, rest),
        };
        let mut fields = rest.split('-');
        let (host, pid) = (fields.next().unwrap_or_default(), fields.next().and_then(|pid| pid.parse::<i32>().ok()));
        // No writer names its parts so.
        let Some(pid) = pid else { return Fate::Goes };
        let old = modified.is_some_and(|modified| Timestamp::now().duration_since(modified) > DEAD_AFTER);
        let here = host == self.host;
        let own = i32::try_from(std::process::id()).is_ok_and(|own| own == pid);
        // A name of this process that is not in use is a leftover of its own, or of an earlier process of its number.
        if here && (own || !is_alive(pid)) || old { dead } else { Fate::Stays }
    }
}

fn is_alive(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    // Another user's process cannot be signalled, but it is there.
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_swept() {
        let parts = Parts::new();
        let target = RelPath::parse("d/x").unwrap();
        let dir = target.parent().unwrap();
        let part = parts.fresh(&dir, false);
        let own = RelPath::clone(&part);
        assert!(own.name().starts_with(PART_PREFIX) && own.parent() == target.parent() && own.is_ours());
        assert_eq!(parts.fate(&own, None), Fate::Stays);
        drop(part);
        assert_eq!(parts.fate(&own, None), Fate::Goes);
        let held = RelPath::clone(&parts.fresh(&dir, true));
        assert_eq!(parts.fate(&held, None), Fate::IsKept);
        let inside = RelPath::clone(&parts.fresh(&RelPath::parse(".wl-part-all").unwrap(), true));
        assert!(!inside.name().starts_with('.') && inside.is_ours() && parts.fate(&inside, None) == Fate::IsKept);
        let named = |name: String| RelPath::parse(&format!("d/{PART_PREFIX}{name}")).unwrap();
        let (now, old) = (Timestamp::now(), Timestamp::UNIX_EPOCH);
        let other = named(format!("ffffffff-{}-abc", std::process::id()));
        assert_eq!((parts.fate(&other, Some(now)), parts.fate(&other, Some(old))), (Fate::Stays, Fate::Goes));
        let init = named(format!("{}-1-abc", parts.host));
        assert_eq!(parts.fate(&init, Some(now)), Fate::Stays, "that process is alive");
        let dead = named(format!("{}-{}-abc", parts.host, i32::MAX));
        assert_eq!(parts.fate(&dead, Some(now)), Fate::Goes);
        assert_eq!(parts.fate(&named("left".to_owned()), Some(now)), Fate::Goes, "no writer names its parts so");
    }
}
