//! Part files that listings come across: those whose writer is dead are cleared away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use wl_core::error::Result;
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::{error, is_missing};
use crate::part::Verdict;
use crate::root::{At, Found, Root};
use crate::seen::{Seen, What};
use crate::trash::recover;

/// Part files judged at once.
const AT_ONCE: usize = 64;

/// Part files seen and not judged yet.
#[derive(Default)]
pub struct Leftovers {
    seen: Mutex<BTreeSet<RelPath>>,
}

impl Leftovers {
    /// Remembers a part file until the next sweep.
    pub fn came_across(&self, path: RelPath) {
        self.lock().insert(path);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<RelPath>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes those that were come across and whose writer is dead; a user's version that a crash left under a held name
/// goes to the trash.
pub async fn sweep(root: &Arc<Root>) -> Result<usize> {
    let seen = std::mem::take(&mut *root.leftovers.lock());
    if seen.is_empty() {
        return Ok(0);
    }
    let judged = futures::stream::iter(seen).map(|path| async move {
        let look = |at: At, _| {
            let path = &path;
            async move {
                match at.look(path).await? {
                    Found::Seen(seen) => judge(root, &at, path, &seen).await.map(Some),
                    _ => Ok(None),
                }
            }
        };
        match root.attempt(look).await {
            Ok(Some(true)) => return 1,
            Ok(None) => return 0,
            Ok(Some(false)) => {}
            Err(error) => tracing::debug!(%error, "a part file could not be swept"),
        }
        root.leftovers.came_across(path);
        0
    });
    Ok(judged.buffer_unordered(AT_ONCE).fold(0, |sum, one| async move { sum + one }).await)
}

/// Removes every dead part file in a directory.
pub async fn sweep_dir(root: &Arc<Root>, at: &At, dir: &RelPath) -> Result<()> {
    for name in crate::walk::names_in(at, dir).await.map_err(|failure| error(&failure, dir))? {
        let text = std::str::from_utf8(&name.name).ok().filter(|text| text.starts_with(PART_PREFIX));
        if let Some(path) = text.and_then(|text| dir.join(text).ok()) {
            judge(root, at, &path, &Seen::of(&name.attrs)).await?;
        }
    }
    Ok(())
}

/// Removes a part file if its writer is dead; whether it was.
async fn judge(root: &Arc<Root>, at: &At, path: &RelPath, seen: &Seen) -> Result<bool> {
    if seen.what != What::File {
        return Ok(false);
    }
    match root.names.judge(path, seen.mtime, root.clock.seconds()) {
        Verdict::Alive => Ok(false),
        Verdict::Rescue => recover(root, at, path).await.map(|()| true),
        Verdict::Dead => match at.link.remove(&at.full(path)).await {
            Err(failure) if !is_missing(&failure) => Err(error(&failure, path)),
            _ => Ok(true),
        },
    }
}
