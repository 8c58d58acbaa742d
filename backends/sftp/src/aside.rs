//! Versions on their way out of their names: one whose way was interrupted is put back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wl_core::error::Result;
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::{error, is_missing};
use crate::root::{At, Found, Root};
use crate::trash::recover;

/// Where versions were moved to whose names are free until that is checked, by the path that lost it.
#[derive(Default)]
pub struct Aside {
    places: Mutex<HashMap<RelPath, RelPath>>,
}

impl Aside {
    /// Takes note, before it is asked for, of where the version of a path is moved to.
    pub fn goes(&self, path: &RelPath, place: &RelPath) {
        self.lock().insert(path.clone(), place.clone());
    }

    /// Nothing of the path is on its way any more.
    pub fn settled(&self, path: &RelPath) {
        self.lock().remove(path);
    }

    /// Whether something of the path may be on its way.
    pub fn concerns(&self, path: &RelPath) -> bool {
        self.lock().contains_key(path)
    }

    fn place(&self, path: &RelPath) -> Option<RelPath> {
        self.lock().get(path).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RelPath, RelPath>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts back what an attempt moved whose answer was lost, unless its name is taken by now. To be called by who has the
/// path's turn.
pub async fn bring_back(root: &Arc<Root>, at: &At, path: &RelPath) -> Result<()> {
    let Some(place) = root.aside.place(path) else { return Ok(()) };
    match at.link.lstat(&at.full(&place)).await {
        Ok(_) => {}
        Err(failure) if is_missing(&failure) => {
            root.aside.settled(path);
            return Ok(());
        }
        Err(failure) => return Err(error(&failure, path)),
    }
    if matches!(at.look(path).await?, Found::Nothing) {
        let back = at.link.rename(&at.full(&place), &at.full(path)).await;
        back.map_err(|failure| error(&failure, path))?;
    } else if place.name().starts_with(PART_PREFIX) {
        recover(root, at, &place).await?;
    }
    root.aside.settled(path);
    Ok(())
}

/// The same for every path below a directory, before it is listed: what is aside is not deleted.
pub async fn bring_all_back(root: &Arc<Root>) -> Result<()> {
    let paths: Vec<RelPath> = root.aside.lock().keys().cloned().collect();
    for path in &paths {
        bring_one_back(root, path).await?;
    }
    Ok(())
}

/// The same for one path, which nobody of this process works on then.
pub async fn bring_one_back(root: &Arc<Root>, path: &RelPath) -> Result<()> {
    let _turn = root.turn(path).await;
    root.attempt(|at, _| async move { bring_back(root, &at, path).await }).await
}
