//! What a storage holds under a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::Digest as _;

/// What kind of thing a path is. Nothing else is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// The sha256 of a content. Answers "same bytes?" across storages; says nothing about when or where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The sha256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 is 64 hexadecimal digits")]
pub struct BadHash;

impl FromStr for Hash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(BadHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = nibble(pair[0]).ok_or(BadHash)? << 4 | nibble(pair[1]).ok_or(BadHash)?;
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One version of one file inside one storage. Answers "touched since I looked?"; opaque, and never compared across storages.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token {
    bytes: Bytes,
    racy: bool,
}

/// Tokens come by the million: short ones are kept in place.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Bytes {
    /// So many bytes of these; the rest are 0.
    Short(u8, [u8; SHORT]),
    Long(Arc<[u8]>),
}

/// A local token has 32 bytes.
const SHORT: usize = 32;

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= SHORT => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(Arc::from(bytes)),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(length, short) => &short[..usize::from(*length)],
            Self::Long(long) => long,
        }
    }
}

impl Token {
    /// A token that changes whenever the content changes.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::new(bytes), racy: false }
    }

    /// A token so young that the storage's clock could give it to another content too: good for a guard, which is looked
    /// at again after the write, but it vouches for no cached hash.
    pub fn racy(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::new(bytes), racy: true }
    }

    /// The bytes, to be kept in the state.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Whether it vouches for nothing.
    pub fn is_racy(&self) -> bool {
        self.racy
    }

    /// Whether both name the same version, whatever they vouch for. This is what a guard compares.
    pub fn same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}{})", if self.racy { "racy " } else { "" }, self.as_bytes().escape_ascii())
    }
}

/// What travels beside a content, each part none where the storage cannot hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// When the content was last modified. A listing that does not know leaves it out.
    pub mtime: Option<Timestamp>,
    /// The nine permission bits.
    pub mode: Option<u32>,
}

impl Meta {
    /// The same, with what is unknown here taken from there.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self { mtime: self.mtime.or(other.mtime), mode: self.mode.or(other.mode) }
    }
}

/// What a storage holds under one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A file or a directory.
    pub kind: Kind,
    /// Bytes of a file's content; 0 for a directory.
    pub size: u64,
    /// Modification time and mode.
    pub meta: Meta,
    /// The version. A directory's says nothing.
    pub token: Token,
}

impl Entry {
    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_bytes_however_long() {
        for length in [0, 1, 31, 32, 33, 300] {
            let bytes = vec![7; length];
            assert_eq!(Token::new(&bytes).as_bytes(), bytes);
            assert!(
                Token::new(&bytes).same(&Token::racy(&bytes))
                    && !Token::new(&bytes).same(&Token::new(&[&bytes[..], &[0]].concat()))
            );
        }
    }

    #[test]
    fn a_hash_is_written_and_read_as_hex() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Hash::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Hash::of(b"")));
        assert_eq!(empty[1..].parse::<Hash>(), Err(BadHash));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(BadHash));
    }
}
