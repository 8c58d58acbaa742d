//! Giving a finished content its name, and taking a version away, only if the name still holds what was expected.

use std::sync::Arc;

use rustix::io::Errno;
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::part::{Part, held_name};
use crate::rename::{exchange, move_new};
use crate::root::{Dir, Handle, keep_an_eye_on, need_file, refused_if_gone};
use crate::seen::Seen;
use crate::sys;
use crate::trash::{Place, Trash};

/// Looks whether a path holds what is expected; returns the file that is there.
pub fn check(dir: &Dir, path: &RelPath, guard: &Guard) -> Result<Option<Seen>> {
    let found = match sys::seen_at(rustix::fd::AsFd::as_fd(dir), path.name()) {
        Err(Errno::NOENT) => None,
        found => Some(found.map_err(|errno| error(errno, path))?),
    };
    match (found, guard) {
        (None, Guard::Absent) => Ok(None),
        (None, Guard::Unchanged(_)) => Err(Error::changed(path)),
        (Some(seen), guard) => {
            need_file(&seen, path)?;
            match guard {
                Guard::Unchanged(token) if seen.is(token) => Ok(Some(seen)),
                _ => Err(Error::changed(path)),
            }
        }
    }
}

/// A finished content and where it belongs.
pub struct Finished {
    pub handle: Arc<Handle>,
    pub part: Part,
    pub path: RelPath,
}

impl Finished {
    /// Takes the name if it still holds what `guard` says.
    pub fn publish(mut self, guard: &Guard, trash: &Trash) -> Result<Entry> {
        let target = Place { dir: self.part.dir().clone(), name: self.path.name().to_owned() };
        let old = check(&target.dir, &self.path, guard)?;
        let sealed = sys::seen_of(&**self.part.fd()).map_err(|errno| self.error(errno))?;
        match old {
            None => {
                let part = Place { dir: target.dir.clone(), name: self.part.name().to_owned() };
                move_new(&self.handle.nature, &part, &target).map_err(|errno| self.error(errno))?;
                self.part.renamed();
            }
            Some(old) => self.swap(&old, &sealed, &target, trash)?,
        }
        self.written(&sealed)
    }

    /// Exchanges the content with the version that is expected under the name.
    ///
    /// The content first goes to where the old version shall be kept, so that the exchange itself keeps it: a crash
    /// never leaves the only copy of a user's version under a name that is swept.
    ///
    /// RACE: who rewrites the old version in place, with as many bytes, and sets its modification time back, between the
    /// last look at it and the exchange a few microseconds later is not noticed, because the exchange changes the change
    /// time too. Worst outcome: that rewrite is found in the trash, or lost where there is none. Who has the old version
    /// open and goes on writing into it after the exchange writes into the trash.
    fn swap(&mut self, old: &Seen, sealed: &Seen, target: &Place, trash: &Trash) -> Result<()> {
        let open = keep_an_eye_on(&target.dir, &self.path, old)?;
        let part = Place { dir: target.dir.clone(), name: self.part.name().to_owned() };
        let held = trash.take_in(&part).map_err(|errno| self.error(errno))?;
        self.part.renamed();
        match exchange(&self.handle.nature, &held, target) {
            Ok(true) => {}
            Ok(false) => {
                // Where it cannot be exchanged it is moved away, then the new one takes the free name.
                self.unhold(&held, &part)?;
                return self.step_in(old, &part, target, trash);
            }
            Err(errno) => {
                self.unhold(&held, &part)?;
                return Err(refused_if_gone(errno, &self.path));
            }
        }
        let came_out = held.look().map_err(|errno| self.error(errno))?;
        let still = sys::seen_of(&open).map_err(|errno| self.error(errno))?;
        if came_out.same_but_renamed(old) && still.same_but_renamed(old) {
            return trash.settle(&held).map_err(|errno| self.error(errno));
        }
        self.swap_back(&held, sealed, target, trash);
        Err(Error::changed(&self.path))
    }

    /// Somebody else's version came out: it goes back. If by then yet another took the name, that one, the newest, has
    /// it, and what came out is kept in the trash.
    fn swap_back(&mut self, held: &Place, sealed: &Seen, target: &Place, trash: &Trash) {
        let back = || exchange(&self.handle.nature, held, target);
        let ours = |place: &Place| place.look().is_ok_and(|seen| seen.same_but_renamed(sealed));
        if back() != Ok(true) {
            // The name is gone: its deletion is the newest, and what came out is kept.
            trash.rescue(held, &self.path);
        } else if ours(held) {
            let _ = rustix::fs::unlinkat(&*held.dir, &held.name, rustix::fs::AtFlags::empty());
        } else {
            let _ = back();
            trash.rescue(held, &self.path);
        }
    }

    /// Takes the part back from where it was to wait for the exchange.
    fn unhold(&mut self, held: &Place, part: &Place) -> Result<()> {
        move_new(&self.handle.nature, held, part).map_err(|errno| self.error(errno))?;
        self.part.is_back();
        Ok(())
    }

    /// RACE: between the two renames the name is free: a reader finds nothing, and a crash leaves the old version in the
    /// trash only. Only on file systems that cannot exchange, which `Facts` says.
    fn step_in(&mut self, before: &Seen, part: &Place, target: &Place, trash: &Trash) -> Result<()> {
        let held = take_away(&self.handle, before, target, &self.path, trash)?;
        if let Err(errno) = move_new(&self.handle.nature, part, target) {
            if move_new(&self.handle.nature, &held, target).is_err() {
                trash.rescue(&held, &self.path);
            }
            return Err(self.error(errno));
        }
        self.part.renamed();
        trash.settle(&held).map_err(|errno| self.error(errno))
    }

    /// What stands there now. If somebody has changed it since, the entry is that of what was written, which no later
    /// look will find.
    fn written(&self, sealed: &Seen) -> Result<Entry> {
        let seen = sys::seen_of(&**self.part.fd()).map_err(|errno| self.error(errno))?;
        let seen = if seen.same_but_renamed(sealed) { &seen } else { sealed };
        self.handle.clock(seen).entry(seen).ok_or_else(|| Error::changed(&self.path))
    }

    fn error(&self, errno: Errno) -> Error {
        match errno {
            Errno::EXIST => Error::changed(&self.path),
            _ => error(errno, &self.path),
        }
    }
}

/// Moves the expected version away from its name, to where it is kept or held.
fn take_away(handle: &Arc<Handle>, before: &Seen, from: &Place, path: &RelPath, trash: &Trash) -> Result<Place> {
    let held = trash.take_in(from).map_err(|errno| refused_if_gone(errno, path))?;
    let came_out = held.look().map_err(|errno| error(errno, path))?;
    if came_out.same_but_renamed(before) {
        return Ok(held);
    }
    if move_new(&handle.nature, &held, from).is_err() {
        trash.rescue(&held, path);
    }
    Err(Error::changed(path))
}

/// Deletes that version of a file, or keeps it in the trash.
///
/// RACE: as for an exchange, a rewrite in place of the same size with its modification time set back in the microseconds
/// before the rename goes unnoticed, into the trash if there is one.
pub fn remove(handle: &Arc<Handle>, path: &RelPath, token: &Token, trash: &Trash) -> Result<Arc<Dir>> {
    let dir = handle.parent(path)?;
    let Some(seen) = check(&dir, path, &Guard::Unchanged(token.clone()))? else { return Err(Error::changed(path)) };
    let from = Place { dir: dir.clone(), name: path.name().to_owned() };
    let held = take_away(handle, &seen, &from, path, trash)?;
    trash.settle(&held).map_err(|errno| error(errno, path))?;
    Ok(dir)
}

/// Moves that version of a file to a name where nothing is.
pub fn move_within(
    handle: &Arc<Handle>,
    from: &RelPath,
    token: &Token,
    to: &RelPath,
) -> Result<(Entry, [Arc<Dir>; 2])> {
    let dirs = [handle.parent(from)?, handle.parent(to)?];
    let Some(before) = check(&dirs[0], from, &Guard::Unchanged(token.clone()))? else {
        return Err(Error::changed(from));
    };
    let [source, target] =
        [(&dirs[0], from), (&dirs[1], to)].map(|(dir, path)| Place { dir: dir.clone(), name: path.name().to_owned() });
    let moved = match move_new(&handle.nature, &source, &target) {
        Err(Errno::EXIST) => change_case(handle, &before, &source, &target),
        moved => moved,
    };
    moved.map_err(|errno| match errno {
        Errno::EXIST => Error::new(Fault::Refused, "something is there already").at(to),
        Errno::NOENT => Error::changed(from),
        Errno::XDEV => Error::new(Fault::Unsupported, "it lies on another file system mounted below the root").at(to),
        _ => error(errno, to),
    })?;
    let moved = target.look().map_err(|errno| refused_if_gone(errno, to))?;
    if !moved.same_but_renamed(&before) {
        // Whatever it is goes back, unless the name is taken again: then both stay.
        let _ = move_new(&handle.nature, &target, &source);
        return Err(Error::changed(from));
    }
    let entry = handle.clock(&moved).entry(&moved).ok_or_else(|| Error::changed(to))?;
    Ok((entry, dirs))
}

/// Renames a file to another case where the file system takes both names for one: by way of a third.
fn change_case(handle: &Handle, before: &Seen, source: &Place, target: &Place) -> Result<(), Errno> {
    if target.look()?.ino != before.ino {
        return Err(Errno::EXIST);
    }
    let held = Place { dir: source.dir.clone(), name: held_name() };
    move_new(&handle.nature, source, &held)?;
    move_new(&handle.nature, &held, target).inspect_err(|_| {
        // Unless the name is taken again: then both stay.
        let _ = move_new(&handle.nature, &held, source);
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::root::Root;

    fn finished(handle: &Arc<Handle>, path: &RelPath, text: &str) -> Finished {
        let part = Part::create(&handle.parent(path).unwrap()).unwrap();
        rustix::io::write(&**part.fd(), text.as_bytes()).unwrap();
        Finished { handle: handle.clone(), part, path: path.clone() }
    }

    /// With and without what a file system may lack, and with and without a trash.
    #[test]
    fn every_way_to_take_a_name_does_the_same() {
        for (no_replace, swap, keep) in
            [(true, true, true), (true, true, false), (true, false, true), (false, false, true), (false, false, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let handle = Root::new(dir.path().to_owned(), false).open().unwrap();
            handle.nature.no_replace.store(no_replace, Ordering::Relaxed);
            handle.nature.exchange.store(swap, Ordering::Relaxed);
            let (f, kept) = (RelPath::parse("f").unwrap(), RelPath::parse(".wl-trash/f").unwrap());
            let trash = || Trash::new(&handle, keep.then_some(&kept));
            let one = finished(&handle, &f, "one").publish(&Guard::Absent, &trash()).unwrap();
            assert!(finished(&handle, &f, "no").publish(&Guard::Absent, &trash()).is_err());
            let guard = Guard::Unchanged(one.token);
            let two = finished(&handle, &f, "two").publish(&guard, &trash()).unwrap();
            assert!(finished(&handle, &f, "no").publish(&guard, &trash()).is_err());
            assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "two");
            assert_eq!(fs::read_to_string(dir.path().join(".wl-trash/f")).ok().as_deref(), keep.then_some("one"));
            remove(&handle, &f, &two.token, &trash()).unwrap();
            let left = fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(left, usize::from(keep), "nothing but the trash");
        }
    }

    /// The moment between the last look and the exchange, made as long as needed.
    #[test]
    fn whoever_came_between_gets_the_name_back() {
        for keep in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let handle = Root::new(dir.path().to_owned(), false).open().unwrap();
            let (f, kept) = (RelPath::parse("f").unwrap(), RelPath::parse(".wl-trash/f").unwrap());
            let trash = Trash::new(&handle, keep.then_some(&kept));
            fs::write(dir.path().join("f"), "seen").unwrap();
            let old = handle.look(&f).unwrap().unwrap();
            fs::write(dir.path().join("f"), "user's newer").unwrap();
            let target = Place { dir: handle.parent(&f).unwrap(), name: "f".to_owned() };
            assert!(take_away(&handle, &old, &target, &f, &trash).is_err());
            assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "user's newer");

            let mut ours = finished(&handle, &f, "ours");
            let sealed = sys::seen_of(&**ours.part.fd()).unwrap();
            let part = Place { dir: target.dir.clone(), name: ours.part.name().to_owned() };
            let held = trash.take_in(&part).unwrap();
            ours.part.renamed();
            assert_eq!(exchange(&handle.nature, &held, &target), Ok(true));
            // A user saves again while the wrong version is about to go back: the newest stays, the other is kept.
            fs::write(dir.path().join("tmp"), "user's newest").unwrap();
            fs::rename(dir.path().join("tmp"), dir.path().join("f")).unwrap();
            ours.swap_back(&held, &sealed, &target, &trash);
            assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "user's newest");
            let kept = if keep {
                dir.path().join(".wl-trash/f")
            } else {
                fs::read_dir(dir.path().join(".wl-trash")).unwrap().next().unwrap().unwrap().path().join("f")
            };
            assert_eq!(fs::read_to_string(kept).unwrap(), "user's newer");
        }
    }
}
