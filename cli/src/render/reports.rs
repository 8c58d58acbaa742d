//! What is known about files, as text: conflicts, differences, explanations, history, trash, two versions of one file.

use wl_core::report::{
    Conflict, ConflictKind, Explanation, HistoryEntry, Problem, StorageView, TrashEmptied, TrashList, TrashReason,
    Verification, Version,
};

use super::jobs::{conflict_kind, problem};
use super::words::{add, count, indented, moment, short_hash, size, storage, table};
use super::{GOOD, WARN, name, styled};
use crate::commands::diff::Versions;
use crate::commands::resolve::Resolved;

/// Open conflicts, each with its two versions, and what could not be synced.
pub fn conflicts(conflicts: &[Conflict], problems: &[Problem], storages: &[StorageView]) -> String {
    let problems: String = problems.iter().map(|one| problem(one, storages) + "\n").collect();
    if conflicts.is_empty() {
        return format!("No conflicts.\n{problems}");
    }
    let one = |conflict: &Conflict| {
        let (kind, since) = (conflict_kind(conflict.kind), moment(conflict.since));
        let versions = conflict.storages.iter().zip(&conflict.hashes).map(|(id, hash)| {
            let held = match (hash, conflict.kind) {
                (None, ConflictKind::Kind) => "directory".to_owned(),
                (None, _) => "no file".to_owned(),
                (hash, _) => short_hash(hash.as_ref()),
            };
            format!("  {held:<12}  {}\n", storage(storages, id))
        });
        format!(
            "{}: {kind}, since {since}\n{}",
            styled(WARN, name(&conflict.path)),
            versions.collect::<Vec<_>>().concat()
        )
    };
    conflicts.iter().map(one).collect::<String>() + &problems
}

/// What became of conflicts that were to end.
pub fn resolved(resolved: &Resolved) -> String {
    resolved
        .resolved
        .iter()
        .map(|path| format!("{} {}\n", styled(GOOD, "resolved"), name(path)))
        .collect::<Vec<_>>()
        .concat()
}

/// What a verification found.
pub fn verification(found: &Verification, storages: &[StorageView]) -> String {
    let differences = found.differences.iter().map(|difference| {
        [difference.path.clone(), short_hash(difference.source.as_ref()), short_hash(difference.target.as_ref())]
    });
    let mut text = String::new();
    let checked = count(found.checked, "file");
    if found.differences.is_empty() && found.problems.is_empty() {
        add!(text, "{} {checked} read on both sides and equal\n", styled(GOOD, "OK:"));
    } else if found.differences.is_empty() {
        let open = styled(WARN, count(found.problems.len() as u64, "problem"));
        add!(text, "{checked} read on both sides and equal; {open}: not everything was compared\n");
    } else {
        text += &table(["DIFFERS", "SOURCE", "TARGET"], differences);
        let differing = count(found.differences.len() as u64, "difference");
        add!(text, "{checked} read on both sides, {}\n", styled(WARN, differing));
    }
    text + &problems(&found.problems, storages)
}

/// What is known about a path.
pub fn explanation(found: &Explanation, storages: &[StorageView]) -> String {
    let [source, target] = found.storages.each_ref().map(|id| storage(storages, id));
    let mut text = format!("{}: {source} and {target}\n", name(&found.path));
    for (name, version) in [("base", &found.base), ("source", &found.source), ("target", &found.target)] {
        add!(text, "  {name:<8} {}\n", self::version(version));
    }
    if let Some(pattern) = &found.excluded_by {
        add!(text, "  excluded by {pattern}\n");
    }
    add!(text, "  next: {} ({})\n", found.verdict, found.reason);
    if !found.history.is_empty() {
        add!(text, "\n{}", history(&found.history, storages));
    }
    text
}

/// One version of a path, on one line.
pub fn version(version: &Version) -> String {
    let parts = [
        Some(version.kind.clone()),
        version.size.map(size),
        version.mtime.map(moment),
        version.hash.map(|hash| format!("sha256 {hash}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What was done, the newest first.
pub fn history(entries: &[HistoryEntry], storages: &[StorageView]) -> String {
    if entries.is_empty() {
        return "Nothing was done yet.\n".to_owned();
    }
    let place = |id: &Option<String>| id.as_ref().map_or_else(|| "-".to_owned(), |id| storage(storages, id));
    let rows = entries.iter().map(|entry| {
        [
            moment(entry.at),
            entry.action.clone(),
            entry.path.clone(),
            place(&entry.from),
            place(&entry.to),
            short_hash(entry.hash.as_ref()),
            size(entry.bytes),
        ]
    });
    table(["WHEN", "WHAT", "PATH", "FROM", "TO", "SHA256", "SIZE"], rows)
}

/// What the trash keeps; the times are those that `restore --at` takes.
pub fn trash(found: &TrashList, storages: &[StorageView]) -> String {
    let rows = found.entries.iter().map(|entry| {
        let reason = match entry.reason {
            TrashReason::Overwritten => "overwritten",
            TrashReason::Deleted => "deleted",
        };
        [
            entry.path.clone(),
            entry.at.to_string(),
            reason.to_owned(),
            size(entry.bytes),
            storage(storages, &entry.storage),
        ]
    });
    let text = match (found.entries.is_empty(), found.problems.is_empty()) {
        (true, true) => "The trash is empty.\n".to_owned(),
        (true, false) => "Nothing in the trash as far as it could be looked at.\n".to_owned(),
        (false, _) => table(["PATH", "WHEN", "WHY", "SIZE", "ON"], rows),
    };
    text + &problems(&found.problems, storages)
}

/// What emptying the trash did.
pub fn emptied(emptied: &TrashEmptied, storages: &[StorageView]) -> String {
    let text = format!("Deleted {} from the trash.\n", count(emptied.removed, "file"));
    text + &problems(&emptied.problems, storages)
}

/// Problems, one a line.
fn problems(problems: &[Problem], storages: &[StorageView]) -> String {
    problems.iter().map(|one| problem(one, storages) + "\n").collect()
}

/// The two versions of a file: what differs between them where both are texts, else what is known about each.
pub fn versions(versions: &Versions) -> String {
    if let Some(diff) = &versions.diff {
        return if diff.is_empty() { "Both versions are equal.\n".to_owned() } else { diff.clone() };
    }
    let sides = versions.sides.iter().map(|side| {
        let lines = side.version.iter().map(version).chain(side.problem.clone());
        format!("{}\n{}", side.storage.location, indented(&lines.collect::<Vec<_>>().join("\n")))
    });
    sides.collect()
}

#[cfg(test)]
mod tests;
