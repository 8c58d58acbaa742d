//! Storages that take two names which differ only in case for one: FAT, most of Windows and macOS, and what is served from
//! there. Asked for a name, such a storage answers for the other. Only a listing says which of them it has.

use super::Raw;
use crate::backend::{Backend, Look};
use crate::entry::{Entry, Kind};
use crate::job::Which;
use crate::path::RelPath;

/// Whether a storage does so, found out with a file that is there; none if that tells nothing.
pub(super) async fn folds(backend: &dyn Backend, path: &RelPath, entry: &Entry) -> Option<bool> {
    // Two empty files may look alike.
    if entry.kind != Kind::File || entry.size == 0 {
        return None;
    }
    let other = path.parent()?.join(&other_case(path.name())?).ok()?;
    match backend.stat(&other).await {
        Ok(Look::Entry(found)) => Some(is_same(&found, entry)),
        Ok(Look::Absent) => Some(false),
        Ok(Look::Blocked(_)) | Err(_) => None,
    }
}

/// Whether a file that one side seems to have lost, and which is there when asked for, is listed in another case.
pub(super) fn is_listed_otherwise(raws: &[Raw], which: Which, path: &RelPath, entry: &Entry) -> bool {
    let folded = path.as_str().to_lowercase();
    let listed = |raw: &Raw| raw.entries[which as usize].as_ref().is_some_and(|other| is_same(other, entry));
    raws.iter().any(|raw| raw.path != *path && listed(raw) && raw.path.as_str().to_lowercase() == folded)
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    one.kind == other.kind && one.size == other.size && one.token.as_bytes() == other.token.as_bytes()
}

fn other_case(name: &str) -> Option<String> {
    [name.to_lowercase(), name.to_uppercase()].into_iter().find(|other| other != name)
}
