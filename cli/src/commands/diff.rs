//! `wl container diff`: the two versions of one path, read-only, in this process.

use futures::TryStreamExt as _;
use serde::Serialize;
use similar::TextDiff;
use wl_core::backend::{Backend, Look};
use wl_core::entry::{Entry, Hash, Kind};
use wl_core::manifest::{Manifest, Storage};
use wl_core::path::RelPath;
use wl_core::report::{StorageView, Version};

use super::list_conflicts::{self, Conflicts};
use crate::args::Explain;
use crate::context::{Context, env};
use crate::failure::{Exit, Failure, Outcome};
use crate::link::Link;
use crate::pairs::{Pair, view};
use crate::paths;
use crate::render::reports;

/// Texts above this many bytes are not compared line by line.
const TEXT_LIMIT: u64 = 4 << 20;

/// `diff --json`.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// The path.
    pub path: String,
    /// The source's version and the target's.
    #[serde(rename = "versions")]
    pub sides: Vec<SideVersion>,
    /// What differs between them, as a unified diff, where both are texts.
    pub diff: Option<String>,
}

/// What one storage holds.
#[derive(Debug, Serialize)]
pub struct SideVersion {
    /// The storage.
    pub storage: StorageView,
    /// What it holds, none if it could not be looked at.
    pub version: Option<Version>,
    /// Why not.
    pub problem: Option<String>,
    #[serde(skip)]
    text: Option<String>,
}

/// Shows both versions.
pub async fn run(context: &Context, args: &Explain) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let text = paths::parse(&args.path)?;
    let path = RelPath::parse(&text).map_err(|error| Failure::usage(format!("path `{text}` {error}")))?;
    let link = context.link().await?;
    let pair = pair(context, &link, &manifest, args, &text).await?;
    let versions = vec![look(&pair.source, &path).await?, look(&pair.target, &path).await?];
    if versions.iter().all(|side| side.version.as_ref().is_some_and(|version| version.kind == "absent")) {
        return Err(Failure::new(format!(
            "neither {} nor {} holds `{text}`",
            place(&versions[0]),
            place(&versions[1])
        ))
        .hint(format!("`wl container list-conflicts {}` shows the open conflicts", args.name)));
    }
    let diff = unified(&versions);
    context.screen.show(&Versions { path: text, sides: versions, diff }, reports::versions)?;
    Ok(Exit::Done)
}

/// The pair that was asked for, else the one with a conflict under that path, else the one that is synced.
async fn pair(context: &Context, link: &Link, manifest: &Manifest, args: &Explain, path: &str) -> Outcome<Pair> {
    if args.choice.source_storage.is_none() && args.choice.target_storage.is_none() {
        let open = list_conflicts::of_each_pair(link, manifest, false).await?;
        let is_here = |open: &Conflicts| open.conflicts.iter().any(|conflict| conflict.path == path);
        if let Some((pair, _)) = open.into_iter().find(|(_, open)| is_here(open)) {
            return Ok(pair);
        }
    }
    context.pair_of(link, manifest, &args.choice).await
}

fn place(side: &SideVersion) -> &str {
    &side.storage.location
}

fn unified(versions: &[SideVersion]) -> Option<String> {
    let [a, b] = versions else { return None };
    let (old, new) = (a.text.as_deref()?, b.text.as_deref()?);
    let diff = TextDiff::from_lines(old, new);
    Some(diff.unified_diff().context_radius(3).header(place(a), place(b)).to_string())
}

async fn look(storage: &Storage, path: &RelPath) -> Outcome<SideVersion> {
    let open = storage.resolve_secrets(&env).and_then(|storage| wl_backends::open(&storage));
    let backend = open.map_err(|error| Failure::from(error).about(storage.location()))?;
    let mut side = SideVersion { storage: view(storage), version: None, problem: None, text: None };
    match backend.stat(path).await {
        Ok(Look::Absent) => side.version = Some(version("absent")),
        Ok(Look::Entry(entry)) if entry.kind == Kind::Dir => side.version = Some(version("dir")),
        Ok(Look::Entry(entry)) => match read(&*backend, path, &entry).await {
            Ok((hash, text)) => {
                side.version = Some(Version {
                    kind: "file".to_owned(),
                    hash: Some(hash),
                    size: Some(entry.size),
                    mtime: entry.meta.mtime,
                });
                side.text = text;
            }
            Err(error) => side.problem = Some(error.to_string()),
        },
        Ok(Look::Blocked(obstacle)) => side.problem = Some(obstacle.message),
        Err(error) => side.problem = Some(error.to_string()),
    }
    Ok(side)
}

fn version(kind: &str) -> Version {
    Version { kind: kind.to_owned(), hash: None, size: None, mtime: None }
}

/// The hash of a file, and its content where it is a text of moderate size.
async fn read(backend: &dyn Backend, path: &RelPath, entry: &Entry) -> wl_core::Result<(Hash, Option<String>)> {
    if entry.size > TEXT_LIMIT {
        return Ok((backend.hash(path, &entry.token).await?, None));
    }
    let reading = backend.read(path, &entry.token, 0).await?;
    let bytes = reading.body.try_fold(Vec::new(), async |mut all, chunk| {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    let bytes = bytes.await?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
    Ok((Hash::of(&bytes), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(location: &str, text: Option<&str>) -> SideVersion {
        let storage =
            StorageView { backend_id: "1".into(), storage_type: "local".into(), location: location.to_owned() };
        SideVersion { storage, version: None, problem: None, text: text.map(str::to_owned) }
    }

    #[test]
    fn texts_are_compared_by_lines_and_nothing_else_is() {
        let diff = unified(&[side("/a", Some("one\ntwo\n")), side("/b", Some("one\nthree\n"))]);
        assert_eq!(diff.as_deref(), Some("--- /a\n+++ /b\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"));
        assert_eq!(unified(&[side("/a", Some("one")), side("/b", None)]), None);
    }
}
