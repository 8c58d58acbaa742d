//! Jobs, as text: their status, what a run did, what one would do.

use std::time::Duration;

use wl_core::report::{
    Action, Conflict, ConflictKind, ConflictView, JobState, JobStatus, Mode, PlannedAction, Problem, StorageView,
    Summary,
};

use crate::commands::status::Recorded;

use super::words::{add, count, duration, moment, rate, size, storage, table};
use super::{BAD, BOLD, GOOD, WARN, name, styled};

/// Every job in a table, then what each one does and what is open, at length.
pub fn status(jobs: &[JobStatus]) -> String {
    if jobs.is_empty() {
        return "Nothing is being synced.\n".to_owned();
    }
    let heads =
        ["CONTAINER", "STATE", "SOURCE", "", "TARGET", "MODE", "SYNCER", "FILES", "SIZE", "CONFLICTS", "PROBLEMS"];
    let rows = jobs.iter().map(|job| {
        [
            job.container.clone(),
            state(job),
            job.source.location.clone(),
            arrow(job).to_owned(),
            job.target.location.clone(),
            mode(job.mode).to_owned(),
            job.syncer.clone(),
            job.files.to_string(),
            size(job.bytes),
            job.conflicts.len().to_string(),
            job.problems.len().to_string(),
        ]
    });
    let mut text = table(heads, rows);
    for job in jobs {
        let details = details(job);
        if !details.is_empty() {
            add!(text, "\n{}\n{details}", styled(BOLD, format!("{}:", pair(job))));
        }
    }
    text
}

/// What is open between storages that no job keeps equal.
pub fn recorded(recorded: &[Recorded]) -> String {
    let one = |one: &Recorded| {
        let (source, target) = (&one.source.location, &one.target.location);
        let head = styled(BOLD, format!("{source} and {target}, as the last sync left them:"));
        let storages = [one.source.clone(), one.target.clone()];
        let conflicts = one.conflicts.iter().map(|found| {
            let Conflict { path, kind, since, .. } = found;
            ConflictView { path: path.clone(), kind: *kind, since: *since }
        });
        format!("\n{head}\n{}", open(&conflicts.collect::<Vec<_>>(), &one.problems, &storages))
    };
    recorded.iter().map(one).collect()
}

fn details(job: &JobStatus) -> String {
    let mut text = String::new();
    if let Some(error) = &job.error {
        let style = if job.state == JobState::Error { BAD } else { WARN };
        add!(text, "  {} {error}\n", styled(style, "error:"));
    }
    if job.pending > 0 {
        add!(text, "  {}\n", activity(job));
    }
    text += &job.current.iter().map(|path| format!("  transferring {}\n", name(path))).collect::<Vec<_>>().concat();
    text + &open_of(job)
}

/// What a job is doing: transferred, pending, rate and time left, on one line.
pub fn activity(job: &JobStatus) -> String {
    let done = format!("{} ({}) transferred", count(job.transferred_files, "file"), size(job.transferred_bytes));
    let mut text = format!("{done}, {} pending", count(job.pending, "step"));
    if job.rate_bytes_per_s > 0 {
        add!(text, ", {}", rate(job.rate_bytes_per_s));
    }
    if let Some(seconds) = job.eta_s {
        add!(text, ", {} left", duration(Duration::from_secs(seconds)));
    }
    text
}

/// A job's container and storages, on one line.
pub fn pair(job: &JobStatus) -> String {
    format!("{}: {} {} {}", job.container, job.source.location, arrow(job), job.target.location)
}

fn arrow(job: &JobStatus) -> &'static str {
    if job.unidirectional { "->" } else { "<->" }
}

fn state(job: &JobStatus) -> String {
    let state = match job.state {
        JobState::Stopped => "STOPPED",
        JobState::Running => "RUNNING",
        JobState::Synced => "SYNCED",
        JobState::OneShot => "ONE_SHOT",
        JobState::Error => "ERROR",
    };
    if job.paused { format!("{state} (paused)") } else { state.to_owned() }
}

/// What a mode is called.
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Continuous => "continuous",
        Mode::OneShot => "one-shot",
    }
}

/// What a kind of conflict is called.
pub fn conflict_kind(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::Content => "changed on both sides",
        ConflictKind::DeletedModified => "deleted on one side, modified on the other",
        ConflictKind::Kind => "a file on one side, a directory on the other",
    }
}

/// What a job leaves open, at length.
pub fn open_of(job: &JobStatus) -> String {
    open(&job.conflicts, &job.problems, &[job.source.clone(), job.target.clone()])
}

fn open(conflicts: &[ConflictView], problems: &[Problem], storages: &[StorageView]) -> String {
    let conflicts = conflicts.iter().map(|conflict| {
        let (kind, since) = (conflict_kind(conflict.kind), moment(conflict.since));
        format!("  {} {}: {kind}, since {since}\n", styled(WARN, "conflict:"), name(&conflict.path))
    });
    let problems = problems.iter().map(|problem| format!("  {}\n", self::problem(problem, storages)));
    conflicts.chain(problems).collect()
}

/// A problem, on one line.
pub fn problem(problem: &Problem, storages: &[StorageView]) -> String {
    let kind = serde_json::to_value(problem.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    let label = styled(WARN, format!("{}:", kind.unwrap_or_default()));
    let place = storage(storages, &problem.storage);
    match problem.path.as_str() {
        "" => format!("{label} {place}: {}", problem.message),
        path => format!("{label} {} on {place}: {}", name(path), problem.message),
    }
}

/// What a run did and left open.
pub fn summary(summary: &Summary, storages: &[StorageView]) -> String {
    let figures = [
        (summary.copied, "copied"),
        (summary.moved, "moved"),
        (summary.deleted, "deleted"),
        (summary.adopted, "found equal"),
    ];
    let done: Vec<_> =
        figures.iter().filter(|(n, _)| *n > 0).map(|(n, verb)| format!("{} {verb}", count(*n, "file"))).collect();
    let done = if done.is_empty() { "nothing to do".to_owned() } else { done.join(", ") };
    let head = match summary.state {
        JobState::Error | JobState::Stopped => styled(BAD, "Not finished:"),
        _ => styled(GOOD, "Done:"),
    };
    let time = duration(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    let mut text = format!("{head} {done}; {} in {time}\n", size(summary.bytes));
    if !summary.conflicts.is_empty() || !summary.problems.is_empty() {
        let (conflicts, problems) = (summary.conflicts.len() as u64, summary.problems.len() as u64);
        add!(text, "{}, {}\n", count(conflicts, "open conflict"), count(problems, "problem"));
    }
    text + &open(&summary.conflicts, &summary.problems, storages)
}

/// A plan, one line an action.
pub fn plan(actions: &[PlannedAction], storages: &[StorageView]) -> String {
    if actions.is_empty() {
        return "Nothing to do.\n".to_owned();
    }
    actions.iter().map(|action| planned(action, storages) + "\n").collect()
}

fn planned(action: &PlannedAction, storages: &[StorageView]) -> String {
    let place = |id: &Option<String>| id.as_ref().map(|id| storage(storages, id)).unwrap_or_default();
    let PlannedAction { from, to, reason, .. } = action;
    let path = &name(&action.path);
    let what = match action.action {
        Action::Copy => format!("copy      {path}  ({}) to {}", size(action.bytes), place(to)),
        Action::Delete => format!("delete    {path}  on {}", place(to)),
        Action::Mkdir => format!("mkdir     {path}/  on {}", place(to)),
        Action::Rmdir => format!("rmdir     {path}/  on {}", place(to)),
        Action::Move => {
            let end = |end: &Option<String>| end.as_deref().map_or_else(|| path.clone(), name);
            format!("move      {} -> {}", end(from), end(to))
        }
        Action::Conflict => styled(WARN, "conflict") + &format!("  {path}"),
        Action::Skip => styled(WARN, "skip") + &format!("      {path}"),
    };
    if reason.is_empty() { what } else { format!("{what}: {reason}") }
}

#[cfg(test)]
mod tests;
