//! Paths relative to a storage's root.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The name prefix of files that are still being written. No listing reports them.
pub const PART_PREFIX: &str = ".wl-part-";
/// The directory at a storage's root that keeps what a sync overwrote or deleted. No listing of the root reports it.
pub const TRASH_DIR: &str = ".wl-trash";
/// The name of the files that hold exclude patterns.
pub const IGNORE_FILE: &str = ".wlignore";

/// A path below a storage's root: UTF-8 segments with `/` between them and none at either end; empty for the root itself.
///
/// No segment is empty, `.` or `..`, and none holds a NUL. Ordered by the bytes of the path with a `/` appended, so that
/// a directory comes directly before everything below it, and a file and a directory of one name compare equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<str>);

/// Why a text is no [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Two slashes in a row, or one at either end.
    #[error("has an empty segment")]
    Empty,
    /// A `.` or `..` segment.
    #[error("has a '.' or '..' segment")]
    Dots,
    /// A NUL byte.
    #[error("has a NUL byte")]
    Nul,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
}

impl RelPath {
    /// The storage's root.
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// Checks a text. The empty text is the root.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        if !text.is_empty() {
            text.split('/').try_for_each(check_segment)?;
        }
        Ok(Self(Arc::from(text)))
    }

    /// Checks bytes as a storage names them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPath> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| BadPath::NotUtf8)?)
    }

    /// This directory's child of that name.
    pub fn join(&self, name: &str) -> Result<Self, BadPath> {
        check_segment(name)?;
        Ok(self.push(name))
    }

    /// That path below this one.
    pub fn join_path(&self, below: &Self) -> Self {
        if below.is_root() { self.clone() } else { self.push(&below.0) }
    }

    fn push(&self, tail: &str) -> Self {
        if self.is_root() {
            return Self(Arc::from(tail));
        }
        let mut text = String::with_capacity(self.0.len() + 1 + tail.len());
        text.push_str(&self.0);
        text.push('/');
        text.push_str(tail);
        Self(Arc::from(text))
    }

    /// The text, without slashes at its ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the storage's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The directory this is in; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or_else(Self::root, |(dir, _)| Self(Arc::from(dir))))
    }

    /// The directories this is in, the nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        let mut at = self.parent();
        std::iter::from_fn(move || {
            let this = at.take().filter(|dir| !dir.is_root())?;
            at = this.parent();
            Some(this)
        })
    }

    /// Whether this lies below `dir`. A path does not lie below itself.
    pub fn is_below(&self, dir: &Self) -> bool {
        dir.is_root() && !self.is_root()
            || self.0.len() > dir.0.len() && self.0.starts_with(&*dir.0) && self.0.as_bytes()[dir.0.len()] == b'/'
    }

    /// Whether this is `dir` or lies below it.
    pub fn is_at_or_below(&self, dir: &Self) -> bool {
        self == dir || self.is_below(dir)
    }

    /// The segments from the root down.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether this belongs to wl itself: in the trash, or a file still being written.
    pub fn is_ours(&self) -> bool {
        self.segments().next() == Some(TRASH_DIR) || self.segments().any(|segment| segment.starts_with(PART_PREFIX))
    }

    /// Whether the name is one that a backend gives to what it writes: with the prefix alone it may be a user's.
    pub fn is_part(&self) -> bool {
        let Some(name) = self.name().strip_prefix(PART_PREFIX) else { return false };
        let numbered = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let marked = ["held-", "again-", "resume-", "up-", "probe-"].iter().any(|mark| name.starts_with(mark));
        marked || numbered(name.strip_prefix('u').unwrap_or(name))
    }
}

fn check_segment(segment: &str) -> Result<(), BadPath> {
    match segment {
        "" => Err(BadPath::Empty),
        "." | ".." => Err(BadPath::Dots),
        _ if segment.contains('\0') => Err(BadPath::Nul),
        _ if segment.contains('/') => Err(BadPath::Empty),
        _ => Ok(()),
    }
}

/// The order of a listing among the names of one directory, each with whether it is a directory: by bytes, with a slash
/// behind a directory's.
pub fn listing_order((a, a_is_dir): (&[u8], bool), (b, b_is_dir): (&[u8], bool)) -> Ordering {
    let common = a.len().min(b.len());
    let next = |name: &[u8], is_dir: bool| name.get(common).copied().or(is_dir.then_some(b'/'));
    a[..common].cmp(&b[..common]).then_with(|| next(a, a_is_dir).cmp(&next(b, b_is_dir)))
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let common = a.len().min(b.len());
        // The root has no slash of its own: it comes before everything.
        if common == 0 {
            return a.len().cmp(&b.len());
        }
        match a[..common].cmp(&b[..common]) {
            Ordering::Equal if a.len() == b.len() => Ordering::Equal,
            Ordering::Equal if a.len() > common => a[common].cmp(&b'/').then(Ordering::Greater),
            Ordering::Equal => b'/'.cmp(&b[common]).then(Ordering::Less),
            unequal => unequal,
        }
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn refuses_what_is_no_path() {
        for (text, why) in [
            ("/a", BadPath::Empty),
            ("a/", BadPath::Empty),
            ("a//b", BadPath::Empty),
            (".", BadPath::Dots),
            ("a/../b", BadPath::Dots),
            ("a\0b", BadPath::Nul),
        ] {
            assert_eq!(RelPath::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(RelPath::from_bytes(b"a\xfe"), Err(BadPath::NotUtf8));
    }

    #[test]
    fn a_directory_comes_directly_before_what_is_below_it() {
        let mut paths: Vec<_> = ["a0", "a/b", "a", "a-b", "a.txt", "a/b/c", "", "a/b-c", "b"].map(path).to_vec();
        paths.sort();
        let texts: Vec<_> = paths.iter().map(RelPath::as_str).collect();
        assert_eq!(texts, ["", "a-b", "a.txt", "a", "a/b-c", "a/b", "a/b/c", "a0", "b"]);
    }

    #[test]
    fn the_order_is_that_of_the_bytes_with_a_slash_appended() {
        let names = ["a", "a/b", "a-", "a0", "ab", "a/0", "é", "a/b/c", " ", "~"];
        for x in names {
            for y in names {
                assert_eq!(path(x).cmp(&path(y)), format!("{x}/").cmp(&format!("{y}/")), "{x} {y}");
            }
        }
    }

    #[test]
    fn knows_its_place() {
        let p = path("a/b/c");
        assert_eq!(p.name(), "c");
        assert_eq!(p.ancestors().collect::<Vec<_>>(), [path("a/b"), path("a")]);
        assert!(
            p.is_below(&path("a"))
                && p.is_below(&RelPath::root())
                && !p.is_below(&p)
                && !path("ab").is_below(&path("a"))
        );
        assert!(path(".wl-trash/x").is_ours() && path("a/.wl-part-1").is_ours() && !path("a/.wl-trash").is_ours());
    }

    #[test]
    fn listings_sort_a_directory_as_if_a_slash_followed() {
        let names: [(&[u8], bool); 7] = [
            (b"a", false),
            (b"a-b", false),
            (b"a.txt", false),
            (b"a", true),
            (b"a0", false),
            (b"ab", true),
            (b"\xc3\xa9", false),
        ];
        for (i, x) in names.iter().enumerate() {
            for (j, y) in names.iter().enumerate() {
                assert_eq!(listing_order(*x, *y), i.cmp(&j), "{x:?} {y:?}");
            }
        }
    }
}
