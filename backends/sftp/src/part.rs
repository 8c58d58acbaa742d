//! A content that is being written, under a name that no listing reports.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::{error, is_missing, is_plain_refusal};
use crate::maker;
use crate::root::{At, Root, no_parent, refused_if_gone};
use crate::seen::{Seen, What};
use crate::ssh::{Answer, Failure, Handle};
use crate::wire::extension::POSIX_RENAME;
use crate::wire::{Attrs, OpenFlags, Request};

/// What marks a part name under which a user's version is held for a moment: it is never simply deleted.
const HELD: &str = "held-";
/// What marks a part name that says which content it is to hold, so that a later attempt goes on with it.
const AGAIN: &str = "again-";
/// Longer than any writer that lives lets its part alone, in seconds.
const SILENT: u32 = 60;
/// A part that nobody went on with for so long is cleared away.
const FORGOTTEN: u32 = 24 * 3600;
/// The same for a part of another process, whose source may be slow.
const STALLED: u32 = 3600;

/// The names of this process's parts.
pub struct Names {
    instance: String,
    count: AtomicU64,
    alive: Mutex<HashSet<RelPath>>,
    /// Parts of attempts of this process that are over.
    given_up: Mutex<HashSet<RelPath>>,
    /// When parts of others were first seen, whose names do not say how old they are.
    sighted: Mutex<HashMap<RelPath, u32>>,
}

impl Default for Names {
    fn default() -> Self {
        static ROOTS: AtomicU64 = AtomicU64::new(0);
        let now = jiff::Timestamp::now().as_nanosecond();
        let seed = format!("{now} {} {}", std::process::id(), ROOTS.fetch_add(1, Ordering::Relaxed));
        let instance = Hash::of(seed.as_bytes()).to_string()[..12].to_owned();
        // Of a process that was killed it is known at once that it wants none of its parts any more.
        let instance = match maker::mark(std::process::id()) {
            Some(mark) => format!("{mark}.{instance}"),
            None => instance,
        };
        let (alive, given_up, sighted) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { instance, count: AtomicU64::new(0), alive, given_up, sighted }
    }
}

/// What may be done with a part file that a listing came across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its writer may live.
    Alive,
    /// Nobody needs it.
    Dead,
    /// It holds a user's version, which belongs into the trash.
    Rescue,
}

impl Names {
    /// A name beside a path, that nobody uses, which says since when.
    pub fn fresh(&self, beside: &RelPath, now: u32) -> RelPath {
        self.named("u", beside, now)
    }

    /// A name beside a path to hold a user's version under, which says since when.
    pub fn held(&self, beside: &RelPath, now: u32) -> RelPath {
        self.named(HELD, beside, now)
    }

    fn named(&self, mark: &str, beside: &RelPath, now: u32) -> RelPath {
        sibling(beside, &format!("{mark}{now}-{}-{}", self.instance, self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// What may be done with a part file of that date. The date may be one that its content is to have: it counts only
    /// beside the time in the name, or where the name has none, beside that of the first look at it.
    pub fn judge(&self, part: &RelPath, mtime: u32, now: u32) -> Verdict {
        self.judge_after(FORGOTTEN, part, mtime, now)
    }

    /// The same in a directory that is to go: nobody is to go on with anything there, whoever lives is not silent.
    pub fn judge_in_the_way(&self, part: &RelPath, mtime: u32, now: u32) -> Verdict {
        self.judge_after(SILENT, part, mtime, now)
    }

    fn judge_after(&self, forgotten: u32, part: &RelPath, mtime: u32, now: u32) -> Verdict {
        if lock(&self.alive).contains(part) {
            return Verdict::Alive;
        }
        let name = part.name().strip_prefix(PART_PREFIX).unwrap_or_default();
        let age = now.saturating_sub(mtime);
        let (dead, verdict) = if let Some(since) = name.strip_prefix(HELD) {
            let age = stamp(since).map_or_else(|| self.known_for(part, now), |(since, _)| now.saturating_sub(since));
            (age > SILENT, Verdict::Rescue)
        } else if name.starts_with(AGAIN) {
            (age > forgotten, Verdict::Dead)
        } else if let Some((since, instance)) = name.strip_prefix('u').and_then(stamp) {
            let silent = if mtime > now { u32::MAX } else { age };
            let old = now.saturating_sub(since).min(silent) > STALLED;
            (old || instance == self.instance || maker::has_ended(instance), Verdict::Dead)
        } else {
            // Whoever wrote it, by another protocol or on the server itself; what a user named so stays.
            (part.is_part() && self.known_for(part, now).min(age) > STALLED, Verdict::Dead)
        };
        if dead { verdict } else { Verdict::Alive }
    }

    /// For how many seconds this process has known of a part.
    fn known_for(&self, part: &RelPath, now: u32) -> u32 {
        let mut sighted = self.sighted.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_sub(*sighted.entry(part.clone()).or_insert(now))
    }

    fn lives(&self, part: &RelPath) -> bool {
        lock(&self.given_up).remove(part);
        lock(&self.alive).insert(part.clone())
    }

    fn dies(&self, part: &RelPath, may_go_on: bool) {
        lock(&self.alive).remove(part);
        if may_go_on {
            lock(&self.given_up).insert(part.clone());
        }
    }
}

fn lock(set: &Mutex<HashSet<RelPath>>) -> MutexGuard<'_, HashSet<RelPath>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Since when, and whose, a name of ours says that it is. No clock was that low for a long time: less is another's number.
fn stamp(name: &str) -> Option<(u32, &str)> {
    let mut fields = name.split('-');
    let since = fields.next()?.parse().ok().filter(|since| *since >= 1_000_000_000)?;
    Some((since, fields.next()?))
}

fn sibling(beside: &RelPath, name: &str) -> RelPath {
    let dir = beside.parent().unwrap_or_else(RelPath::root);
    // INVARIANT: the name has neither a slash nor a NUL.
    dir.join(&format!("{PART_PREFIX}{name}")).unwrap_or(dir)
}

/// A part file. Dropped under its part name, it is deleted, unless a later attempt may go on with it.
pub struct Part {
    root: Arc<Root>,
    at: At,
    path: RelPath,
    file: Option<Arc<Handle>>,
    here: bool,
    lasting: bool,
}

impl Part {
    /// A new, empty one beside a path, for the server's user alone.
    pub async fn create(root: &Arc<Root>, at: &At, beside: &RelPath) -> Result<Self> {
        Self::make(root, at, root.names.fresh(beside, root.clock.seconds()), beside, Some(0o600), false).await
    }

    /// The same, with the mode that the server gives a new file.
    pub async fn usual(root: &Arc<Root>, at: &At, beside: &RelPath) -> Result<Self> {
        Self::make(root, at, root.names.fresh(beside, root.clock.seconds()), beside, None, false).await
    }

    /// One that holds the beginning of that content, which another attempt wrote, and how much; or else a new one.
    /// `name` names the content, the same in every run of the program.
    ///
    /// RACE: a writer elsewhere that was silent for a minute may wake up. Both write the same bytes to the same places;
    /// worst outcome: a change made in place to the finished file, while the other still writes, is undone in part.
    pub async fn go_on(root: &Arc<Root>, at: &At, beside: &RelPath, name: Hash, size: u64) -> Result<(Self, u64)> {
        let path = sibling(beside, &format!("{AGAIN}{name}"));
        let given_up = lock(&root.names.given_up).contains(&path);
        if !root.names.lives(&path) {
            return Ok((Self::create(root, at, beside).await?, 0));
        }
        let found = at.link.lstat(&at.full(&path)).await.map(|attrs| Seen::of(&attrs));
        match found {
            Err(failure) if is_missing(&failure) => {
                let part = Self::make(root, at, path.clone(), beside, Some(0o600), true).await;
                if part.is_err() {
                    root.names.dies(&path, false);
                }
                part.map(|part| (part, 0))
            }
            Ok(seen) if seen.what == What::File && seen.size <= size && (given_up || is_over(root, &seen)) => {
                let flags = OpenFlags::READ.and(OpenFlags::WRITE);
                let opened = at.link.open(&at.full(&path), flags, Attrs::default()).await;
                let (root, at) = (root.clone(), at.clone());
                // From here on it is taken off the list of the living when it is dropped.
                let mut part = Self { root, at, path, file: None, here: true, lasting: true };
                part.file = Some(Arc::new(opened.map_err(|failure| error(&failure, beside))?));
                Ok((part, seen.size))
            }
            Ok(_) => {
                root.names.dies(&path, false);
                Ok((Self::create(root, at, beside).await?, 0))
            }
            Err(failure) => {
                root.names.dies(&path, false);
                Err(error(&failure, beside))
            }
        }
    }

    async fn make(
        root: &Arc<Root>,
        at: &At,
        path: RelPath,
        beside: &RelPath,
        mode: Option<u32>,
        lasting: bool,
    ) -> Result<Self> {
        let flags = [OpenFlags::WRITE, OpenFlags::CREATE, OpenFlags::EXCLUSIVE];
        let flags = flags.into_iter().fold(OpenFlags::READ, OpenFlags::and);
        let attrs = Attrs { permissions: mode, ..Attrs::default() };
        root.names.lives(&path);
        match at.link.open(&at.full(&path), flags, attrs).await {
            Ok(file) => {
                let (root, at) = (root.clone(), at.clone());
                Ok(Self { root, at, path, file: Some(Arc::new(file)), here: true, lasting })
            }
            Err(failure) => {
                root.names.dies(&path, false);
                if matches!(failure, Failure::Link(_)) {
                    // It may have been made. The next sweep finds it.
                    root.leftovers.came_across(path);
                }
                Err(match failure {
                    failure if is_missing(&failure) => no_parent(beside),
                    failure if is_plain_refusal(&failure) => at.why(&failure, beside).await,
                    failure => error(&failure, beside),
                })
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// The connection it is open on.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// The file, open.
    pub fn file(&self) -> Result<&Handle> {
        self.file.as_deref().ok_or_else(|| Error::changed(&self.path))
    }

    /// The file, open, to be shared with requests in flight.
    pub fn shared(&self) -> Result<Arc<Handle>> {
        self.file.clone().ok_or_else(|| Error::changed(&self.path))
    }

    /// Goes on with it on another connection.
    pub async fn reopen(&mut self, at: &At, beside: &RelPath) -> Result<()> {
        self.file = Some(self.open_on(at, beside).await?);
        self.at = at.clone();
        Ok(())
    }

    /// Opens it on another connection, too.
    pub async fn open_on(&self, at: &At, beside: &RelPath) -> Result<Arc<Handle>> {
        let flags = OpenFlags::READ.and(OpenFlags::WRITE);
        let file = at.link.open(&at.full(&self.path), flags, Attrs::default()).await;
        file.map(Arc::new).map_err(|failure| refused_if_gone(&failure, beside))
    }

    /// Says that it has another name now.
    pub fn renamed(&mut self) {
        self.here = false;
    }

    /// Takes a name under which nobody goes on with it, before its content is given another one, too: however that is cut
    /// off, whoever went on with it would write into a user's file.
    pub async fn stop_lasting(&mut self, beside: &RelPath) -> Result<()> {
        if !self.lasting {
            return Ok(());
        }
        let root = self.root.clone();
        let fresh = root.names.fresh(beside, root.clock.seconds());
        let (from, to) = (&self.path, &fresh);
        root.names.lives(to);
        let named = root.attempt(|at, tries| async move {
            rename_for_good(&at, from, to, tries).await.map_err(|failure| refused_if_gone(&failure, beside))
        });
        if let Err(error) = named.await {
            root.names.dies(&fresh, false);
            // It may have the name all the same.
            root.leftovers.came_across(fresh);
            return Err(error);
        }
        root.names.dies(&self.path, false);
        (self.path, self.lasting) = (fresh, false);
        Ok(())
    }

    /// Takes its own name away, on that connection, from a content that has another name.
    pub async fn give_up_name(&mut self, at: &At) {
        self.lasting = false;
        drop(self.file.take());
        if self.here {
            let removed = at.link.remove(&at.full(&self.path)).await;
            self.here = removed.is_err_and(|failure| !is_missing(&failure));
        }
    }

    /// What becomes of it after a failure: it is deleted, unless a later attempt may go on with it.
    pub async fn failed(self, error: &Error) {
        if !(self.lasting && error.fault == Fault::Offline) {
            self.discard().await;
        }
    }

    /// Deletes it.
    pub async fn discard(mut self) {
        self.lasting = false;
        drop(self.file.take());
        if self.here && self.at.link.remove(&self.at.full(&self.path)).await.is_ok() {
            self.here = false;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.root.names.dies(&self.path, self.here && self.lasting);
        if self.here && !self.lasting {
            drop(self.file.take());
            if self.at.link.is_lost() {
                // The next sweep finds it.
                self.root.leftovers.came_across(self.path.clone());
            }
            self.at.link.forget(Request::Remove { path: Bytes::from(self.at.full(&self.path)) });
        }
    }
}

/// Moves a part to a name that nobody else uses, and leaves nothing under the old one.
async fn rename_for_good(at: &At, from: &RelPath, to: &RelPath, tries: u32) -> Answer<()> {
    let (from, to) = (at.full(from), at.full(to));
    let renamed =
        if at.has(POSIX_RENAME) { at.link.posix_rename(&from, &to).await } else { at.link.rename(&from, &to).await };
    // An attempt whose answer was lost may have done it, or one half of it: servers without that extension link and remove.
    if renamed.is_err() && tries > 0 && at.link.lstat(&to).await.is_ok() {
        return match at.link.remove(&from).await {
            Err(failure) if is_missing(&failure) => Ok(()),
            removed => removed,
        };
    }
    renamed
}

/// Whether whoever wrote a part is done with it.
fn is_over(root: &Root, seen: &Seen) -> bool {
    let now = root.clock.seconds();
    now.saturating_sub(seen.mtime) > SILENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parts_of_dead_writers_are_cleared_away() {
        let names = Names::default();
        let (now, target) = (1_700_000_000, RelPath::parse("d/x").unwrap());
        let part = |name: &str| RelPath::parse(&format!("d/{PART_PREFIX}{name}")).unwrap();
        let (mine, long) = (names.fresh(&target, now), now - FORGOTTEN - 1);
        assert_eq!(names.judge(&mine, now, now), Verdict::Dead, "one of this process that nobody holds");
        names.lives(&mine);
        assert_eq!(names.judge(&mine, 7, now), Verdict::Alive);
        names.dies(&mine, true);
        let (held, young) = (names.held(&target, now), part(&format!("u{now}-0123456789ab-7")));
        let old = part(&format!("u{long}-0123456789ab-7"));
        for (part, mtime, verdict) in [
            (&mine, now, Verdict::Dead),
            (&young, 7, Verdict::Alive),
            (&old, now, Verdict::Alive),
            (&old, long, Verdict::Dead),
            (&old, now + 1_000_000, Verdict::Dead),
            (&part("again-00"), now - STALLED - 1, Verdict::Alive),
            (&part("again-00"), long, Verdict::Dead),
            (&held, 7, Verdict::Alive),
            (&part("held-1690000000-0-0"), now, Verdict::Rescue),
        ] {
            assert_eq!(names.judge(part, mtime, now), verdict, "{part}");
        }
        assert_eq!(names.judge_in_the_way(&part("again-00"), now - SILENT, now), Verdict::Alive);
        assert_eq!(names.judge_in_the_way(&part("again-00"), now - SILENT - 1, now), Verdict::Dead);
        assert_eq!(names.judge_in_the_way(&young, 7, now), Verdict::Alive);
    }

    #[test]
    fn parts_of_other_programs_are_cleared_away_when_they_were_seen_for_long() {
        let (names, now) = (Names::default(), 1_700_000_000);
        let part = |name: &str| RelPath::parse(&format!("d/{PART_PREFIX}{name}")).unwrap();
        assert_eq!(names.judge(&part("notes"), 7, now), Verdict::Alive);
        assert_eq!(names.judge(&part("notes"), 7, now + STALLED + 1), Verdict::Alive);
        for name in ["77-3", "1600000000-a0b1c2d3-77-3", "resume-00", "u0123456789ab-7"] {
            assert_eq!(names.judge(&part(name), 7, now), Verdict::Alive, "{name}");
            assert_eq!(names.judge(&part(name), now, now + STALLED), Verdict::Alive, "{name}");
            assert_eq!(names.judge(&part(name), 7, now + STALLED + 1), Verdict::Dead, "{name}");
        }
        assert_eq!(names.judge(&part("held-77-3"), 7, now), Verdict::Alive);
        assert_eq!(names.judge(&part("held-77-3"), 7, now + SILENT + 1), Verdict::Rescue);
    }
}
