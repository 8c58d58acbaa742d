//! `wl container sync`: starts a container's jobs, or plans them, and waits as far as it was asked to.

mod start;
mod wait;

use serde::{Deserialize, Serialize};
use wl_core::manifest::{Manifest, Storage};
use wl_core::report::{Action, PlannedAction};

use crate::args::{Sync, SyncOptions};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::render::jobs;
use crate::signals::interrupted;

/// `sync --dry-run --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Plan {
    actions: Vec<PlannedAction>,
}

/// Syncs the pair that was asked for or is usual, or with `--all` the source with each other storage.
pub async fn run(context: &Context, args: &Sync) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    sync(context, &manifest, &args.options, args.all).await
}

/// The same, once the manifest is known.
pub async fn sync(context: &Context, manifest: &Manifest, options: &SyncOptions, all: bool) -> Outcome {
    let mut pairs = if all {
        pairs::star(manifest, &options.choice)?
    } else {
        vec![pairs::chosen(manifest, &context.config, &options.choice)?]
    };
    for pair in &mut pairs {
        pair.unidirectional = options.unidirectional;
    }
    if options.dry_run {
        return unless_gone(plan(context, manifest, &pairs, options)).await;
    }
    let link = context.link().await?;
    let ids = unless_gone(start::each(context, &link, manifest, &pairs, options, all)).await?;
    remember_target(context, manifest, options, &pairs)?;
    if options.one_shot && !options.no_wait {
        let first = wait::for_the_end(context, &link, &ids);
        let mut ended = wait::unless_interrupted(context, &ids, first).await?;
        if pairs.len() > 1 && ended.calls_for_more() {
            // They may begin under other ids than those that ran already.
            let both: Vec<_> = ids.into_iter().chain(pairs.iter().map(|pair| pair.job_id.clone())).collect();
            let again = async {
                let ids = start::each(context, &link, manifest, &pairs, options, all).await?;
                wait::for_the_end(context, &link, &ids).await
            };
            match wait::unless_interrupted(context, &both, again).await {
                Ok(later) => ended = ended.and_then(later),
                Err(failure) => {
                    ended.show(context, manifest)?;
                    return Err(failure);
                }
            }
        }
        ended.show(context, manifest)
    } else if options.wait {
        wait::until_synced(context, &link, &ids).await
    } else {
        started(context, &link, &ids).await
    }
}

/// Does that, unless it is interrupted: once a secret was asked for, a signal ends nobody by itself.
async fn unless_gone<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::select! {
        done = work => done,
        () = interrupted() => Err(Failure::new("interrupted; `wl status` shows which jobs run")),
    }
}

async fn plan(context: &Context, manifest: &Manifest, pairs: &[Pair], options: &SyncOptions) -> Outcome {
    let link = context.link().await?;
    let mut all = Plan::default();
    for pair in pairs {
        let mut args = pair.args(manifest);
        args.insert("allow-deletes".into(), options.allow_deletes.into());
        let found: Plan = link.call("plan", args).await?;
        all.actions.extend(found.actions);
    }
    let storages = pairs::views(manifest);
    context.screen.show(&all, |plan| jobs::plan(&plan.actions, &storages))?;
    if let Some(shared) = passes_on(pairs, &all.actions) {
        context.screen.warn(format!(
            "this is what each pair would do by itself: what would come to {} goes on from there to the other storages, \
             which is not in this plan",
            shared.location()
        ));
    }
    Ok(Exit::of_plan(&all.actions))
}

/// The storage that all pairs share, if it would take something that its other pairs have yet to hear of.
fn passes_on<'a>(pairs: &'a [Pair], actions: &[PlannedAction]) -> Option<&'a Storage> {
    let [first, _, ..] = pairs else { return None };
    let shared = &first.source;
    let changes = |action: &PlannedAction| match action.action {
        Action::Move => true,
        Action::Conflict | Action::Skip => false,
        _ => action.to.as_deref() == Some(shared.backend_id()),
    };
    actions.iter().any(changes).then_some(shared)
}

fn remember_target(context: &Context, manifest: &Manifest, options: &SyncOptions, pairs: &[Pair]) -> Outcome<()> {
    let (Some(_), Some(pair)) = (&options.choice.target_storage, pairs.first()) else { return Ok(()) };
    context
        .remember_target(manifest, pair.target.backend_id())
        .map_err(|failure: Failure| failure.about("the sync runs, but the chosen target could not be remembered"))
}

async fn started(context: &Context, link: &Link, ids: &[String]) -> Outcome {
    if context.screen.is_json() {
        let mut jobs = link.jobs().await?;
        jobs.retain(|job| ids.contains(&job.job_id));
        context.screen.show(&super::status::Jobs { jobs, recorded: Vec::new() }, |_| String::new())?;
    }
    Ok(Exit::Done)
}
