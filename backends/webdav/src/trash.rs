//! Directories of the trash, and what is kept there that nobody named a place for.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::change::make_collection;
use crate::server::Server;

/// So many directories are remembered.
const REMEMBERED: usize = 4096;

/// Directories that were made already.
#[derive(Default)]
pub struct Made(Mutex<HashSet<RelPath>>);

impl Made {
    fn has(&self, dir: &RelPath) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(dir)
    }

    fn add(&self, dir: RelPath) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each round that fills the trash makes new ones.
        if made.len() >= REMEMBERED {
            made.clear();
        }
        made.insert(dir);
    }

    /// Forgets them all: one was found missing.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes the directories that a path in the trash, or that of a part, is in.
pub async fn make_parents(server: &Server, path: &RelPath) -> Result<()> {
    match make_those_not_made(server, path).await {
        // One that was made before is not there any more: a user may empty the trash by removing it.
        Err(error) if error.fault == Fault::Missing => {
            server.made.forget();
            make_those_not_made(server, path).await
        }
        made => made,
    }
}

async fn make_those_not_made(server: &Server, path: &RelPath) -> Result<()> {
    let mut above: Vec<_> = path.ancestors().collect();
    above.reverse();
    for dir in above {
        if !server.made.has(&dir) {
            make_collection(server, &dir).await?;
            server.made.add(dir);
        }
    }
    Ok(())
}

/// Where a version is kept that nobody expected, and nobody named a place for.
pub fn recovered(path: &RelPath) -> RelPath {
    // Under its own name a part would not be listed.
    let name = path.name().strip_prefix(PART_PREFIX).unwrap_or(path.name());
    let path = path.parent().and_then(|dir| dir.join(name).ok()).unwrap_or_else(|| path.clone());
    wl_core::trash::rescued(&path)
}

/// The error of a user's version that is neither where it was nor in the trash, but still under the name it was moved to.
pub fn still_held(held: &RelPath, path: &RelPath, error: &Error) -> Error {
    let text =
        format!("it was moved aside as {held} and could not be moved back ({}): the next pass keeps it", error.message);
    Error::new(error.fault, text).at(path)
}
