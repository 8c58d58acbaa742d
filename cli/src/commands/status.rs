//! `wl status`: every job, its conflicts and problems.

use std::time::Duration;

use serde::Serialize;
use wl_core::manifest::Manifest;
use wl_core::report::{Conflict, JobStatus, Problem, StorageView};
use wl_core::state::State;

use crate::args::Status;
use crate::commands::list_conflicts::of_each_pair;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::pairs;
use crate::render::jobs;
use crate::render::words::moment;
use crate::signals::interrupted;

/// How often `--watch` looks.
const REDRAW: Duration = Duration::from_millis(500);

/// `status --json`.
#[derive(Debug, Default, Serialize)]
pub struct Jobs {
    /// The jobs.
    pub jobs: Vec<JobStatus>,
    /// What the last pass left open between storages of the container asked for that no job keeps equal now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<Recorded>,
}

/// What is open between two storages.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// The first storage.
    pub source: StorageView,
    /// The second storage.
    pub target: StorageView,
    /// Open conflicts.
    pub conflicts: Vec<Conflict>,
    /// What could not be synced.
    pub problems: Vec<Problem>,
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
    tell_of_lost_state(context);
    let is_running = found.is_some();
    if !is_running {
        context.screen.say("The daemon is not running: nothing is being synced. `wl daemon start` starts it.");
    }
    let jobs = found.unwrap_or_default();
    let recorded = if is_running { recorded(context, args, &jobs).await? } else { Vec::new() };
    let found = Jobs { jobs, recorded };
    if is_running || context.screen.is_json() {
        context.screen.show(&found, |found| jobs::status(&found.jobs) + &jobs::recorded(&found.recorded))?;
    }
    let open = |recorded: &Recorded| Exit::of_open(!recorded.conflicts.is_empty(), &recorded.problems);
    Ok(found.recorded.iter().map(open).fold(exit(&found.jobs), Exit::and))
}

/// Says what the daemon told only its log: that it had to begin anew. It is said until the user has taken note.
fn tell_of_lost_state(context: &Context) {
    for (file, when) in State::set_aside_in(&context.places.state_dir) {
        context.screen.warn(format!(
            "the state was found damaged and set aside on {}: the jobs of before are forgotten, start them again; the next \
             pass of every container goes by the rules of first contact. Remove or move away {} to end this message",
            moment(when),
            file.display()
        ));
    }
}

/// What is open about the container that was asked for, beside its jobs.
async fn recorded(context: &Context, args: &Status, jobs: &[JobStatus]) -> Outcome<Vec<Recorded>> {
    let (Some(manifest), Some(link)) = (asked_for(context, args)?, context.running().await?) else {
        return Ok(Vec::new());
    };
    let every = of_each_pair(&link, &manifest, false).await?.into_iter();
    let without = every.filter(|(pair, _)| !jobs.iter().any(|job| pair.is_of(job)));
    let open = without.filter(|(_, open)| !open.conflicts.is_empty() || !open.problems.is_empty());
    let recorded = open.map(|(pair, open)| Recorded {
        source: pairs::view(&pair.source),
        target: pairs::view(&pair.target),
        conflicts: open.conflicts,
        problems: open.problems,
    });
    Ok(recorded.collect())
}

fn asked_for(context: &Context, args: &Status) -> Outcome<Option<Manifest>> {
    args.container.as_deref().map(|name| context.manifest(name)).transpose()
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
    let manifest = asked_for(context, args)?;
    let Some(link) = context.running().await? else { return Ok(None) };
    let jobs = link.jobs().await?;
    Ok(Some(match &manifest {
        Some(manifest) => pairs::jobs_of(manifest, jobs),
        None => jobs,
    }))
}
