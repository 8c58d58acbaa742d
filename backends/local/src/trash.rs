//! Where a user's version goes when another takes its place: the trash, or a held name for a moment.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use wl_core::error::Result;
use wl_core::path::RelPath;
use wl_core::trash::rescued;

use crate::error::error;
use crate::part::{Part, held_name, set_mode, set_mtime};
use crate::rename::move_new;
use crate::root::{Dir, Handle};
use crate::seen::Seen;
use crate::sys;

/// How often a version is copied that changes while it is.
const TRIES: u32 = 3;

/// A directory and a name in it.
#[derive(Clone)]
pub struct Place {
    pub dir: Arc<Dir>,
    pub name: String,
}

impl Place {
    /// What is there.
    pub fn look(&self) -> rustix::io::Result<Seen> {
        sys::seen_at(rustix::fd::AsFd::as_fd(&*self.dir), self.name.as_str())
    }
}

/// Where what was displaced goes.
pub struct Trash {
    handle: Arc<Handle>,
    wanted: Option<RelPath>,
}

impl Trash {
    /// Keeps what is displaced under that path, or nowhere.
    pub fn new(handle: &Arc<Handle>, wanted: Option<&RelPath>) -> Self {
        Self { handle: handle.clone(), wanted: wanted.cloned() }
    }

    /// Moves something out of the way, straight to where it is kept if that is on the same file system, else under a held
    /// name beside it, from where [`settle`](Self::settle) takes it on.
    pub fn take_in(&self, from: &Place) -> Result<Place, Errno> {
        if let Some(wanted) = &self.wanted {
            match self.keep(from, wanted) {
                Err(Errno::XDEV) => {}
                kept => return kept,
            }
        }
        let held = Place { dir: from.dir.clone(), name: held_name() };
        move_new(&self.handle.nature, from, &held)?;
        Ok(held)
    }

    /// What was displaced was the expected version: it is kept where it should be, or deleted.
    pub fn settle(&self, displaced: &Place) -> Result<(), Errno> {
        if !crate::part::is_held(&displaced.name) {
            return Ok(());
        }
        match &self.wanted {
            None => rustix::fs::unlinkat(&*displaced.dir, &displaced.name, AtFlags::empty()),
            Some(wanted) => self.copy_away(displaced, wanted),
        }
    }

    /// What was displaced was not expected, and its name is taken by now: it is kept in any case.
    pub fn rescue(&self, displaced: &Place, path: &RelPath) {
        if !crate::part::is_held(&displaced.name) {
            return;
        }
        let wanted = rescued(path);
        let moved = match self.keep(displaced, &wanted) {
            Err(Errno::XDEV) => self.copy_away(displaced, &wanted),
            kept => kept.map(drop),
        };
        if let Err(errno) = moved {
            // It stays under its held name, which the next sweep tries again.
            tracing::warn!(%path, %errno, "a displaced version could not be moved to the trash yet");
        }
    }

    /// Moves into the trash, under another name if that one is taken.
    fn keep(&self, from: &Place, wanted: &RelPath) -> Result<Place, Errno> {
        let dir = make_parents(&self.handle, wanted)?;
        for name in names_like(wanted.name()) {
            let place = Place { dir: dir.clone(), name };
            match move_new(&self.handle.nature, from, &place) {
                Err(Errno::EXIST) => {}
                done => return done.map(|()| place),
            }
        }
        Err(Errno::EXIST)
    }

    /// Copies into the trash on another file system, and deletes when that is durable.
    ///
    /// RACE: who has the displaced version open and writes into it between the last look and the deletion, or within one
    /// tick of the file system's clock after another write, writes into nothing. Worst outcome: that write is lost.
    fn copy_away(&self, from: &Place, wanted: &RelPath) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&*from.dir, &from.name, flags, Mode::empty())?;
        until_still(&source, |seen| self.copy_durably(&source, seen, wanted))?;
        rustix::fs::unlinkat(&*from.dir, &from.name, AtFlags::empty())
    }

    fn copy_durably(&self, source: &OwnedFd, before: &Seen, wanted: &RelPath) -> Result<Place, Errno> {
        let dir = make_parents(&self.handle, wanted)?;
        let mut part = Part::create(&dir)?;
        copy_bytes(source, &**part.fd(), before.size)?;
        set_mode(&**part.fd(), before.mode)?;
        if let Some(mtime) = before.meta().mtime {
            set_mtime(&**part.fd(), mtime)?;
        }
        rustix::fs::fsync(&**part.fd())?;
        let written = Place { dir: dir.clone(), name: part.name().to_owned() };
        let kept = self.keep(&written, wanted)?;
        part.renamed();
        sys::sync_fs(&*dir)?;
        Ok(kept)
    }
}

/// Copies again while somebody who has it open writes into it, a few times: a copy of the middle of that is nobody's version.
fn until_still(source: &OwnedFd, mut copy: impl FnMut(&Seen) -> Result<Place, Errno>) -> Result<(), Errno> {
    for _ in 0..TRIES {
        let before = sys::seen_of(source)?;
        let kept = copy(&before)?;
        if sys::seen_of(source)? == before {
            return Ok(());
        }
        rustix::fs::unlinkat(&*kept.dir, &kept.name, AtFlags::empty())?;
    }
    // It stays under its held name, which the next sweep tries again.
    Err(Errno::BUSY)
}

/// Moves a held file, which a crash left, into the trash.
pub fn recover(handle: &Arc<Handle>, held: &RelPath) -> Result<()> {
    let from = Place { dir: handle.parent(held)?, name: held.name().to_owned() };
    let trash = Trash::new(handle, None);
    let name = held.name().trim_start_matches('.');
    let path = held.parent().and_then(|parent| parent.join(name).ok());
    let wanted = rescued(path.as_ref().unwrap_or(held));
    match trash.keep(&from, &wanted) {
        Err(Errno::XDEV) => trash.copy_away(&from, &wanted).map_err(|errno| error(errno, held)),
        kept => kept.map(drop).map_err(|errno| error(errno, held)),
    }
}

/// Copies a content between two open files.
pub fn copy_bytes(from: &impl rustix::fd::AsFd, to: &impl rustix::fd::AsFd, size: u64) -> Result<(), Errno> {
    if sys::copy_range(from.as_fd(), to.as_fd(), size)? {
        return Ok(());
    }
    let (mut buffer, mut at) = (vec![0; 256 << 10], 0);
    loop {
        let count = match rustix::io::pread(from, &mut buffer[..], at) {
            Ok(0) => return Ok(()),
            Err(Errno::INTR) => continue,
            count => count?,
        };
        let mut done = 0;
        while done < count {
            match rustix::io::pwrite(to, &buffer[done..count], at + done as u64) {
                Err(Errno::INTR) => {}
                written => done += written?,
            }
        }
        at += count as u64;
    }
}

/// Makes the directories a path in the trash is in, for wl's user alone.
fn make_parents(handle: &Handle, path: &RelPath) -> Result<Arc<Dir>, Errno> {
    let parent = path.parent().unwrap_or_else(RelPath::root);
    match handle.dir(&parent) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let above = make_parents(handle, &parent)?;
    match rustix::fs::mkdirat(&*above, parent.name(), Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => handle.dir(&parent),
        Err(errno) => Err(errno),
    }
}

/// `name.ext`, `name (2).ext` and so on.
fn names_like(name: &str) -> impl Iterator<Item = String> {
    let (stem, ext) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    (1..10_000).map(move |count| if count == 1 { name.to_owned() } else { format!("{stem} ({count}){ext}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_counted_up() {
        let names: Vec<_> = names_like("a.b.txt").take(3).collect();
        assert_eq!(names, ["a.b.txt", "a.b (2).txt", "a.b (3).txt"]);
        assert_eq!(names_like(".hidden").nth(1), Some(".hidden (2)".to_owned()));
    }

    #[test]
    fn what_is_written_into_while_it_is_copied_is_copied_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = crate::root::Root::new(root.path().to_owned(), false).open().unwrap().dir(&RelPath::root()).unwrap();
        let file = root.path().join("f");
        std::fs::write(&file, "old").unwrap();
        let source = OwnedFd::from(std::fs::File::open(&file).unwrap());
        let copy = |count: u32, writes: u32| {
            let name = format!("copy{count}");
            std::fs::copy(&file, root.path().join(&name)).unwrap();
            if count <= writes {
                std::fs::write(&file, format!("write {count}, which is longer than the one before")).unwrap();
                std::fs::File::options().append(true).open(&file).unwrap().set_len(100 + u64::from(count)).unwrap();
            }
            Ok(Place { dir: dir.clone(), name })
        };
        let mut count = 0;
        let mut copies = |writes| {
            count = 0;
            let outcome = until_still(&source, |_| {
                count += 1;
                copy(count, writes)
            });
            (outcome, std::fs::read_dir(root.path()).unwrap().count())
        };
        assert_eq!(copies(u32::MAX), (Err(Errno::BUSY), 1), "no copy of the middle of it stays");
        assert_eq!(copies(1), (Ok(()), 2));
        assert_eq!(std::fs::read(root.path().join("copy2")).unwrap(), std::fs::read(&file).unwrap());
    }

    #[test]
    fn a_version_that_a_crash_left_held_goes_to_the_trash() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let held = RelPath::parse(&format!("d/{}", held_name())).unwrap();
        std::fs::write(dir.path().join(held.as_str()), "theirs").unwrap();
        let handle = crate::root::Root::new(dir.path().to_owned(), false).open().unwrap();
        recover(&handle, &held).unwrap();
        let rounds = std::fs::read_dir(dir.path().join(".wl-trash")).unwrap().next().unwrap().unwrap();
        let kept = std::fs::read_dir(rounds.path().join("d")).unwrap().next().unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(kept.path()).unwrap(), "theirs");
        assert!(!kept.file_name().to_string_lossy().starts_with('.'), "it must be listed");
    }
}
