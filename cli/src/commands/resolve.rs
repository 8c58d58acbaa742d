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

/// What is said in place of a storage to keep both versions.
const BOTH: &str = "both";

/// `resolve --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Resolved {
    /// The paths whose conflict is over.
    pub resolved: Vec<String>,
}

/// Resolves the conflicts under these paths in every pair that has them.
pub async fn run(context: &Context, args: &Resolve) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let paths = args.paths.iter().map(|path| paths::parse(path)).collect::<Outcome<Vec<_>>>()?;
    let keep = keep(&manifest, &args.keep)?;
    let link = context.link().await?;
    let open = list_conflicts::of_each_pair(&link, &manifest, false).await?;
    let mut all = Resolved::default();
    let mut refused = unknown(&paths, &keep, &open);
    for (pair, conflicts) in &open {
        let here = in_pair(pair, conflicts, &paths, &keep);
        if here.is_empty() {
            continue;
        }
        let mut request = pair.args(&manifest);
        request.insert("paths".into(), json!(here));
        request.insert("keep".into(), json!(keep));
        match link.call::<Resolved>("resolve", request).await {
            Ok(done) => all.resolved.extend(done.resolved),
            Err(failure) => refused.push(failure.to_string()),
        }
    }
    if refused.is_empty() {
        context.screen.show(&all, reports::resolved)?;
        return Ok(Exit::Done);
    }
    context.screen.say(reports::resolved(&all).trim_end());
    Err(Failure::new(refused.join("\n"))
        .hint(format!("`wl container list-conflicts {}` shows what is still open", manifest.name)))
}

/// The backend-id to keep, or `both`.
fn keep(manifest: &Manifest, text: &str) -> Outcome<String> {
    if text == BOTH {
        return Ok(text.to_owned());
    }
    Ok(pairs::find(manifest, text)?.backend_id().to_owned())
}

fn in_pair(pair: &Pair, conflicts: &[Conflict], paths: &[String], keep: &str) -> Vec<String> {
    let has_kept = keep == BOTH || [pair.source.backend_id(), pair.target.backend_id()].contains(&keep);
    let is_open = |path: &&String| conflicts.iter().any(|conflict| conflict.path == **path);
    paths.iter().filter(|_| has_kept).filter(is_open).cloned().collect()
}

/// What cannot be resolved because there is no such conflict.
fn unknown(paths: &[String], keep: &str, open: &[(Pair, Vec<Conflict>)]) -> Vec<String> {
    let why = |path: &String| {
        let is_here = |(pair, conflicts): &&(Pair, Vec<Conflict>)| {
            !in_pair(pair, conflicts, std::slice::from_ref(path), keep).is_empty()
        };
        let is_anywhere = open.iter().any(|(_, conflicts)| conflicts.iter().any(|conflict| conflict.path == *path));
        match (open.iter().find(is_here), is_anywhere) {
            (Some(_), _) => None,
            (None, true) => Some(format!("{path}: the storage to keep has no part in this conflict")),
            (None, false) => Some(format!("{path}: no conflict is open under this path")),
        }
    };
    paths.iter().filter_map(why).collect()
}
