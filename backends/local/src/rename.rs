//! Renames that never replace, and exchanges, with what comes nearest where a file system has them not.

use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::part::held_name;
use crate::root::Nature;
use crate::trash::Place;

/// What a file system answers that does not know a kind of rename.
fn unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Moves a file to a name where nothing is; `EXIST` if something is there.
pub fn move_new(nature: &Nature, from: &Place, to: &Place) -> Result<(), Errno> {
    if nature.no_replace.load(Ordering::Relaxed) {
        match rustix::fs::renameat_with(&*from.dir, &from.name, &*to.dir, &to.name, RenameFlags::NOREPLACE) {
            Err(errno) if unsupported(errno) => {}
            done => return done,
        }
    }
    match rustix::fs::linkat(&*from.dir, &from.name, &*to.dir, &to.name, AtFlags::empty()) {
        Ok(()) => {
            nature.no_replace.store(false, Ordering::Relaxed);
            unlink_moved(from, to)
        }
        Err(errno) if unsupported(errno) || errno == Errno::PERM => move_checked(nature, from, to),
        Err(errno) => Err(errno),
    }
}

/// Takes the first name from a file that has a second one now. Whoever has put another file under it meanwhile keeps that:
/// it is told by moving it aside first.
///
/// RACE: that other file has no name for a moment.
fn unlink_moved(from: &Place, to: &Place) -> Result<(), Errno> {
    let aside = Place { dir: from.dir.clone(), name: held_name() };
    match rustix::fs::renameat(&*from.dir, &from.name, &*aside.dir, &aside.name) {
        Err(Errno::NOENT) => return Ok(()),
        done => done?,
    }
    let id = |place: &Place| place.look().map(|seen| (seen.dev, seen.ino));
    if id(&aside)? != id(to)? {
        match rustix::fs::linkat(&*aside.dir, &aside.name, &*from.dir, &from.name, AtFlags::empty()) {
            // There is a still newer one, which would have replaced it.
            Ok(()) | Err(Errno::EXIST) => {}
            other => return other,
        }
    }
    rustix::fs::unlinkat(&*aside.dir, &aside.name, AtFlags::empty())
}

/// RACE: a file that appears between the look and the rename is replaced, and its content lost. Only on file systems
/// that can neither rename without replacing nor link, which `Facts` says.
fn move_checked(nature: &Nature, from: &Place, to: &Place) -> Result<(), Errno> {
    match to.look() {
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::renameat(&*from.dir, &from.name, &*to.dir, &to.name)?;
    nature.no_replace.store(false, Ordering::Relaxed);
    Ok(())
}

/// Exchanges two files in one step; false if the file system cannot.
pub fn exchange(nature: &Nature, a: &Place, b: &Place) -> Result<bool, Errno> {
    if !nature.exchange.load(Ordering::Relaxed) {
        return Ok(false);
    }
    match rustix::fs::renameat_with(&*a.dir, &a.name, &*b.dir, &b.name, RenameFlags::EXCHANGE) {
        Err(errno) if unsupported(errno) => {
            nature.exchange.store(false, Ordering::Relaxed);
            Ok(false)
        }
        done => done.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wl_core::path::RelPath;

    use super::*;
    use crate::root::Root;

    /// The moment between the link and the end of the first name, made as long as needed.
    #[test]
    fn whoever_takes_a_name_that_is_being_left_keeps_it() {
        for newer in [None, Some("newer")] {
            let dir = tempfile::tempdir().unwrap();
            let handle = Root::new(dir.path().to_owned(), false).open().unwrap();
            let root = handle.dir(&RelPath::root()).unwrap();
            let [from, to] = ["from", "to"].map(|name| Place { dir: root.clone(), name: name.to_owned() });
            fs::write(dir.path().join("from"), "old").unwrap();
            fs::hard_link(dir.path().join("from"), dir.path().join("to")).unwrap();
            if let Some(newer) = newer {
                fs::write(dir.path().join("tmp"), newer).unwrap();
                fs::rename(dir.path().join("tmp"), dir.path().join("from")).unwrap();
            }
            unlink_moved(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("from")).ok().as_deref(), newer);
            assert_eq!(fs::read_to_string(dir.path().join("to")).unwrap(), "old");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + usize::from(newer.is_some()), "nothing else");
        }
    }
}
