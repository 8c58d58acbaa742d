//! Verdicts turned into steps, in an order in which each finds what it needs. Pure.

mod moves;

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::Guard;
use crate::entry::{Entry, Hash, Kind, Meta, Token};
use crate::job::Which;
use crate::merge::{Row, Seen, Verdict};
use crate::path::RelPath;
use crate::report::{ConflictKind, TrashReason};
use crate::state::{BaseRow, Becoming, Held, Intent};

/// One change to one side. Each names what it expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Copy a file to the other side.
    Copy {
        /// The path, on both sides.
        path: RelPath,
        /// The side it is read from.
        from: Which,
        /// The version to be read.
        entry: Entry,
        /// Its sha256, where it is known already.
        hash: Option<Hash>,
        /// What the other side must hold.
        guard: Guard,
        /// Where the other side has that content already.
        inside: Option<Inside>,
    },
    /// Move a file inside a side, as it was moved on the other.
    Move {
        /// Where it is.
        path: RelPath,
        /// Where it goes.
        to: RelPath,
        /// The side that changes.
        on: Which,
        /// The version to be moved.
        token: Token,
        /// Its sha256.
        hash: Hash,
        /// The entry under the new path on the other side.
        there: Entry,
        /// What must be where it goes.
        guard: Guard,
    },
    /// Delete a file.
    Remove {
        /// The path.
        path: RelPath,
        /// The side that changes.
        on: Which,
        /// The version to be deleted.
        token: Token,
        /// Its sha256 and bytes.
        content: (Hash, u64),
    },
    /// Make a directory.
    MakeDir {
        /// The path.
        path: RelPath,
        /// The side that changes.
        on: Which,
        /// What it is to have.
        meta: Meta,
    },
    /// Remove an empty directory.
    RemoveDir {
        /// The path.
        path: RelPath,
        /// The side that changes.
        on: Which,
        /// Whether a file is to take its place.
        for_file: bool,
    },
    /// Give a file the modification time and mode it has on the other side.
    SetMeta {
        /// The path.
        path: RelPath,
        /// The side that changes.
        on: Which,
        /// The version to be changed.
        token: Token,
        /// What it is to have.
        meta: Meta,
        /// The base row it then has, but for the version on this side.
        base: BaseRow,
    },
}

/// Where a side has a content that it is to have elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// The path that has it, or had it.
    pub path: RelPath,
    /// That version.
    pub token: Token,
    /// Why it is in the trash by the time it is needed, if it is.
    pub kept: Option<TrashReason>,
}

impl Step {
    /// Whether it copies what another step has put into the trash.
    pub fn takes_from_trash(&self) -> bool {
        matches!(self, Self::Copy { inside: Some(Inside { kept: Some(_), .. }), .. })
    }

    /// The path it is about.
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Copy { path, .. }
            | Self::Move { path, .. }
            | Self::Remove { path, .. }
            | Self::MakeDir { path, .. }
            | Self::RemoveDir { path, .. }
            | Self::SetMeta { path, .. } => path,
        }
    }

    /// The side it changes.
    pub fn on(&self) -> Which {
        match self {
            Self::Copy { from, .. } => from.other(),
            Self::Move { on, .. }
            | Self::Remove { on, .. }
            | Self::MakeDir { on, .. }
            | Self::RemoveDir { on, .. }
            | Self::SetMeta { on, .. } => *on,
        }
    }

    /// What is about to be done, as far as it may come between a later edit and the base.
    pub fn intents(&self) -> Vec<Intent> {
        let intent = |path: &RelPath, becomes| Intent { path: path.clone(), on: self.on(), becomes };
        let file = |entry: &Entry, hash| Becoming::File { size: entry.size, mtime: entry.meta.mtime, hash };
        match self {
            Self::Copy { path, entry, hash, .. } => vec![intent(path, file(entry, *hash))],
            Self::Move { path, to, hash, there, .. } => {
                vec![intent(path, Becoming::Gone), intent(to, file(there, Some(*hash)))]
            }
            Self::Remove { path, .. } => vec![intent(path, Becoming::Gone)],
            Self::MakeDir { .. } | Self::RemoveDir { .. } | Self::SetMeta { .. } => Vec::new(),
        }
    }

    /// Whether it needs room on the side that changes.
    pub fn needs_room(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::MakeDir { .. })
    }

    /// Bytes it transfers.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Copy { entry, inside: None, .. } => entry.size,
            _ => 0,
        }
    }
}

/// What the base learns without anything being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Both sides are found equal, without a base before.
    Adopted(BaseRow),
    /// The same content under newer tokens.
    Refreshed(BaseRow),
    /// Neither side has it any more.
    Forgotten(RelPath),
}

/// A conflict as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The path.
    pub path: RelPath,
    /// What the versions disagree in.
    pub kind: ConflictKind,
    /// What each side holds.
    pub versions: [Held; 2],
}

/// What is to be done about a window of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps in groups: those of a group may run at once, a group runs after the one before it.
    pub groups: Vec<Vec<Step>>,
    /// What the base learns at once.
    pub notes: Vec<Note>,
    /// Conflicts open now.
    pub clashes: Vec<Clash>,
    /// Recorded conflicts that are over.
    pub settled: Vec<RelPath>,
    /// Recorded conflicts that are over once the step about them has succeeded.
    pub settling: BTreeSet<RelPath>,
    /// What would be written on a read-only side.
    pub held_back: Vec<(RelPath, Which)>,
    /// Directories that are to give way to a file and cannot yet, with the side they are on: what is below them is not all
    /// known.
    pub in_the_way: Vec<(RelPath, Which)>,
    /// Files each side would lose. Moves do not count.
    pub deletes: [u64; 2],
    /// Files that both sides had, that vanished from each, and that the other keeps: nothing is to be deleted there.
    pub lost: [u64; 2],
}

/// What planning must know of the two sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether each side is only read.
    pub read_only: [bool; 2],
    /// Whether a side can move files inside itself.
    pub moves: [bool; 2],
    /// Whether a side can copy files inside itself.
    pub copies: [bool; 2],
    /// Whether only the source's changes travel.
    pub unidirectional: bool,
    /// What modification times are rounded down to before they are compared, in nanoseconds; none if a side keeps none.
    pub mtime_resolution_ns: Option<u64>,
    /// Whether both sides keep permission bits.
    pub modes: bool,
}

/// Plans a window of rows that were merged.
pub fn plan(rows: &[Row], terms: &Terms) -> Plan {
    let mut draft = Draft::new(terms);
    let mut giving_way: Option<(RelPath, Which)> = None;
    for row in rows {
        if giving_way.as_ref().is_some_and(|(top, _)| !row.path.is_below(top)) {
            giving_way = None;
        }
        draft.take(row, giving_way.is_some());
        if let Verdict::Carry(from) = row.verdict
            && dir_against_file(row) == Some(from.other())
        {
            giving_way = Some((row.path.clone(), from.other()));
        }
    }
    draft.finish()
}

/// The side that holds a directory where the other holds a file.
fn dir_against_file(row: &Row) -> Option<Which> {
    let is_file = |which: Which| matches!(row.on(which), Seen::File(_) | Seen::NewFile);
    Which::BOTH.into_iter().find(|which| row.on(*which) == Seen::Dir && is_file(which.other()))
}

/// The steps by what they do, before they are put in order.
struct Draft<'a> {
    terms: &'a Terms,
    plan: Plan,
    /// Files that give way to directories, and what is below directories that give way to files.
    clear: Vec<Step>,
    clear_dirs: BTreeMap<usize, Vec<Step>>,
    dirs: BTreeMap<usize, Vec<Step>>,
    copies: Vec<Step>,
    /// What those overwrite.
    overwritten: moves::Held,
    removes: Vec<Step>,
    remove_dirs: BTreeMap<usize, Vec<Step>>,
}

impl<'a> Draft<'a> {
    fn new(terms: &'a Terms) -> Self {
        Self {
            terms,
            plan: Plan::default(),
            clear: Vec::new(),
            clear_dirs: BTreeMap::new(),
            dirs: BTreeMap::new(),
            copies: Vec::new(),
            overwritten: moves::Held::new(),
            removes: Vec::new(),
            remove_dirs: BTreeMap::new(),
        }
    }

    fn take(&mut self, row: &Row, gives_way: bool) {
        match row.verdict {
            _ if row.recorded.is_none() => {}
            Verdict::Conflict(_) | Verdict::Unknown | Verdict::Suppressed => {}
            Verdict::Carry(_) => drop(self.plan.settling.insert(row.path.clone())),
            _ => self.plan.settled.push(row.path.clone()),
        }
        match row.verdict {
            Verdict::Carry(from) => self.carry(row, from, gives_way),
            Verdict::Conflict(kind) => self.clash(row, kind),
            Verdict::Forget => self.plan.notes.push(Note::Forgotten(row.path.clone())),
            Verdict::Adopt => {
                let both = self.terms.alike(row.meta_of(Which::Source), &row.meta_of(Which::Target));
                self.plan.notes.extend(agreed(row, both).map(Note::Adopted));
            }
            Verdict::Equal => self.refresh(row),
            Verdict::Unknown => {
                self.plan.in_the_way.extend(dir_against_file(row).map(|which| (row.path.clone(), which)));
            }
            Verdict::Leave => self.leave(row, Which::Target),
            Verdict::Hold | Verdict::Suppressed => {}
        }
    }

    /// What vanished from a side and is not followed.
    fn leave(&mut self, row: &Row, on: Which) {
        let was_file = row.base.as_ref().is_some_and(|base| base.kind == Kind::File);
        self.plan.lost[on as usize] += u64::from(was_file && row.on(on) == Seen::Absent);
    }

    fn clash(&mut self, row: &Row, kind: ConflictKind) {
        let held = |seen| match seen {
            Seen::Dir => Held::Dir,
            Seen::File(hash) => Held::File(hash),
            // A conflict is only declared between contents that were read.
            Seen::Absent | Seen::Unknown | Seen::NewFile => Held::Absent,
        };
        self.plan.clashes.push(Clash { path: row.path.clone(), kind, versions: row.seen.map(held) });
    }

    fn carry(&mut self, row: &Row, from: Which, gives_way: bool) {
        let on = from.other();
        if self.terms.read_only[on as usize] {
            self.plan.held_back.push((row.path.clone(), on));
            self.leave(row, from);
            return;
        }
        let depth = row.path.segments().count();
        let (path, there) = (row.path.clone(), row.entry(from));
        match (there.map(|entry| entry.kind), row.entry(on)) {
            (None, Some(entry)) if entry.is_dir() => {
                let dirs = if gives_way { &mut self.clear_dirs } else { &mut self.remove_dirs };
                dirs.entry(depth).or_default().push(Step::RemoveDir { path, on, for_file: false });
            }
            (None, Some(entry)) => {
                let removes = if gives_way { &mut self.clear } else { &mut self.removes };
                removes.extend(remove(row, on, entry));
                self.plan.deletes[on as usize] += 1;
            }
            (Some(Kind::Dir), here) => {
                if let Some(entry) = here {
                    self.clear.extend(remove(row, on, entry));
                    self.plan.deletes[on as usize] += 1;
                }
                // Whoever cannot write below it cannot fill it.
                let meta = Meta { mode: row.meta_of(from).mode.map(|mode| mode | 0o700), mtime: None };
                self.dirs.entry(depth).or_default().push(Step::MakeDir { path, on, meta });
            }
            (Some(Kind::File), here) => {
                if here.is_some_and(Entry::is_dir) {
                    self.clear_dirs.entry(depth).or_default().push(Step::RemoveDir { path, on, for_file: true });
                } else if let (Some(entry), Seen::File(hash)) = (here, row.on(on)) {
                    let inside = Inside { path, token: entry.token.clone(), kept: None };
                    self.overwritten.entry((on, hash)).or_default().push(inside);
                }
                self.copies.extend(copy(row, from));
            }
            (None, None) => {}
        }
    }

    /// The content is the base's on both sides, but a token or what travels beside it may be new.
    fn refresh(&mut self, row: &Row) {
        let (Some(base), [Some(source), Some(target)]) = (&row.base, &row.entries) else { return };
        if base.kind == Kind::Dir {
            return;
        }
        let differs = |one: &Meta, two: &Meta| self.terms.differ(one, two);
        let entries = [source, target];
        let changed = Which::BOTH.into_iter().find(|which| differs(&entries[*which as usize].meta, &base.meta));
        let touched = touched(base, entries);
        // What they never had in common.
        let (open_time, open_mode) = (base.meta.mtime.is_none(), base.meta.mode.is_none() && self.terms.modes);
        let changed = changed.or(touched.filter(|_| open_time || open_mode));
        let from = changed.unwrap_or(Which::Source);
        let on = from.other();
        // What a listing does not know is taken to be as it was.
        let [meta, there] = [from, on].map(|which| entries[which as usize].meta.or(&base.meta));
        // Such a time travels from where it was set since, and not beside a mode. Such a mode only where nothing else was
        // set: whoever touches a file does not mean to show it to others.
        let alike = self.terms.alike(meta, &there);
        let is_set = touched == Some(from);
        let is_same_time = !open_time && !differs(&Meta { mode: None, ..meta }, &base.meta);
        let meta = Meta {
            mtime: if !open_time || is_set { meta.mtime } else { alike.mtime },
            mode: if !open_mode || is_set && is_same_time { meta.mode } else { alike.mode },
        };
        let Some(fresh) = agreed(row, meta) else { return };
        let follows = changed.is_some()
            && differs(&meta, &there)
            && !self.terms.read_only[on as usize]
            && !(self.terms.unidirectional && on == Which::Source);
        if follows {
            let token = entries[on as usize].token.clone();
            self.copies.push(Step::SetMeta { path: row.path.clone(), on, token, meta, base: fresh });
        } else if fresh != *base {
            self.plan.notes.push(Note::Refreshed(fresh));
        }
    }

    fn finish(mut self) -> Plan {
        let Terms { moves, copies, .. } = *self.terms;
        let means = moves::Means { moves, copies, overwritten: self.overwritten, cleared: &self.clear };
        let found = moves::recognise(&mut self.copies, &mut self.removes, means);
        for which in Which::BOTH {
            self.plan.deletes[which as usize] -= found.pairs[which as usize];
        }
        let mut groups = vec![self.clear];
        groups.extend(self.clear_dirs.into_values().rev());
        groups.extend(self.dirs.into_values());
        groups.extend(found.groups);
        groups.extend([self.copies, self.removes]);
        groups.extend(self.remove_dirs.into_values().rev());
        groups.retain(|group| !group.is_empty());
        self.plan.groups = groups;
        self.plan
    }
}

impl Row {
    fn meta_of(&self, which: Which) -> Meta {
        self.entry(which).map(|entry| entry.meta).unwrap_or_default()
    }
}

impl Terms {
    /// Whether what travels beside a content differs, as far as both sides can hold it.
    pub fn differ(&self, one: &Meta, two: &Meta) -> bool {
        let rounded = |meta: &Meta| {
            let (time, step) = (meta.mtime?.as_nanosecond(), i128::from(self.mtime_resolution_ns?.max(1)));
            Some(time.div_euclid(step))
        };
        let both = |one: Option<i128>, two: Option<i128>| one.zip(two).is_some_and(|(one, two)| one != two);
        let modes = one.mode.zip(two.mode).is_some_and(|(one, two)| one != two);
        both(rounded(one), rounded(two)) || self.modes && modes
    }

    /// What both sides hold alike, where one was given what the other has: a time, or a mode, that it holds another one for
    /// is nobody's, or the next pass would carry that one back.
    pub fn alike(&self, given: Meta, held: &Meta) -> Meta {
        let given = given.or(held);
        let other_time = self.differ(&Meta { mode: None, ..given }, held);
        let other_mode = self.differ(&Meta { mtime: None, ..given }, held);
        Meta { mtime: given.mtime.filter(|_| !other_time), mode: given.mode.filter(|_| !other_mode) }
    }
}

/// The side that was touched since: the other one is as it was.
fn touched(base: &BaseRow, entries: [&Entry; 2]) -> Option<Which> {
    let same = |which: Which| Some(base.tokens[which as usize].as_ref()?.same(&entries[which as usize].token));
    match Which::BOTH.map(same) {
        [Some(false), Some(true)] => Some(Which::Source),
        [Some(true), Some(false)] => Some(Which::Target),
        _ => None,
    }
}

/// The base row of a path that both sides hold alike.
fn agreed(row: &Row, meta: Meta) -> Option<BaseRow> {
    let [Some(source), Some(target)] = &row.entries else { return None };
    let hash = match row.seen {
        [Seen::File(hash), _] | [_, Seen::File(hash)] => Some(hash),
        _ => None,
    };
    let token = |entry: &Entry| (hash.is_some() && !entry.token.is_racy()).then(|| entry.token.clone());
    let tokens = [token(source), token(target)];
    let (meta, size) = if hash.is_some() { (meta, source.size) } else { (Meta::default(), 0) };
    Some(BaseRow { path: row.path.clone(), kind: source.kind, hash, size, meta, tokens })
}

fn copy(row: &Row, from: Which) -> Option<Step> {
    let entry = row.entry(from)?.clone();
    let hash = match row.on(from) {
        Seen::File(hash) => Some(hash),
        _ => None,
    };
    let guard = match row.entry(from.other()) {
        Some(there) if there.kind == Kind::File => Guard::Unchanged(there.token.clone()),
        _ => Guard::Absent,
    };
    Some(Step::Copy { path: row.path.clone(), from, entry, hash, guard, inside: None })
}

fn remove(row: &Row, on: Which, entry: &Entry) -> Option<Step> {
    let Seen::File(hash) = row.on(on) else { return None };
    let (path, token) = (row.path.clone(), entry.token.clone());
    Some(Step::Remove { path, on, token, content: (hash, entry.size) })
}

#[cfg(test)]
mod tests;
