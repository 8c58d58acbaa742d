//! Three trees merged into verdicts. Pure: no I/O, no clock, no `Result`.
//!
//! [`decide`] answers for one path alone; [`merge`] looks at a directory and what is below it together.

use crate::entry::{Entry, Hash};
use crate::job::Which;
use crate::path::RelPath;
use crate::report::ConflictKind;
use crate::state::{BaseRow, ConflictRow, Held};

/// What one side holds under a path, as far as merging needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It could not be looked at: anything may be there.
    Unknown,
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A file with that content.
    File(Hash),
    /// A file whose content is surely not the base's, and which nothing else needs to be compared with.
    NewFile,
}

impl Seen {
    /// Whether something is, or may be, there.
    pub fn may_exist(self) -> bool {
        self != Self::Absent
    }

    fn is(self, held: Held) -> bool {
        match (self, held) {
            (Self::Absent, Held::Absent) | (Self::Dir, Held::Dir) => true,
            (Self::File(seen), Held::File(held)) => seen == held,
            _ => false,
        }
    }

    fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) | (Self::Dir, Self::Dir) => true,
            (Self::File(one), Self::File(two)) => one == two,
            _ => false,
        }
    }
}

/// What is to become of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Both sides are what the base says.
    Equal,
    /// A side is unknown: nothing is done.
    Unknown,
    /// Both sides have nothing: the base forgets it.
    Forget,
    /// Both sides came to be equal: the base takes it.
    Adopt,
    /// The other side becomes what this side is.
    Carry(Which),
    /// Nothing is changed: the user decides.
    Conflict(ConflictKind),
    /// Unidirectional: the target's own affair.
    Leave,
    /// A directory that would be deleted but for what stays below it.
    Hold,
    /// At or below a conflict of kinds: not touched.
    Suppressed,
}

/// One path that is not plainly equal on both sides.
#[derive(Debug, Clone)]
pub struct Row {
    /// The path.
    pub path: RelPath,
    /// What both agreed on last.
    pub base: Option<BaseRow>,
    /// The entry on each side, where one was seen.
    pub entries: [Option<Entry>; 2],
    /// What each side holds.
    pub seen: [Seen; 2],
    /// The conflict recorded for it.
    pub recorded: Option<ConflictRow>,
    /// What is to become of it.
    pub verdict: Verdict,
}

impl Row {
    /// The base as merging sees it.
    pub fn held(&self) -> Held {
        held(self.base.as_ref())
    }

    /// What a side holds.
    pub fn on(&self, which: Which) -> Seen {
        self.seen[which as usize]
    }

    /// The entry on a side.
    pub fn entry(&self, which: Which) -> Option<&Entry> {
        self.entries[which as usize].as_ref()
    }
}

/// A base row as merging sees it.
pub fn held(base: Option<&BaseRow>) -> Held {
    match base {
        None => Held::Absent,
        Some(row) => row.hash.map_or(Held::Dir, Held::File),
    }
}

/// Decides about one path alone. This is the policy: its whole truth table is printed by a test and kept.
pub fn decide(base: Held, seen: [Seen; 2], recorded: Option<[Held; 2]>, unidirectional: bool) -> Verdict {
    let [source, target] = seen;
    if source == Seen::Unknown || target == Seen::Unknown {
        return Verdict::Unknown;
    }
    if source.equals(target) {
        return match (source.is(base), source) {
            (true, _) => Verdict::Equal,
            (false, Seen::Absent) => Verdict::Forget,
            (false, _) => Verdict::Adopt,
        };
    }
    let carry = |from: Which| match from {
        Which::Target if unidirectional => Verdict::Leave,
        _ => Verdict::Carry(from),
    };
    match recorded {
        Some(versions) => match out_of_conflict(versions, seen) {
            // What is left on the target cannot be carried over: it still differs from what the source says.
            Some(Which::Target) if unidirectional => Verdict::Conflict(kind_of(seen)),
            Some(from) => carry(from),
            None => Verdict::Conflict(kind_of(seen)),
        },
        None if target.is(base) => carry(Which::Source),
        None if source.is(base) => carry(Which::Target),
        None => match took_its_place(base, seen) {
            Some(from) if from == Which::Source || !unidirectional => carry(from),
            _ => Verdict::Conflict(kind_of(seen)),
        },
    }
}

/// What both sides took away is gone; what one of them put in its place, of another kind, is new and nobody's loss. This is
/// also what a crash leaves that came while a file was giving way to a directory, or the reverse.
fn took_its_place(base: Held, seen: [Seen; 2]) -> Option<Which> {
    let other_kind = |seen: Seen| match base {
        Held::File(_) => seen == Seen::Dir,
        Held::Dir => matches!(seen, Seen::File(_) | Seen::NewFile),
        Held::Absent => false,
    };
    Which::BOTH
        .into_iter()
        .find(|which| seen[which.other() as usize] == Seen::Absent && other_kind(seen[*which as usize]))
}

/// A conflict of two existing versions is over when one of them was removed: the other one is then carried over. Nothing
/// else that happens on one side alone ends a conflict.
fn out_of_conflict(recorded: [Held; 2], seen: [Seen; 2]) -> Option<Which> {
    if recorded.contains(&Held::Absent) {
        return None;
    }
    Which::BOTH.into_iter().find(|which| seen[which.other() as usize] == Seen::Absent)
}

/// What two unequal versions disagree in.
pub fn kind_of(seen: [Seen; 2]) -> ConflictKind {
    match seen {
        [Seen::Absent, _] | [_, Seen::Absent] => ConflictKind::DeletedModified,
        [Seen::Dir, _] | [_, Seen::Dir] => ConflictKind::Kind,
        _ => ConflictKind::Content,
    }
}

/// Decides about rows in path order. `within` carries a conflict of kinds over from the rows before, or a directory that may
/// be anything on the other side: what is below it is suppressed; it is left as the one the last row lies at or below, if any.
pub fn merge(rows: &mut [Row], unidirectional: bool, within: &mut Option<RelPath>) {
    for row in rows.iter_mut() {
        row.verdict = if within.as_ref().is_some_and(|top| row.path.is_below(top)) {
            Verdict::Suppressed
        } else {
            decide(row.held(), row.seen, row.recorded.as_ref().map(|conflict| conflict.versions), unidirectional)
        };
        if matches!(row.verdict, Verdict::Conflict(_) | Verdict::Unknown) && row.seen.contains(&Seen::Dir) {
            *within = Some(row.path.clone());
        }
    }
    settle_directories(rows);
}

/// Whether something will be under a row's path on a side once its verdict is carried out.
fn stays(row: &Row, on: Which) -> bool {
    match row.verdict {
        Verdict::Carry(from) => row.on(from).may_exist(),
        _ => row.on(on).may_exist(),
    }
}

/// Whether a row's verdict puts something on a side where nothing was.
fn appears(row: &Row, on: Which) -> bool {
    row.verdict == Verdict::Carry(on.other()) && row.on(on) == Seen::Absent && row.on(on.other()).may_exist()
}

/// Lets every directory follow from what is below it: it stays where something below it stays, is made where something
/// below it appears, and does not give way to a file while something below it stays.
///
/// Runs backwards: in path order a subtree is contiguous, so the nearest later row with a property lies below a
/// directory exactly if any row below it has that property.
fn settle_directories(rows: &mut [Row]) {
    let mut staying: [Option<RelPath>; 2] = [None, None];
    let mut known_to_stay: [Option<RelPath>; 2] = [None, None];
    let mut appearing: [Option<RelPath>; 2] = [None, None];
    let mut wanted: Option<RelPath> = None;
    for index in (0..rows.len()).rev() {
        let is_below = |path: &Option<RelPath>| path.as_ref().is_some_and(|path| path.is_below(&rows[index].path));
        let stays_below = Which::BOTH.map(|which| match which as usize {
            side if is_below(&known_to_stay[side]) => Below::Stays,
            side if is_below(&staying[side]) => Below::MayStay,
            _ => Below::Goes,
        });
        let appears_below = [is_below(&appearing[0]), is_below(&appearing[1])];
        let wanted_below = is_below(&wanted);
        if let Some(verdict) = directory_verdict(&rows[index], stays_below, appears_below, wanted_below) {
            rows[index].verdict = verdict;
            if matches!(verdict, Verdict::Conflict(ConflictKind::Kind) | Verdict::Unknown) {
                suppress_below(rows, index);
            }
        }
        for which in Which::BOTH {
            let row = &rows[index];
            if stays(row, which) {
                staying[which as usize] = Some(row.path.clone());
                if row.on(which) != Seen::Unknown && row.verdict != Verdict::Hold {
                    known_to_stay[which as usize] = Some(row.path.clone());
                }
            }
            if appears(row, which) {
                appearing[which as usize] = Some(row.path.clone());
            }
        }
        if matches!(rows[index].verdict, Verdict::Carry(Which::Source) | Verdict::Conflict(_)) {
            wanted = Some(rows[index].path.clone());
        }
    }
}

/// What becomes of what is below a directory on a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    /// Nothing of it will be there.
    Goes,
    /// It could not all be looked at.
    MayStay,
    /// Something of it will be there.
    Stays,
}

/// What a directory's verdict becomes because of what is below it, `wanted` being what the source changed there; none if it
/// stands.
fn directory_verdict(row: &Row, stays_below: [Below; 2], appears_below: [bool; 2], wanted: bool) -> Option<Verdict> {
    let has = Which::BOTH.into_iter().find(|which| row.on(*which) == Seen::Dir)?;
    let (lacks, below) = (has.other(), stays_below[has as usize]);
    match (row.on(lacks), row.verdict) {
        (_, Verdict::Suppressed | Verdict::Unknown | Verdict::Conflict(_)) => None,
        // The target's own affair, until the source changes something that would have to go where the file is.
        (Seen::File(_) | Seen::NewFile, Verdict::Leave) if wanted => Some(Verdict::Conflict(ConflictKind::Kind)),
        (Seen::Absent, _) if appears_below[lacks as usize] => Some(Verdict::Carry(has)),
        (Seen::Absent, Verdict::Carry(from)) if from == lacks && below != Below::Goes => Some(Verdict::Hold),
        (Seen::File(_) | Seen::NewFile, Verdict::Carry(from)) if from == lacks => match below {
            Below::Goes => None,
            // A conflict would outlast the failure that made it.
            Below::MayStay => Some(Verdict::Unknown),
            Below::Stays => Some(Verdict::Conflict(ConflictKind::Kind)),
        },
        _ => None,
    }
}

fn suppress_below(rows: &mut [Row], index: usize) {
    let (above, below) = rows.split_at_mut(index + 1);
    let top = &above[index].path;
    below.iter_mut().take_while(|row| row.path.is_below(top)).for_each(|row| row.verdict = Verdict::Suppressed);
}

#[cfg(test)]
mod tests;
