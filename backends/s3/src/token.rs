//! A version of an object: its ETag and size.

use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Without quotes.
    pub etag: String,
    pub size: u64,
}

const MD5: u8 = 0;
const PARTS: u8 = 1;
const OTHER: u8 = 2;

impl Version {
    /// None where the server names no ETag, so that nothing tells one version from another.
    pub fn new(etag: Option<&str>, size: u64) -> Option<Self> {
        let etag = etag?;
        let etag = etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag);
        if etag.is_empty() {
            return None;
        }
        Some(Self { etag: etag.to_owned(), size })
    }

    /// The ETag as RFC 9110 section 8.8.3 wants it in a condition.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.etag)
    }

    /// The token. Tokens come by the million, and most ETags are an MD5 in hex, with or without a number of parts: these
    /// are packed.
    pub fn token(&self) -> Token {
        let size = self.size.to_be_bytes();
        let packed = match self.etag.split_once('-') {
            None => unhex(&self.etag).map(|md5| [&[MD5][..], &size, &md5].concat()),
            Some((md5, parts)) => parts
                .parse::<u16>()
                .ok()
                .filter(|number| number.to_string() == parts)
                .and_then(|parts| unhex(md5).map(|md5| [&[PARTS][..], &size, &md5, &parts.to_be_bytes()].concat())),
        };
        Token::new(&packed.unwrap_or_else(|| [&[OTHER][..], &size, self.etag.as_bytes()].concat()))
    }

    /// The version that a token of this storage type names.
    pub fn of(token: &Token) -> Result<Self> {
        Self::unpack(token.as_bytes()).ok_or_else(|| {
            Error::new(Fault::Refused, "the version that is expected is none of this storage: look again")
        })
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let etag = match *tag {
            MD5 if rest.len() == 16 => hex(rest),
            PARTS => {
                let (md5, parts) = rest.split_first_chunk::<16>()?;
                format!("{}-{}", hex(md5), u16::from_be_bytes(parts.try_into().ok()?))
            }
            OTHER => std::str::from_utf8(rest).ok()?.to_owned(),
            _ => return None,
        };
        Some(Self { etag, size: u64::from_be_bytes(*size) })
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// The bytes of an MD5 in lower-case hex.
fn unhex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_the_version_again() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for (etag, long) in [
            (md5.to_owned(), 25),
            (format!("{md5}-12"), 27),
            (format!("{md5}-012"), 45),
            (format!("{md5}-99999"), 47),
            (md5.to_uppercase(), 41),
            ("W/\"x\"y".to_owned(), 15),
            ("+1".repeat(16), 41),
        ] {
            let version = Version { etag, size: 5 << 40 };
            assert_eq!(Version::of(&version.token()).as_ref(), Ok(&version));
            assert_eq!(version.token().as_bytes().len(), long, "{}", version.etag);
        }
        assert!(Version::of(&Token::new(b"")).is_err() && Version::of(&Token::new(&[9; 40])).is_err());
    }

    #[test]
    fn quotes_are_no_part_of_an_etag() {
        let version = Version::new(Some("\"abc\""), 1).unwrap();
        assert_eq!((version.etag.as_str(), version.quoted().as_str()), ("abc", "\"abc\""));
        assert_eq!(Version::new(Some("\"\""), 1), None);
        assert_eq!(Version::new(None, 1), None);
    }
}
