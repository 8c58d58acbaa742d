//! `wl container resolve`: ends conflicts by keeping one version, or both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use wl_core::manifest::{Manifest, Storage};
use wl_core::report::{ConflictKind, JobStatus};

use super::list_conflicts::{self, Conflicts};
use crate::args::Resolve;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs::{self, Pair};
use crate::paths;
use crate::render::reports;

/// What is said in place of a storage to keep both versions.
const BOTH: &str = "both";

/// The bytes of paths in one request. JSON can write a byte as six, and a message has a MiB at most.
const MOST_BYTES: usize = 100_000;

/// The paths in one request: each may have a sentence in the answer.
const MOST_PATHS: usize = 1000;

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
    let jobs = pairs::jobs_of(&manifest, link.jobs().await?);
    let asked = Asked { keep: &keep, open: &open, jobs: &jobs };
    let mut all = Resolved::default();
    let mut refused: Vec<_> = paths.iter().filter_map(|path| asked.cannot(path)).collect();
    for (pair, _) in &open {
        for (keep, paths) in asked.of_pair(pair, &paths) {
            for some in at_a_time(&paths) {
                let mut request = pair.args(&manifest);
                request.insert("paths".into(), json!(some));
                request.insert("keep".into(), json!(keep));
                match link.call::<Resolved>("resolve", request).await {
                    Ok(done) => all.resolved.extend(done.resolved),
                    Err(failure) => refused.push(failure.to_string()),
                }
            }
        }
    }
    // A daemon that has ended says so each time.
    refused.dedup();
    let of_kinds =
        open.iter().flat_map(|(_, open)| &open.conflicts).filter(|conflict| conflict.kind == ConflictKind::Kind);
    if of_kinds.into_iter().any(|conflict| all.resolved.contains(&conflict.path)) {
        context.screen.say("What is below a directory that was kept is carried over by the next sync.");
    }
    if refused.is_empty() {
        context.screen.show(&all, reports::resolved)?;
        return Ok(Exit::Done);
    }
    if !all.resolved.is_empty() {
        context.screen.say(reports::resolved(&all).trim_end());
    }
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

/// Which version of what is open is to stay.
struct Asked<'a> {
    /// A backend-id, or `both`.
    keep: &'a str,
    /// Every pair with its open conflicts.
    open: &'a [(Pair, Conflicts)],
    jobs: &'a [JobStatus],
}

impl<'a> Asked<'a> {
    /// What is to be kept of these paths in a pair.
    fn of_pair(&self, pair: &'a Pair, paths: &'a [String]) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for path in paths {
            if let Some(keep) = self.meant(pair, path) {
                found.entry(keep).or_default().push(path.as_str());
            }
        }
        found
    }

    /// The storage whose version is meant in a pair that has a conflict there: the one to keep; or, where that one is not
    /// of this pair, the one of the two that a job keeps equal with it and that agrees with it there. So of three storages
    /// that one job each keeps equal with a fourth, any can be named.
    fn meant(&self, pair: &'a Pair, path: &str) -> Option<&'a str> {
        self.open.iter().find(|(one, open)| std::ptr::eq(one, pair) && has(open, path))?;
        let ids = [pair.source.backend_id(), pair.target.backend_id()];
        if self.keep == BOTH || ids.contains(&self.keep) {
            return Some(self.keep);
        }
        let agrees = |id: &&str| {
            let kept_equal =
                |other: &Pair| other.is_between(id, self.keep) && self.jobs.iter().any(|job| other.is_of(job));
            self.open.iter().any(|(other, open)| kept_equal(other) && !has(open, path))
        };
        let mut agreeing = ids.into_iter().filter(agrees);
        agreeing.next().filter(|_| agreeing.next().is_none())
    }

    /// Why nothing can be done about a path; none if something can.
    fn cannot(&self, path: &str) -> Option<String> {
        if self.open.iter().any(|(pair, _)| self.meant(pair, path).is_some()) {
            return None;
        }
        let of_it = self.open.iter().find(|(_, open)| has(open, path));
        Some(of_it.map_or_else(
            || format!("{path}: no conflict is open under this path"),
            |(pair, _)| {
                let [one, other] = [&pair.source, &pair.target].map(Storage::location);
                format!("{path}: the storage to keep has no part in this conflict, which is between {one} and {other}")
            },
        ))
    }
}

/// As many paths in one request as a message holds for certain, beside what else is in it and with what is answered.
fn at_a_time<'a>(paths: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
    let mut rest = paths;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |path: &&&str| {
            bytes += path.len();
            bytes <= MOST_BYTES
        };
        let count = rest.iter().take(MOST_PATHS).take_while(fits).count().max(1);
        let (some, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(some)
    })
}

fn has(open: &Conflicts, path: &str) -> bool {
    open.conflicts.iter().any(|conflict| conflict.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_paths_are_asked_for_in_several_requests() {
        let long = "x".repeat(MOST_BYTES / 2);
        let short = vec!["x"; MOST_PATHS + 1];
        let counts = |paths: &[&str]| at_a_time(paths).map(<[_]>::len).collect::<Vec<_>>();
        assert!(counts(&[]).is_empty());
        assert_eq!(counts(&short), [MOST_PATHS, 1]);
        assert_eq!(counts(&[&long, &long, "x", &long]), [2, 2]);
        let longest = long.repeat(3);
        assert_eq!(counts(&[&longest, "x"]), [1, 1]);
    }
}
