//! Safe replace with what another program makes of the present version: it works on a copy, under a part name.
//!
//! What it made is hashed before it is given a name: nothing else is believed.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use wl_core::backend::{Guard, Written};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Local;
use crate::error::error;
use crate::part::Part;
use crate::publish::{Finished, check};
use crate::read::Version;
use crate::root::{Handle, Root};
use crate::seen::Seen;
use crate::{sys, write};

/// What is hashed at a time.
const PIECE: usize = 256 << 10;

/// Where a program is to work.
#[derive(Debug, Clone)]
pub struct Copy {
    /// A directory, as it is open here: nobody can put another in its place.
    pub dir: PathBuf,
    /// The copy's name there.
    pub name: String,
}

struct Begun {
    handle: Arc<Handle>,
    part: Part,
    old: Seen,
    path: RelPath,
}

impl Local {
    /// Replaces that version, as [`replace`](wl_core::backend::Backend::replace) does, with what `change` makes of a copy
    /// of it, if that has this sha256 then; none if it has not, or `change` tells no meta data, and nothing has changed.
    pub async fn patch<F>(
        &self,
        path: &RelPath,
        token: &Token,
        hash: Hash,
        trash: Option<&RelPath>,
        change: impl FnOnce(Copy) -> F + Send,
    ) -> Result<Option<Written>>
    where
        F: Future<Output = Result<Option<Meta>>> + Send,
    {
        let _turn = self.writers.acquire().await.map_err(|_| Error::stopped())?;
        let (root, at, version) = (self.root.clone(), path.clone(), token.clone());
        let begin = move |called_off: &dyn Fn() -> bool| begin(&root, &at, &version, called_off);
        let Some(work) = self.pool.run_long(begin).await? else { return Ok(None) };
        let fd = work.part.dir().as_fd().as_raw_fd();
        let dir = PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()));
        let copy = Copy { dir, name: work.part.name().to_owned() };
        let Some(meta) = change(copy).await? else { return Ok(None) };
        let finish = move |called_off: &dyn Fn() -> bool| work.finish(&meta, hash, called_off);
        let Some(finished) = self.pool.run_long(finish).await? else { return Ok(None) };
        let guard = Guard::Unchanged(token.clone());
        write::publish(self, finished, &guard, trash).await.map(|entry| Some(Written { entry, hash }))
    }
}

/// A copy of the present version under a part name; none where the system cannot copy.
fn begin(root: &Root, path: &RelPath, token: &Token, called_off: &dyn Fn() -> bool) -> Result<Option<Begun>> {
    let handle = root.open_to_change()?;
    let dir = handle.parent(path)?;
    let Some(old) = check(&dir, path, &Guard::Unchanged(token.clone()))? else { return Err(Error::changed(path)) };
    let version = Version::open(&handle, path, token)?;
    let part = Part::create(&dir).map_err(|errno| error(errno, path))?;
    let copied = copy(&version, part.fd().as_fd(), called_off).map_err(|errno| error(errno, path))?;
    if called_off() {
        return Err(Error::stopped());
    }
    Ok(copied.then(|| Begun { handle, part, old, path: path.clone() }))
}

/// False where the system cannot, or there is less than there was. Nothing depends on what exactly is copied.
fn copy(version: &Version, part: BorrowedFd<'_>, called_off: &dyn Fn() -> bool) -> Result<bool, Errno> {
    if sys::share(version.fd(), part) {
        return Ok(true);
    }
    let (mut at, size) = (0, version.size());
    while at < size && !called_off() {
        let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(64 << 20);
        match sys::copy_piece(version.fd(), part, at, wanted)? {
            None | Some(0) => return Ok(false),
            Some(count) => at += count as u64,
        }
    }
    Ok(true)
}

impl Begun {
    /// The part as it is to be published; none if it is not what it should be.
    fn finish(self, meta: &Meta, expected: Hash, called_off: &dyn Fn() -> bool) -> Result<Option<Finished>> {
        let failed = |errno| error(errno, &self.path);
        let named = sys::seen_at(self.part.dir().as_fd(), self.part.name()).map_err(failed)?;
        if named.ino != sys::seen_of(&**self.part.fd()).map_err(failed)?.ino {
            return Err(Error::new(Fault::Broken, "another file took the place of the copy").at(&self.path));
        }
        let Some(hash) = hash(self.part.fd().as_fd(), called_off).map_err(failed)? else {
            return Err(Error::stopped());
        };
        if hash != expected {
            return Ok(None);
        }
        self.part.dress(meta, Some(&self.old), self.handle.nature.usual_mode).map_err(failed)?;
        Ok(Some(Finished { handle: self.handle, part: self.part, path: self.path }))
    }
}

/// The sha256 of all that a file holds; none if that was called off.
fn hash(file: BorrowedFd<'_>, called_off: &dyn Fn() -> bool) -> Result<Option<Hash>, Errno> {
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; PIECE], 0);
    while !called_off() {
        match rustix::io::pread(file, &mut buffer[..], at) {
            Ok(0) => return Ok(Some(Hash(hasher.finalize().into()))),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}
