//! Copying on the server: moves, copies, the trash, and metadata, which only a copy can change.

use std::sync::Arc;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, MetadataDirective, StorageClass};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::meta::MTIME;
use crate::object::{Seen, Target};
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::{Place, client, dirs, remove};

/// What CopyObject copies at most (Amazon S3 API reference, CopyObject: 5 GB).
const AT_ONCE: u64 = 5_000_000_000;
/// What one part of a larger copy is.
const PART: u64 = 1 << 30;
/// Parts copied at once.
const PARTS_AT_ONCE: usize = 4;

/// What of `x-amz-copy-source` needs no encoding (RFC 3986 section 2.3, and the slash).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A version to be copied.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub key: &'a str,
    pub version: &'a Version,
}

/// What a copy is to be.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// What it is dressed with, in place of what its source is dressed with.
    pub dress: Option<&'a HeadObjectOutput>,
    /// It is refused where something is.
    pub absent: bool,
}

/// Moves that version to a path where nothing is.
pub(crate) async fn move_within(place: &Arc<Place>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    let entry = copy_within(place, from, token, to).await?;
    match remove::remove(place, from, token, None).await {
        Ok(()) => Ok(entry),
        Err(error) => {
            // It was copied and not moved: the copy goes again. If it stays, it is one more file, and listed.
            if let Err(stays) = remove::remove(place, to, &entry.token, None).await {
                tracing::warn!(path = %to, "a copy that was to be a move stays: {stays}");
            }
            Err(error)
        }
    }
}

/// Copies that version to a path where nothing is.
pub(crate) async fn copy_within(place: &Arc<Place>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    let traits = probe::traits(place).await?;
    if !traits.copy {
        return Err(Error::new(Fault::Unsupported, "the server cannot copy").at(from));
    }
    let target = Target::new(place, to, &Guard::Absent)?;
    let (key, version) = (place.key(from)?, Version::of(token)?);
    target.check_nothing_below().await?;
    if !traits.copy_create {
        target.check().await?;
    }
    let source = Source { key: &key, version: &version };
    let wanted = Wanted { dress: None, absent: true };
    let copied = copy(place, &traits, source, &target.key, wanted).await.map_err(|error| refused(error, from))?;
    dirs::holds_something(place, &target.key).await;
    let seen = Seen::at(place, &target.key).await?.filter(|seen| seen.version == copied);
    Ok(seen.ok_or_else(|| target.changed())?.entry())
}

/// Sets the modification time of that version, which gives it another token.
pub(crate) async fn set_meta(place: &Arc<Place>, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
    let traits = probe::traits(place).await?;
    let target = Target::new(place, path, &Guard::Unchanged(token.clone()))?;
    let seen = Seen::at(place, &target.key).await?.ok_or_else(|| Error::missing(path))?;
    if Some(&seen.version) != target.expected.as_ref() {
        return Err(target.changed());
    }
    let Some(mtime) = meta.mtime else { return Ok(seen.entry()) };
    let mut dress = seen.head.clone();
    let metadata = dress.metadata.get_or_insert_default();
    metadata.retain(|key, _| !key.eq_ignore_ascii_case(MTIME));
    metadata.insert(MTIME.to_owned(), mtime.to_string());
    // RACE: CopyObject asks what its source is, and has no condition for what it replaces, which is the same object here:
    // a version put between the two inside the server is lost. Servers take the source when they take the destination.
    let source = Source { key: &target.key, version: &seen.version };
    let wanted = Wanted { dress: Some(&dress), absent: false };
    let copied = copy(place, &traits, source, &target.key, wanted).await.map_err(|error| refused(error, path))?;
    let now = Seen::at(place, &target.key).await?.filter(|now| now.version == copied);
    Ok(now.ok_or_else(|| target.changed())?.entry())
}

/// What is not the version to be copied any more has changed.
fn refused(error: Error, path: &RelPath) -> Error {
    if error.fault == Fault::Missing { Error::changed(path) } else { error.at(path) }
}

/// Copies a version under another key, or its own. `Refused` if it is another version, or something is where nothing is
/// to be.
pub(crate) async fn copy(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
) -> Result<Version> {
    let copied = if from.version.size <= AT_ONCE {
        copy_at_once(place, traits, from, to, wanted).await?
    } else {
        copy_in_parts(place, traits, from, to, wanted).await?
    };
    if !traits.copy_source && to != from.key {
        // The server copies whatever is there: it is that version if it still is.
        let still = Seen::at(place, from.key).await?.is_some_and(|seen| seen.version == *from.version);
        if !still {
            remove::discard(place, to, &copied).await;
            return Err(Error::new(Fault::Refused, "it changed meanwhile"));
        }
    }
    Ok(copied)
}

async fn copy_at_once(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
) -> Result<Version> {
    let mut request = place.client().await?.copy_object().bucket(place.bucket()).key(to);
    request = request.copy_source(source(place, from.key)).copy_source_if_match(from.version.quoted());
    if wanted.absent && traits.copy_create {
        request = request.if_none_match("*");
    }
    if let Some(dress) = wanted.dress {
        request = request
            .metadata_directive(MetadataDirective::Replace)
            // What was uploaded in parts has one checksum of the whole from now on, where the server computes it.
            .set_checksum_algorithm(traits.checksums.then_some(ChecksumAlgorithm::Sha256))
            .set_metadata(dress.metadata.clone())
            .set_content_type(dress.content_type.clone())
            .set_content_encoding(dress.content_encoding.clone())
            .set_content_disposition(dress.content_disposition.clone())
            .set_content_language(dress.content_language.clone())
            .set_cache_control(dress.cache_control.clone())
            .set_storage_class(dress.storage_class.as_ref().map(|class| StorageClass::from(class.as_str())));
    }
    let answer =
        request.customize().config_override(client::patient()).send().await.map_err(|error| place.error(&error))?;
    let etag = answer.copy_object_result().and_then(|result| result.e_tag());
    match Version::new(etag, from.version.size) {
        Some(version) => Ok(version),
        None => there(place, to).await,
    }
}

/// The version under a key of what was just put there, where the answer did not name it.
pub(crate) async fn there(place: &Place, key: &str) -> Result<Version> {
    let seen = Seen::at(place, key).await?;
    seen.map(|seen| seen.version).ok_or_else(|| Error::new(Fault::Refused, "it was deleted meanwhile"))
}

fn source(place: &Place, key: &str) -> String {
    utf8_percent_encode(&format!("{}/{key}", place.bucket()), PLAIN).to_string()
}

async fn copy_in_parts(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
) -> Result<Version> {
    let client = place.client().await?;
    let dressed = match wanted.dress {
        Some(dress) => dress.clone(),
        None => {
            Seen::at(place, from.key).await?.ok_or_else(|| Error::new(Fault::Refused, "it changed meanwhile"))?.head
        }
    };
    let begun = client
        .create_multipart_upload()
        .bucket(place.bucket())
        .key(to)
        .set_metadata(dressed.metadata)
        .set_content_type(dressed.content_type)
        .set_content_encoding(dressed.content_encoding)
        .set_content_disposition(dressed.content_disposition)
        .set_content_language(dressed.content_language)
        .set_cache_control(dressed.cache_control)
        .send()
        .await
        .map_err(|error| place.error(&error))?;
    let upload = begun.upload_id().unwrap_or_default().to_owned();
    let copied = copy_parts(place, traits, from, to, &upload, wanted.absent).await;
    if copied.is_err() {
        let abort = client.abort_multipart_upload().bucket(place.bucket()).key(to).upload_id(&upload);
        if let Err(error) = abort.send().await {
            tracing::warn!(key = to, "a copy in parts could not be called off: {}", place.error(&error));
        }
    }
    copied
}

async fn copy_parts(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    upload: &str,
    absent: bool,
) -> Result<Version> {
    let client = place.client().await?;
    let size = from.version.size;
    let numbers = 1..=i32::try_from(size.div_ceil(PART)).unwrap_or(i32::MAX);
    let copies = stream::iter(numbers).map(|number| async move {
        let begin = u64::from(number.unsigned_abs() - 1) * PART;
        let end = (begin + PART).min(size) - 1;
        let request = client
            .upload_part_copy()
            .bucket(place.bucket())
            .key(to)
            .upload_id(upload)
            .part_number(number)
            .copy_source(source(place, from.key))
            .copy_source_if_match(from.version.quoted())
            .copy_source_range(format!("bytes={begin}-{end}"));
        let answer =
            request.customize().config_override(client::patient()).send().await.map_err(|error| place.error(&error))?;
        let result = answer.copy_part_result();
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(result.and_then(|result| result.e_tag.clone()))
            .set_checksum_sha256(result.and_then(|result| result.checksum_sha256.clone()))
            .build())
    });
    let parts: Vec<CompletedPart> = copies.buffered(PARTS_AT_ONCE).try_collect().await?;
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let mut request =
        client.complete_multipart_upload().bucket(place.bucket()).key(to).upload_id(upload).multipart_upload(whole);
    if absent && traits.complete_create {
        request = request.if_none_match("*");
    }
    let answer =
        request.customize().config_override(client::patient()).send().await.map_err(|error| place.error(&error))?;
    match Version::new(answer.e_tag(), size) {
        Some(version) => Ok(version),
        None => there(place, to).await,
    }
}

/// A version that was kept before it was replaced or deleted.
pub(crate) struct Kept<'a> {
    place: &'a Arc<Place>,
    key: String,
    version: Version,
}

/// Keeps what is about to be replaced or deleted, if that is wanted.
pub(crate) async fn keep<'a>(
    target: &Target<'a>,
    traits: &Traits,
    trash: Option<&RelPath>,
) -> Result<Option<Kept<'a>>> {
    let (Some(trash), Some(version)) = (trash, &target.expected) else { return Ok(None) };
    if !traits.copy {
        return Ok(None);
    }
    let place = target.place;
    let key = place.key(trash)?;
    let source = Source { key: &target.key, version };
    let kept =
        copy(place, traits, source, &key, Wanted::default()).await.map_err(|error| refused(error, target.path))?;
    Ok(Some(Kept { place, key, version: kept }))
}

impl Kept<'_> {
    /// The change that it was kept for failed. It goes again if what was kept is still in its place; if that cannot be
    /// told, or something else is there, it may be the only one.
    pub async fn change_failed(self, target: &Target<'_>) {
        let there = Seen::at(self.place, &target.key).await;
        if there.is_ok_and(|there| there.is_some_and(|seen| Some(seen.version) == target.expected)) {
            remove::discard(self.place, &self.key, &self.version).await;
        }
    }
}
