//! Copying what is too large for one CopyObject.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use wl_core::error::{Error, Fault, Result};

use super::{Onto, Source, Wanted, look_at, unnamed};
use crate::object::Seen;
use crate::parts::Layout;
use crate::probe::Traits;
use crate::resume::{self, Record};
use crate::token::Version;
use crate::{Place, client};

/// What one part is, if nothing speaks for another division.
const PART: u64 = 256 << 20;
/// What a part may be (Amazon S3 user guide, Multipart upload limits: 5 MiB to 5 GiB).
const ALLOWED: RangeInclusive<u64> = 5 << 20..=5 << 30;
/// Parts copied at once.
const PARTS_AT_ONCE: usize = 8;

/// How a version is divided: as it was when it was uploaded, where its ETag lets that be guessed, since the same parts make
/// the same ETag, which proves the copy.
fn divided(version: &Version) -> Layout {
    let size = version.size;
    let parts = version.etag.split_once('-').and_then(|(_, parts)| parts.parse().ok()).filter(|parts| *parts > 1);
    let part = parts.map(|parts: u64| size.div_ceil(parts).next_multiple_of(1 << 20));
    let guessed = part.filter(|part| ALLOWED.contains(part) && parts == Some(size.div_ceil(*part)));
    Layout { size, part: guessed.unwrap_or_else(|| PART.max(Layout::of(size).part)) }
}

/// Copies a version of any size in parts.
pub(super) async fn copy(
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
            Seen::at(from.place, from.key)
                .await?
                .ok_or_else(|| Error::new(Fault::Refused, "it changed meanwhile"))?
                .head
        }
    };
    let create = client
        .create_multipart_upload()
        .bucket(place.bucket())
        .key(to)
        .set_metadata(dressed.metadata)
        .set_content_type(dressed.content_type)
        .set_content_encoding(dressed.content_encoding)
        .set_content_disposition(dressed.content_disposition)
        .set_content_language(dressed.content_language)
        .set_cache_control(dressed.cache_control);
    let layout = divided(from.version);
    // The trash is not listed: what lies there is noted beside what it was copied from.
    let beside = if wanted.onto == Onto::Anything { from.key } else { to };
    let claim = resume::begin(place, beside, Record::new(to, layout, None, None), create).await?;
    let upload = &claim.record.upload;
    let copied = copy_parts(place, traits, from, to, (upload, layout), wanted).await;
    let over = match &copied {
        Ok(_) => resume::forget(place, &claim.at).await,
        Err(_) => resume::call_off(place, &claim.at, &claim.record).await,
    };
    if let Err(error) = over {
        tracing::debug!(key = to, "the record of a copy in parts stays until it is swept: {error}");
    }
    copied
}

async fn copy_parts(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    (upload, layout): (&str, Layout),
    wanted: Wanted<'_>,
) -> Result<Version> {
    let client = place.client().await?;
    let numbers = 1..=i32::try_from(layout.count()).unwrap_or(i32::MAX);
    let copies = stream::iter(numbers).map(|number| async move {
        let range = layout.range(u64::from(number.unsigned_abs()));
        let request = client
            .upload_part_copy()
            .bucket(place.bucket())
            .key(to)
            .upload_id(upload)
            .part_number(number)
            .copy_source(from.named())
            .copy_source_if_match(from.version.quoted())
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1));
        let answer =
            request.customize().config_override(client::patient()).send().await.map_err(|error| place.error(&error))?;
        if let Some(passed) = wanted.passed {
            passed(range.end - range.start);
        }
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
    let mut config = client::patient();
    let over = match wanted.onto {
        Onto::This(version) => version,
        _ => from.version,
    };
    match wanted.onto {
        Onto::Nothing if traits.complete_create => request = request.if_none_match("*"),
        Onto::This(_) | Onto::Itself if traits.complete_replace => request = request.if_match(traits.if_match(over)),
        Onto::Nothing | Onto::This(_) | Onto::Itself => {
            // RACE: what somebody puts between the look and the completion is replaced; `Facts::windows` says so.
            look_at(place, from, to, wanted.onto).await?;
            config = config.retry_config(RetryConfig::disabled());
        }
        Onto::Anything => {}
    }
    let answer = request.customize().config_override(config).send().await.map_err(|error| place.error(&error))?;
    match Version::new(answer.e_tag(), layout.size) {
        Some(version) => Ok(version),
        None => unnamed(place, traits, from, to, wanted).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_divided_as_its_source_was() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (size, parts, part) in [
            (6 * GIB, "768", 8 * MIB),
            (6 * GIB + 1, "769", 8 * MIB),
            (6 * GIB, "123", 50 * MIB),
            (6 * GIB, "2", 3 * GIB),
            (6 * GIB, "1", PART),
            (6 * GIB, "9999", PART),
            (6 * GIB, "x", PART),
            (5_000 * GIB, "7", 512 * MIB),
        ] {
            let version = Version { etag: format!("d41d8cd98f00b204e9800998ecf8427e-{parts}"), size };
            assert_eq!(divided(&version), Layout { size, part }, "{size} {parts}");
        }
        let plain = Version { etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(), size: 6 * GIB };
        assert_eq!(divided(&plain).part, PART);
    }
}
