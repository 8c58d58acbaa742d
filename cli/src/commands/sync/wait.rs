//! Waiting for jobs that were started.

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

/// Waits for one-shot jobs, shows what they did, and clears them. Interrupting stops them.
pub async fn for_the_end(context: &Context, link: &Link, manifest: &Manifest, ids: &[String]) -> Outcome {
    let ended = tokio::select! {
        ended = follow(&context.screen, link, ids, Until::Ended) => ended?,
        () = interrupted() => return Err(stop_all(context, ids).await),
    };
    for id in ids {
        link.stop(id).await?;
    }
    let summaries: Vec<_> = ended.iter().filter_map(|job| job.summary.clone()).collect();
    let failures: Vec<_> = ended.iter().filter_map(failure_of).collect();
    if summaries.len() < ended.len() || summaries.is_empty() {
        return Err(first(failures));
    }
    let all = together(summaries);
    let storages = pairs::views(manifest);
    context.screen.show(&all, |all| jobs::summary(all, &storages))?;
    for failure in &failures {
        context.screen.fail(failure);
    }
    Ok(if failures.is_empty() { Exit::of_summary(&all) } else { Exit::Failed })
}

/// Waits until continuous jobs have nothing left to do. Interrupting leaves them running.
pub async fn until_synced(context: &Context, link: &Link, ids: &[String]) -> Outcome {
    let jobs = tokio::select! {
        jobs = follow(&context.screen, link, ids, Until::Synced) => jobs?,
        () = interrupted() => {
            return Err(Failure::new("interrupted while waiting; the sync goes on").hint("`wl status` tells how it goes"));
        }
    };
    if let Some(failure) = jobs.iter().find_map(failure_of) {
        return Err(failure);
    }
    let exit = jobs.iter().map(Exit::of_job).fold(Exit::Done, Exit::and);
    context.screen.show(&Jobs { jobs }, |found| found.jobs.iter().map(synced).collect())?;
    Ok(exit)
}

fn synced(job: &JobStatus) -> String {
    format!("{} is synced.\n{}", jobs::pair(job), jobs::open_of(job))
}

/// Stops jobs over a connection of its own: the other one may wait for an answer.
async fn stop_all(context: &Context, ids: &[String]) -> Failure {
    let stop = async {
        if let Some(link) = context.running().await? {
            for id in ids {
                link.stop(id).await?;
            }
        }
        Ok(())
    };
    match stop.await {
        Ok(()) => Failure::new("interrupted: the job was stopped, and what it did so far stays done")
            .hint("sync again to go on"),
        Err(failure) => Failure::about(failure, "interrupted, but the job could not be stopped"),
    }
}

fn first(failures: Vec<Failure>) -> Failure {
    failures.into_iter().next().unwrap_or_else(|| {
        Failure::new("the job ended without saying what it did").hint("the daemon's log says more; sync again")
    })
}

/// What several jobs did, as if one had done it.
fn together(summaries: Vec<Summary>) -> Summary {
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
        all.copied += one.copied;
        all.deleted += one.deleted;
        all.moved += one.moved;
        all.adopted += one.adopted;
        all.bytes += one.bytes;
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
