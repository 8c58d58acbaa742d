//! What the system says about a file, and the token made of it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use wl_core::entry::{Entry, Kind, Meta, Token};

use crate::scratch::Scratch;
use crate::sys;

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

impl What {
    /// From the system's word for it.
    pub fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Special("symbolic link"),
            FileType::Fifo => Self::Special("named pipe"),
            FileType::Socket => Self::Special("socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Self::Special("device"),
            FileType::Unknown => Self::Special("not a regular file"),
        }
    }
}

/// A moment as the file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub sec: i64,
    pub ns: u32,
}

impl Stamp {
    /// Nanoseconds since 1970.
    pub fn nanos(self) -> i128 {
        i128::from(self.sec) * 1_000_000_000 + i128::from(self.ns)
    }

    fn to_bytes(self) -> [u8; 8] {
        self.sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(self.ns)).to_le_bytes()
    }
}

/// One look at a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub what: What,
    pub size: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    pub links: u64,
    pub dev: u64,
    pub ino: u64,
    pub mtime: Stamp,
    pub ctime: Stamp,
    pub born: Option<Stamp>,
}

impl Seen {
    /// The token's 32 bytes: size, modification and change time in nanoseconds, and inode, little endian.
    pub fn token_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mtime.to_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_bytes());
        bytes[24..].copy_from_slice(&self.ino.to_le_bytes());
        bytes
    }

    /// Whether this is the version of a file that the token names.
    pub fn is(&self, token: &Token) -> bool {
        self.what == What::File && self.token_bytes() == token.as_bytes()
    }

    /// Whether this is still that file with that content, as far as can be told after a rename, which changes the
    /// change time on most file systems.
    pub fn same_but_renamed(&self, before: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime) == (before.dev, before.ino, before.size, before.mtime)
            && self.what == before.what
    }

    /// What travels beside the content.
    pub fn meta(&self) -> Meta {
        let mtime = i32::try_from(self.mtime.ns).ok().and_then(|ns| Timestamp::new(self.mtime.sec, ns).ok());
        Meta { mtime, mode: Some(self.mode) }
    }
}

/// The size that a token names; none if it is no token of ours.
pub fn size_in(token: &Token) -> Option<u64> {
    let bytes = token.as_bytes();
    (bytes.len() == 32).then(|| bytes.first_chunk().map(|size| u64::from_le_bytes(*size)))?
}

/// How finely a file system dates changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Any change after a look gets a date of its own: no token is ever racy.
    Fine,
    /// Two changes may share a date. Its clock may be ahead of ours by so many nanoseconds, or behind.
    Coarse { ahead: i128 },
}

/// Longer than the coarsest tick of a kernel's clock.
const TICK: i128 = 20_000_000;
/// Longer than the coarsest date of a file system that keeps no fractions of a second.
const WHOLE_SECONDS: i128 = 2_000_000_000;

impl Clock {
    /// Measures in that directory. One that is `read_only` is given no file with a name, and then its clock is taken for
    /// ours.
    pub fn measure(dir: BorrowedFd<'_>, read_only: bool) -> Self {
        Scratch::new(dir, read_only).map_or(Self::Coarse { ahead: 0 }, |scratch| Self::of(&scratch))
    }

    /// Measures by writing and looking without a pause: where the clock is coarse, some of the changes share a date.
    ///
    /// A file system that knows no file without a name is a coarse one or far away, where every look takes longer than a
    /// tick of its clock: dates that differ say nothing there.
    fn of(scratch: &Scratch<'_>) -> Self {
        const LOOKS: u64 = 8;
        let coarse = Self::Coarse { ahead: 0 };
        let file = scratch.file();
        let mut last = None;
        let mut all_differ = !scratch.is_named();
        for at in 0..LOOKS {
            if rustix::io::pwrite(file, b"x", at).is_err() {
                return coarse;
            }
            let Ok(seen) = sys::seen_of(file) else { return coarse };
            all_differ &= last != Some(seen.ctime);
            last = Some(seen.ctime);
        }
        if all_differ { Self::Fine } else { Self::Coarse { ahead: last.map_or(0, |stamp| stamp.nanos() - now()) } }
    }

    /// Whether a file seen now may still change without its token changing.
    pub fn is_racy(self, seen: &Seen) -> bool {
        let Self::Coarse { ahead } = self else { return false };
        self.is_racy_at(seen, now() + ahead)
    }

    fn is_racy_at(self, seen: &Seen, now: i128) -> bool {
        let window = if seen.mtime.ns == 0 && seen.ctime.ns == 0 { WHOLE_SECONDS } else { TICK };
        // A modification time far ahead is somebody's wish; a change time ahead means that the clock was set back.
        self != Self::Fine
            && (seen.ctime.nanos() > now - window || (seen.mtime.nanos() - now).unsigned_abs() < window.unsigned_abs())
    }

    /// The entry of a file or directory; none for anything else.
    pub fn entry(self, seen: &Seen) -> Option<Entry> {
        let bytes = seen.token_bytes();
        let (kind, size, token) = match seen.what {
            What::File if self.is_racy(seen) => (Kind::File, seen.size, Token::racy(&bytes)),
            What::File => (Kind::File, seen.size, Token::new(&bytes)),
            What::Dir => (Kind::Dir, 0, Token::new(&bytes)),
            What::Special(_) => return None,
        };
        Some(Entry { kind, size, meta: seen.meta(), token })
    }
}

fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mtime: Stamp, ctime: Stamp) -> Seen {
        let what = What::File;
        Seen { what, size: 7, mode: 0o644, owner: (0, 0), links: 1, dev: 1, ino: 2, mtime, ctime, born: None }
    }

    #[test]
    fn a_token_names_its_size() {
        let at = Stamp { sec: 1, ns: 2 };
        assert_eq!(size_in(&Token::new(&seen(at, at).token_bytes())), Some(7));
        assert_eq!(size_in(&Token::new(b"short")), None);
    }

    #[test]
    fn a_file_with_a_name_tells_whose_clock_it_is_and_not_how_fine() {
        use rustix::fd::AsFd as _;
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(dir.path()).unwrap();
        let measured = Clock::of(&Scratch::named(open.as_fd()).unwrap());
        let Clock::Coarse { ahead } = measured else { panic!("{measured:?}") };
        assert!(ahead != 0 && ahead.abs() < WHOLE_SECONDS, "{ahead}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn young_files_are_racy_where_the_clock_is_coarse() {
        let now = 1_000_000_000_000;
        let ago = |ns: i128| {
            let at = now - ns;
            let (sec, ns) = (at.div_euclid(1_000_000_000), at.rem_euclid(1_000_000_000));
            Stamp { sec: i64::try_from(sec).unwrap(), ns: u32::try_from(ns).unwrap() }
        };
        let (old, coarse) = (ago(3_600_000_000_001), Clock::Coarse { ahead: 0 });
        for (mtime, ctime, racy) in [
            (old, old, false),
            (old, ago(5_000_000), true),
            (old, ago(30_000_001), false),
            (ago(5_000_000), old, true),
            (ago(-3_600_000_000_000), old, false),
            (old, ago(-3_600_000_000_000), true),
            (ago(1_000_000_000), ago(1_000_000_000), true),
            (ago(3_000_000_000), ago(3_000_000_000), false),
        ] {
            assert_eq!(coarse.is_racy_at(&seen(mtime, ctime), now), racy, "{mtime:?} {ctime:?}");
            assert!(!Clock::Fine.is_racy_at(&seen(mtime, ctime), now));
        }
    }
}
