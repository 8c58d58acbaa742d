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
    /// Its name.
    path: PathBuf,
    /// It, or the nearest one above it that exists.
    place: Option<Place>,
}

/// Where a directory is in its file system, whatever is mounted where.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    device: Vec<u8>,
    path: PathBuf,
}

/// One line of a `mountinfo` (`man 5 proc_pid_mountinfo`).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// What of its file system is mounted.
    root: Place,
    /// Where.
    at: PathBuf,
}

impl Standing {
    /// Of a path without links.
    pub(super) fn of(path: &Path) -> Self {
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts: Vec<_> = read(&mounts).collect();
        let below = mounts.iter().filter(|mount| mount.at != path && mount.at.starts_with(path));
        let below = below.filter_map(|mount| id(&mount.at)).collect();
        let existing = path.ancestors().find(|above| id(above).is_some());
        let place = existing.and_then(|existing| place(&mounts, existing));
        Self { own: id(path), line: path.ancestors().filter_map(id).collect(), below, path: path.to_owned(), place }
    }

    /// Whether one of the two is, or holds, the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    fn holds(&self, other: &Self) -> bool {
        let is_above = self.own.is_some_and(|own| other.line.contains(&own));
        is_above || other.line.iter().any(|above| self.below.contains(above)) || self.leads_to(other)
    }

    /// Whether a part of this one is mounted where the other is: the way to it in the file system leads to it from here.
    fn leads_to(&self, other: &Self) -> bool {
        // What is not there leads nowhere.
        let (Some(_), Some(own), Some(theirs)) = (self.own, &self.place, &other.place) else { return false };
        // What `mountinfo` tells is no proof (NFS has `/` for every root), but what is at the end of that way is.
        own.device == theirs.device
            && theirs.path.strip_prefix(&own.path).is_ok_and(|way| {
                let end = id(&self.path.join(way));
                end.is_some() && end.as_ref() == other.line.first()
            })
    }
}

/// By the mount that is nearest above; of two at one point the later one covers the earlier.
fn place(mounts: &[Mount], path: &Path) -> Option<Place> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    let nearest = above.max_by_key(|mount| mount.at.as_os_str().len())?;
    let way = path.strip_prefix(&nearest.at).ok()?;
    Some(Place { device: nearest.root.device.clone(), path: nearest.root.path.join(way) })
}

fn id(path: &Path) -> Option<Id> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Reads a `mountinfo`: the third to the fifth field of each line, where a backslash and three octal digits stand for a
/// byte. Systems without such a file tell of no mounts.
fn read(mountinfo: &[u8]) -> impl Iterator<Item = Mount> {
    let path = |field: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescaped(field)));
    mountinfo.split(|byte| *byte == b'\n').filter_map(move |line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let (device, root, at) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Mount { root: Place { device: device.to_owned(), path: path(root) }, at: path(at) })
    })
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
        Standing { own: ids(line).first().copied(), line: ids(line), below: ids(below), ..Standing::default() }
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
    fn mounts_are_read_and_tell_where_a_directory_is() {
        let text = b"36 35 98:0 /m /mnt/with\\040space rw - ext3 /dev/root rw\n37 35 0:5 / /a\\134b rw - tmpfs x rw\n";
        let found: Vec<_> = read(text).collect();
        let is_at = |path: &str| place(&found, Path::new(path)).map(|place| (place.device, place.path));
        assert_eq!(is_at("/mnt/with space/x"), Some((b"98:0".to_vec(), "/m/x".into())));
        assert_eq!(is_at("/a\\b"), Some((b"0:5".to_vec(), "/".into())));
        assert_eq!(is_at("/mnt"), None);
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
