//! `wl container list-conflicts`: the recorded conflicts, or those that comparing every pair of storages finds.

use serde::{Deserialize, Serialize};
use wl_core::manifest::Manifest;
use wl_core::report::Conflict;

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
}

/// Lists the conflicts of every pair of the container's storages.
pub async fn run(context: &Context, args: &ListConflicts) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let link = context.link().await?;
    let found = of_each_pair(&link, &manifest, args.force_scan).await?;
    let conflicts = Conflicts { conflicts: found.into_iter().flat_map(|(_, conflicts)| conflicts).collect() };
    let storages = pairs::views(&manifest);
    context.screen.show(&conflicts, |found| reports::conflicts(&found.conflicts, &storages))?;
    Ok(Exit::of_open(!conflicts.conflicts.is_empty(), &[]))
}

/// Every pair of storages of a container, as it is run, with its conflicts.
pub async fn of_each_pair(link: &Link, manifest: &Manifest, scan: bool) -> Outcome<Vec<(Pair, Vec<Conflict>)>> {
    let jobs = pairs::jobs_of(manifest, link.jobs().await?);
    let mut found = Vec::new();
    for pair in pairs::every(manifest) {
        let pair = pair.matching(&jobs);
        let mut args = pair.args(manifest);
        args.insert("force-scan".into(), scan.into());
        let conflicts: Conflicts = link.call("conflicts", args).await?;
        found.push((pair, conflicts.conflicts));
    }
    Ok(found)
}
