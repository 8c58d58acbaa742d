//! What a sync overwrote or deleted, kept under `.wl-trash/` at the storage's root.
//!
//! Each round that fills it makes a directory there, `<time>-<reason>`, below which the paths stand as they were: what is
//! kept can be found and understood without wl. What a storage moved aside and could not put back, because somebody had
//! taken its name, lies in `<time>-rescued-overwritten`: no sync was to overwrite that.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::backend::{Backend, Content, Guard, Listed, Look, Obstacle};
use crate::entry::{Entry, Meta};
use crate::error::{Error, Fault, Result};
use crate::job::{Pair, Run, Side, Which};
use crate::path::{RelPath, TRASH_DIR};
use crate::report::{Problem, ProblemKind, TrashEmptied, TrashEntry, TrashList, TrashReason};

/// How a directory of the trash says when it was filled: UTC, to the microsecond, free of colons.
const STAMP: &str = "%Y%m%dT%H%M%S.%6fZ";

/// What follows the time where something was rescued.
const RESCUED: &str = "-rescued";

/// How long a rescued version is kept at least, however short `keep-deleted` is: nobody meant it to go.
const RESCUED_FOR: Duration = Duration::from_hours(30 * 24);

/// Where a path is kept.
pub fn place(at: Timestamp, reason: TrashReason, path: &RelPath) -> RelPath {
    Filled { at, reason, rescued: false }.dir().join_path(path)
}

/// Where a version of a path is kept that nobody expected, and nobody named a place for.
pub fn rescued(path: &RelPath) -> RelPath {
    Filled { at: Timestamp::now(), reason: TrashReason::Overwritten, rescued: true }.dir().join_path(path)
}

/// What the name of a directory of the trash says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filled {
    at: Timestamp,
    reason: TrashReason,
    rescued: bool,
}

impl Filled {
    fn dir(self) -> RelPath {
        let reason = match self.reason {
            TrashReason::Overwritten => "overwritten",
            TrashReason::Deleted => "deleted",
        };
        let (stamp, rescued) = (self.at.strftime(STAMP), if self.rescued { RESCUED } else { "" });
        // INVARIANT: neither name has a slash, a NUL or dots alone.
        RelPath::parse(&format!("{TRASH_DIR}/{stamp}{rescued}-{reason}")).unwrap_or_else(|_| root())
    }

    /// What the directory says that a place is in, or is; none if it is something else.
    fn of(place: &RelPath) -> Option<Self> {
        let (stamp, reason) = place.segments().nth(1)?.rsplit_once('-')?;
        let reason = match reason {
            "overwritten" => TrashReason::Overwritten,
            "deleted" => TrashReason::Deleted,
            _ => return None,
        };
        let (stamp, rescued) = stamp.strip_suffix(RESCUED).map_or((stamp, false), |stamp| (stamp, true));
        let at =
            jiff::civil::DateTime::strptime(STAMP, stamp).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Self { at, reason, rescued })
    }

    /// Whether it has been kept for longer than that, and than what was rescued is.
    fn is_due(self, now: Timestamp, keep: Duration) -> bool {
        let keep = if self.rescued { keep.max(RESCUED_FOR) } else { keep };
        now.checked_sub(keep).is_ok_and(|due| self.at < due)
    }
}

pub(crate) fn root() -> RelPath {
    // INVARIANT: a constant that is a valid path.
    RelPath::parse(TRASH_DIR).unwrap_or_else(|_| RelPath::root())
}

/// Why a change failed that was to fill the trash: what has its name, if that is no directory; else as it was told.
pub(crate) async fn explained(backend: &dyn Backend, trash: Option<&RelPath>, error: Error) -> Error {
    if trash.is_none() || error.fault.passes() || error.fault == Fault::Stopped {
        return error;
    }
    let what = match backend.stat(&root()).await {
        Ok(Look::Entry(entry)) if !entry.is_dir() => "a file",
        Ok(Look::Blocked(obstacle)) if obstacle.kind == ProblemKind::Skipped => "no directory",
        _ => return error,
    };
    let text = format!(
        "{TRASH_DIR} at the root of this storage is {what}, and what is replaced or deleted is to be kept in a directory of \
         that name: move it away, or let nothing be kept (`keep-deleted: 0` in the manifest)"
    );
    Error { message: text, fault: Fault::Broken, ..error }
}

/// Something in one storage's trash.
#[derive(Debug, Clone)]
struct Kept {
    filled: Filled,
    /// Where it is.
    place: RelPath,
    /// Where it was.
    path: RelPath,
    entry: Entry,
}

/// What `<time>-<reason>/<path>` says; none if it is something else.
fn read_place(place: &RelPath) -> Option<(Filled, RelPath)> {
    let path = place.as_str().splitn(3, '/').nth(2)?;
    Some((Filled::of(place)?, RelPath::parse(path).ok()?))
}

/// What a storage keeps, and what of it could not be listed.
#[derive(Default)]
struct Keeps {
    files: Vec<Kept>,
    /// Directories, each before what is in it.
    dirs: Vec<RelPath>,
    problems: Vec<Problem>,
}

async fn kept_on(pair: &Pair, which: Which) -> Keeps {
    let (side, mut keeps) = (pair.side(which), Keeps::default());
    let mut listing = side.backend.list(&root(), None);
    // A missing directory lists as empty: that the root is gone, or cannot be reached, has to be asked for. At the same time,
    // for either is a round trip.
    let (there, mut next) = futures::join!(side.backend.root(), listing.next());
    if let Err(error) = there {
        let never_was =
            error.fault == Fault::Missing && pair.state.roots().is_ok_and(|known| known[which as usize].is_none());
        if !never_was {
            keeps.problems.push(problem(side, &RelPath::root(), error.into()));
        }
        return keeps;
    }
    while let Some(chunk) = next {
        for item in chunk {
            match item {
                Listed::Entry(place, entry) if entry.is_dir() => keeps.dirs.push(place),
                Listed::Entry(place, entry) => {
                    if let Some((filled, path)) = read_place(&place) {
                        keeps.files.push(Kept { filled, place, path, entry });
                    }
                }
                Listed::Blocked(place, why) | Listed::Cut(place, why) => {
                    keeps.problems.push(problem(side, &place, why));
                }
                // Nothing that a sync put there.
                Listed::Nameless(..) => {}
            }
        }
        next = listing.next().await;
    }
    keeps
}

fn problem(side: &Side, path: &RelPath, why: Obstacle) -> Problem {
    let (path, storage) = (path.to_string(), side.view.backend_id.clone());
    Problem { path, storage, kind: why.kind, message: why.message }
}

/// Everything kept on both storages, the newest first, and what could not be looked at.
pub async fn list(pair: &Pair) -> TrashList {
    let mut list = TrashList::default();
    for which in Which::BOTH {
        let (side, Keeps { files, problems, .. }) = (pair.side(which), kept_on(pair, which).await);
        list.problems.extend(problems);
        let described =
            stream::iter(files).map(async |kept| describe(pair, which, &kept).await.map_err(|why| (kept, why)));
        let mut described = described.buffer_unordered(pair.in_flight());
        while let Some(one) = described.next().await {
            match one {
                Ok(entry) => list.entries.push(entry),
                // Swept or restored just now.
                Err((_, error)) if error.fault == Fault::Missing => {}
                Err((kept, error)) => list.problems.push(problem(side, &kept.place, error.into())),
            }
        }
    }
    list.entries.sort_by(|one, two| two.at.cmp(&one.at).then_with(|| one.path.cmp(&two.path)));
    list
}

async fn describe(pair: &Pair, which: Which, kept: &Kept) -> Result<TrashEntry> {
    let (side, token) = (pair.side(which), &kept.entry.token);
    let hash = if let Some(hash) = pair.store.cached_hash(&side.place, &kept.place, token)? {
        hash
    } else {
        let hash = side.backend.hash(&kept.place, token).await?;
        pair.store.remember_hashes(&side.place, &[(kept.place.clone(), token.clone(), hash)])?;
        hash
    };
    let (path, storage) = (kept.path.to_string(), pair.id(which).to_owned());
    Ok(TrashEntry { path, storage, at: kept.filled.at, hash, bytes: kept.entry.size, reason: kept.filled.reason })
}

/// Puts what was kept of a path back where it was, on the storage that kept it: the newest, or the one of that time. What
/// is there now, if anything, goes to the trash. The next round carries it over as an ordinary change.
pub async fn restore(run: &Run, path: &RelPath, at: Option<Timestamp>) -> Result<TrashEntry> {
    let pair = &run.pair;
    let _turn = pair.turn.of_user(&run.stop).await?;
    let mut candidates = Vec::new();
    for which in Which::BOTH {
        let kept = kept_on(pair, which).await.files;
        candidates.extend(kept.into_iter().filter(|kept| kept.path == *path).map(|kept| (which, kept)));
    }
    // A time in whole seconds, as people read it, means all of that second.
    let is_of_second =
        |kept: Timestamp, at: Timestamp| at.subsec_nanosecond() == 0 && kept.as_second() == at.as_second();
    let fits = |kept: Timestamp| at.is_none_or(|at| kept == at || is_of_second(kept, at));
    let newest = candidates.into_iter().filter(|(_, kept)| fits(kept.filled.at)).max_by_key(|(_, kept)| kept.filled.at);
    let Some((which, kept)) = newest else {
        let text = "the trash keeps nothing of this path from then; `wl container trash NAME list` shows what it keeps";
        return Err(Error::new(Fault::Missing, text).at(path));
    };
    let side = pair.side(which);
    if side.read_only {
        return Err(Error::new(Fault::Denied, "the storage that keeps it is read-only").at(path));
    }
    let entry = describe(pair, which, &kept).await?;
    let (guard, trash) = match side.backend.stat(path).await? {
        Look::Absent => (Guard::Absent, None),
        Look::Entry(now) if !now.is_dir() => {
            (Guard::Unchanged(now.token), Some(place(Timestamp::now(), TrashReason::Overwritten, path)))
        }
        _ => return Err(Error::new(Fault::Refused, "a directory is in the way: move it aside first").at(path)),
    };
    make_parents(&*side.backend, path).await?;
    let content = Content::on(side.backend.clone(), kept.place.clone(), &kept.entry, Some(entry.hash));
    side.backend.replace(path, content, &guard, trash.as_ref()).await?;
    side.backend.remove(&kept.place, &kept.entry.token, None).await?;
    Ok(entry)
}

pub(crate) async fn make_parents(backend: &dyn Backend, path: &RelPath) -> Result<()> {
    let mut above: Vec<_> = path.ancestors().collect();
    above.reverse();
    for dir in above {
        backend.make_dir(&dir, &Meta::default()).await?;
    }
    Ok(())
}

/// Removes everything kept on both storages, unless one is read-only; how many files that were, and what stayed.
pub async fn empty(run: &Run) -> Result<TrashEmptied> {
    let _turn = run.pair.turn.of_user(&run.stop).await?;
    Ok(remove(&run.pair, |_| true).await)
}

/// Removes what has been kept for longer than that; how many files that were, and what stayed.
pub async fn sweep(pair: &Pair, keep: Duration) -> TrashEmptied {
    let now = Timestamp::now();
    remove(pair, |place| Filled::of(place).is_some_and(|filled| filled.is_due(now, keep))).await
}

/// Removes what is due of what was put into a trash, and the directories that become empty. A directory that is not due stays
/// although it lists as empty: what the storage does not list may be in it.
async fn remove(pair: &Pair, is_due: impl Fn(&RelPath) -> bool) -> TrashEmptied {
    let mut emptied = TrashEmptied::default();
    for which in Which::BOTH.into_iter().filter(|which| !pair.side(*which).read_only) {
        let (side, Keeps { files, dirs, problems }) = (pair.side(which), kept_on(pair, which).await);
        emptied.problems.extend(problems);
        let files = files.into_iter().filter(|kept| is_due(&kept.place));
        let removed = stream::iter(files).map(async |kept| {
            let done = side.backend.remove(&kept.place, &kept.entry.token, None).await;
            done.map_err(|error| problem(side, &kept.place, error.into()))
        });
        let mut removed = removed.buffer_unordered(pair.in_flight());
        let before = emptied.removed;
        while let Some(one) = removed.next().await {
            match one {
                Ok(()) => emptied.removed += 1,
                Err(problem) => emptied.problems.push(problem),
            }
        }
        if emptied.removed > before {
            for dir in dirs.into_iter().rev().filter(|dir| is_due(dir)) {
                // One that still holds something is not due yet.
                let _ = side.backend.remove_dir(&dir).await;
            }
        }
    }
    emptied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_when_why_and_what() {
        let at: Timestamp = "2026-11-22T19:05:02.123456Z".parse().unwrap();
        let path = RelPath::parse("a/b c.txt").unwrap();
        let place = place(at, TrashReason::Overwritten, &path);
        assert_eq!(place.as_str(), ".wl-trash/20261122T190502.123456Z-overwritten/a/b c.txt");
        let filled = Filled { at, reason: TrashReason::Overwritten, rescued: false };
        assert_eq!(read_place(&place), Some((filled, path.clone())));
        assert_eq!((read_place(&filled.dir()), Filled::of(&filled.dir())), (None, Some(filled)));
        let rescued = read_place(&rescued(&path));
        assert!(matches!(&rescued, Some((Filled { rescued: true, .. }, was)) if *was == path), "{rescued:?}");
        for other in
            [".wl-trash/x/y", ".wl-trash/20261122T190502.123456Z-lost/y", ".wl-trash/20261122T190502.123456Z-deleted"]
        {
            assert_eq!(read_place(&RelPath::parse(other).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn what_was_rescued_is_kept_for_its_time_however_little_is_kept() {
        const DAY: Duration = Duration::from_hours(24);
        let now = Timestamp::now();
        for (rescued, days, keep, due) in [
            (false, 1, 0, true),
            (false, 1, 2, false),
            (true, 29, 0, false),
            (true, 31, 0, true),
            (true, 31, 60, false),
            (true, 61, 60, true),
        ] {
            let filled = Filled { at: now - DAY * days, reason: TrashReason::Overwritten, rescued };
            assert_eq!(filled.is_due(now, DAY * keep), due, "{rescued} {days} {keep}");
        }
    }
}
