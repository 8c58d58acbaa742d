//! `wl container list-conflicts`: the recorded conflicts, or those that comparing every pair of storages finds. Problems are
//! told beside them: a job that is done is in no status any more.

use serde::{Deserialize, Serialize};
use wl_core::manifest::Manifest;
use wl_core::report::{Conflict, Problem};

use crate::args::ListConflicts;
use crate::context::Context;
use crate::failure::Exit;
use crate::failure::Outcome;
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::render::reports;

/// `list-conflicts --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Conflicts {
    /// The open conflicts.
    pub conflicts: Vec<Conflict>,
    /// What could not be synced as of the last pass: told beside them, but none of them.
    #[serde(default, skip_serializing)]
    pub problems: Vec<Problem>,
}

/// Lists the conflicts of every pair of the container's storages.
pub async fn run(context: &Context, args: &ListConflicts) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let link = context.link().await?;
    let mut open = Conflicts::default();
    for (_, mut found) in of_each_pair(&link, &manifest, args.force_scan).await? {
        open.conflicts.append(&mut found.conflicts);
        open.problems.append(&mut found.problems);
    }
    let storages = pairs::views(&manifest);
    context.screen.show(&open, |open| reports::conflicts(&open.conflicts, &open.problems, &storages))?;
    // What a scan could not look at it does not vouch for; what an earlier pass recorded is another command's.
    let unseen = if args.force_scan { &open.problems[..] } else { &[] };
    Ok(Exit::of_open(!open.conflicts.is_empty(), unseen))
}

/// Every pair of storages of a container, as it is run, with what is open about it.
pub async fn of_each_pair(link: &Link, manifest: &Manifest, scan: bool) -> Outcome<Vec<(Pair, Conflicts)>> {
    let jobs = pairs::jobs_of(manifest, link.jobs().await?);
    let mut found = Vec::new();
    for pair in pairs::every(manifest) {
        let pair = pair.matching(&jobs);
        let mut args = pair.args(manifest);
        args.insert("force-scan".into(), scan.into());
        let open = link.call("conflicts", args).await?;
        found.push((pair, open));
    }
    Ok(found)
}
