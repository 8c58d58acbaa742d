//! `wl container trash`: what the sync overwrote or deleted, and kept.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use wl_core::manifest::Manifest;
use wl_core::report::{Problem, TrashEmptied, TrashEntry, TrashList};

use crate::args::{Choice, Trash, TrashAction};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::paths;
use crate::render::reports;

/// Lists, restores from or empties the trash of every storage of the container.
pub async fn run(context: &Context, args: &Trash) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let link = context.link().await?;
    let jobs = pairs::jobs_of(&manifest, link.jobs().await?);
    let pairs: Vec<_> =
        pairs::star(&manifest, &Choice::default())?.into_iter().map(|pair| pair.matching(&jobs)).collect();
    match &args.action {
        TrashAction::List => list(context, &link, &manifest, &pairs).await,
        TrashAction::Restore { path, at } => {
            let path = paths::parse(path)?;
            restore(context, &link, &manifest, &pairs, &path, at.as_deref()).await
        }
        TrashAction::Empty => empty(context, &link, &manifest, &pairs).await,
    }
}

async fn list(context: &Context, link: &Link, manifest: &Manifest, pairs: &[Pair]) -> Outcome {
    let (kept, problems) = kept(link, manifest, pairs).await?;
    let all = TrashList { entries: kept.into_iter().map(|(_, entry)| entry).collect(), problems };
    let storages = pairs::views(manifest);
    context.screen.show(&all, |found| reports::trash(found, &storages))?;
    Ok(Exit::of_open(false, &all.problems))
}

/// What every pair keeps, each entry once, the newest first; and what could not be looked at.
async fn kept<'a>(
    link: &Link,
    manifest: &Manifest,
    pairs: &'a [Pair],
) -> Outcome<(Vec<(&'a Pair, TrashEntry)>, Vec<Problem>)> {
    let (mut all, mut known, mut problems) = (Vec::new(), HashSet::new(), BTreeSet::new());
    for pair in pairs {
        let found: TrashList = link.call("trash", request(manifest, pair, "list")).await?;
        all.extend(found.entries.into_iter().filter(|entry| known.insert(entry.clone())).map(|entry| (pair, entry)));
        problems.extend(found.problems);
    }
    all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at));
    Ok((all, problems.into_iter().collect()))
}

async fn restore(
    context: &Context,
    link: &Link,
    manifest: &Manifest,
    pairs: &[Pair],
    path: &str,
    at: Option<&str>,
) -> Outcome {
    let at = at.map(moment).transpose()?;
    let hint = format!("`wl container trash {} list` shows what is kept", manifest.name);
    let (entries, problems) = kept(link, manifest, pairs).await?;
    if let (None, Some(problem)) = (at, problems.first()) {
        let text = format!("not all of the trash of `{}` could be looked at: {}", manifest.name, problem.message);
        return Err(
            Failure::new(text).hint(format!("{hint}; `--at` restores one of those, whatever else there may be"))
        );
    }
    let mut matching = entries.iter().filter(|(_, entry)| entry.path == path && at.is_none_or(|at| is_at(entry, at)));
    let Some((pair, entry)) = matching.next() else {
        let when = at.map(|at| format!(" from {at}")).unwrap_or_default();
        let unseen = if problems.is_empty() { "" } else { ", as far as it could be looked at" };
        return Err(
            Failure::new(format!("the trash of `{}` keeps no `{path}`{when}{unseen}", manifest.name)).hint(hint)
        );
    };
    let mut request = request(manifest, pair, "restore");
    request.insert("path".into(), path.into());
    request.insert("at".into(), entry.at.to_string().into());
    let restored: TrashEntry = link.call("trash", request).await?;
    context.screen.show(&restored, |entry| format!("Restored {} as it was until {}.", entry.path, entry.at))?;
    Ok(Exit::Done)
}

async fn empty(context: &Context, link: &Link, manifest: &Manifest, pairs: &[Pair]) -> Outcome {
    let (mut removed, mut problems) = (0, BTreeSet::new());
    for pair in pairs {
        let done: TrashEmptied = link.call("trash", request(manifest, pair, "empty")).await?;
        removed += done.removed;
        problems.extend(done.problems);
    }
    let all = TrashEmptied { removed, problems: problems.into_iter().collect() };
    let storages = pairs::views(manifest);
    context.screen.show(&all, |all| reports::emptied(all, &storages))?;
    Ok(Exit::of_open(false, &all.problems))
}

fn request(manifest: &Manifest, pair: &Pair, action: &str) -> Map<String, Value> {
    let mut args = pair.args(manifest);
    args.insert("action".into(), json!(action));
    args
}

/// Whether an entry is of that moment; a moment given to the second means all of that second.
fn is_at(entry: &TrashEntry, at: Timestamp) -> bool {
    entry.at == at || at.subsec_nanosecond() == 0 && entry.at.as_second() == at.as_second()
}

fn moment(text: &str) -> Outcome<Timestamp> {
    text.parse().map_err(|_| {
        Failure::usage(format!("`{text}` is no time")).hint("give one as `trash list` shows it: 2026-01-31T12:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use wl_core::entry::Hash;
    use wl_core::report::TrashReason;

    use super::*;

    #[test]
    fn a_whole_second_means_all_of_it() {
        let at: Timestamp = "2026-01-31T12:00:00.25Z".parse().unwrap();
        let entry = TrashEntry {
            path: "a".into(),
            storage: "s".into(),
            at,
            hash: Hash::of(b""),
            bytes: 0,
            reason: TrashReason::Deleted,
        };
        assert!(is_at(&entry, at) && is_at(&entry, moment("2026-01-31T12:00:00Z").unwrap()));
        assert!(!is_at(&entry, moment("2026-01-31T12:00:00.5Z").unwrap()));
        assert_eq!(moment("yesterday").map_err(|failure| failure.exit), Err(Exit::Usage));
    }
}
