//! Names for files that are still being written, or were moved aside, and the clearing away of those that dead writers left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use wl_core::path::{PART_PREFIX, RelPath};

/// What follows the prefix in the name of something moved aside, which may be a user's only copy.
const HELD: &str = "held-";
/// A part of another machine's writer that is older than this is taken for dead: nobody uploads a file for longer.
const DEAD_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// For so long it is remembered when a foreign part was first come across.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(48);

/// The part names in use in this process, by whichever storage: two of them may be the same place.
static USED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// This machine since it was started, as far as it sees the same processes: elsewhere a process number says nothing.
static HOST: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
    let numbers = std::fs::read_link(Path::new("/proc/self/ns/pid"));
    let name = match (boot, numbers) {
        (Ok(boot), Ok(numbers)) => [&boot, numbers.as_os_str().as_encoded_bytes()].concat(),
        // Nothing tells: only this process knows its own.
        _ => uuid::Uuid::new_v4().into_bytes().to_vec(),
    };
    let digest = Sha256::digest(&name);
    format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
});

/// The parts that listings came across.
#[derive(Default)]
pub struct Parts {
    seen: Mutex<BTreeSet<RelPath>>,
    /// When those were first come across whose names say nothing.
    foreign: Mutex<BTreeMap<RelPath, Timestamp>>,
}

/// A part name in use. What is still under it when it is dropped is swept.
pub struct Part(RelPath);

impl Deref for Part {
    type Target = RelPath;

    fn deref(&self) -> &RelPath {
        &self.0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        lock(&USED).remove(self.0.name());
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

/// Who made a part, and when, as its name says. Its date says nothing: that is the content's.
struct Maker {
    since: Timestamp,
    host: String,
    pid: i32,
}

impl Maker {
    /// None if another kind of storage, or nobody, names its parts so.
    fn of(part: &RelPath) -> Option<Self> {
        let name = part.name().strip_prefix(PART_PREFIX).unwrap_or(part.name());
        let fields: Vec<_> = name.strip_prefix(HELD).unwrap_or(name).split('-').collect();
        let [since, host, pid, random] = fields[..] else { return None };
        if host.len() != 8 || random.is_empty() {
            return None;
        }
        let since = Timestamp::from_second(since.parse().ok()?).ok()?;
        Some(Self { since, host: host.to_owned(), pid: pid.parse().ok()? })
    }

    fn is_dead(&self, now: Timestamp) -> bool {
        let own = i32::try_from(std::process::id()).is_ok_and(|own| own == self.pid);
        // A name of this process that is not in use is a leftover of its own, or of an earlier process of its number.
        let gone = self.host == *HOST && (own || !is_alive(self.pid));
        gone || now.duration_since(self.since) > DEAD_AFTER
    }
}

/// Whether a part name is one that is made here, not held: that of a file, or of the directory of a trial.
pub fn is_own(part: &RelPath) -> bool {
    !is_held(part) && Maker::of(part).is_some()
}

fn is_held(part: &RelPath) -> bool {
    part.name().strip_prefix(PART_PREFIX).unwrap_or(part.name()).starts_with(HELD)
}

/// A name in that directory for something that is being written, or (`held`) was moved aside.
pub fn fresh(dir: &RelPath, held: bool) -> Part {
    // In a directory whose name says it all, the names begin with no dot: they are listed by servers that hide those.
    let prefix = if dir.name().starts_with(PART_PREFIX) { "" } else { PART_PREFIX };
    let kind = if held { HELD } else { "" };
    let random = uuid::Uuid::new_v4().simple().to_string();
    let (since, pid) = (Timestamp::now().as_second(), std::process::id());
    let name = format!("{prefix}{kind}{since}-{}-{pid}-{}", *HOST, &random[..20]);
    // INVARIANT: the name has neither a slash nor a NUL.
    let path = dir.join(&name).unwrap_or_else(|_| RelPath::root());
    lock(&USED).insert(name);
    Part(path)
}

impl Parts {
    /// A listing came across this one.
    pub fn came_across(&self, part: RelPath) {
        lock(&self.seen).insert(part);
    }

    /// Those that listings came across since the last time.
    pub fn take_seen(&self) -> BTreeSet<RelPath> {
        std::mem::take(&mut *lock(&self.seen))
    }

    /// Whether any part that was come across in a directory has such a fate.
    pub fn any_in(&self, dir: &RelPath, is: impl Fn(Fate) -> bool) -> bool {
        let inside: Vec<_> =
            lock(&self.seen).iter().filter(|part| part.parent().as_ref() == Some(dir)).cloned().collect();
        inside.iter().any(|part| is(self.fate(part)))
    }

    /// What is to become of a part now.
    pub fn fate(&self, part: &RelPath) -> Fate {
        self.fate_at(part, Timestamp::now())
    }

    fn fate_at(&self, part: &RelPath, now: Timestamp) -> Fate {
        if lock(&USED).contains(part.name()) {
            return Fate::Stays;
        }
        let dead = match Maker::of(part) {
            Some(maker) => maker.is_dead(now),
            // Another backend's, or a user's, which stays.
            None => part.is_part() && self.is_old_stranger(part, now),
        };
        match dead {
            false => Fate::Stays,
            true if is_held(part) => Fate::IsKept,
            true => Fate::Goes,
        }
    }

    /// Whether a part whose name says nothing has been there for so long that its writer must be dead.
    fn is_old_stranger(&self, part: &RelPath, now: Timestamp) -> bool {
        let mut foreign = lock(&self.foreign);
        foreign.retain(|_, first| now.duration_since(*first) < REMEMBERED);
        let first = *foreign.entry(part.clone()).or_insert(now);
        now.duration_since(first) > DEAD_AFTER
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_alive(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    // Another user's process cannot be signalled, but it is there.
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> RelPath {
        RelPath::parse(&format!("d/{PART_PREFIX}{name}")).unwrap()
    }

    #[test]
    fn only_the_dead_are_swept() {
        // Whichever storage of this process made it.
        let parts = Parts::default();
        let dir = RelPath::parse("d").unwrap();
        let part = fresh(&dir, false);
        let own = RelPath::clone(&part);
        assert!(own.name().starts_with(PART_PREFIX) && own.parent() == Some(dir.clone()) && own.is_ours());
        assert!(is_own(&own) && parts.fate(&own) == Fate::Stays);
        drop(part);
        assert_eq!(parts.fate(&own), Fate::Goes);
        let held = RelPath::clone(&fresh(&dir, true));
        assert!(!is_own(&held) && parts.fate(&held) == Fate::IsKept);
        let inside = RelPath::clone(&fresh(&RelPath::parse(".wl-part-all").unwrap(), true));
        assert!(!inside.name().starts_with('.') && inside.is_ours() && parts.fate(&inside) == Fate::IsKept);
    }

    #[test]
    fn a_name_says_when_its_writer_is_dead() {
        let (parts, now, host) = (Parts::default(), Timestamp::now(), &*HOST);
        let (young, old) = (now.as_second() - 3600, now.as_second() - 100_000);
        for (name, fate) in [
            (format!("{young}-ffffffff-{}-abc", std::process::id()), Fate::Stays),
            (format!("{old}-ffffffff-1-abc"), Fate::Goes),
            (format!("held-{young}-ffffffff-1-abc"), Fate::Stays),
            (format!("held-{old}-ffffffff-1-abc"), Fate::IsKept),
            (format!("{young}-{host}-1-abc"), Fate::Stays),
            (format!("{young}-{host}-{}-abc", i32::MAX), Fate::Goes),
            (format!("held-{young}-{host}-{}-abc", i32::MAX), Fate::IsKept),
        ] {
            assert_eq!(parts.fate_at(&named(&name), now), fate, "{name}");
        }
    }

    #[test]
    fn what_another_kind_of_storage_left_stays_until_it_is_old_and_is_never_deleted_if_held() {
        let (parts, now) = (Parts::default(), Timestamp::now());
        let later = now + DEAD_AFTER + SignedDuration::from_secs(1);
        for (name, fate) in [
            ("notes", Fate::Stays),
            ("u0123456789ab-7", Fate::Goes),
            ("4711-3", Fate::Goes),
            ("again-0123456789ab", Fate::Goes),
            ("held-1700000000-0123456789ab-7", Fate::IsKept),
            ("held-4711-3", Fate::IsKept),
            ("held-", Fate::IsKept),
        ] {
            let part = named(name);
            assert_eq!(parts.fate_at(&part, now), Fate::Stays, "{name}");
            assert_eq!(parts.fate_at(&part, later), fate, "{name}");
        }
    }
}
