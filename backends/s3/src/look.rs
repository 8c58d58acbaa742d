//! Looking at the bucket, at a path, and for a hash.

use std::sync::Arc;

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Look;
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::around::is_part;
use crate::meta::directory;
use crate::object::Seen;
use crate::page::{From, page};
use crate::shape::{no_etag, two_kinds};
use crate::token::Version;
use crate::{Place, probe, read, tags};

/// Looks at the bucket, with one LIST. Nothing in the protocol tells a bucket from a later one of its name.
pub(crate) async fn root(place: &Arc<Place>) -> Result<String> {
    page(place, place.config.keys.prefix(), true, &From::Start, Some(1)).await?;
    Ok(format!("s3:{}/{}", place.config.server_and_bucket(), place.config.keys.prefix()))
}

/// Looks at one path: what lies under its key, and whether anything lies below.
pub(crate) async fn stat(place: &Arc<Place>, path: &RelPath) -> Result<Look> {
    if path.is_root() {
        return root(place).await.map(|_| Look::Entry(directory()));
    }
    if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) || probe::mistakes(place, path) {
        return Ok(Look::Absent);
    }
    let key = match place.key(path) {
        Ok(key) => key,
        Err(error) => return Ok(Look::Blocked(error.into())),
    };
    let (seen, dir) = tokio::join!(Seen::at(place, &key), is_dir(place, path));
    Ok(match (seen.map_err(|error| error.at(path)), dir?) {
        (Ok(Some(_)), true) => Look::Blocked(two_kinds(path)),
        (Ok(None), true) => Look::Entry(directory()),
        (Ok(None), false) => Look::Absent,
        (Ok(Some(seen)), false) => Look::Entry(seen.entry()),
        (Err(error), _) if error.fault == Fault::Unsupported => Look::Blocked(no_etag()),
        // The bucket was looked at for what lies below: it is this key alone that cannot be, or may not be, looked at.
        (Err(error), _) if matches!(error.fault, Fault::Malformed | Fault::Denied) => Look::Blocked(error.into()),
        (Err(error), _) => return Err(error),
    })
}

/// Whether there is a directory: a marker, or anything below it but wl's own leftovers.
pub(crate) async fn is_dir(place: &Arc<Place>, path: &RelPath) -> Result<bool> {
    /// More than the leftovers that there mostly are.
    const SOME: i32 = 10;
    // Where the marker's key would be too long, so would be that of anything below.
    let Ok(prefix) = place.dir(path) else { return Ok(false) };
    let mut from = From::Start;
    loop {
        let page = page(place, &prefix, true, &from, Some(SOME)).await.map_err(|error| error.at(path))?;
        if page.objects.iter().any(|object| object.key.starts_with(&prefix) && !is_part(&prefix, &object.key)) {
            return Ok(true);
        }
        match page.next {
            None => return Ok(false),
            Some(next) => from = next,
        }
    }
}

/// The sha256 of that version: what its HEAD proves, else by reading it once.
pub(crate) async fn hash(place: &Arc<Place>, path: &RelPath, token: &Token) -> Result<Hash> {
    let version = Version::of(token).map_err(|error| error.at(path))?;
    let key = place.key(path)?;
    place.archive.check_hash(&key, &version).map_err(|error| error.at(path))?;
    let seen = Seen::at(place, &key).await.map_err(|error| error.at(path))?;
    let seen = seen.ok_or_else(|| Error::missing(path))?;
    if seen.version != version {
        return Err(Error::changed(path));
    }
    let mixed = place.mixed().contains(&(key.clone(), version.etag));
    if !mixed && let Some(hash) = proven(place, &key, &seen).await {
        return Ok(hash);
    }
    let reading = read::read(place, path, token, 0).await;
    let mut body = reading.inspect_err(|_| place.archive.unproven(&key, &seen.version))?.body;
    let mut sha256 = Sha256::new();
    while let Some(bytes) = body.try_next().await? {
        sha256.update(&bytes);
    }
    Ok(Hash(sha256.finalize().into()))
}

/// The sha256 that is proven by what the server shows of an object. Whether it verifies checksums is found out only where
/// that makes a difference.
async fn proven(place: &Arc<Place>, key: &str, seen: &Seen) -> Option<Hash> {
    let (without, with) = (seen.hash(false), seen.hash(true));
    let hash = if without != with && probe::checksums_are_verified(place).await { with } else { without };
    match hash {
        Some(hash) => Some(hash),
        None => tags::bound(place, key, seen).await,
    }
}
