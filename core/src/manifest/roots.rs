//! Whether two directories are one, or one is inside the other, under whatever names: what is mounted twice has two.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Device and inode: the same directory has the same, whatever it is called.
type Id = (u64, u64);

/// Where a directory stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The directory; none if there is none.
    own: Option<Id>,
    /// It and those above it, as far as they exist.
    line: Vec<Id>,
    /// What is mounted below it.
    below: Vec<Id>,
}

impl Standing {
    /// Of a path without links.
    pub(super) fn of(path: &Path) -> Self {
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let below = mount_points(&mounts).filter(|at| at != path && at.starts_with(path)).filter_map(|at| id(&at));
        Self { own: id(path), line: path.ancestors().filter_map(id).collect(), below: below.collect() }
    }

    /// Whether one of the two is, or holds, the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    fn holds(&self, other: &Self) -> bool {
        let is_above = self.own.is_some_and(|own| other.line.contains(&own));
        is_above || other.line.iter().any(|above| self.below.contains(above))
    }
}

fn id(path: &Path) -> Option<Id> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// The mount points of a `mountinfo` (`man 5 proc_pid_mountinfo`): the fifth field, where a backslash and three octal
/// digits stand for a byte. Systems without such a file tell of none.
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    let fields = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescaped(field))))
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(line: &[u64], below: &[u64]) -> Standing {
        let ids = |inodes: &[u64]| inodes.iter().map(|inode| (1, *inode)).collect::<Vec<_>>();
        Standing { own: ids(line).first().copied(), line: ids(line), below: ids(below) }
    }

    #[test]
    fn one_directory_is_known_by_whatever_name() {
        let photos = standing(&[30, 20, 10], &[]);
        for (other, overlaps) in [
            (standing(&[30, 50, 10], &[]), true),
            (standing(&[60, 30, 50, 10], &[]), true),
            (standing(&[20, 50, 10], &[]), true),
            (standing(&[40, 50, 10], &[30]), true),
            (standing(&[40, 50, 10], &[20]), true),
            (standing(&[40, 50, 10], &[70]), false),
            (standing(&[40, 20, 10], &[]), false),
            (Standing { own: None, ..standing(&[20, 10], &[]) }, false),
        ] {
            assert_eq!((photos.overlaps(&other), other.overlaps(&photos)), (overlaps, overlaps), "{other:?}");
        }
    }

    #[test]
    fn mount_points_are_read() {
        let text = b"36 35 98:0 /m /mnt/with\\040space rw - ext3 /dev/root rw\n37 35 0:5 / /a\\134b rw - tmpfs x rw\n";
        let found: Vec<_> = mount_points(text).collect();
        assert_eq!(found, [Path::new("/mnt/with space"), Path::new("/a\\b")]);
    }

    #[test]
    fn what_is_there_stands_below_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, missing) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&inner).unwrap();
        let [outer, inner, missing] = [dir.path(), &inner, &missing].map(Standing::of);
        assert!(outer.overlaps(&inner) && outer.overlaps(&missing) && !inner.overlaps(&missing));
    }
}
