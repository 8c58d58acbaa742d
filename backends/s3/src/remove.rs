//! Deleting a version.

use std::sync::Arc;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::DeleteObjectError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use wl_core::backend::Guard;
use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::object::{Seen, Target};
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::write::Tries;
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
    let Err(error) = removed else {
        place.around.gone(&target.key);
        return Ok(());
    };
    if error.fault != Fault::Missing {
        place.around.put(&target.key);
    }
    if let Some(kept) = kept {
        kept.change_failed(&target, &error).await;
    }
    if error.fault == Fault::Missing && look::is_dir(place, path).await? {
        return Err(target.changed());
    }
    Err(error.at(path))
}

/// Deletes that version of an object; `Refused` or `Missing` if it is not there.
pub(crate) async fn delete(place: &Place, traits: &Traits, key: &str, version: &Version) -> Result<()> {
    let request = place.client().await?.delete_object().bucket(place.bucket()).key(key);
    if traits.delete {
        // Where the answer to a try is lost, the next one finds nothing.
        let sent = request.if_match(traits.if_match(version)).send().await;
        return sent.map(drop).map_err(|error| failed(place, &error));
    }
    let mut tries = Tries::default();
    loop {
        // RACE: what somebody puts between the look and the deletion is deleted; `Facts::windows` says so.
        match Seen::at(place, key).await? {
            None if tries.begun() => return Ok(()),
            None => return Err(Error::new(Fault::Missing, "there is nothing under this path")),
            Some(seen) if seen.version != *version => return Err(changed()),
            Some(_) => {}
        }
        let once = Builder::new().retry_config(RetryConfig::disabled());
        let sent = request.clone().customize().config_override(once).send().await;
        match sent.map_err(|error| failed(place, &error)) {
            Err(error) if tries.again(&error).await => {}
            sent => return sent.map(drop),
        }
    }
}

fn failed(place: &Place, error: &SdkError<DeleteObjectError, HttpResponse>) -> Error {
    if matches!(error::status(error), 409 | 412) { changed() } else { place.error(error) }
}

fn changed() -> Error {
    Error::new(Fault::Refused, "it changed meanwhile")
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
