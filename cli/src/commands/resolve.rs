//! `wl container resolve`: ends conflicts by keeping one version, or both.

use serde::{Deserialize, Serialize};
use serde_json::json;
use wl_core::manifest::Manifest;
use wl_core::report::Conflict;

use super::list_conflicts;
use crate::args::Resolve;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs::{self, Pair};
use crate::paths;
use crate::render::reports;

/// `resolve --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Resolved {
    /// The paths whose conflict is over.
    pub resolved: Vec<String>,
    /// The others, and why.
    pub failed: Vec<Refused>,
}

/// A conflict that stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The path.
    pub path: String,
    /// Why.
    pub message: String,
}

/// Resolves the conflicts under these paths in every pair that has them.
pub async fn run(context: &Context, args: &Resolve) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let paths = args.paths.iter().map(|path| paths::parse(path)).collect::<Outcome<Vec<_>>>()?;
    let keep = keep(&manifest, &args.keep)?;
    let link = context.link().await?;
    let open = list_conflicts::of_each_pair(&link, &manifest, false).await?;
    let mut all = Resolved::default();
    for (pair, conflicts) in &open {
        let here = in_pair(pair, conflicts, &paths, &keep);
        if here.is_empty() {
            continue;
        }
        let mut request = pair.args(&manifest);
        request.insert("paths".into(), json!(here));
        request.insert("keep".into(), json!(keep));
        let done: Resolved = link.call("resolve", request).await?;
        all.resolved.extend(done.resolved);
        all.failed.extend(done.failed);
    }
    add_unknown(&mut all, &paths, &open);
    context.screen.show(&all, reports::resolved)?;
    if all.failed.is_empty() { Ok(Exit::Done) } else { Err(refusal(&manifest, &all.failed)) }
}

/// The backend-id to keep, or `both`.
fn keep(manifest: &Manifest, text: &str) -> Outcome<String> {
    if text == "both" {
        return Ok(text.to_owned());
    }
    Ok(pairs::find(manifest, text)?.backend_id().to_owned())
}

fn in_pair(pair: &Pair, conflicts: &[Conflict], paths: &[String], keep: &str) -> Vec<String> {
    let has_kept = keep == "both" || [pair.source.backend_id(), pair.target.backend_id()].contains(&keep);
    let is_open = |path: &&String| conflicts.iter().any(|conflict| conflict.path == **path);
    paths.iter().filter(|_| has_kept).filter(is_open).cloned().collect()
}

fn add_unknown(all: &mut Resolved, paths: &[String], open: &[(Pair, Vec<Conflict>)]) {
    for path in paths {
        if all.resolved.contains(path) || all.failed.iter().any(|refused| refused.path == *path) {
            continue;
        }
        let elsewhere = open.iter().any(|(_, conflicts)| conflicts.iter().any(|conflict| conflict.path == *path));
        let message = if elsewhere {
            "the storage to keep has no part in this conflict"
        } else {
            "no conflict is open under this path"
        };
        all.failed.push(Refused { path: path.clone(), message: message.to_owned() });
    }
}

fn refusal(manifest: &Manifest, failed: &[Refused]) -> Failure {
    let lines: Vec<_> = failed.iter().map(|refused| format!("{}: {}", refused.path, refused.message)).collect();
    Failure::new(lines.join("\n"))
        .hint(format!("`wl container list-conflicts {}` shows the open conflicts", manifest.name))
}
