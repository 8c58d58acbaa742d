//! Copying what is too large for one CopyObject.

use std::sync::Arc;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use wl_core::error::{Error, Fault, Result};

use super::{Onto, Source, Wanted, look_at, source, there};
use crate::object::Seen;
use crate::parts::Layout;
use crate::probe::Traits;
use crate::resume::{self, Record};
use crate::token::Version;
use crate::{Place, client};

/// What one part is.
const PART: u64 = 1 << 30;
/// Parts copied at once.
const PARTS_AT_ONCE: usize = 4;

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
    let record = Record::new(to, &upload, Layout { size: from.version.size, part: PART }, None);
    let claim = match resume::note(place, from.key, record.clone()).await {
        Ok(claim) => claim,
        Err(error) => {
            let abort = client.abort_multipart_upload().bucket(place.bucket()).key(to).upload_id(&upload);
            if let Err(stays) = abort.send().await {
                tracing::warn!(key = to, "a copy in parts could not be called off: {}", place.error(&stays));
            }
            return Err(error);
        }
    };
    let copied = copy_parts(place, traits, from, to, &upload, wanted.onto).await;
    let over = match &copied {
        Ok(_) => resume::forget(place, &claim.at).await,
        Err(_) => resume::call_off(place, &claim.at, &record).await,
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
    upload: &str,
    onto: Onto,
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
    let mut config = client::patient();
    match onto {
        Onto::Nothing if traits.complete_create => request = request.if_none_match("*"),
        Onto::Itself if traits.complete_replace => request = request.if_match(traits.if_match(from.version)),
        Onto::Nothing | Onto::Itself => {
            // RACE: what somebody puts between the look and the completion is replaced; `Facts::windows` says so.
            look_at(place, from, to, onto).await?;
            config = config.retry_config(RetryConfig::disabled());
        }
        Onto::Anything => {}
    }
    let answer = request.customize().config_override(config).send().await.map_err(|error| place.error(&error))?;
    match Version::new(answer.e_tag(), size) {
        Some(version) => Ok(version),
        None => there(place, to).await,
    }
}
