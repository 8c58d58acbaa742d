//! Storages that take two spellings of a name for one: FAT, most of Windows and macOS, and what is served from there, where
//! only the case differs; macOS also where an accent is part of its letter in the one and stands behind it in the other.
//! Asked for a name, such a storage answers for the other. Only a listing says which of them it has.

use std::sync::Arc;

use futures::StreamExt as _;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use super::Raw;
use crate::backend::{Backend, Listed, Look, Prune};
use crate::entry::Entry;
use crate::job::Which;
use crate::path::RelPath;

/// What files have shown of how a storage takes names; none of what no file has shown yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Folds {
    /// Whether names that differ only in case are one.
    case: Option<bool>,
    /// Whether names that differ only in their Unicode normalization form are one.
    form: Option<bool>,
}

impl Folds {
    /// Whether it takes some names for one: only a survey of everything can be relied on then.
    pub fn any(self) -> bool {
        self.case == Some(true) || self.form == Some(true)
    }

    /// Finds out what is not known yet with a file that is there.
    pub(super) async fn learn(&mut self, backend: &dyn Backend, path: &RelPath) {
        let name = path.name();
        for (known, other) in [(&mut self.case, other_case(name)), (&mut self.form, other_form(name))] {
            if let (None, Some(other)) = (*known, other) {
                *known = are_one(backend, path, &other).await;
            }
        }
    }
}

/// Whether a storage takes a file's name and another spelling of it for one; none if that cannot be told.
async fn are_one(backend: &dyn Backend, path: &RelPath, other: &str) -> Option<bool> {
    let other = path.parent()?.join(other).ok()?;
    match backend.stat(&other).await {
        // There may as well be two files, even two of which the storage tells the same.
        Ok(Look::Entry(_)) => is_listed_once(backend, path).await,
        // The file itself may have gone just now.
        Ok(Look::Absent) => matches!(backend.stat(path).await, Ok(Look::Entry(_))).then_some(false),
        Ok(Look::Blocked(_)) | Err(_) => None,
    }
}

/// Whether of all spellings of a name one alone is listed; none if no listing tells.
async fn is_listed_once(backend: &dyn Backend, path: &RelPath) -> Option<bool> {
    let (dir, wanted) = (path.parent()?, folded(path));
    let prune: Prune = {
        let wanted = wanted.clone();
        Arc::new(move |path, _| folded(path) != wanted)
    };
    let (mut listing, mut count) = (backend.list(&dir, Some(prune)), 0);
    while let Some(items) = listing.next().await {
        for item in items {
            match item {
                Listed::Entry(path, _) if folded(&path) == wanted => count += 1,
                Listed::Blocked(path, _) if path == dir => return None,
                Listed::Cut(..) => return None,
                _ => {}
            }
        }
        if count > 1 {
            return Some(false);
        }
    }
    (count == 1).then_some(true)
}

/// Whether a file that one side seems to have lost, and which is there when asked for, is listed in another spelling.
pub(super) fn is_listed_otherwise(raws: &[Raw], which: Which, path: &RelPath, entry: &Entry) -> bool {
    let wanted = folded(path);
    let listed = |raw: &Raw| raw.entries[which as usize].as_ref().is_some_and(|other| is_same(other, entry));
    // Where the directory is another one, it is that which is listed otherwise, and what the other side holds there stays.
    let renamed = |raw: &Raw| raw.path != *path && raw.path.parent() == path.parent() && listed(raw);
    raws.iter().any(|raw| renamed(raw) && folded(&raw.path) == wanted)
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    one.kind == other.kind && one.size == other.size && one.token.as_bytes() == other.token.as_bytes()
}

/// What all spellings of a path have in common.
fn folded(path: &RelPath) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(path.as_str()).to_lowercase()
}

/// Of ASCII alone: what else has another case depends on the storage.
fn other_case(name: &str) -> Option<String> {
    [name.to_ascii_lowercase(), name.to_ascii_uppercase()].into_iter().find(|other| other != name)
}

/// Of what is wholly in one of the forms: a storage need not know every character that Unicode now spells in two ways.
fn other_form(name: &str) -> Option<String> {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(name);
    let apart = DecomposingNormalizerBorrowed::new_nfd().normalize(name);
    match (composed == name, apart == name) {
        (true, false) => Some(apart.into_owned()),
        (false, true) => Some(composed.into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_at_most_one_other_spelling_of_each_sort() {
        for (name, case, form) in [
            ("a.txt", Some("A.TXT"), None),
            ("Photo.JPG", Some("photo.jpg"), None),
            ("1-2_3", None, None),
            // Not every storage that folds case takes these for one: ß and SS.
            ("stra\u{df}e", Some("STRA\u{df}E"), None),
            ("\u{e9}1", None, Some("e\u{301}1")),
            ("e\u{301}", Some("E\u{301}"), Some("\u{e9}")),
            ("\u{e9} e\u{301}", Some("\u{e9} E\u{301}"), None),
            ("\u{f900}", None, None),
        ] {
            assert_eq!((other_case(name).as_deref(), other_form(name).as_deref()), (case, form), "{name}");
        }
        let same =
            |one: &str, other: &str| folded(&RelPath::parse(one).unwrap()) == folded(&RelPath::parse(other).unwrap());
        assert!(same("D/\u{c9}", "d/e\u{301}") && !same("d/e", "d/\u{e9}"));
    }
}
