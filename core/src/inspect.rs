//! Looking without touching: what a round would do, what differs, why.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio_util::task::AbortOnDropHandle;

use crate::backend::{Backend, Look};
use crate::brakes;
use crate::entry::{Hash, Kind, Token};
use crate::error::{Error, Fault, Result};
use crate::filter::{Excluded, Filter};
use crate::job::{Pair, Run, Which};
use crate::merge::{Row, Seen, Verdict, merge};
use crate::path::RelPath;
use crate::plan::{Plan, Step, plan as plan_rows};
use crate::report::{
    Action, Conflict, Difference, Explanation, PlannedAction, Problem, ProblemKind, Verification, Version,
};
use crate::round::{known_in_conflict, look_at_roots, terms, unmade_root};
use crate::state::{BaseRow, ConflictRow, Held, PairState};
use crate::survey::{Found, Scope, Survey, Walk, rules_above};

/// How many things done to a path `explain` tells.
const LAST_THINGS: usize = 10;

/// What the next full round would do, one line a step, then conflicts, then what cannot be synced.
pub async fn plan(run: &Run) -> Result<Vec<PlannedAction>> {
    let pair = &*run.pair;
    let mut filter = Filter::new(&pair.options.exclude)?;
    let (rows, problems) = survey_all(pair, &mut filter, &Scope::All).await?;
    let plan = plan_rows(&rows, &terms(pair));
    let mut actions: Vec<_> = plan.groups.iter().flatten().map(|step| planned(pair, step)).collect();
    hold_deletes(pair, &plan, &mut actions).await?;
    actions.extend(plan.clashes.iter().map(|clash| PlannedAction {
        reason:
            "the two sides differ, and neither is what both agreed on before, if they did: the user decides".to_owned(),
        ..still(Action::Conflict, clash.path.to_string())
    }));
    actions.extend(plan.held_back.iter().map(|(path, on)| PlannedAction {
        reason: format!("storage {} is read-only", pair.id(*on)),
        ..still(Action::Skip, path.to_string())
    }));
    actions.extend(problems.into_iter().map(|problem| PlannedAction {
        reason: format!("{} on storage {}", problem.message, problem.storage),
        ..still(Action::Skip, problem.path)
    }));
    Ok(actions)
}

async fn survey_all(pair: &Pair, filter: &mut Filter, scope: &Scope) -> Result<(Vec<Row>, Vec<Problem>)> {
    let to_be_made = missing_roots(pair).await?;
    let mut survey = Survey::new(pair, filter, scope)?.taking_for_empty(to_be_made);
    let (mut rows, mut within) = (Vec::new(), None);
    loop {
        let mut window = survey.next_window().await?;
        merge(&mut window.rows, pair.options.unidirectional, &mut within);
        rows.append(&mut window.rows);
        if window.last {
            return Ok((rows, std::mem::take(&mut survey.problems)));
        }
    }
}

/// Which roots are still to be made. One that was there before and is missing now is an error, as is one that cannot be
/// made.
async fn missing_roots(pair: &Pair) -> Result<[bool; 2]> {
    let (known, mut missing) = (pair.state.roots()?, [false; 2]);
    for which in Which::BOTH {
        let side = pair.side(which);
        let may_make = known[which as usize].is_none() && !side.read_only;
        match side.backend.root().await {
            Ok(_) => {}
            Err(error) if error.fault == Fault::Missing && may_make => {
                side.backend.can_make_root().await.map_err(|error| unmade_root(pair, which, &error))?;
                missing[which as usize] = true;
            }
            Err(error) => {
                let view = &pair.side(which).view;
                let text = format!("the root {} of storage {}: {}", view.location, view.backend_id, error.message);
                return Err(Error::new(error.fault, text));
            }
        }
    }
    Ok(missing)
}

fn still(action: Action, path: String) -> PlannedAction {
    PlannedAction { action, path, from: None, to: None, bytes: 0, reason: String::new() }
}

fn planned(pair: &Pair, step: &Step) -> PlannedAction {
    let (path, on) = (step.path().to_string(), step.on());
    let (there, here) = (pair.id(on.other()).to_owned(), pair.id(on).to_owned());
    let from = &pair.side(on.other()).view.location;
    let (action, reason) = match step {
        Step::Copy { inside: Some(_), .. } => (
            Action::Copy,
            format!(
                "{from} has it there now, {} under another name: nothing is transferred",
                pair.side(on).view.location
            ),
        ),
        Step::Copy { guard: crate::backend::Guard::Absent, .. } => (Action::Copy, format!("only on {from}")),
        Step::Copy { .. } => (Action::Copy, format!("modified on {from}")),
        Step::SetMeta { .. } => {
            (Action::Copy, format!("modification time or mode changed on {from}; the content is equal"))
        }
        Step::Remove { .. } => (Action::Delete, format!("deleted on {from}")),
        Step::MakeDir { .. } => (Action::Mkdir, format!("only on {from}")),
        Step::RemoveDir { .. } => (Action::Rmdir, format!("removed on {from}")),
        Step::Move { to, .. } => {
            let (reason, to) = (format!("moved on {from}"), to.to_string());
            return PlannedAction { from: Some(path), to: Some(to.clone()), reason, ..still(Action::Move, to) };
        }
    };
    PlannedAction { action, path, from: Some(there), to: Some(here), bytes: step.bytes(), reason }
}

/// Says beside every deletion that the guard would stop it, if it would; beside everything where it stops without one.
async fn hold_deletes(pair: &Pair, plan: &Plan, actions: &mut [PlannedAction]) -> Result<()> {
    if plan.deletes == [0; 2] && plan.lost == [0; 2] {
        return Ok(());
    }
    let roots = look_at_roots(pair).await?;
    let batch = brakes::Batch {
        deletes: plan.deletes,
        lost: plan.lost,
        recent: [0; 2],
        known: pair.state.agreed()?.0,
        replaced: roots.replaced,
        conflicts: known_in_conflict(pair, plan)?,
        nameless: roots.nameless(pair),
        max_delete: pair.options.max_delete,
        allowed: pair.options.allow_deletes,
    };
    let names = Which::BOTH.map(|which| pair.side(which).view.location.as_str());
    if let Some(reason) = brakes::check(&batch, names) {
        let none = plan.deletes == [0; 2];
        let held = actions.iter_mut().filter(|planned| none || planned.action == Action::Delete);
        held.for_each(|planned| {
            planned.reason = format!("{}, but the deletion guard stops it: {reason}", planned.reason);
        });
    }
    Ok(())
}

/// Reads and hashes everything on both sides, whatever was remembered, and lists what differs.
pub async fn verify(run: &Run) -> Result<Verification> {
    let pair = &*run.pair;
    missing_roots(pair).await?;
    let at_once = pair.in_flight();
    let mut walk = Walk::begin(pair).await?;
    let mut result = Verification::default();
    loop {
        let mut found = Vec::new();
        while found.len() < at_once * 4 {
            let Some(next) = walk.next().await? else { break };
            found.push(next);
        }
        if found.is_empty() {
            break;
        }
        let compared = futures::stream::iter(found).map(|found| compare(pair, found)).buffered(at_once);
        let compared: Vec<_> = compared.collect().await;
        for one in compared {
            if run.stop.is_cancelled() {
                return Err(Error::stopped());
            }
            result.checked += one.files;
            result.differences.extend(one.difference);
            result.problems.extend(one.problems);
        }
    }
    result.problems.extend(walk.problems());
    Ok(result)
}

#[derive(Default)]
struct Compared {
    files: u64,
    difference: Option<Difference>,
    problems: Vec<Problem>,
}

async fn compare(pair: &Pair, found: Found) -> Compared {
    let mut compared = Compared::default();
    let mut hashes = [None, None];
    for which in Which::BOTH {
        let Some(entry) = found.entries[which as usize].as_ref().filter(|entry| !entry.is_dir()) else { continue };
        match read_and_hash(&pair.side(which).backend, &found.path, &entry.token).await {
            Ok(hash) => hashes[which as usize] = Some(hash),
            Err(error) => {
                let (path, storage) = (found.path.to_string(), pair.id(which).to_owned());
                let kind = match error.fault {
                    Fault::Denied | Fault::Broken | Fault::Malformed | Fault::Unsupported => ProblemKind::Unreadable,
                    fault => ProblemKind::of(fault),
                };
                compared.problems.push(Problem { path, storage, kind, message: error.message });
            }
        }
    }
    let kinds = found.entries.each_ref().map(|entry| entry.as_ref().map(|entry| entry.kind));
    let unknown = found.unknown.contains(&true) || !compared.problems.is_empty();
    compared.files = u64::from(!unknown && kinds.contains(&Some(Kind::File)));
    if !unknown && (kinds[0] != kinds[1] || hashes[0] != hashes[1]) {
        let [source, target] = hashes;
        compared.difference = Some(Difference { path: found.path.to_string(), source, target });
    }
    compared
}

/// The sha256 of what is read of that version now. A storage's own word, [`Backend::hash`], may be what somebody told it once.
async fn read_and_hash(backend: &Arc<dyn Backend>, path: &RelPath, token: &Token) -> Result<Hash> {
    let (backend, path, token) = (backend.clone(), path.clone(), token.clone());
    let hashing = async move {
        let body = backend.read(&path, &token, 0).await?.body;
        let hasher = body.try_fold(Sha256::new(), async |mut hasher, piece| {
            hasher.update(&piece);
            Ok(hasher)
        });
        Ok(Hash(hasher.await?.finalize().into()))
    };
    // A task for each: all cores hash.
    let task = AbortOnDropHandle::new(tokio::spawn(hashing));
    task.await.unwrap_or_else(|ended| Err(Error::new(Fault::Broken, format!("the hashing ended early: {ended}"))))
}

/// The conflicts there are now, from comparing both sides, and what could not be compared.
pub async fn scan_conflicts(run: &Run) -> Result<(Vec<Conflict>, Vec<Problem>)> {
    let pair = &*run.pair;
    let mut filter = Filter::new(&pair.options.exclude)?;
    let (rows, problems) = survey_all(pair, &mut filter, &Scope::All).await?;
    let conflicts = rows.iter().filter_map(|row| {
        let Verdict::Conflict(kind) = row.verdict else { return None };
        let since = row.recorded.as_ref().map_or_else(jiff::Timestamp::now, |recorded| recorded.since);
        let hash = |seen| if let Seen::File(hash) = seen { Some(hash) } else { None };
        let (path, hashes) = (row.path.to_string(), row.seen.map(hash));
        Some(Conflict { path, kind, storages: ids(pair), hashes, since })
    });
    Ok((conflicts.collect(), problems))
}

/// The conflicts recorded by the last rounds.
pub fn recorded_conflicts(known: &PairState, ids: &[String; 2]) -> Result<Vec<Conflict>> {
    let hash = |held| if let Held::File(hash) = held { Some(hash) } else { None };
    let conflict = |row: ConflictRow| {
        let (path, hashes) = (row.path.to_string(), row.versions.map(hash));
        Conflict { path, kind: row.kind, storages: ids.clone(), hashes, since: row.since }
    };
    Ok(known.conflicts()?.into_iter().map(conflict).collect())
}

fn ids(pair: &Pair) -> [String; 2] {
    Which::BOTH.map(|which| pair.id(which).to_owned())
}

/// What is known about a path now, what the next round would do, and why.
pub async fn explain(run: &Run, path: &RelPath) -> Result<Explanation> {
    let pair = &*run.pair;
    let mut filter = rules_above(pair, path).await?;
    let scope = Scope::Paths([(path.clone(), false)].into());
    let (rows, problems) = survey_all(pair, &mut filter, &scope).await?;
    let row = rows.into_iter().find(|row| row.path == *path);
    let base = pair.state.base_of(path)?;
    let excluded = rule(pair, &filter, path, base.as_ref(), row.as_ref()).await?;
    let base_version = match &base {
        None => version("absent", None),
        Some(row) => Version {
            size: row.hash.map(|_| row.size),
            mtime: row.meta.mtime,
            ..version(if row.hash.is_some() { "file" } else { "dir" }, row.hash)
        },
    };
    let left_out = excluded.is_some() || filter.is_unruled(path) || path.is_ours();
    let mut sides = [base_version.clone(), base_version.clone()];
    for which in Which::BOTH {
        if let Some(row) = &row {
            sides[which as usize] = seen_version(row, which);
        } else if left_out {
            // No survey looks at it.
            sides[which as usize] = looked_at(pair, path, which).await?;
        }
    }
    let [source, target] = sides;
    let verdict = row.as_ref().map_or(Verdict::Equal, |row| row.verdict);
    let (verdict, reason) = match (&excluded, problems.iter().find(|problem| problem.path == path.as_str())) {
        (Some(rule), _) => {
            ("excluded".to_owned(), format!("the pattern {} in {} leaves it out", rule.pattern, rule.stands_in))
        }
        (None, _) if filter.is_unruled(path) => (
            "nothing".to_owned(),
            "a .wlignore above it cannot be read: what its rules bear on is left alone until it can".to_owned(),
        ),
        (None, _) if path.is_ours() => (
            "nothing".to_owned(),
            "the name is one of those that wl keeps for itself, which are never synced".to_owned(),
        ),
        (None, Some(problem)) => ("skip".to_owned(), format!("{} on storage {}", problem.message, problem.storage)),
        (None, None) if base.is_none() && row.as_ref().is_none_or(|row| row.seen == [Seen::Absent; 2]) => {
            ("nothing".to_owned(), "neither side holds anything there, nor did when they were last equal".to_owned())
        }
        (None, None) => verdict_words(pair, verdict, row.as_ref()),
    };
    Ok(Explanation {
        path: path.to_string(),
        storages: Which::BOTH.map(|which| pair.id(which).to_owned()),
        base: base_version,
        source,
        target,
        excluded_by: excluded.map(|rule| format!("{} ({})", rule.pattern, rule.stands_in)),
        verdict,
        reason,
        history: pair.state.history(Some(path), LAST_THINGS)?,
    })
}

/// The pattern that leaves a path out, as the file or directory that it is.
async fn rule(
    pair: &Pair,
    filter: &Filter,
    path: &RelPath,
    base: Option<&BaseRow>,
    row: Option<&Row>,
) -> Result<Option<Excluded>> {
    let entries = row.iter().flat_map(|row| row.entries.iter().flatten());
    if let Some(kind) = base.map(|base| base.kind).or(entries.map(|entry| entry.kind).next_back()) {
        return Ok(filter.excluded(path, kind));
    }
    let as_file = filter.excluded(path, Kind::File);
    if as_file.is_some() {
        return Ok(as_file);
    }
    // No survey looks at a directory that is left out.
    let as_dir = filter.excluded(path, Kind::Dir);
    if as_dir.is_some() {
        for which in Which::BOTH {
            if looked_at(pair, path, which).await?.kind == "dir" {
                return Ok(as_dir);
            }
        }
    }
    Ok(None)
}

fn version(kind: &str, hash: Option<Hash>) -> Version {
    Version { kind: kind.to_owned(), hash, size: None, mtime: None }
}

async fn looked_at(pair: &Pair, path: &RelPath, which: Which) -> Result<Version> {
    Ok(match pair.side(which).backend.stat(path).await? {
        Look::Absent => version("absent", None),
        Look::Blocked(_) => version("unknown", None),
        Look::Entry(entry) if entry.is_dir() => version("dir", None),
        Look::Entry(entry) => Version { size: Some(entry.size), mtime: entry.meta.mtime, ..version("file", None) },
    })
}

fn seen_version(row: &Row, which: Which) -> Version {
    let bare = match row.on(which) {
        Seen::Unknown => version("unknown", None),
        Seen::Absent => version("absent", None),
        Seen::Dir => version("dir", None),
        Seen::File(hash) => version("file", Some(hash)),
        Seen::NewFile => version("file", None),
    };
    let file = row.entry(which).filter(|entry| !entry.is_dir());
    Version { size: file.map(|entry| entry.size), mtime: file.and_then(|entry| entry.meta.mtime), ..bare }
}

fn verdict_words(pair: &Pair, verdict: Verdict, row: Option<&Row>) -> (String, String) {
    let id = |which: Which| &pair.side(which).view.location;
    let (word, reason) = match verdict {
        Verdict::Equal => ("nothing", "both sides are what they last agreed on".to_owned()),
        Verdict::Unknown => {
            ("nothing", "a side could not be looked at: what is unknown is never taken for absent".to_owned())
        }
        Verdict::Forget => ("nothing", "it is gone on both sides; the base forgets it".to_owned()),
        Verdict::Adopt => ("adopt", "both sides hold the same; the base takes it".to_owned()),
        Verdict::Carry(from) if pair.side(from.other()).read_only => {
            ("skip", format!("it changed on {}, but storage {} is read-only", id(from), id(from.other())))
        }
        Verdict::Carry(from) => {
            let gone = row.is_some_and(|row| row.on(from) == Seen::Absent);
            let what = if gone { "delete" } else { "copy" };
            let how = if gone { "was deleted" } else { "was created or modified" };
            (what, format!("it {how} on {}, and {} still is what both agreed on", id(from), id(from.other())))
        }
        Verdict::Conflict(_) => {
            let first = row.is_none_or(|row| row.base.is_none());
            let why = if first { "they never agreed on it" } else { "both differ from what they agreed on" };
            ("conflict", format!("the two sides differ and {why}: nothing is changed until you decide"))
        }
        Verdict::Leave => {
            ("nothing", "the job is unidirectional: what changes on the target stays as it is".to_owned())
        }
        Verdict::Hold => {
            ("nothing", "the directory was deleted on one side, but something below it must stay".to_owned())
        }
        Verdict::Suppressed => ("nothing", "a directory above it is in a conflict of kinds".to_owned()),
    };
    (word.to_owned(), reason)
}
