//! The storages and syncers that are compiled in, as the daemon wants them.

use std::sync::Arc;

use wl_core::Result;
use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::syncer::Syncer;
use wl_daemon::Rooms;

/// Everything in the registries.
pub struct BuiltIn {
    syncers: Vec<Arc<dyn Syncer>>,
}

impl Default for BuiltIn {
    fn default() -> Self {
        Self { syncers: wl_syncers::all() }
    }
}

impl Rooms for BuiltIn {
    fn open(&self, storage: &Storage) -> Result<Arc<dyn Backend>> {
        wl_backends::open(storage)
    }

    fn syncers(&self) -> &[Arc<dyn Syncer>] {
        &self.syncers
    }
}
