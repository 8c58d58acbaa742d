//! Safe replace with a version that another directory of this system holds: its content is shared where the file system
//! can, else the system copies it, and this program only reads it once, for its hash.
//!
//! What is hashed is the new file, for the same reason as when it is written: the hash is proven of what this storage
//! holds, whatever happens to the old one meanwhile.

use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use wl_core::backend::{Guard, Written};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Local;
use crate::error::error;
use crate::part::Part;
use crate::publish::{Finished, check};
use crate::read::Version;
use crate::root::Root;
use crate::{sys, write};

/// What is copied and hashed at a time, so that it is hashed while it is still in the processor's cache.
const PIECE: usize = 256 << 10;

/// Replaces what `guard` expects; none where the system cannot copy.
pub async fn replace(
    local: &Local,
    path: &RelPath,
    (version, hash): (Version, Option<Hash>),
    guard: &Guard,
    trash: Option<&RelPath>,
    passed: impl Fn(u64) + Send + 'static,
) -> Result<Option<Written>> {
    let _turn = local.writers.acquire().await.map_err(|_| Error::stopped())?;
    let (root, at, expected) = (local.root.clone(), path.clone(), guard.clone());
    let take = move |called_off: &dyn Fn() -> bool| {
        let progress = Progress { passed: &passed, called_off };
        take(&root, &at, &version, &expected, &progress)
    };
    let Some((finished, found)) = local.pool.run_long(take).await? else { return Ok(None) };
    if hash.is_some_and(|expected| expected != found) {
        let what = "the content does not have the sha256 it should have: it changed meanwhile";
        return Err(Error::new(Fault::Refused, what).at(path));
    }
    let entry = write::publish(local, finished, guard, trash).await?;
    Ok(Some(Written { entry, hash: found }))
}

struct Progress<'a> {
    passed: &'a dyn Fn(u64),
    called_off: &'a dyn Fn() -> bool,
}

/// The version in a part file that can take the name of `path`, and its hash.
fn take(
    root: &Root,
    path: &RelPath,
    version: &Version,
    guard: &Guard,
    progress: &Progress<'_>,
) -> Result<Option<(Finished, Hash)>> {
    let handle = root.open_to_change()?;
    let dir = handle.parent(path)?;
    let old = check(&dir, path, guard)?;
    let meta = version.meta()?;
    let part = Part::create(&dir).map_err(|errno| error(errno, path))?;
    let Some(hash) = copy(version, part.fd().as_fd(), path, progress)? else { return Ok(None) };
    part.dress(&meta, old.as_ref(), handle.nature.usual_mode).map_err(|errno| error(errno, path))?;
    Ok(Some((Finished { handle, part, path: path.clone() }, hash)))
}

/// Copies and hashes; none where the system cannot copy.
fn copy(version: &Version, part: BorrowedFd<'_>, path: &RelPath, progress: &Progress<'_>) -> Result<Option<Hash>> {
    let (source, size) = (version.fd(), version.size());
    let shared = sys::share(source, part);
    if shared {
        // The whole content of one moment: what becomes of the old file from now on does not matter.
        version.check()?;
    } else {
        sys::sequential(source);
        sys::allocate(part, size).map_err(|errno| error(errno, path))?;
    }
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; PIECE], 0);
    while at < size {
        if (progress.called_off)() {
            return Err(Error::stopped());
        }
        let wanted = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        let there = if shared { Ok(Some(wanted)) } else { sys::copy_piece(source, part, at, wanted) };
        let there = match there {
            Ok(Some(count @ 1..)) => count,
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(error(errno, path)),
            // Read and written, it shows which of the two files is at fault, if any.
            _ => return version.check().map(|()| None),
        };
        let read = rustix::io::pread(part, &mut buffer[..there], at);
        let count = match read {
            Err(Errno::INTR) => 0,
            Ok(0) => return Err(Error::changed(path)),
            read => read.map_err(|errno| error(errno, path))?,
        };
        hasher.update(&buffer[..count]);
        (progress.passed)(count as u64);
        at += count as u64;
    }
    if !shared {
        version.check()?;
    }
    Ok(Some(Hash(hasher.finalize().into())))
}
