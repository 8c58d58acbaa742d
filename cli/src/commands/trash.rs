//! `wl container trash`: what the sync overwrote or deleted, and kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wl_core::manifest::Manifest;
use wl_core::report::TrashEntry;

use crate::args::{Choice, Trash, TrashAction};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::paths;
use crate::render::reports;

/// `trash list --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Entries {
    entries: Vec<TrashEntry>,
}

/// `trash empty --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Removed {
    removed: u64,
}

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
    let mut all = Entries::default();
    for (_, entry) in kept(link, manifest, pairs).await? {
        all.entries.push(entry);
    }
    let storages = pairs::views(manifest);
    context.screen.show(&all, |found| reports::trash(&found.entries, &storages))?;
    Ok(Exit::Done)
}

/// What every pair keeps, each entry once, the newest first.
async fn kept<'a>(link: &Link, manifest: &Manifest, pairs: &'a [Pair]) -> Outcome<Vec<(&'a Pair, TrashEntry)>> {
    let mut all: Vec<(&Pair, TrashEntry)> = Vec::new();
    for pair in pairs {
        let found: Entries = link.call("trash", request(manifest, pair, "list")).await?;
        for entry in found.entries {
            if !all.iter().any(|(_, known)| *known == entry) {
                all.push((pair, entry));
            }
        }
    }
    all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at));
    Ok(all)
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
    let entries = kept(link, manifest, pairs).await?;
    let mut matching = entries.iter().filter(|(_, entry)| entry.path == path && at.is_none_or(|at| is_at(entry, at)));
    let Some((pair, entry)) = matching.next() else {
        let when = at.map(|at| format!(" from {at}")).unwrap_or_default();
        return Err(Failure::new(format!("the trash of `{}` keeps no `{path}`{when}", manifest.name)).hint(hint));
    };
    let mut request = request(manifest, pair, "restore");
    request.insert("path".into(), path.into());
    request.insert("at".into(), entry.at.to_string().into());
    let restored: TrashEntry = link.call("trash", request).await?;
    context.screen.show(&restored, |entry| format!("Restored {} as it was until {}.", entry.path, entry.at))?;
    Ok(Exit::Done)
}

async fn empty(context: &Context, link: &Link, manifest: &Manifest, pairs: &[Pair]) -> Outcome {
    let mut all = Removed::default();
    for pair in pairs {
        let done: Removed = link.call("trash", request(manifest, pair, "empty")).await?;
        all.removed += done.removed;
    }
    context
        .screen
        .show(&all, |all| format!("Deleted {} from the trash.", crate::render::words::count(all.removed, "file")))?;
    Ok(Exit::Done)
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
