//! The storages and syncers a daemon is built with.

use std::sync::Arc;

use wl_core::Result;
use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::syncer::Syncer;

/// What the daemon needs from the registries. Tests invent their own.
pub trait Rooms: Send + Sync + 'static {
    /// Opens a storage. May wait for a secret's command; does not contact the storage.
    fn open(&self, storage: &Storage) -> Result<Arc<dyn Backend>>;

    /// The syncers, the generic one last.
    fn syncers(&self) -> &[Arc<dyn Syncer>];
}
