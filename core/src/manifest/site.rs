//! Where a storage is, looked at once, to be compared with many others.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::place::{Place, canonical};
use super::roots::Standing;
use super::storage::Storage;

/// A storage's place, and for a directory how it stands among those above and below it.
pub(super) struct Site {
    place: Option<Place>,
    /// The place as a text.
    named: String,
    local_path: Option<PathBuf>,
    /// Found out when it is first needed.
    standing: OnceCell<Standing>,
}

impl Site {
    pub(super) fn of(storage: &Storage) -> Self {
        let place = Place::of(storage);
        let named = place
            .as_ref()
            .map_or_else(|| format!("{}:{}", storage.storage_type(), storage.location()), ToString::to_string);
        Self { place, named, local_path: storage.local_path(), standing: OnceCell::new() }
    }

    /// The place as a text: two storages at one place have the same.
    pub(super) fn into_text(self) -> String {
        self.named
    }

    /// How the two are at one place, or one inside the other; none if they are apart.
    pub(super) fn overlap(&self, other: &Self) -> Option<&'static str> {
        let nested = match (&self.place, &other.place) {
            (Some(one), Some(other)) => one.same_or_nested(other),
            _ => self.named == other.named,
        };
        if nested {
            return Some("at the same place, or one is inside the other");
        }
        // Directories are looked at only where both are such.
        let (one, two) = (self.local_path.as_ref()?, other.local_path.as_ref()?);
        let twice = self.standing(one).overlaps(other.standing(two));
        twice.then_some("one directory under two names, or one is inside the other: something is mounted in two places")
    }

    fn standing(&self, path: &Path) -> &Standing {
        self.standing.get_or_init(|| Standing::of(&canonical(path)))
    }
}
