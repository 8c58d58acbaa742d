//! Two listings and the base, joined path by path.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use super::cursor::Cursor;
use super::{Raw, kind_of};
use crate::backend::Prune;
use crate::entry::Kind;
use crate::error::Result;
use crate::filter::Filter;
use crate::job::{Pair, Which};
use crate::path::RelPath;
use crate::report::{Problem, ProblemKind};
use crate::state::{BaseRow, ConflictRow, PairState};

/// Base rows read at once.
const CHUNK: usize = 4096;

pub(super) struct Join {
    below: RelPath,
    sides: [Cursor; 2],
    base: BaseCursor,
    recorded: VecDeque<ConflictRow>,
    /// Paths that are excluded and that the state has something about.
    pub excluded: Vec<RelPath>,
    /// The directory that is excluded, with all below it.
    skipping: Option<RelPath>,
}

impl Join {
    pub fn new(
        pair: &Pair,
        below: &RelPath,
        prune: Option<&Prune>,
        empty: [bool; 2],
        recorded: &BTreeMap<RelPath, ConflictRow>,
    ) -> Self {
        let base = BaseCursor::new(pair.state.clone(), below.clone());
        let recorded = recorded.values().filter(|row| row.path.is_below(below)).cloned().collect();
        Self { base, recorded, ..Self::of(pair, below, prune, empty) }
    }

    /// The two listings alone: nothing is quiet without a base.
    pub fn bare(pair: &Pair, prune: Option<&Prune>) -> Self {
        Self::of(pair, &RelPath::root(), prune, [false; 2])
    }

    fn of(pair: &Pair, below: &RelPath, prune: Option<&Prune>, empty: [bool; 2]) -> Self {
        let list = |which: Which| {
            if empty[which as usize] {
                Box::pin(futures::stream::empty())
            } else {
                pair.side(which).backend.list(below, prune.cloned())
            }
        };
        let cursor = |which: Which| Cursor::new(list(which), pair.id(which));
        Self {
            below: below.clone(),
            sides: [cursor(Which::Source), cursor(Which::Target)],
            base: BaseCursor::empty(),
            recorded: VecDeque::new(),
            excluded: Vec::new(),
            skipping: None,
        }
    }

    /// The next path that is neither plainly equal nor excluded.
    pub async fn next(&mut self, filter: &Filter) -> Result<Option<Raw>> {
        loop {
            for side in &mut self.sides {
                side.fill().await;
            }
            self.base.fill().await?;
            let Some(path) = self.next_path() else { return Ok(None) };
            let raw = self.take(path);
            if raw.path == self.below || self.is_excluded(&raw, filter) || raw.is_quiet() {
                continue;
            }
            return Ok(Some(raw));
        }
    }

    /// What the listings could not tell, but for what is excluded. Where one was cut off is told in any case: it is about
    /// all that would have come after it.
    pub fn problems(&mut self, filter: &Filter) -> Vec<Problem> {
        let is_excluded = |problem: &Problem| {
            let is_file = matches!(problem.kind, ProblemKind::Skipped | ProblemKind::Name);
            let kind = if is_file { Kind::File } else { Kind::Dir };
            RelPath::parse(&problem.path).is_ok_and(|path| filter.excludes(&path, kind))
        };
        let told = |side: &mut Cursor| {
            let problems = std::mem::take(&mut side.problems).into_iter();
            let cut = side.cut().map(RelPath::as_str);
            problems.filter(|problem| cut == Some(&problem.path) || !is_excluded(problem)).collect::<Vec<_>>()
        };
        self.sides.iter_mut().flat_map(told).collect()
    }

    /// Whether each listing was cut off.
    pub fn cut(&self) -> [bool; 2] {
        self.sides.each_ref().map(|side| side.cut().is_some())
    }

    fn next_path(&self) -> Option<RelPath> {
        let [source, target] = &self.sides;
        let recorded = self.recorded.front().map(|row| &row.path);
        [source.peek(), target.peek(), self.base.peek(), recorded].into_iter().flatten().min().cloned()
    }

    fn take(&mut self, path: RelPath) -> Raw {
        let entries = [self.sides[0].take(&path), self.sides[1].take(&path)];
        let unknown = [0, 1].map(|side: usize| entries[side].is_none() && self.sides[side].is_unknown(&path));
        let base = self.base.take(&path);
        let recorded = self.recorded.pop_front_if(|row| row.path == path);
        Raw { path, base, entries, unknown, recorded }
    }

    fn is_excluded(&mut self, raw: &Raw, filter: &Filter) -> bool {
        if self.skipping.as_ref().is_some_and(|top| !raw.path.is_below(top)) {
            self.skipping = None;
        }
        let out = self.skipping.is_some() || filter.excludes(&raw.path, kind_of(raw));
        if out {
            self.excluded.extend(raw.is_known().then(|| raw.path.clone()));
            if self.skipping.is_none() {
                self.skipping = Some(raw.path.clone());
            }
        }
        out
    }
}

/// The base, read ahead in chunks by a thread that may wait for the database.
struct BaseCursor {
    chunks: mpsc::Receiver<Result<Vec<BaseRow>>>,
    ready: VecDeque<BaseRow>,
    ended: bool,
}

impl BaseCursor {
    fn new(state: PairState, below: RelPath) -> Self {
        let (send, chunks) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut after: Option<RelPath> = None;
            loop {
                let chunk = state.base_after(&below, after.as_ref(), CHUNK);
                let last = chunk.as_ref().map_or(true, |rows| rows.len() < CHUNK);
                after = chunk.as_ref().ok().and_then(|rows| rows.last()).map(|row| row.path.clone());
                if send.blocking_send(chunk).is_err() || last {
                    return;
                }
            }
        });
        Self { chunks, ready: VecDeque::new(), ended: false }
    }

    fn empty() -> Self {
        Self { chunks: mpsc::channel(1).1, ready: VecDeque::new(), ended: true }
    }

    async fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() && !self.ended {
            match self.chunks.recv().await {
                Some(chunk) => self.ready.extend(chunk?),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<&RelPath> {
        self.ready.front().map(|row| &row.path)
    }

    fn take(&mut self, path: &RelPath) -> Option<BaseRow> {
        self.ready.pop_front_if(|row| row.path == *path)
    }
}
