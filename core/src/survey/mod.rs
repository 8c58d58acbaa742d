//! Both sides looked at once, as far as a scope reaches: what is not plainly equal comes out as rows in path order.
//!
//! Trees are streams here: a pass over a million unchanged files holds a window of them.

mod cursor;
mod folding;
mod hashing;
mod join;
mod rules;
mod vanished;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::{Look, Obstacle};
use crate::entry::{Entry, Kind};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::job::{Pair, Which};
use crate::merge::{Row, Seen, Verdict};
use crate::path::{IGNORE_FILE, RelPath};
use crate::report::{Problem, ProblemKind};
use crate::state::{BaseRow, ConflictRow};

pub use folding::Folds;
pub use rules::rules_above;
pub use walk::{Found, Walk};

use join::Join;

/// How many rows a window holds before it is handed on, if nothing in it must wait for the rest of the survey.
const WINDOW: usize = 8192;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// These paths, those with `true` with everything below them. Whatever must be looked at together with them is, too.
    Paths(BTreeMap<RelPath, bool>),
}

impl Scope {
    /// Whether a path lies in it.
    pub fn covers(&self, path: &RelPath) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => {
                paths.contains_key(path) || path.ancestors().any(|dir| paths.get(&dir) == Some(&true))
            }
        }
    }
}

/// A path as it was found, before anything was hashed.
#[derive(Debug, Clone)]
struct Raw {
    path: RelPath,
    base: Option<BaseRow>,
    entries: [Option<Entry>; 2],
    unknown: [bool; 2],
    recorded: Option<ConflictRow>,
}

impl Raw {
    /// Whether a side still holds exactly what the base says, as its token vouches.
    fn unchanged(&self, which: Which) -> bool {
        let Some(base) = &self.base else { return false };
        unchanged(base, self.entries[which as usize].as_ref(), which)
    }

    /// Whether there is nothing to be done or learned here. Rules are learned from a `.wlignore` that did not change, too.
    fn is_quiet(&self) -> bool {
        self.recorded.is_none()
            && self.path.name() != IGNORE_FILE
            && Which::BOTH.into_iter().all(|which| self.unchanged(which))
    }

    /// Whether the state has something about it.
    fn is_known(&self) -> bool {
        self.base.is_some() || self.recorded.is_some()
    }

    fn is_dir_anywhere(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.kind == Kind::Dir)
            || self.entries.iter().flatten().any(Entry::is_dir)
    }

    /// Whether rows after this one may change what becomes of it, or of those before it.
    fn must_wait(&self) -> bool {
        let kinds_differ = matches!(&self.entries, [Some(one), Some(two)] if one.kind != two.kind);
        kinds_differ || self.base.is_some() && self.entries.iter().any(Option::is_none)
    }

    fn into_row(self, seen: [Seen; 2]) -> Row {
        let Self { path, base, entries, recorded, .. } = self;
        Row { path, base, entries, seen, recorded, verdict: Verdict::Equal }
    }
}

fn unchanged(base: &BaseRow, entry: Option<&Entry>, which: Which) -> bool {
    entry.is_some_and(|entry| {
        entry.kind == base.kind
            && (entry.kind == Kind::Dir
                || base.tokens[which as usize].as_ref().is_some_and(|token| token.same(&entry.token)))
    })
}

/// What a window holds.
pub struct Window {
    /// Rows in path order, hashed as far as merging needs.
    pub rows: Vec<Row>,
    /// Paths that are excluded now: forgetting what the state has about them is safe.
    pub excluded: Vec<RelPath>,
    /// Whether the survey ends with it.
    pub last: bool,
}

/// One pass over a scope.
pub struct Survey<'a> {
    pair: &'a Pair,
    filter: &'a mut Filter,
    recorded: BTreeMap<RelPath, ConflictRow>,
    /// Still to be looked at, in path order.
    todo: Vec<(RelPath, bool)>,
    seen_dirs: BTreeSet<RelPath>,
    join: Option<Join>,
    window: Vec<Raw>,
    excluded: Vec<RelPath>,
    /// What could not be listed, looked at or read.
    pub problems: Vec<Problem>,
    /// Whether something changed while it was looked at, so that another look is due soon.
    pub restless: bool,
    /// A fault that may pass, of paths that could not be hashed for it.
    pub waits: Option<Error>,
    /// What changed while it was hashed.
    pub unsettled: Vec<RelPath>,
    /// Sides whose root is still to be made.
    empty: [bool; 2],
    /// Directories whose rules changed: everything below them must be looked at again.
    pub rules_changed: Vec<RelPath>,
    /// Directories whose rules were asked for before the listings had come to them.
    asked: BTreeSet<RelPath>,
    /// Which names the sides take for one.
    pub folds: [Folds; 2],
    /// Whether nothing is handed on before all was looked at.
    pub in_one_window: bool,
    /// Whether a listing of each side was cut off.
    pub cut: [bool; 2],
    /// Which roots there are, where that is known.
    pub roots: Option<[String; 2]>,
}

impl<'a> Survey<'a> {
    /// Begins a pass. The filter learns the `.wlignore` files that are met.
    pub fn new(pair: &'a Pair, filter: &'a mut Filter, scope: &Scope) -> Result<Self> {
        let recorded = pair.state.conflicts()?.into_iter().map(|row| (row.path.clone(), row)).collect();
        let mut todo = match scope {
            Scope::All => vec![(RelPath::root(), true)],
            Scope::Paths(paths) => paths.iter().map(|(path, below)| (path.clone(), *below)).collect(),
        };
        todo.reverse();
        Ok(Self {
            pair,
            filter,
            recorded,
            todo,
            seen_dirs: BTreeSet::new(),
            join: None,
            window: Vec::new(),
            excluded: Vec::new(),
            problems: Vec::new(),
            restless: false,
            waits: None,
            unsettled: Vec::new(),
            empty: [false; 2],
            rules_changed: Vec::new(),
            asked: BTreeSet::new(),
            folds: [Folds::default(); 2],
            in_one_window: false,
            cut: [false; 2],
            roots: None,
        })
    }

    /// Takes this for known of how the sides take names.
    pub fn knowing_folds(self, folds: [Folds; 2]) -> Self {
        Self { folds, ..self }
    }

    /// Takes these sides for empty: their roots are still to be made.
    pub fn taking_for_empty(self, empty: [bool; 2]) -> Self {
        Self { empty, ..self }
    }

    /// The next rows. After the one that is `last` there are none.
    pub async fn next_window(&mut self) -> Result<Window> {
        let mut waits = false;
        let mut last = true;
        while let Some(raw) = self.next_raw().await? {
            waits |= raw.must_wait();
            if raw.path.name() == IGNORE_FILE {
                self.learn_rules(&raw).await;
            }
            let is_full = self.window.len() + 1 >= WINDOW && !waits && !self.in_one_window;
            if is_full {
                self.ask_for_rules(&raw.path).await?;
            }
            self.window.push(raw);
            if is_full {
                last = false;
                break;
            }
        }
        self.leave_out_excluded();
        let mut found = std::mem::take(&mut self.window);
        self.confirm_losses(&mut found).await?;
        let rows = self.hashed(found).await?;
        Ok(Window { rows, excluded: std::mem::take(&mut self.excluded), last })
    }

    async fn next_raw(&mut self) -> Result<Option<Raw>> {
        loop {
            if let Some(join) = &mut self.join {
                if let Some(raw) = join.next(self.filter).await? {
                    return Ok(Some(raw));
                }
                self.problems.extend(join.problems(self.filter));
                self.cut = [0, 1].map(|side: usize| self.cut[side] || join.cut()[side]);
                self.excluded.append(&mut join.excluded);
                self.join = None;
            }
            let Some((path, below)) = self.todo.pop() else { return Ok(None) };
            if path.is_root() {
                self.begin_join(&path);
            } else if let Some(raw) = self.look_with_ancestors(path, below).await? {
                return Ok(Some(raw));
            }
        }
    }

    fn begin_join(&mut self, below: &RelPath) {
        // What lies below is covered by the join: looking at it twice would put rows out of order.
        while self.todo.pop_if(|(path, _)| path.is_below(below)).is_some() {}
        self.join = Some(Join::new(self.pair, below, self.filter.prune().as_ref(), self.empty, &self.recorded));
    }

    /// Looks at the first directory above a path that was not looked at yet, else at the path itself. Where a directory
    /// is not one everywhere, or was in conflict, all below it must be looked at together.
    async fn look_with_ancestors(&mut self, path: RelPath, below: bool) -> Result<Option<Raw>> {
        let mut above: Vec<_> = path.ancestors().collect();
        above.reverse();
        let missing = above.into_iter().find(|dir| !self.seen_dirs.contains(dir));
        let (at, is_target) = missing.map_or((path.clone(), true), |dir| (dir, false));
        let raw = self.look(at.clone()).await?;
        let everywhere = raw.base.is_some() && raw.entries.iter().flatten().count() == 2;
        // Below a conflict of kinds nothing was looked at: when it is over, all of it must be.
        let open = raw.recorded.is_some();
        let deep = is_target && below || open || !everywhere || !raw.entries.iter().flatten().all(Entry::is_dir);
        if deep && raw.is_dir_anywhere() {
            self.begin_join(&at);
        } else if !is_target && raw.is_dir_anywhere() {
            self.todo.push((path, below));
        }
        self.seen_dirs.insert(at);
        let excluded = self.filter.excludes(&raw.path, kind_of(&raw));
        if excluded {
            self.join = None;
            self.excluded.extend(raw.is_known().then(|| raw.path.clone()));
        }
        Ok((!excluded && !raw.is_quiet()).then_some(raw))
    }

    async fn look(&mut self, path: RelPath) -> Result<Raw> {
        let (mut entries, mut unknown) = ([None, None], [false; 2]);
        for which in Which::BOTH {
            let side = self.pair.side(which);
            let obstacle = match side.backend.stat(&path).await {
                Ok(Look::Absent) => continue,
                Ok(Look::Entry(entry)) => {
                    if !entry.is_dir() {
                        self.folds[which as usize].learn(&*side.backend, &path).await;
                    }
                    entries[which as usize] = Some(entry);
                    continue;
                }
                Ok(Look::Blocked(obstacle)) => obstacle,
                Err(error) if error.fault.passes() || error.fault == Fault::Stopped => return Err(error),
                Err(error) => Obstacle { kind: ProblemKind::Unreadable, message: error.message },
            };
            unknown[which as usize] = true;
            self.problem(which, &path, obstacle.kind, obstacle.message);
        }
        let (base, recorded) = (self.pair.state.base_of(&path)?, self.recorded.get(&path).cloned());
        Ok(Raw { path, base, entries, unknown, recorded })
    }

    /// Learns every `.wlignore` that bears on the rows so far, the last of them at that path, and that the listings have not
    /// come to.
    async fn ask_for_rules(&mut self, last: &RelPath) -> Result<()> {
        for dir in last.ancestors().chain([RelPath::root()]) {
            let to_come = dir.join(IGNORE_FILE).is_ok_and(|rules| rules > *last);
            if to_come && self.asked.insert(dir.clone()) {
                let changed = rules::ask(self.pair, self.filter, &dir).await?;
                self.rules_changed.extend(changed.then_some(dir));
            }
        }
        Ok(())
    }

    /// Reads a `.wlignore` on both sides into the filter.
    async fn learn_rules(&mut self, raw: &Raw) {
        let (changed, failed) = rules::learn(self.pair, self.filter, raw).await;
        let dir = raw.path.parent().unwrap_or_else(RelPath::root);
        if changed {
            // Rows were handed on by what the rules said when they were asked for.
            self.restless |= self.asked.contains(&dir);
            self.rules_changed.push(dir.clone());
        }
        for which in Which::BOTH.into_iter().filter(|which| raw.entries[*which as usize].is_some()) {
            let invalid = self.filter.invalid(&dir, which);
            if !invalid.is_empty() {
                // No file is left behind for it, and looking again would not help.
                self.problem(which, &raw.path, ProblemKind::Skipped, invalid.join("; "));
            }
        }
        for (which, error) in failed {
            self.restless |= matches!(error.fault, Fault::Refused | Fault::Missing);
            let message = format!("{}; what its rules bear on is left alone until it can be read", error.message);
            self.problem(which, &raw.path, ProblemKind::Unreadable, message);
        }
    }

    /// Drops the rows that rules met later exclude, and those whose rules are unknown.
    fn leave_out_excluded(&mut self) {
        let (filter, excluded) = (&*self.filter, &mut self.excluded);
        self.window.retain(|raw| {
            if filter.is_unruled(&raw.path) {
                return false;
            }
            let out = filter.excludes(&raw.path, kind_of(raw));
            excluded.extend((out && raw.is_known()).then(|| raw.path.clone()));
            !out
        });
        if let Some(join) = &mut self.join {
            excluded.append(&mut join.excluded);
        }
    }

    fn problem(&mut self, which: Which, path: &RelPath, kind: ProblemKind, message: String) {
        let storage = self.pair.id(which).to_owned();
        self.problems.push(Problem { path: path.to_string(), storage, kind, message });
    }
}

fn kind_of(raw: &Raw) -> Kind {
    if raw.is_dir_anywhere() { Kind::Dir } else { Kind::File }
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self { kind: ProblemKind::of(error.fault), message: error.message }
    }
}

impl ProblemKind {
    /// The kind a failed change is listed as.
    pub fn of(fault: Fault) -> Self {
        match fault {
            Fault::Denied => Self::Denied,
            Fault::Offline => Self::Offline,
            Fault::Busy | Fault::Refused | Fault::Missing => Self::Busy,
            Fault::Full => Self::Full,
            Fault::Malformed => Self::Name,
            Fault::Unsupported | Fault::Broken | Fault::Stopped => Self::Failed,
        }
    }
}
