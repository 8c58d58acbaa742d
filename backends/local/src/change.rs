//! Changes that need no content from outside: directories, times and modes, copies inside the storage.

use std::sync::Arc;

use rustix::fd::AsFd as _;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::commit::Touched;
use crate::error::error;
use crate::leftovers::sweep_dir;
use crate::part::{Part, set_mode, set_mtime};
use crate::publish::{Finished, check};
use crate::read::Version;
use crate::root::{Dir, Handle, refused_if_gone};
use crate::seen::What;
use crate::sys;
use crate::trash::copy_bytes;

/// Makes a directory, with that mode if it is new.
pub fn make_dir(handle: &Handle, path: &RelPath, meta: &Meta) -> Result<Touched> {
    let dir = handle.parent(path)?;
    match rustix::fs::mkdirat(&*dir, path.name(), Mode::from_raw_mode(0o777)) {
        Ok(()) => {
            let Some(mode) = meta.mode else { return Ok(Touched::only(&dir)) };
            let new = handle.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
            new.and_then(|new| set_mode(new, mode & 0o777)).map_err(|errno| error(errno, path))?;
            Ok(Touched::and_more(&dir))
        }
        Err(Errno::EXIST) => match sys::seen_at(dir.as_fd(), path.name()).map(|seen| seen.what) {
            Ok(What::Dir) => Ok(Touched::only(&dir)),
            Ok(What::File) => Err(Error::new(Fault::Refused, "a file is in the way").at(path)),
            Ok(What::Special(what)) => Err(Error::new(Fault::Refused, format!("a {what} is in the way")).at(path)),
            Err(errno) => Err(refused_if_gone(errno, path)),
        },
        Err(errno) => Err(error(errno, path)),
    }
}

/// Removes a directory that holds nothing, or nothing but what dead writers left.
pub fn remove_dir(handle: &Arc<Handle>, path: &RelPath) -> Result<Arc<Dir>> {
    let dir = handle.parent(path)?;
    let remove = || rustix::fs::unlinkat(&*dir, path.name(), AtFlags::REMOVEDIR);
    let removed = match remove() {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            let inside = handle.dir(path).map_err(|errno| error(errno, path))?;
            sweep_dir(handle, &inside, path).map_err(|errno| error(errno, path))?;
            remove()
        }
        removed => removed,
    };
    match removed {
        Ok(()) => Ok(dir),
        Err(Errno::EXIST) => Err(error(Errno::NOTEMPTY, path)),
        Err(Errno::NOTDIR) => Err(Error::new(Fault::Refused, "it is not a directory").at(path)),
        Err(errno) => Err(error(errno, path)),
    }
}

/// Sets time and mode of that version of a file.
///
/// RACE: a rewrite of the same size between the look and the setting of the time, two system calls later, is taken for
/// the known version from then on. Worst outcome: that rewrite is synced only with the file's next change, or found by
/// `verify`.
pub fn set_meta(handle: &Handle, path: &RelPath, token: &Token, meta: &Meta) -> Result<(Entry, Touched)> {
    let dir = handle.parent(path)?;
    check(&dir, path, &Guard::Unchanged(token.clone()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(&*dir, path.name(), flags, Mode::empty()).map_err(|errno| refused_if_gone(errno, path))?;
    let before = sys::seen_of(&file).map_err(|errno| error(errno, path))?;
    if !before.is(token) {
        return Err(Error::changed(path));
    }
    if let Some(mode) = meta.mode.filter(|mode| mode & 0o777 != before.mode) {
        set_mode(&file, mode & 0o777).map_err(|errno| error(errno, path))?;
    }
    let now = sys::seen_of(&file).map_err(|errno| error(errno, path))?;
    if !now.same_but_renamed(&before) {
        return Err(Error::changed(path));
    }
    if let Some(mtime) = meta.mtime {
        set_mtime(&file, mtime).map_err(|errno| error(errno, path))?;
    }
    let after = sys::seen_of(&file).map_err(|errno| error(errno, path))?;
    let entry = handle.clock(&after).entry(&after).filter(|_| after.size == before.size);
    Ok((entry.ok_or_else(|| Error::changed(path))?, Touched::and_more(&dir)))
}

/// Copies that version of a file into a part file that can take the name `to`.
pub fn copy(handle: &Arc<Handle>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Finished> {
    let dir = handle.parent(to)?;
    check(&dir, to, &Guard::Absent)?;
    let version = Version::open(handle, from, token)?;
    let source = sys::seen_of(version.fd()).map_err(|errno| error(errno, from))?;
    let part = Part::create(&dir).map_err(|errno| error(errno, to))?;
    let copied = copy_bytes(&version.fd(), &**part.fd(), version.size())
        .and_then(|()| part.dress(&source.meta(), None, source.mode))
        .and_then(|()| sys::seen_of(&**part.fd()));
    version.check()?;
    if copied.map_err(|errno| error(errno, to))?.size != version.size() {
        return Err(Error::changed(from));
    }
    Ok(Finished { handle: handle.clone(), part, path: to.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn what_a_sync_of_the_directory_does_not_cover_is_said() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "x").unwrap();
        let handle = Root::new(dir.path().to_owned(), false).open().unwrap();
        let [f, plain, dressed] = ["f", "plain", "dressed"].map(|name| RelPath::parse(name).unwrap());
        let meta = Meta { mtime: None, mode: Some(0o700) };
        let token = Token::new(&handle.look(&f).unwrap().unwrap().token_bytes());
        let (_, touched) = set_meta(&handle, &f, &token, &meta).unwrap();
        assert!(!touched.is_only_names(), "the mode is in the file's inode");
        assert!(!make_dir(&handle, &dressed, &meta).unwrap().is_only_names());
        assert!(make_dir(&handle, &plain, &Meta::default()).unwrap().is_only_names());
    }
}
