//! One round of a sync: survey, merge, plan, brakes, execute, advance. Read this first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;

use crate::below::Below;
use crate::brakes;
use crate::entry::Kind;
use crate::error::{Error, Fault, Result};
use crate::execute::{Executor, Results, Tally};
use crate::filter::Filter;
use crate::identity::{is_another, is_unnamed, remembered};
use crate::job::{Pair, Run, Which};
use crate::limit::Limit;
use crate::merge::merge;
use crate::path::RelPath;
use crate::plan::{Clash, Note, Plan, Terms, plan};
use crate::recent::Recent;
use crate::recover::recover;
use crate::report::{ConflictView, HistoryEntry, JobState, Problem, ProblemKind};
use crate::state::{ConflictRow, Held};
use crate::step::Means;
use crate::survey::{Folds, Scope, Survey, Window};
use crate::syncer::Carrier;

/// What could not be settled in so many rounds, one after the other, is listed as a problem, and not hurried any more.
pub(crate) const LOOKS: u32 = 6;

/// Keeps one pair equal, round by round.
pub struct Engine<'a> {
    run: &'a Run,
    carrier: &'a dyn Carrier,
    filter: Filter,
    limits: Vec<Limit>,
    problems: BTreeSet<Problem>,
    recent_deletes: Recent,
    /// Whether nothing is left half done, or in doubt, by an earlier round.
    recovered: bool,
    /// Which roots were there when they were looked at last.
    roots: Option<[String; 2]>,
    /// Which names the sides take for one.
    folds: [Folds; 2],
    /// How many rounds in a row could not settle a path.
    stubborn: BTreeMap<RelPath, u32>,
    tally: Tally,
}

/// How a round ended.
#[derive(Debug, Default)]
pub struct Round {
    /// Paths that changed meanwhile: another look is due soon.
    pub unsettled: Vec<RelPath>,
    /// Whether something else changed while it was looked at.
    pub restless: bool,
    /// A fault that may pass: what is left to do waits for that.
    pub waits: Option<Error>,
    /// Directories whose exclude rules changed: what is below them must be looked at.
    pub rules_changed: Vec<RelPath>,
    /// Paths that were copied, the first few.
    pub copied: Vec<RelPath>,
    /// A full round is due, and nothing else that is told here counts: the round gave way to a user, or looking at some
    /// paths does not do, since a root is another one than before, which watchers do not notice, or a side takes names that
    /// differ only in case for one.
    pub full_due: bool,
}

impl Round {
    fn full_due() -> Self {
        Self { full_due: true, ..Self::default() }
    }
}

/// Which roots there are now.
pub(crate) struct Roots {
    ids: [String; 2],
    /// What is to be remembered of them.
    remembered: [String; 2],
    /// Whether each is another one than before.
    pub replaced: [bool; 2],
    /// Whether nothing that was remembered of each could tell.
    unnamed: [bool; 2],
}

impl Roots {
    /// Whether nothing tells each of them from another that took its place.
    pub fn nameless(&self, pair: &Pair) -> [bool; 2] {
        let is_named = |which: Which| pair.side(which).backend.is_named(&self.ids[which as usize]);
        Which::BOTH.map(|which| self.unnamed[which as usize] || !is_named(which))
    }
}

impl<'a> Engine<'a> {
    /// Prepares to keep a pair equal.
    pub fn new(run: &'a Run, carrier: &'a dyn Carrier) -> Result<Self> {
        let pair = &*run.pair;
        let side_limits = pair.sides.iter().filter_map(|side| side.bandwidth_limit);
        Ok(Self {
            run,
            carrier,
            filter: Filter::new(&pair.options.exclude)?,
            limits: side_limits.chain(pair.options.bandwidth_limit).map(Limit::new).collect(),
            problems: pair.state.problems()?.into_iter().collect(),
            recent_deletes: Recent::default(),
            recovered: false,
            roots: None,
            folds: [Folds::default(); 2],
            stubborn: BTreeMap::new(),
            tally: Tally::default(),
        })
    }

    /// What all rounds so far have done.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What could not be synced as of the last round.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// Looks at both roots, and makes those that are missing at first contact.
    pub(crate) async fn look_at_roots(&mut self) -> Result<Roots> {
        let roots = look_at_roots(&self.run.pair).await?;
        if self.roots.as_ref() != Some(&roots.ids) {
            self.folds = [Folds::default(); 2];
        }
        self.roots = Some(roots.ids.clone());
        Ok(roots)
    }

    /// Which roots were there when they were looked at last.
    pub fn roots(&self) -> Option<&[String; 2]> {
        self.roots.as_ref()
    }

    /// Looks at a scope and makes both sides equal there. An error means that the round could not begin or was ended;
    /// whatever it had done before is in the base.
    pub async fn round(&mut self, scope: &Scope) -> Result<Round> {
        let pair = &*self.run.pair;
        let turn = pair.turn.of_round(&self.run.stop).await?;
        let roots = self.look_at_roots().await?;
        // What an earlier round did not come to is planned anew.
        self.run.monitor.plan_over();
        let mut doubtful = Vec::new();
        if !self.recovered {
            doubtful = tokio::select! {
                doubtful = recover(pair) => doubtful?,
                () = self.run.stop.cancelled() => return Err(Error::stopped()),
                () = pair.turn.wanted() => return Ok(Round::full_due()),
            };
        }
        // Until this round has come to its end with nothing in doubt.
        self.recovered = false;
        if *scope != Scope::All && (roots.replaced.contains(&true) || self.folds.iter().any(|side| side.any())) {
            return Ok(Round::full_due());
        }
        // What a storage can do may have been found out meanwhile.
        let terms = terms(pair);
        let mut filter = match scope {
            Scope::All => Filter::new(&pair.options.exclude)?,
            Scope::Paths(_) => self.filter.clone(),
        };
        let mut survey = Survey::new(pair, &mut filter, scope)?.knowing_folds(self.folds);
        // What it lacks is to be known before anything is put there.
        survey.in_one_window = roots.replaced.contains(&true);
        survey.roots = Some(roots.ids.clone());
        let limits = self.limits.clone();
        let ids = roots.ids.clone();
        let means = Means { run: self.run, carrier: self.carrier, limits, roots: ids, at: Timestamp::now() };
        let mut executor = Executor::new(means, turn, doubtful);
        // What this round itself adds says nothing about the share of what vanished.
        let known = pair.state.agreed()?.0;
        let mut within = None;
        loop {
            let mut window = tokio::select! {
                window = survey.next_window() => window?,
                () = self.run.stop.cancelled() => return Err(Error::stopped()),
                () = pair.turn.wanted() => return Ok(Round::full_due()),
            };
            self.folds = survey.folds;
            if *scope != Scope::All && self.folds.iter().any(|side| side.any()) {
                return Ok(Round::full_due());
            }
            merge(&mut window.rows, pair.options.unidirectional, &mut within);
            let plan = plan(&window.rows, &terms);
            // The root may have gone since it was looked at: what vanished with it was not deleted.
            if plan.deletes != [0; 2] && look_at_roots(pair).await?.ids != roots.ids {
                return Err(replaced_meanwhile());
            }
            self.check_brakes(&plan, known, &roots)?;
            self.announce(&plan);
            self.advance(&mut executor, &plan, &window).await?;
            let ended = executor.execute(plan).await;
            self.account(&mut executor.results);
            ended?;
            if executor.gave_way() {
                // What a user changes now, what was looked at before does not know.
                return Ok(Round::full_due());
            }
            if let Some(error) = executor.cut_off() {
                // Everything is looked at once the storage is back: what was not come to is not told path by path.
                return Err(error);
            }
            if window.last {
                break;
            }
        }
        self.recovered = !executor.is_in_doubt();
        let mut problems = std::mem::take(&mut survey.problems);
        problems.append(&mut executor.results.problems);
        let unsettled =
            [std::mem::take(&mut executor.results.unsettled), std::mem::take(&mut survey.unsettled)].concat();
        let round = Round {
            unsettled: self.hurried(unsettled, scope, &mut problems),
            restless: survey.restless || executor.results.rules_moved,
            waits: executor.results.waits.take().or(survey.waits.take()),
            rules_changed: std::mem::take(&mut survey.rules_changed),
            copied: std::mem::take(&mut executor.results.copied),
            full_due: false,
        };
        let (_turn, survey_cut) = (executor.into_turn(), survey.cut);
        self.filter = filter;
        self.close(scope, problems, &roots, survey_cut).await?;
        Ok(round)
    }

    /// What of the paths that could not be settled is worth another look soon; the rest is listed.
    fn hurried(&mut self, unsettled: Vec<RelPath>, scope: &Scope, problems: &mut Vec<Problem>) -> Vec<RelPath> {
        let now: BTreeSet<_> = unsettled.into_iter().collect();
        self.stubborn.retain(|path, _| now.contains(path) || !scope.covers(path));
        for path in &now {
            *self.stubborn.entry(path.clone()).or_default() += 1;
        }
        let (hurried, rest): (Vec<_>, Vec<_>) = now.into_iter().partition(|path| self.stubborn[path] < LOOKS);
        problems.extend(busy(&self.run.pair, &rest));
        hurried
    }

    /// Refuses to delete too much; `known` is how many files both sides agreed on when the round began.
    fn check_brakes(&mut self, plan: &Plan, known: u64, roots: &Roots) -> Result<()> {
        if plan.deletes == [0; 2] && plan.lost == [0; 2] {
            return Ok(());
        }
        let now = Instant::now();
        let pair = &*self.run.pair;
        let batch = brakes::Batch {
            deletes: plan.deletes,
            lost: plan.lost,
            recent: self.recent_deletes.sum(now),
            known: known.min(pair.state.agreed()?.0),
            replaced: roots.replaced,
            conflicts: known_in_conflict(pair, plan)?,
            nameless: roots.nameless(pair),
            max_delete: pair.options.max_delete,
            allowed: pair.deletes_allowed(),
        };
        let names = Which::BOTH.map(|which| pair.side(which).view.location.as_str());
        let Some(reason) = brakes::check(&batch, names) else { return Ok(()) };
        self.recent_deletes.hold(now);
        Err(Error::new(Fault::Refused, reason))
    }

    /// Tells what is about to be done.
    fn announce(&self, plan: &Plan) {
        let monitor = &self.run.monitor;
        let steps = plan.groups.iter().flatten();
        let (count, bytes) = steps.fold((0, 0), |(count, bytes), step| (count + 1, bytes + step.bytes()));
        if count > 0 {
            monitor.plan(count, bytes);
            if *monitor.state().borrow() == JobState::Synced {
                monitor.set_state(JobState::Running);
            }
        }
    }

    /// Lets the base take what is already so, and records conflicts.
    async fn advance(&mut self, executor: &mut Executor<'_>, plan: &Plan, window: &Window) -> Result<()> {
        let pair = &*self.run.pair;
        let mut conflicts: Vec<_> = plan.settled.iter().map(|path| (path.clone(), None)).collect();
        for clash in &plan.clashes {
            conflicts.extend(self.recorded_below(clash)?.map(|path| (path, None)));
            if let Some(row) = self.recorded(clash).await? {
                conflicts.push((clash.path.clone(), Some(row)));
            }
        }
        let held_back = plan.held_back.iter().map(|(path, on)| Problem {
            path: path.to_string(),
            storage: pair.id(*on).to_owned(),
            kind: ProblemKind::ReadOnly,
            message: "the storage is read-only in the manifest: what changed on the other side is not written to it"
                .into(),
        });
        executor.results.problems.extend(held_back);
        let in_the_way = plan.in_the_way.iter().map(|(path, on)| Problem {
            path: path.to_string(),
            storage: pair.id(*on).to_owned(),
            kind: ProblemKind::Failed,
            message:
                "a file is to take the place of this directory, but something below it cannot be synced or looked at: \
                      move that away"
                    .into(),
        });
        executor.results.problems.extend(in_the_way);
        let adopted = |note: &&Note| matches!(note, Note::Adopted(row) if row.kind == Kind::File);
        self.tally.adopted += plan.notes.iter().filter(adopted).count() as u64;
        executor.note(|base, batch| {
            base.extend(window.excluded.iter().map(|path| (path.clone(), None)));
            batch.conflicts.extend(window.excluded.iter().map(|path| (path.clone(), None)));
            base.extend(plan.notes.iter().map(|note| match note {
                Note::Adopted(row) | Note::Refreshed(row) => (row.path.clone(), Some(row.clone())),
                Note::Forgotten(path) => (path.clone(), None),
            }));
            batch.history.extend(conflicts.iter().filter_map(|(_, row)| row.as_ref()).map(conflict_entry));
            batch.conflicts.append(&mut conflicts);
        });
        Ok(())
    }

    /// Conflicts below a path where a file and a directory clash, which stands for all that is below it.
    fn recorded_below(&self, clash: &Clash) -> Result<impl Iterator<Item = RelPath>> {
        let rows = if clash.versions.contains(&Held::Dir) { self.run.pair.state.conflicts()? } else { Vec::new() };
        let top = clash.path.clone();
        Ok(rows.into_iter().map(|row| row.path).filter(move |path| path.is_below(&top)))
    }

    /// The row to be recorded for a conflict; none if it is recorded just so already.
    async fn recorded(&self, clash: &Clash) -> Result<Option<ConflictRow>> {
        let before = self.run.pair.state.conflict_of(&clash.path)?;
        let mut trees = before.as_ref().map_or([None; 2], |row| row.trees);
        for which in Which::BOTH {
            if clash.versions[which as usize] == Held::Dir {
                // What cannot be looked at now, or vouches for nothing yet, is as it was seen last.
                let seen = Below::list(&*self.run.pair.side(which).backend, &clash.path).await;
                let seen = seen.ok().filter(|below| !below.is_young()).map(|below| below.digest());
                trees[which as usize] = seen.or(trees[which as usize]);
            }
        }
        let is_so = |row: &ConflictRow| row.kind == clash.kind && row.versions == clash.versions && row.trees == trees;
        if before.as_ref().is_some_and(is_so) {
            return Ok(None);
        }
        if before.is_none() {
            self.run.monitor.conflict(&clash.path, "nothing was changed; `wl container resolve` decides");
        }
        let since = before.map_or_else(Timestamp::now, |row| row.since);
        Ok(Some(ConflictRow { path: clash.path.clone(), kind: clash.kind, since, versions: clash.versions, trees }))
    }

    fn account(&mut self, results: &mut Results) {
        let Tally { copied, deleted, moved, bytes, .. } = std::mem::take(&mut results.tally);
        self.tally.copied += copied;
        self.tally.deleted += deleted;
        self.tally.moved += moved;
        self.tally.bytes += bytes;
        self.recent_deletes.add(&std::mem::take(&mut results.changes), Instant::now());
    }

    async fn close(&mut self, scope: &Scope, problems: Vec<Problem>, roots: &Roots, cut: [bool; 2]) -> Result<()> {
        let pair = &*self.run.pair;
        let before = self.problems.clone();
        self.problems.retain(|problem| {
            // What has no path of its own is only looked at by a full round.
            *scope != Scope::All && !RelPath::parse(&problem.path).is_ok_and(|path| scope.covers(&path))
        });
        self.problems.extend(problems);
        if self.problems != before {
            pair.state.set_problems(&self.problems.iter().cloned().collect::<Vec<_>>())?;
        }
        if *scope == Scope::All {
            self.remember_roots(roots, cut)?;
            for side in pair.sides.iter().filter(|side| !side.read_only) {
                // Leftovers that cannot be removed now are met again by the next listing.
                tokio::select! {
                    _ = side.backend.sweep() => {}
                    () = self.run.stop.cancelled() => break,
                    () = pair.turn.wanted() => break,
                }
            }
        }
        self.report(&[])
    }

    /// A root that is another one than before is believed once all that both sides agreed on could be looked at there, or
    /// the user says so.
    fn remember_roots(&self, roots: &Roots, cut: [bool; 2]) -> Result<()> {
        let pair = &*self.run.pair;
        let mut texts = roots.remembered.clone();
        for (which, known) in Which::BOTH.into_iter().zip(pair.state.roots()?) {
            let at = which as usize;
            let doubted = roots.replaced[at] && !pair.deletes_allowed() && (cut[at] || self.hides_known(which)?);
            if let Some(known) = known.filter(|_| doubted) {
                texts[at] = known;
            }
        }
        pair.state.set_roots(texts.each_ref().map(String::as_str))
    }

    /// Whether something that both sides agreed on could not be looked at on a side.
    fn hides_known(&self, which: Which) -> Result<bool> {
        let pair = &*self.run.pair;
        let hides = |kind| matches!(kind, ProblemKind::Unreadable | ProblemKind::Denied | ProblemKind::Offline);
        for problem in self.problems.iter().filter(|problem| problem.storage == pair.id(which) && hides(problem.kind)) {
            let Ok(path) = RelPath::parse(&problem.path) else { continue };
            if pair.state.base_of(&path)?.is_some() || !pair.state.base_after(&path, None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells what is open now; `more` are problems that no round finds.
    pub fn report(&self, more: &[Problem]) -> Result<()> {
        let (pair, monitor) = (&*self.run.pair, &self.run.monitor);
        let views = pair.state.conflicts()?.into_iter();
        let conflicts = views.map(|row| ConflictView { path: row.path.to_string(), kind: row.kind, since: row.since });
        monitor.set_open(conflicts.collect(), self.problems.iter().chain(more).cloned().collect());
        let (files, bytes) = pair.state.agreed()?;
        monitor.set_agreed(files, bytes);
        monitor.plan_over();
        Ok(())
    }
}

/// How many files that both sides agreed on are in a conflict that is open, or that a plan adds.
pub(crate) fn known_in_conflict(pair: &Pair, plan: &Plan) -> Result<u64> {
    let open = pair.state.conflicts()?.into_iter().map(|row| row.path);
    let paths: BTreeSet<_> = open.chain(plan.clashes.iter().map(|clash| clash.path.clone())).collect();
    let mut known = 0;
    for path in &paths {
        known += u64::from(pair.state.base_of(path)?.is_some_and(|base| base.kind == Kind::File));
    }
    Ok(known)
}

/// What planning must know of a pair.
pub(crate) fn terms(pair: &Pair) -> Terms {
    let facts = Which::BOTH.map(|which| pair.side(which).backend.facts());
    let resolution = facts[0].mtime_resolution_ns.max(facts[1].mtime_resolution_ns);
    Terms {
        read_only: Which::BOTH.map(|which| pair.side(which).read_only),
        moves: [facts[0].server_move, facts[1].server_move],
        copies: [facts[0].server_copy, facts[1].server_copy],
        unidirectional: pair.options.unidirectional,
        mtime_resolution_ns: (facts[0].mtime && facts[1].mtime).then_some(resolution),
        modes: facts[0].mode && facts[1].mode,
    }
}

/// Paths that could not be settled, as problems.
pub(crate) fn busy(pair: &Pair, paths: &[RelPath]) -> Vec<Problem> {
    let problem = |path: &RelPath| Problem {
        path: path.to_string(),
        storage: pair.sides[0].view.backend_id.clone(),
        kind: ProblemKind::Busy,
        message:
            "it changed, or was refused, each time it was carried over: it is synced when it is at rest and looked at \
                  again"
                .to_owned(),
    };
    paths.iter().map(problem).collect()
}

fn conflict_entry(row: &ConflictRow) -> HistoryEntry {
    let (path, at) = (row.path.to_string(), Timestamp::now());
    HistoryEntry { at, action: "conflict".to_owned(), path, from: None, to: None, hash: None, bytes: 0 }
}

/// Looks at both roots. At first contact a missing one is made; later it is an error, and never read as "all deleted".
pub(crate) async fn look_at_roots(pair: &Pair) -> Result<Roots> {
    let known = pair.state.roots()?;
    let first = known.iter().all(Option::is_none);
    let mut ids = [String::new(), String::new()];
    for which in Which::BOTH {
        let side = pair.side(which);
        let found = match side.backend.root().await {
            Err(error) if error.fault == Fault::Missing && first && !side.read_only => {
                side.backend.make_root().await.map_err(|error| unmade_root(pair, which, &error))?;
                side.backend.root().await
            }
            found => found,
        };
        ids[which as usize] = found.map_err(|error| at_root(pair, which, &error))?;
    }
    let told = Which::BOTH.map(|which| {
        let (known, now) = (known[which as usize].as_deref(), ids[which as usize].as_str());
        let is_named = |text: &str| pair.side(which).backend.is_named(text);
        (known.is_some_and(|known| is_another(known, now, is_named)), remembered(known, now, is_named))
    });
    let unnamed = Which::BOTH.map(|which| {
        let is_named = |text: &str| pair.side(which).backend.is_named(text);
        known[which as usize].as_deref().is_some_and(|known| is_unnamed(known, is_named))
    });
    let (replaced, remembered) = (told.each_ref().map(|(replaced, _)| *replaced), told.map(|(_, text)| text));
    if first {
        pair.state.set_roots(remembered.each_ref().map(String::as_str))?;
    }
    Ok(Roots { ids, remembered, replaced, unnamed })
}

pub(crate) fn unmade_root(pair: &Pair, which: Which, error: &Error) -> Error {
    let location = &pair.side(which).view.location;
    match error.fault {
        Fault::Missing => {
            Error::new(error.fault, format!("{location} is not there, nor can it be made: {}", error.message))
        }
        _ => at_root(pair, which, error),
    }
}

fn replaced_meanwhile() -> Error {
    Error::new(Fault::Busy, "a root was replaced by another directory while it was looked at: it is looked at again")
}

fn at_root(pair: &Pair, which: Which, error: &Error) -> Error {
    let view = &pair.side(which).view;
    let place = format!("the root {} of storage {}", view.location, view.backend_id);
    let text = match error.fault {
        Fault::Missing => {
            format!("{place} is not there; nothing was deleted. A continuous job goes on when it is back")
        }
        _ => format!("{place}: {}", error.message),
    };
    Error::new(error.fault, text)
}
