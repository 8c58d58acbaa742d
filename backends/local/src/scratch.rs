//! A file to find out with what a file system does, gone afterwards.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::part::fresh_name;
use crate::sys;

/// An empty file that can be written.
pub struct Scratch<'a> {
    dir: BorrowedFd<'a>,
    name: Option<String>,
    file: OwnedFd,
}

impl<'a> Scratch<'a> {
    /// One without a name, where the file system knows such; FAT and most servers do not. None where none can be made, and
    /// where it would need a name and nothing may be written.
    pub fn new(dir: BorrowedFd<'a>, read_only: bool) -> Option<Self> {
        if let Ok(file) = sys::unnamed(dir) {
            return Some(Self { dir, name: None, file });
        }
        if read_only { None } else { Self::named(dir) }
    }

    /// One with a part name.
    pub fn named(dir: BorrowedFd<'a>) -> Option<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = fresh_name();
        let file = rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(0o600)).ok()?;
        Some(Self { dir, name: Some(name), file })
    }

    /// The file, open.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Whether it has a name.
    pub fn is_named(&self) -> bool {
        self.name.is_some()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // If it stays it is swept.
            let _ = rustix::fs::unlinkat(self.dir, name, AtFlags::empty());
        }
    }
}
