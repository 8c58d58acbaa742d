//! Which storages of a container are meant.

use super::{Manifest, Storage};
use crate::error::{Error, Fault, Result};

impl Manifest {
    /// The storage of that backend-id, of that unambiguous prefix of one, or the only one of that type.
    pub fn find_storage(&self, selector: &str) -> Result<&Storage> {
        if let Some(exact) = self.storages.iter().find(|storage| storage.backend_id() == selector) {
            return Ok(exact);
        }
        let of_type: Vec<_> = self.storages.iter().filter(|storage| storage.storage_type() == selector).collect();
        let by_prefix =
            self.storages.iter().filter(|storage| !selector.is_empty() && storage.backend_id().starts_with(selector));
        let found = if of_type.is_empty() { by_prefix.collect() } else { of_type };
        match found[..] {
            [one] => Ok(one),
            [] => Err(self.unclear("no storage of it is", selector, &self.storages.iter().collect::<Vec<_>>())),
            _ => Err(self.unclear("several storages of it are", selector, &found)),
        }
    }

    fn unclear(&self, what: &str, selector: &str, candidates: &[&Storage]) -> Error {
        let one = |s: &&Storage| format!("{} ({} {})", s.backend_id(), s.storage_type(), s.location());
        let list = candidates.iter().map(one).collect::<Vec<_>>().join(", ");
        let next = if list.is_empty() {
            "it has none: add one with `wl container add-storage`".to_owned()
        } else {
            format!("choose one of {list}")
        };
        Error::new(Fault::Malformed, format!("container {}: {what} '{selector}'; {next}", self.name))
    }

    /// Where a sync starts from unless told otherwise: the first local storage, else the first.
    pub fn default_source(&self) -> Result<&Storage> {
        let local = self.storages.iter().find(|storage| storage.storage_type() == "local");
        local.or(self.storages.first()).ok_or_else(|| self.too_few())
    }

    /// Where a sync goes unless told otherwise: the remembered choice if it still is another storage of this container,
    /// else the first that is not local, else the first other one.
    pub fn default_target(&self, source: &Storage, remembered: Option<&str>) -> Result<&Storage> {
        let others = || self.storages.iter().filter(|storage| storage.backend_id() != source.backend_id());
        others()
            .find(|storage| remembered == Some(storage.backend_id()))
            .or_else(|| others().find(|storage| storage.storage_type() != "local"))
            .or_else(|| others().next())
            .ok_or_else(|| self.too_few())
    }

    fn too_few(&self) -> Error {
        let what = format!(
            "container {} has too few storages to sync: it needs two; add one with `wl container add-storage {} STORAGE`",
            self.name, self.name
        );
        Error::new(Fault::Malformed, what)
    }
}
