//! Renames that never replace, and exchanges, with what comes nearest where a file system has them not.

use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

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
            rustix::fs::unlinkat(&*from.dir, &from.name, AtFlags::empty())
        }
        Err(errno) if unsupported(errno) || errno == Errno::PERM => move_checked(nature, from, to),
        Err(errno) => Err(errno),
    }
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
