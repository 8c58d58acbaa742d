//! What a server says about a file, and the token made of it.

use jiff::Timestamp;
use wl_core::backend::Obstacle;
use wl_core::entry::{Meta, Token};
use wl_core::report::ProblemKind;

use crate::wire::{Attrs, FileType};

/// What kind of thing is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Something that is never synced, in words.
    Special(&'static str),
}

/// One look at a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub what: What,
    pub size: u64,
    /// Whole seconds since 1970; the protocol has no finer.
    pub mtime: u32,
    pub mode: Option<u32>,
    pub owner: Option<(u32, u32)>,
    /// When it was last read, which a server is told again whenever it is told a modification time.
    pub read: u32,
}

impl Seen {
    /// What the attributes say.
    pub fn of(attrs: &Attrs) -> Self {
        let what = match attrs.file_type() {
            FileType::File => What::File,
            FileType::Dir => What::Dir,
            FileType::Link => What::Special("symbolic link"),
            FileType::Special => What::Special("named pipe, socket or device"),
            FileType::Unknown => What::Special("the server does not say what it is"),
        };
        Self {
            what,
            size: attrs.size.unwrap_or(0),
            mtime: attrs.mtime().unwrap_or(0),
            mode: attrs.mode().map(|mode| mode & 0o777),
            owner: attrs.owner,
            read: attrs.times.map_or(0, |(read, _)| read),
        }
    }

    /// The token's 12 bytes: size, and modification time in whole seconds, little endian.
    ///
    /// A listing by command could tell more (inode, nanoseconds, change time), but a token must be the same whichever way
    /// a file is looked at, and the looks before and after each change are the protocol's.
    pub fn token_bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..].copy_from_slice(&self.mtime.to_le_bytes());
        bytes
    }

    /// Whether this is the version of a file that the token names.
    pub fn is(&self, token: &Token) -> bool {
        self.what == What::File && self.token_bytes() == token.as_bytes()
    }

    /// Whether both are the same version of a file, as far as the protocol can tell.
    pub fn same(&self, other: &Self) -> bool {
        self.what == other.what && self.token_bytes() == other.token_bytes()
    }

    /// What travels beside the content. Servers cut a time off to 32 bits: from 2038 on it may as well be one before 1970.
    pub fn meta(&self) -> Meta {
        let known = i32::try_from(self.mtime).ok();
        Meta { mtime: known.and_then(|mtime| Timestamp::new(i64::from(mtime), 0).ok()), mode: self.mode }
    }

    /// Why it is not synced, if it is neither file nor directory.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let What::Special(what) = self.what else { return None };
        Some(Obstacle { kind: ProblemKind::Skipped, message: what.to_owned() })
    }
}

/// The size that a token names; none if it is no token of ours.
pub fn size_in(token: &Token) -> Option<u64> {
    let bytes = token.as_bytes();
    (bytes.len() == 12).then(|| bytes.first_chunk().map(|size| u64::from_le_bytes(*size)))?
}

/// A modification time as the protocol has it; none if it lies before 1970 or after 2106.
pub fn seconds(time: Timestamp) -> Option<u32> {
    let whole = time.as_nanosecond().div_euclid(1_000_000_000);
    u32::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_size_and_whole_seconds() {
        let attrs = Attrs { size: Some(7), permissions: Some(0o100_644), times: Some((9, 8)), ..Attrs::default() };
        let seen = Seen::of(&attrs);
        let token = Token::new(&seen.token_bytes());
        assert!(seen.is(&token) && size_in(&token) == Some(7));
        assert!(!Seen { mtime: 9, ..seen }.is(&token) && !Seen { size: 8, ..seen }.is(&token));
        assert!(!Seen { what: What::Dir, ..seen }.is(&token));
        assert!(Seen { mode: Some(0), read: 1, ..seen }.is(&token), "neither mode nor reading is another version");
        assert_eq!(size_in(&Token::new(b"short")), None);
    }

    #[test]
    fn a_time_that_may_be_another_is_not_known() {
        for (mtime, known) in
            [(0, true), (1_700_000_000, true), (0x7fff_ffff, true), (0x8000_0000, false), (u32::MAX, false)]
        {
            let seen = Seen { what: What::File, size: 7, mtime, mode: None, owner: None, read: 0 };
            assert_eq!(seen.meta().mtime.map(Timestamp::as_second), known.then_some(i64::from(mtime)), "{mtime}");
        }
    }

    #[test]
    fn a_time_the_protocol_cannot_hold_is_none() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.9Z", Some(0)),
            ("2001-02-03T04:05:06.7Z", Some(981_173_106)),
            ("1969-12-31T23:59:59.9Z", None),
            ("2106-02-07T06:28:16Z", None),
        ] {
            assert_eq!(seconds(text.parse().unwrap()), expected, "{text}");
        }
    }
}
