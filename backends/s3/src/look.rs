//! Looking at the bucket, at a path, and for a hash.

use std::sync::Arc;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::ChecksumMode;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Look;
use wl_core::entry::{Entry, Hash, Kind, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::meta::{Shown, directory};
use crate::page::{From, page};
use crate::shape::{no_etag, two_kinds};
use crate::token::Version;
use crate::{Place, error, probe, read};

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
    if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
        return Ok(Look::Absent);
    }
    let (head, dir) = tokio::join!(head(place, path, false), is_dir(place, path));
    Ok(match (head?, dir?) {
        (Some(_), true) => Look::Blocked(two_kinds(path)),
        (None, true) => Look::Entry(directory()),
        (None, false) => Look::Absent,
        (Some(head), false) => Seen::of(&head).map_or_else(|| Look::Blocked(no_etag()), |seen| Look::Entry(seen.entry())),
    })
}

/// The file under a path, if one is there.
pub(crate) async fn file(place: &Arc<Place>, path: &RelPath) -> Result<Option<Entry>> {
    let Some(head) = head(place, path, false).await? else { return Ok(None) };
    let seen = Seen::of(&head).ok_or_else(|| Error::new(Fault::Unsupported, no_etag().message).at(path))?;
    Ok(Some(seen.entry()))
}

/// Whether there is a directory: a marker, or anything below it but wl's own leftovers.
pub(crate) async fn is_dir(place: &Arc<Place>, path: &RelPath) -> Result<bool> {
    /// More than the leftovers that there mostly are.
    const SOME: i32 = 10;
    let (prefix, mut from) = (place.dir(path)?, From::Start);
    loop {
        let page = page(place, &prefix, true, &from, Some(SOME)).await.map_err(|error| error.at(path))?;
        let ours = |key: &str| key[prefix.len()..].split('/').any(|segment| segment.starts_with(PART_PREFIX));
        if page.objects.iter().any(|object| object.key.starts_with(&prefix) && !ours(&object.key)) {
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
    let head = head(place, path, true).await?.ok_or_else(|| Error::missing(path))?;
    let seen = Seen::of(&head).filter(|seen| seen.version == version).ok_or_else(|| Error::changed(path))?;
    if let Some(hash) = seen.shown.hash(probe::checksums_are_verified(place).await?) {
        return Ok(hash);
    }
    let mut body = read::read(place, path, token, 0).await?.body;
    let mut sha256 = Sha256::new();
    while let Some(bytes) = body.try_next().await? {
        sha256.update(&bytes);
    }
    Ok(Hash(sha256.finalize().into()))
}

async fn head(place: &Arc<Place>, path: &RelPath, checksum: bool) -> Result<Option<HeadObjectOutput>> {
    let request = place.client().await?.head_object().bucket(place.bucket()).key(place.key(path)?);
    let request = request.set_checksum_mode(checksum.then_some(ChecksumMode::Enabled));
    match request.send().await {
        Ok(head) => Ok(Some(head)),
        Err(error) if error::status(&error) == 404 => Ok(None),
        Err(error) => Err(place.error(&error).at(path)),
    }
}

/// What an answer to HEAD says of a file.
struct Seen<'a> {
    version: Version,
    meta: Meta,
    shown: Shown<'a>,
}

impl<'a> Seen<'a> {
    /// None where the server names no ETag.
    fn of(head: &'a HeadObjectOutput) -> Option<Self> {
        let size = head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
        let version = Version::new(head.e_tag(), size)?;
        let etag = head.e_tag().unwrap_or_default().trim_matches('"');
        let shown = Shown { metadata: head.metadata(), etag, checksum: head.checksum_sha256() };
        Some(Self { version, meta: Meta { mtime: shown.mtime(head.last_modified()), mode: None }, shown })
    }

    fn entry(&self) -> Entry {
        Entry { kind: Kind::File, size: self.version.size, meta: self.meta, token: self.version.token() }
    }
}
