//! Starting jobs, unless they run already.

use std::time::Duration;

use serde_json::Value;
use wl_core::manifest::Manifest;
use wl_core::report::{JobState, JobStatus, Mode};

use crate::args::SyncOptions;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::render::jobs::mode;

/// What to do about a pair, given the jobs the container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// No job is in the way.
    Start,
    /// A job is over, or needs a push: another takes its place.
    Restart,
    /// It runs with what the manifest or the configuration said before: the same, and say so.
    Renew,
    /// It runs as it was asked for.
    Keep,
}

/// How often to look again when others start the same jobs.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// Starts a job for each pair; their ids, also of those that ran already.
pub async fn each(
    context: &Context,
    link: &Link,
    manifest: &Manifest,
    pairs: &[Pair],
    options: &SyncOptions,
    all: bool,
) -> Outcome<Vec<String>> {
    for _ in 0..TRIES {
        if let Some(ids) = try_each(context, link, manifest, pairs, options, all).await? {
            return Ok(ids);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Err(Failure::new(format!("others start and stop the jobs of container `{}` all the time", manifest.name))
        .hint("`wl status` shows what is running; try again"))
}

/// The same; none where somebody else has started one since it was looked: that one is then as any that runs.
async fn try_each(
    context: &Context,
    link: &Link,
    manifest: &Manifest,
    pairs: &[Pair],
    options: &SyncOptions,
    all: bool,
) -> Outcome<Option<Vec<String>>> {
    let jobs = pairs::jobs_of(manifest, link.jobs().await?);
    refuse_others(manifest, pairs, &jobs)?;
    let mut plan = Vec::new();
    for pair in pairs {
        let job = jobs.iter().find(|job| pair.is_of(job));
        let next = match (next(manifest, pair, options, job)?, job) {
            (Next::Keep, Some(job)) => renewed(context, link, manifest, pair, options, job).await?,
            (next, _) => next,
        };
        plan.push((pair, job, next));
    }
    let mut ids = Vec::new();
    for (pair, job, next) in plan {
        let mut pair = pair.clone();
        let live = job.filter(|job| !is_over(job));
        // Under its id it can take the place of the one that runs.
        if let Some(job) = live.filter(|_| !all || matches!(next, Next::Restart | Next::Renew)) {
            pair.job_id.clone_from(&job.job_id);
        }
        if let (Next::Keep, Some(job)) = (next, job) {
            context.screen.say(format!("{} is being synced already.", line(manifest, &pair)));
            ids.push(job.job_id.clone());
            continue;
        }
        let mut args = args(context, manifest, &pair, options);
        match job {
            Some(job) if live.is_none() => link.clear(&job.job_id).await?,
            // Only once the new one can begin, the daemon ends the one that runs.
            Some(JobStatus { mode: Mode::Continuous, .. }) => drop(args.insert("replace".into(), true.into())),
            Some(job) => link.stop(&job.job_id).await?,
            None => {}
        }
        let started = link.start(args).await.map_err(|failure| match live {
            Some(job) => Failure::about(failure, unstarted(job.mode)),
            None => failure,
        });
        if !started? {
            return Ok(None);
        }
        let how = mode(if options.one_shot { Mode::OneShot } else { Mode::Continuous });
        let pair_and_way = line(manifest, &pair);
        context.screen.say(match next {
            Next::Renew => {
                format!("Syncing {pair_and_way} ({how}), anew with what its manifest and the configuration say now.")
            }
            _ => format!("Syncing {pair_and_way} ({how})."),
        });
        ids.push(pair.job_id);
    }
    Ok(Some(ids))
}

/// What became of a job that another one was to take the place of, which cannot be started.
fn unstarted(mode: Mode) -> &'static str {
    match mode {
        Mode::Continuous => "the job that runs was left as it is: it cannot begin anew",
        Mode::OneShot => "the job was stopped to begin anew, but it cannot",
    }
}

/// What to do about a job that runs as it was asked for: it may run with what was said before.
async fn renewed(
    context: &Context,
    link: &Link,
    manifest: &Manifest,
    pair: &Pair,
    options: &SyncOptions,
    job: &JobStatus,
) -> Outcome<Next> {
    let as_it_runs = Pair { job_id: job.job_id.clone(), ..pair.clone() };
    let changed: Vec<String> = link.call("compare", args(context, manifest, &as_it_runs, options)).await?;
    match job.mode {
        _ if changed.is_empty() => Ok(Next::Keep),
        Mode::Continuous => Ok(Next::Renew),
        Mode::OneShot => {
            let name = &manifest.name;
            let what = changed.join(", ");
            Err(Failure::new(format!("container `{name}` is being synced once, with another {what} than it has now"))
                .hint(format!("wait for its end, or `wl container stop-sync {name}` first")))
        }
    }
}

fn line(manifest: &Manifest, pair: &Pair) -> String {
    let arrow = if pair.unidirectional { "->" } else { "<->" };
    format!("{}: {} {arrow} {}", manifest.name, pair.source.location(), pair.target.location())
}

fn args(context: &Context, manifest: &Manifest, pair: &Pair, options: &SyncOptions) -> serde_json::Map<String, Value> {
    let mut args = pair.args(manifest);
    args.insert("continuous".into(), (!options.one_shot).into());
    args.insert("allow-deletes".into(), options.allow_deletes.into());
    // Progress is looked up now and then: no need to be told of every file.
    args.insert("active-events".into(), serde_json::json!(["error"]));
    args.extend(context.job_options());
    args
}

/// Refuses to start a pair beside one that was not asked for: it must be meant, with `--all`.
fn refuse_others(manifest: &Manifest, pairs: &[Pair], jobs: &[JobStatus]) -> Outcome<()> {
    let runs = |pair: &Pair| jobs.iter().any(|job| !is_over(job) && pair.is_of(job));
    if pairs.iter().all(runs) {
        return Ok(());
    }
    match jobs.iter().find(|job| !is_over(job) && !pairs.iter().any(|pair| pair.is_of(job))) {
        Some(job) => Err(differs(manifest, job, "with other storages")),
        None => Ok(()),
    }
}

fn next(manifest: &Manifest, pair: &Pair, options: &SyncOptions, job: Option<&JobStatus>) -> Outcome<Next> {
    let Some(job) = job else { return Ok(Next::Start) };
    if is_over(job) {
        return Ok(Next::Restart);
    }
    let asked = if options.one_shot { Mode::OneShot } else { Mode::Continuous };
    // A pair is symmetric unless only one side's changes travel.
    let is_turned = pair.unidirectional && job.source.backend_id != pair.source.backend_id();
    if job.mode != asked || job.unidirectional != pair.unidirectional || is_turned {
        return Err(differs(manifest, job, "in another way"));
    }
    if job.paused {
        let name = &manifest.name;
        return Err(Failure::new(format!("container `{name}` is paused"))
            .hint(format!("`wl container resume {name}` lets it go on")));
    }
    // Who asks again while it waits for something or is in ERROR wants it tried again; who allows deletes wants a run
    // that may.
    Ok(if job.error.is_some() || options.allow_deletes { Next::Restart } else { Next::Keep })
}

/// Whether a job is only remembered.
fn is_over(job: &JobStatus) -> bool {
    let ended = job.mode == Mode::OneShot && (job.summary.is_some() || job.state == JobState::Error);
    ended || job.state == JobState::Stopped && !job.paused
}

fn differs(manifest: &Manifest, job: &JobStatus, how: &str) -> Failure {
    let (name, running) = (&manifest.name, crate::render::jobs::pair(job));
    Failure::new(format!("container `{name}` is being synced {how}: {running} ({})", mode(job.mode)))
        .hint(format!("`wl container stop-sync {name}` first"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Choice;
    use crate::fixtures::{container, job};

    fn star() -> Vec<Pair> {
        pairs::star(&container(), &Choice::default()).unwrap()
    }

    fn what(options: &SyncOptions, job: &JobStatus) -> Option<Next> {
        next(&container(), &star()[0], options, Some(job)).ok()
    }

    #[test]
    fn a_job_is_kept_started_again_or_in_the_way() {
        let usual = SyncOptions::default();
        let once = SyncOptions { one_shot: true, ..usual.clone() };
        let deleting = SyncOptions { allow_deletes: true, ..usual.clone() };
        let failed = JobStatus { state: JobState::Error, error: Some("x".into()), ..job() };
        let cut_off = JobStatus { state: JobState::Stopped, mode: Mode::OneShot, ..job() };
        let held = JobStatus { state: JobState::Stopped, paused: true, ..job() };
        assert_eq!(what(&usual, &job()), Some(Next::Keep));
        assert_eq!(what(&usual, &failed), Some(Next::Restart));
        assert_eq!(what(&deleting, &job()), Some(Next::Restart));
        assert_eq!(what(&usual, &cut_off), Some(Next::Restart));
        assert_eq!(what(&once, &job()), None);
        assert_eq!(what(&usual, &held), None);
        assert_eq!(what(&usual, &JobStatus { unidirectional: true, ..job() }), None);
        assert_eq!(next(&container(), &star()[0], &usual, None), Ok(Next::Start));
    }

    #[test]
    fn another_pair_is_only_started_beside_a_running_one_when_both_are_meant() {
        let (both, running) = (star(), [job()]);
        assert!(refuse_others(&container(), &both, &running).is_ok());
        assert!(refuse_others(&container(), &both[..1], &running).is_ok());
        assert!(refuse_others(&container(), &both[1..], &running).is_err());
        let over = [JobStatus { state: JobState::Stopped, ..job() }];
        assert!(refuse_others(&container(), &both[1..], &over).is_ok());
    }
}
