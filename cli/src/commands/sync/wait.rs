//! Waiting for jobs that were started.

use std::time::Duration;

use wl_core::manifest::Manifest;
use wl_core::report::{JobState, JobStatus, Summary};

use crate::commands::status::Jobs;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::{Until, failure_of, follow};
use crate::link::Link;
use crate::pairs;
use crate::render::jobs;
use crate::signals::interrupted;

/// Longer than a watcher takes to tell of a change.
const MOMENT: Duration = Duration::from_millis(500);

/// How often they may call each other to work before they count as synced, each being so by itself.
const ROUNDS: u32 = 20;

/// What one-shot jobs did, each of its own pair.
pub struct Ended(Vec<JobStatus>);

impl Ended {
    /// Whether any of them changed anything and none failed: what one brought to a storage that they share, another that
    /// ended before has not seen.
    pub fn calls_for_more(&self) -> bool {
        let changed = |done: &Summary| done.copied + done.deleted + done.moved > 0;
        self.0.iter().all(|job| failure_of(job).is_none())
            && self.0.iter().filter_map(|job| job.summary.as_ref()).any(changed)
    }

    /// What these did and those that went on after them.
    #[must_use]
    pub fn and_then(self, later: Self) -> Self {
        let mut earlier = self.0.iter().map(done);
        let sum = |mut job: JobStatus| {
            let mut both = done(&job);
            if let Some(before) = earlier.next() {
                add(&mut both, &before);
                both.seconds += before.seconds;
            }
            job.summary = Some(both);
            job
        };
        Self(later.0.into_iter().map(sum).collect())
    }

    /// Shows what they did, and why some did not.
    pub fn show(&self, context: &Context, manifest: &Manifest) -> Outcome {
        let storages = pairs::views(manifest);
        let mut failures: Vec<_> = self.0.iter().filter_map(failure_of).collect();
        let all = together(self.0.iter().map(done));
        // A text about what was done would only hide that all of it failed.
        if context.screen.is_json() || failures.len() < self.0.len() {
            context.screen.show(&all, |all| jobs::summary(all, &storages))?;
        }
        let Some(last) = failures.pop() else { return Ok(Exit::of_summary(&all)) };
        for failure in &failures {
            context.screen.fail(failure);
        }
        Err(last)
    }
}

/// Does what waits for one-shot jobs, or for their beginning. Interrupting stops them.
pub async fn unless_interrupted<T>(
    context: &Context,
    ids: &[String],
    waiting: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    tokio::select! {
        done = waiting => done,
        () = interrupted() => Err(stop_all(context, ids).await),
    }
}

/// Waits for one-shot jobs, and clears them.
pub async fn for_the_end(context: &Context, link: &Link, ids: &[String]) -> Outcome<Ended> {
    let ended = follow(&context.screen, link, ids, Until::Ended).await?;
    for id in ids {
        link.clear(id).await?;
    }
    Ok(Ended(ended))
}

/// What a job did; of one that failed, as far as its status tells.
fn done(job: &JobStatus) -> Summary {
    job.summary.clone().unwrap_or_else(|| Summary {
        state: job.state,
        copied: job.transferred_files,
        deleted: 0,
        moved: 0,
        adopted: 0,
        bytes: job.transferred_bytes,
        seconds: 0.0,
        conflicts: job.conflicts.clone(),
        problems: job.problems.clone(),
    })
}

/// Waits until continuous jobs have nothing left to do. Interrupting leaves them running.
pub async fn until_synced(context: &Context, link: &Link, ids: &[String]) -> Outcome {
    let jobs = tokio::select! {
        jobs = until_calm(context, link, ids) => jobs?,
        () = interrupted() => {
            return Err(Failure::new("interrupted while waiting; the sync goes on").hint("`wl status` tells how it goes"));
        }
    };
    if let Some(failure) = jobs.iter().find_map(failure_of) {
        return Err(failure);
    }
    let exit = jobs.iter().map(Exit::of_job).fold(Exit::Done, Exit::and);
    context.screen.show(&Jobs { jobs, ..Jobs::default() }, |found| found.jobs.iter().map(synced).collect())?;
    Ok(exit)
}

/// Waits until all are synced, and still are a moment later: what one brought to a storage that it shares with another is
/// news to that one.
async fn until_calm(context: &Context, link: &Link, ids: &[String]) -> Outcome<Vec<JobStatus>> {
    let mut jobs = follow(&context.screen, link, ids, Until::Synced).await?;
    let done = |jobs: &[JobStatus]| jobs.iter().map(|job| (job.files, job.transferred_files)).collect::<Vec<_>>();
    for _ in 0..if ids.len() > 1 { ROUNDS } else { 0 } {
        tokio::time::sleep(MOMENT).await;
        let later = follow(&context.screen, link, ids, Until::Synced).await?;
        let calm = done(&later) == done(&jobs);
        jobs = later;
        if calm {
            break;
        }
    }
    Ok(jobs)
}

fn synced(job: &JobStatus) -> String {
    format!("{} is synced.\n{}", jobs::pair(job), jobs::open_of(job))
}

/// Stops jobs over a connection of its own: the other one may wait for an answer. Interrupting again waits no longer.
async fn stop_all(context: &Context, ids: &[String]) -> Failure {
    let stop = async {
        if let Some(link) = context.running().await? {
            for id in ids {
                link.stop(id).await?;
            }
        }
        Ok(())
    };
    let stopped = tokio::select! {
        stopped = stop => stopped,
        () = interrupted() => {
            return Failure::new("interrupted again: the job is told to stop, and may not have yet")
                .hint("`wl status` tells whether it has");
        }
    };
    match stopped {
        Ok(()) => Failure::new("interrupted: the job was stopped, and what it did so far stays done")
            .hint("sync again to go on"),
        Err(failure) => Failure::about(failure, "interrupted, but the job could not be stopped"),
    }
}

/// What several jobs did, as if one had done it.
fn together(summaries: impl Iterator<Item = Summary>) -> Summary {
    let mut all = Summary {
        state: JobState::Synced,
        copied: 0,
        deleted: 0,
        moved: 0,
        adopted: 0,
        bytes: 0,
        seconds: 0.0,
        conflicts: Vec::new(),
        problems: Vec::new(),
    };
    for one in summaries {
        if one.state != JobState::Synced {
            all.state = one.state;
        }
        add(&mut all, &one);
        // They ran side by side.
        all.seconds = all.seconds.max(one.seconds);
        all.conflicts.extend(one.conflicts);
        all.problems.extend(one.problems);
    }
    // Two pairs that share a storage share its problems.
    all.problems.sort();
    all.problems.dedup();
    all
}

fn add(sum: &mut Summary, one: &Summary) {
    sum.copied += one.copied;
    sum.deleted += one.deleted;
    sum.moved += one.moved;
    sum.adopted += one.adopted;
    sum.bytes += one.bytes;
}
