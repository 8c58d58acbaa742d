//! `.wlignore` files, read into a filter.

use futures::TryStreamExt as _;

use super::Raw;
use crate::backend::Look;
use crate::entry::{Entry, Kind};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::job::{Pair, Which};
use crate::path::{IGNORE_FILE, RelPath};
use crate::report::ProblemKind;

/// More bytes than that are no list of patterns.
const LIMIT: u64 = 1 << 20;

/// Learns the `.wlignore` at a path on both sides. Whether the rules changed, and what could not be read.
pub(super) async fn learn(pair: &Pair, filter: &mut Filter, raw: &Raw) -> (bool, Vec<(Which, Error)>) {
    let (mut changed, mut failed) = (false, Vec::new());
    let Some(dir) = raw.path.parent() else { return (changed, failed) };
    let was_unruled = filter.is_unruled(&raw.path);
    for which in Which::BOTH.into_iter().filter(|which| !raw.unknown[*which as usize]) {
        let text = match &raw.entries[which as usize] {
            Some(entry) if entry.kind == Kind::File => match read(pair, which, &raw.path, entry).await {
                Ok(text) => Some(text),
                Err(error) => {
                    failed.push((which, error));
                    continue;
                }
            },
            _ => None,
        };
        changed |= filter.set_ignores(&dir, which, text.as_deref());
    }
    // Where a side cannot be looked at now, nothing was learned.
    if !failed.is_empty() || raw.unknown == [false; 2] {
        filter.set_unruled(&dir, !failed.is_empty());
    }
    (changed || was_unruled != filter.is_unruled(&raw.path), failed)
}

async fn read(pair: &Pair, which: Which, path: &RelPath, entry: &Entry) -> Result<String> {
    if entry.size > LIMIT {
        let text = format!("a list of patterns has at most {LIMIT} bytes");
        return Err(Error::new(Fault::Malformed, text).at(path));
    }
    let place = &pair.side(which).place;
    if let Some(text) = pair.store.cached_rules(place, path, &entry.token)? {
        return Ok(text);
    }
    let reading = pair.side(which).backend.read(path, &entry.token, 0).await?;
    let bytes: Vec<u8> = reading.body.map_ok(|chunk| chunk.to_vec()).try_concat().await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    pair.store.remember_rules(place, path, &entry.token, &text)?;
    Ok(text)
}

/// Whose failure it is, and what tells more.
fn on_side(pair: &Pair, which: Which, error: &Error) -> Error {
    let view = &pair.side(which).view;
    let text = format!(
        "storage {} ({}): {}; `wl doctor {}` tells what is wrong with it",
        view.backend_id, view.location, error.message, pair.container
    );
    Error::new(error.fault, text)
}

/// The rules that bear on one path: the container's own, and those of the directories it is in. Where they cannot be read,
/// the filter says so.
pub async fn rules_above(pair: &Pair, path: &RelPath) -> Result<Filter> {
    let mut filter = Filter::new(&pair.options.exclude)?;
    for dir in path.ancestors().chain([RelPath::root()]) {
        ask(pair, &mut filter, &dir).await?;
    }
    Ok(filter)
}

/// Learns the `.wlignore` of a directory by asking for it; whether the rules changed. Where it is there and cannot be looked
/// at, the directory's rules cannot be read.
pub(super) async fn ask(pair: &Pair, filter: &mut Filter, dir: &RelPath) -> Result<bool> {
    let Ok(path) = dir.join(IGNORE_FILE) else { return Ok(false) };
    let mut raw = Raw { path, base: None, entries: [None, None], unknown: [false; 2], recorded: None };
    let mut in_doubt = false;
    for which in Which::BOTH {
        let looked = pair.side(which).backend.stat(&raw.path).await;
        match looked {
            Ok(Look::Absent) => {}
            Ok(Look::Entry(entry)) => raw.entries[which as usize] = Some(entry),
            Err(error) if error.fault.passes() || error.fault == Fault::Stopped => {
                return Err(on_side(pair, which, &error));
            }
            Err(_) => {
                raw.unknown[which as usize] = true;
                in_doubt = true;
            }
            Ok(Look::Blocked(obstacle)) => {
                raw.unknown[which as usize] = true;
                // What is no file has no rules.
                in_doubt |= obstacle.kind != ProblemKind::Skipped;
            }
        }
    }
    let (changed, _) = learn(pair, filter, &raw).await;
    if in_doubt {
        filter.set_unruled(dir, true);
    }
    Ok(changed)
}
