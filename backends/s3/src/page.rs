//! One page of a listing.

use std::borrow::Cow;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{EncodingType, Object as Told};
use jiff::Timestamp;
use wl_core::error::{Error, Fault, Result};

use crate::token::Version;
use crate::{Place, error};

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Start,
    /// Where the page before ended, in the server's words.
    Token(String),
    /// Behind a key.
    After(String),
}

/// An object as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub key: String,
    pub size: u64,
    /// None where the server names no ETag.
    pub version: Option<Version>,
    /// When it was stored, by the server's clock.
    pub stored: Option<Timestamp>,
}

/// One answer of the server.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub objects: Vec<Object>,
    /// What lies behind the delimiter, each with a `/` at its end.
    pub prefixes: Vec<String>,
    /// Where the next page begins; none after the last.
    pub next: Option<From>,
}

/// Asks for a page of the keys that begin with `prefix`; `flat` for all of them, else only up to the next `/`.
pub(crate) async fn page(place: &Place, prefix: &str, flat: bool, from: &From, most: Option<i32>) -> Result<Page> {
    let request = place.client().await?.list_objects_v2().bucket(place.bucket()).set_max_keys(most);
    let request = request.set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()));
    // Keys may hold what XML cannot.
    let request = request.encoding_type(EncodingType::Url).set_delimiter((!flat).then(|| "/".to_owned()));
    let request = match from {
        From::Start => request,
        From::Token(token) => request.continuation_token(token),
        From::After(key) => request.start_after(key),
    };
    match request.send().await {
        Ok(answer) => {
            let page = read(&answer)?;
            // Who followed it would ask for the same page for ever.
            if page.next.as_ref() == Some(from) {
                return Err(Error::new(Fault::Broken, "the server's listing goes on where it began"));
            }
            Ok(page)
        }
        Err(error) => {
            if error::code(&error) == "NoSuchBucket" {
                place.around.forget();
            }
            Err(place.error(&error))
        }
    }
}

fn read(answer: &ListObjectsV2Output) -> Result<Page> {
    let encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let nameless = || Error::new(Fault::Broken, "the server listed an object without a key");
    let mut objects = Vec::with_capacity(answer.contents().len());
    for told in answer.contents() {
        objects.push(object(told, encoded).ok_or_else(nameless)??);
    }
    let prefixes = answer.common_prefixes().iter().filter_map(|told| told.prefix());
    let prefixes = prefixes.map(|prefix| decode(prefix, encoded)).collect::<Result<Vec<_>>>()?;
    let next = next(answer, &objects, &prefixes)?;
    Ok(Page { objects, prefixes, next })
}

fn next(answer: &ListObjectsV2Output, objects: &[Object], prefixes: &[String]) -> Result<Option<From>> {
    let arrived = objects.len() + prefixes.len();
    let announced = answer.key_count().and_then(|count| usize::try_from(count).ok());
    if announced.is_some_and(|announced| announced > arrived) {
        return Err(cut_off());
    }
    // The SDK reads XML that stops early as if the rest were empty: an end is believed only where it is told.
    match answer.is_truncated() {
        Some(true) => {}
        Some(false) => return Ok(None),
        None => return Err(cut_off()),
    }
    if let Some(token) = answer.next_continuation_token().filter(|token| !token.is_empty()) {
        return Ok(Some(From::Token(token.to_owned())));
    }
    let last = objects.iter().map(|object| &object.key).chain(prefixes).max();
    let last =
        last.ok_or_else(|| Error::new(Fault::Broken, "the server listed nothing, and said that there is more"))?;
    Ok(Some(From::After(last.clone())))
}

fn cut_off() -> Error {
    Error::new(Fault::Broken, "the server's listing ends in the middle")
}

fn object(told: &Told, encoded: bool) -> Option<Result<Object>> {
    let key = match decode(told.key()?, encoded) {
        Ok(key) => key,
        Err(error) => return Some(Err(error)),
    };
    let size = told.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
    let version = Version::new(told.e_tag(), size);
    Some(Ok(Object { key, size, version, stored: told.last_modified().and_then(time) }))
}

fn time(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), time.subsec_nanos().try_into().ok()?).ok()
}

/// A key as `encoding-type=url` writes it: a space may be `+`, and a `+` never is itself (as botocore reads it, too).
fn decode(text: &str, encoded: bool) -> Result<String> {
    if !encoded {
        return Ok(text.to_owned());
    }
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| Error::new(Fault::Broken, format!("the server listed the key {text}, which is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_where_they_are_encoded() {
        for (text, key) in
            [("a+b", "a b"), ("a%2Bb", "a+b"), ("%E4%B8%96", "\u{4e16}"), ("100%25", "100%"), ("a/b", "a/b")]
        {
            assert_eq!(decode(text, true).as_deref(), Ok(key));
        }
        assert_eq!(decode("a+b%20", false).as_deref(), Ok("a+b%20"));
        assert!(decode("%ff", true).is_err());
    }
}
