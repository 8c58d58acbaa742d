//! Hashes only what tokens cannot vouch for, and only where merging needs it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::{Raw, Survey};
use crate::entry::{Entry, Hash, Kind, Token};
use crate::error::{Fault, Result};
use crate::execute::FEW_ALONE;
use crate::job::{Pair, Which};
use crate::merge::{Row, Seen};
use crate::path::RelPath;
use crate::report::ProblemKind;

/// What was hashed is remembered this often, while more is.
const KEPT_EVERY: Duration = Duration::from_secs(1);

/// One file to be hashed.
struct Task {
    index: usize,
    which: Which,
    path: RelPath,
    token: Token,
    in_conflict: bool,
}

impl Survey<'_> {
    /// Finds out what each row's sides hold.
    pub(super) async fn hashed(&mut self, raws: Vec<Raw>) -> Result<Vec<Row>> {
        let left = self.left_sizes(&raws);
        let mut seen: Vec<[Seen; 2]> =
            raws.iter().map(|raw| Which::BOTH.map(|which| at_first_sight(raw, which))).collect();
        let mut tasks = Vec::new();
        for (index, raw) in raws.iter().enumerate() {
            for which in Which::BOTH {
                let Some(entry) = wanted(raw, which, &left).or(self.may_be_held(raw, which)?) else { continue };
                match self.pair.store.cached_hash(&self.pair.side(which).place, &raw.path, &entry.token)? {
                    Some(hash) => seen[index][which as usize] = Seen::File(hash),
                    None => tasks.push(Task {
                        index,
                        which,
                        path: raw.path.clone(),
                        token: entry.token.clone(),
                        in_conflict: raw.recorded.is_some(),
                    }),
                }
            }
        }
        for (task, result) in hash_all(self.pair, tasks, self.roots.as_ref()).await? {
            seen[task.index][task.which as usize] = self.outcome(&task, result);
        }
        Ok(raws.into_iter().zip(seen).map(|(raw, seen)| raw.into_row(seen)).collect())
    }

    /// A new or changed file, if the other side may hold its content already, under another name, and could copy it there.
    fn may_be_held<'r>(&self, raw: &'r Raw, which: Which) -> Result<Option<&'r Entry>> {
        let other = which.other();
        let Some(entry) = raw.entries[which as usize].as_ref() else { return Ok(None) };
        let goes = at_first_sight(raw, which) == Seen::NewFile
            && matches!(at_first_sight(raw, other), Seen::Absent | Seen::File(_));
        let copies = || self.pair.side(other).backend.facts().server_copy;
        Ok((goes && copies() && self.pair.state.holds_size(entry.size)?).then_some(entry))
    }

    /// The sizes of contents that are no longer on each side where they were: a new or changed file of such a size may
    /// have one of them, which the other side, if it can, need only move.
    fn left_sizes(&self, raws: &[Raw]) -> [HashSet<u64>; 2] {
        let mut sizes = [HashSet::new(), HashSet::new()];
        for which in Which::BOTH {
            let other = self.pair.side(which.other()).backend.facts();
            if !other.server_move && !other.server_copy {
                continue;
            }
            let left = raws.iter().filter(|raw| !matches!(at_first_sight(raw, which), Seen::File(_) | Seen::Unknown));
            let files = left.filter_map(|raw| raw.base.as_ref()).filter(|base| base.kind == Kind::File);
            sizes[which as usize].extend(files.map(|base| base.size));
        }
        sizes
    }

    fn outcome(&mut self, task: &Task, result: Result<Hash>) -> Seen {
        let error = match result {
            Ok(hash) => return Seen::File(hash),
            Err(error) => error,
        };
        match error.fault {
            // It changes under our eyes: the next look sees what became of it.
            // An open conflict does not hinder the job: it waits for the next hint.
            Fault::Missing | Fault::Refused if task.in_conflict => {}
            Fault::Missing | Fault::Refused => self.unsettled.push(task.path.clone()),
            Fault::Offline => {
                self.problem(task.which, &task.path, ProblemKind::Offline, error.message.clone());
                self.waits = Some(error);
            }
            _ => self.problem(task.which, &task.path, ProblemKind::Unreadable, error.message),
        }
        Seen::Unknown
    }
}

/// Hashes all of them, unless a storage cannot be reached: then none of the others is tried, and what was hashed is kept.
/// A few may fail as if it could not be, though it answers, as where a disk behind a server cannot read them.
async fn hash_all(pair: &Pair, tasks: Vec<Task>, roots: Option<&[String; 2]>) -> Result<Vec<(Task, Result<Hash>)>> {
    let root = |which: Which| roots.map(|roots| roots[which as usize].as_str());
    let hash = |task: Task| async move {
        match pair.side(task.which).backend.hash(&task.path, &task.token).await {
            Err(error) if error.fault == Fault::Stopped => Err(error),
            Err(error) if error.fault == Fault::Offline && !pair.answers(task.which, root(task.which)).await => {
                Err(error)
            }
            result => Ok((task, result)),
        }
    };
    let mut alone = 0;
    let mut hashing = futures::stream::iter(tasks).map(hash).buffer_unordered(pair.in_flight());
    let (mut done, mut ended) = (Vec::new(), Ok(()));
    let (mut kept, mut last) = (0, Instant::now());
    while let Some(one) = hashing.next().await {
        match one {
            Ok((_, Err(error))) if error.fault == Fault::Offline && alone == FEW_ALONE => {
                ended = Err(error);
                break;
            }
            Ok(one) => {
                alone += u32::from(one.1.as_ref().is_err_and(|error| error.fault == Fault::Offline));
                done.push(one);
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
        // Whoever ends this, to stop or to give way, loses no more than that.
        if last.elapsed() >= KEPT_EVERY {
            remember(pair, &done[kept..])?;
            (kept, last) = (done.len(), Instant::now());
        }
    }
    remember(pair, &done[kept..])?;
    ended.map(|()| done)
}

fn remember(pair: &Pair, done: &[(Task, Result<Hash>)]) -> Result<()> {
    for which in Which::BOTH {
        let fresh: Vec<_> = done
            .iter()
            .filter(|(task, _)| task.which == which)
            .filter_map(|(task, result)| Some((task.path.clone(), task.token.clone(), *result.as_ref().ok()?)))
            .collect();
        if !fresh.is_empty() {
            pair.store.remember_hashes(&pair.side(which).place, &fresh)?;
        }
    }
    Ok(())
}

/// What a side holds as far as no hash is needed for it.
fn at_first_sight(raw: &Raw, which: Which) -> Seen {
    match &raw.entries[which as usize] {
        _ if raw.unknown[which as usize] => Seen::Unknown,
        None => Seen::Absent,
        Some(entry) if entry.is_dir() => Seen::Dir,
        Some(_) if raw.unchanged(which) => {
            raw.base.as_ref().and_then(|base| base.hash).map_or(Seen::NewFile, Seen::File)
        }
        Some(_) => Seen::NewFile,
    }
}

/// The entry to be hashed, if merging needs to know its content.
fn wanted<'a>(raw: &'a Raw, which: Which, left: &[HashSet<u64>; 2]) -> Option<&'a Entry> {
    let entry = raw.entries[which as usize].as_ref()?;
    if at_first_sight(raw, which) != Seen::NewFile {
        return None;
    }
    let other = at_first_sight(raw, which.other());
    let may_be_the_base = raw.base.as_ref().is_some_and(|base| base.kind == Kind::File && base.size == entry.size);
    let may_be_moved = || left[which as usize].contains(&entry.size);
    let needed = match other {
        Seen::Unknown => false,
        Seen::Absent => raw.base.is_some() || may_be_moved(),
        Seen::Dir | Seen::NewFile => true,
        Seen::File(_) => may_be_the_base || may_be_moved(),
    };
    (needed || raw.recorded.is_some()).then_some(entry)
}
