//! What lies beside an object: its modification time and its hash.
//!
//! wl writes two keys of user metadata, `sha256` (hex) and `mtime` (RFC 3339), and a third, `wl-bound`, that binds the
//! first to the content: another client may copy metadata onto an object of other content, and a hash must not be believed
//! for having been there before. The hash is believed if
//!
//! 1. the server's own full-object SHA-256 checksum says the same, or
//! 2. `wl-bound` is the ETag, or the composite checksum, that the server shows for this object: whoever wrote it had
//!    computed it from the content before, so another content has another one. wl writes the MD5 of what it puts at once to
//!    a server that keeps no checksums; or
//! 3. a tag says so: the metadata of what is uploaded in parts are given before the parts are read ([`crate::tags`]).
//!
//! Everything else is hashed by reading it once.

use std::collections::HashMap;

use aws_sdk_s3::primitives::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use wl_core::entry::{Entry, Hash, Kind, Meta, Token};

/// The content's sha256 in hex.
pub(crate) const SHA256: &str = "sha256";
/// The modification time: in RFC 3339 as wl writes it, in seconds with decimals as rclone does.
pub(crate) const MTIME: &str = "mtime";
/// What binds [`SHA256`] to the content: the ETag without quotes, or the composite checksum.
pub(crate) const BOUND: &str = "wl-bound";

/// What an answer to HEAD or GET shows of an object.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub metadata: Option<&'a HashMap<String, String>>,
    pub etag: &'a str,
    /// As the header has it: base64, with `-` and a number where it is composite.
    pub checksum: Option<&'a str>,
}

impl Shown<'_> {
    /// The hash that the answer proves, where it proves one. Whether the server verifies the checksums that it keeps is
    /// the caller's question, and `checksums` the answer.
    pub fn hash(&self, checksums: bool) -> Option<Hash> {
        let checksum = self.checksum.filter(|_| checksums);
        if let Some(hash) = checksum.and_then(full_object) {
            return Some(hash);
        }
        let bound = self.get(BOUND).filter(|bound| !bound.is_empty())?;
        let holds =
            bound == self.etag || checksum.is_some_and(|composite| composite.contains('-') && composite == bound);
        self.claims().filter(|_| holds)
    }

    /// The sha256 that the metadata claim, bound to the content or not.
    pub fn claims(&self) -> Option<Hash> {
        self.get(SHA256)?.parse().ok()
    }

    fn get(&self, key: &str) -> Option<&str> {
        let all = self.metadata?;
        // Some servers hand out metadata with other capitals than they were given.
        all.get(key)
            .or_else(|| all.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, text)| text))
            .map(String::as_str)
    }

    /// Whether its writer gave it a modification time.
    pub fn names_a_time(&self) -> bool {
        self.get(MTIME).and_then(read_time).is_some()
    }

    /// The modification time that its writer gave it, else when it was stored.
    pub fn mtime(&self, stored: Option<&DateTime>) -> Option<Timestamp> {
        self.get(MTIME).and_then(read_time).or_else(|| stored.and_then(timestamp))
    }
}

/// The checksum of a whole object; none where it is composite.
fn full_object(checksum: &str) -> Option<Hash> {
    let bytes = STANDARD.decode(checksum).ok()?;
    Some(Hash(bytes.try_into().ok()?))
}

/// A checksum as the header `x-amz-checksum-sha256` has it.
pub(crate) fn checksum(hash: &Hash) -> String {
    STANDARD.encode(hash.0)
}

/// A time in RFC 3339, or in seconds since 1970 with decimals.
fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
        let nanos: i32 = format!("{decimals:0<9.9}").parse().ok()?;
        let whole: i64 = seconds.parse().ok()?;
        Timestamp::new(whole, if seconds.starts_with('-') { -nanos } else { nanos }).ok()
    })
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), time.subsec_nanos().try_into().ok()?).ok()
}

/// A directory. What marks it says nothing of it.
pub(crate) fn directory() -> Entry {
    Entry { kind: Kind::Dir, size: 0, meta: Meta::default(), token: Token::new(b"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_wl_and_as_rclone_write_them() {
        for (text, time) in [
            ("2024-02-29T12:00:00.123456789Z", Some("2024-02-29T12:00:00.123456789Z")),
            ("2024-02-29T13:00:00+01:00", Some("2024-02-29T12:00:00Z")),
            ("1709208000.123456789", Some("2024-02-29T12:00:00.123456789Z")),
            ("1709208000.5", Some("2024-02-29T12:00:00.5Z")),
            ("1709208000", Some("2024-02-29T12:00:00Z")),
            ("-1.5", Some("1969-12-31T23:59:58.5Z")),
            ("-0.5", Some("1969-12-31T23:59:59.5Z")),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read_time(text), time.map(|time| time.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_hash_is_believed_only_if_it_is_bound_to_the_content() {
        let (hash, other) = (Hash::of(b"content"), Hash::of(b"other"));
        let full = checksum(&hash);
        let keys =
            |bound: &str| HashMap::from([(SHA256.to_owned(), hash.to_string()), (BOUND.to_owned(), bound.to_owned())]);
        let (by_etag, by_parts, unbound) =
            (keys("abc"), keys("abcd=-2"), HashMap::from([(SHA256.to_owned(), hash.to_string())]));
        let shown = |metadata, etag, checksum| Shown { metadata: Some(metadata), etag, checksum };
        for (shown, checksums, believed) in [
            (shown(&unbound, "abc", None), true, None),
            (shown(&unbound, "abc", Some(full.as_str())), true, Some(hash)),
            (shown(&unbound, "abc", Some(full.as_str())), false, None),
            (shown(&by_etag, "abc", Some(checksum(&other).as_str())), true, Some(other)),
            (shown(&by_etag, "abc", None), false, Some(hash)),
            (shown(&by_etag, "abd", None), true, None),
            (shown(&by_parts, "x-2", Some("abcd=-2")), true, Some(hash)),
            (shown(&by_parts, "x-2", Some("abce=-2")), true, None),
            (shown(&by_parts, "x-2", None), true, None),
        ] {
            assert_eq!(shown.hash(checksums), believed, "{shown:?} {checksums}");
        }
    }
}
