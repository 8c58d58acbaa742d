//! `wl status`: every job, its conflicts and problems.

use std::time::Duration;

use serde::Serialize;
use wl_core::report::JobStatus;

use crate::args::Status;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::pairs;
use crate::render::jobs;
use crate::signals::interrupted;

/// How often `--watch` looks.
const REDRAW: Duration = Duration::from_millis(500);

/// `status --json`.
#[derive(Debug, Serialize)]
pub struct Jobs {
    /// The jobs.
    pub jobs: Vec<JobStatus>,
}

/// Shows the jobs once, or until interrupted. A daemon that is not running is not started for it.
pub async fn run(context: &Context, args: &Status) -> Outcome {
    if args.watch {
        return tokio::select! {
            outcome = watch(context, args) => outcome,
            () = interrupted() => Ok(Exit::Done),
        };
    }
    let found = look(context, args).await?;
    let is_running = found.is_some();
    if !is_running {
        context.screen.say("The daemon is not running: nothing is being synced. `wl daemon start` starts it.");
    }
    let jobs = Jobs { jobs: found.unwrap_or_default() };
    if is_running || context.screen.is_json() {
        context.screen.show(&jobs, |found| jobs::status(&found.jobs))?;
    }
    Ok(exit(&jobs.jobs))
}

fn exit(jobs: &[JobStatus]) -> Exit {
    jobs.iter().map(Exit::of_job).fold(Exit::Done, Exit::and)
}

async fn watch(context: &Context, args: &Status) -> Outcome {
    while !context.screen.is_closed() {
        let text = match look(context, args).await? {
            Some(jobs) => jobs::status(&jobs),
            None => "The daemon is not running.\n".to_owned(),
        };
        context.screen.redraw(&text)?;
        tokio::time::sleep(REDRAW).await;
    }
    Ok(Exit::Done)
}

/// The jobs that were asked for; none if no daemon is running.
async fn look(context: &Context, args: &Status) -> Outcome<Option<Vec<JobStatus>>> {
    let manifest = args.container.as_deref().map(|name| context.manifest(name)).transpose()?;
    let Some(link) = context.running().await? else { return Ok(None) };
    let jobs = link.jobs().await?;
    Ok(Some(match &manifest {
        Some(manifest) => pairs::jobs_of(manifest, jobs),
        None => jobs,
    }))
}
