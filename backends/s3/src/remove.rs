//! Deleting a version.

use std::sync::Arc;

use wl_core::backend::Guard;
use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::object::{Seen, Target};
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::{Place, copy, dirs, error, look};

/// Deletes that version of a file. The directory it was in stays.
pub(crate) async fn remove(place: &Arc<Place>, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
    let traits = probe::traits(place).await?;
    let target = Target::new(place, path, &Guard::Unchanged(token.clone()))?;
    let Some(version) = target.expected.clone() else { return Err(target.changed()) };
    let kept = copy::keep(&target, &traits, trash).await?;
    place.around.gone(&target.key);
    let removed = match dirs::keep_parent(place, path, &target.key).await {
        Ok(()) => delete(place, &traits, &target.key, &version).await,
        failed => failed,
    };
    let Err(error) = removed else { return Ok(()) };
    place.around.put(&target.key);
    if let Some(kept) = kept {
        kept.change_failed(&target).await;
    }
    if error.fault == Fault::Missing && look::is_dir(place, path).await? {
        return Err(target.changed());
    }
    Err(error.at(path))
}

/// Deletes that version of an object; `Refused` or `Missing` if it is not there.
pub(crate) async fn delete(place: &Place, traits: &Traits, key: &str, version: &Version) -> Result<()> {
    let changed = || Error::new(Fault::Refused, "it changed meanwhile");
    if !traits.delete {
        // RACE: what somebody puts between the look and the deletion is deleted; `Facts::windows` says so.
        match Seen::at(place, key).await? {
            None => return Err(Error::new(Fault::Missing, "there is nothing under this path")),
            Some(seen) if seen.version != *version => return Err(changed()),
            Some(_) => {}
        }
    }
    let mut request = place.client().await?.delete_object().bucket(place.bucket()).key(key);
    if traits.delete {
        request = request.if_match(traits.if_match(version));
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // The answer to an earlier try may have been lost: then nothing is there.
        Err(error) if error::status(&error) == 412 || error::status(&error) == 409 => Err(changed()),
        Err(error) => Err(place.error(&error)),
    }
}

/// Deletes something of wl's own. It is no failure if that fails: it is superfluous, and harmless.
pub(crate) async fn discard(place: &Arc<Place>, key: &str, version: &Version) {
    let deleted = match probe::traits(place).await {
        Ok(traits) => delete(place, &traits, key, version).await,
        Err(error) => Err(error),
    };
    if let Err(error) = deleted {
        tracing::debug!(key, "something superfluous could not be deleted: {error}");
    }
}
