//! The tag that binds an object's sha256 to its content where it was uploaded in parts.
//!
//! Metadata are given when such an upload begins, before its ETag is known or even one part has been read: they cannot be
//! bound to anything that a later writer could not copy along. So when the upload is complete, one small request gives the
//! object a tag with its ETag and its sha256. Whoever puts another content gives the object another ETag, and if the tag is
//! copied along it names the wrong one. The tag is as sound as the ETag, which is what a token rests on, and it goes with
//! the object: nothing is left to be swept.
//!
//! Not every server has tags, and not everybody may set them. Then such an object is read once where nobody remembers its
//! hash any more.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{Tag, Tagging};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use wl_core::entry::Hash;

use crate::object::Seen;
use crate::token::Version;
use crate::{Place, error};

/// The tag's name.
const TAG: &str = "wl-sha256";
/// Between ETag and sha256. A tag's value may hold it (Amazon S3 API reference, Tag: letters, digits, spaces and
/// `_.:/=+-@`).
const BETWEEN: char = ':';

/// What is known of a bucket's tags.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// The server has none, or they are not for this user.
    closed: AtomicBool,
}

/// Binds the sha256 of what was just uploaded in parts, and was proven to be there.
///
/// RACE: without versioning a tag goes to whatever is there: tags of what somebody else puts in this instant are replaced.
/// Its content is not touched, and the tag names another ETag.
pub(crate) async fn bind(place: &Place, key: &str, seen: &Seen, hash: Hash) {
    let Some(value) = value(&seen.version, hash).filter(|_| !place.tags.closed.load(Ordering::Relaxed)) else { return };
    let (Ok(client), Ok(tag)) = (place.client().await, Tag::builder().key(TAG).value(value).build()) else { return };
    let Ok(tags) = Tagging::builder().tag_set(tag).build() else { return };
    let request = client.put_object_tagging().bucket(place.bucket()).key(key).tagging(tags);
    let version = seen.head.version_id().map(str::to_owned);
    if let Err(error) = Box::pin(request.set_version_id(version).send()).await {
        failed(place, &error);
    }
}

/// The sha256 that a tag binds to an object that wl uploaded in parts.
pub(crate) async fn bound(place: &Place, key: &str, seen: &Seen) -> Option<Hash> {
    let claimed = seen.claims()?;
    let wanted = value(&seen.version, claimed).filter(|_| !place.tags.closed.load(Ordering::Relaxed))?;
    let request = place.client().await.ok()?.get_object_tagging().bucket(place.bucket()).key(key);
    match Box::pin(request.set_version_id(seen.head.version_id().map(str::to_owned)).send()).await {
        Ok(tags) => tags.tag_set().iter().any(|tag| tag.key() == TAG && tag.value() == wanted).then_some(claimed),
        Err(error) => {
            failed(place, &error);
            None
        }
    }
}

/// The tag's value; none where the ETag is not that of an upload in parts: a number of parts behind a `-`.
fn value(version: &Version, hash: Hash) -> Option<String> {
    let (sum, parts) = version.etag.split_once('-')?;
    let plain = sum.bytes().all(|byte| byte.is_ascii_alphanumeric()) && parts.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| format!("{}{BETWEEN}{hash}", version.etag))
}

/// It is no failure: the object is there, and is read once where its hash is not known.
fn failed<E>(place: &Place, error: &SdkError<E, HttpResponse>)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let closed = matches!(error::status(error), 400 | 401 | 403 | 405 | 501);
    place.tags.closed.fetch_or(closed, Ordering::Relaxed);
    tracing::debug!(closed, "an object's tags cannot be used: {}", place.error(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_uploaded_in_parts_has_a_tag() {
        let of = |etag: &str| value(&Version { etag: etag.to_owned(), size: 1 }, Hash::of(b"x"));
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(of(&format!("{md5}-3")), Some(format!("{md5}-3:{}", Hash::of(b"x"))));
        assert_eq!((of(md5), of("W/\"x-1"), of("a-b")), (None, None, None));
        assert!(of(&format!("{md5}-10000")).is_some_and(|value| value.len() <= 256), "no tag's value is longer");
    }
}
