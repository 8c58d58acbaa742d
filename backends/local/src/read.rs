//! Reading and hashing one version of a file.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Reading;
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::pool::{Pool, Task};
use crate::root::{Handle, Root, refused_if_gone};
use crate::seen::{Seen, size_in};
use crate::sys;

/// What is read at a time; a file up to this size is read in one job.
pub const PIECE: usize = 1 << 20;
const HASH_BUFFER: usize = 256 << 10;

/// One version of a file, open.
///
/// RACE: a program that writes through a memory mapping dates its change when it first touches a page, not with every
/// store; what it stores while the file is read may be read without the token changing. The next change, or its closing,
/// is noticed and read again.
pub struct Version {
    fd: OwnedFd,
    path: RelPath,
    token: Token,
}

impl Version {
    /// Opens a file if it is that version.
    pub fn open(handle: &Handle, path: &RelPath, token: &Token) -> Result<Self> {
        // A pipe that took the file's place must not make us wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = match handle.open(path, flags | sys::no_access_time()) {
            Err(Errno::PERM) => handle.open(path, flags),
            opened => opened,
        };
        let fd = fd.map_err(|errno| refused_if_gone(errno, path))?;
        let version = Self { fd, path: path.clone(), token: token.clone() };
        version.check()?;
        Ok(version)
    }

    /// Fails with `Refused` once it is another version.
    pub fn check(&self) -> Result<()> {
        self.seen().map(drop)
    }

    /// What the system says of it; `Refused` once it is another version.
    fn seen(&self) -> Result<Seen> {
        let seen = sys::seen_of(&self.fd).map_err(|errno| error(errno, &self.path))?;
        if seen.is(&self.token) { Ok(seen) } else { Err(Error::changed(&self.path)) }
    }

    /// What travels beside it.
    pub fn meta(&self) -> Result<Meta> {
        self.seen().map(|seen| seen.meta())
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        size_in(&self.token).unwrap_or(0)
    }

    /// The file, open.
    pub fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Fills the buffer from an offset on as far as the file goes.
    pub fn read_at(&self, buffer: &mut [u8], from: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&self.fd, &mut buffer[filled..], from + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno, &self.path)),
            }
        }
        Ok(filled)
    }

    /// The next piece from an offset on; the last one only if it still is that version.
    fn piece(&self, from: u64) -> Result<Bytes> {
        let rest = self.size().saturating_sub(from);
        let mut buffer = vec![0; usize::try_from(rest).unwrap_or(PIECE).min(PIECE)];
        let filled = self.read_at(&mut buffer, from)?;
        if filled < buffer.len() {
            return Err(Error::changed(&self.path));
        }
        if rest <= PIECE as u64 {
            self.check()?;
        }
        Ok(buffer.into())
    }

    fn hash(&self, called_off: &dyn Fn() -> bool) -> Result<Hash> {
        let size = self.size();
        if size > PIECE as u64 {
            sys::sequential(&self.fd);
        }
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(HASH_BUFFER).clamp(1, HASH_BUFFER)];
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < size {
            let filled = self.read_at(&mut buffer, at)?;
            if filled == 0 {
                return Err(Error::changed(&self.path));
            }
            if called_off() {
                return Err(Error::stopped());
            }
            hasher.update(&buffer[..filled]);
            at += filled as u64;
        }
        self.check()?;
        Ok(Hash(hasher.finalize().into()))
    }
}

/// The sha256 of that version.
pub fn hash(pool: &Pool, root: &Arc<Root>, path: &RelPath, token: &Token) -> Task<Hash> {
    let (root, at, token) = (root.clone(), path.clone(), token.clone());
    if size_in(&token).unwrap_or(0) <= PIECE as u64 {
        pool.run(move || Version::open(&*root.open()?, &at, &token)?.hash(&|| false))
    } else {
        pool.run_long(move |called_off| Version::open(&*root.open()?, &at, &token)?.hash(called_off))
    }
}

/// The bytes of that version from an offset on. A small file is read at once; of a large one, one piece ahead.
pub async fn read(pool: &Arc<Pool>, root: &Arc<Root>, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
    let (root, at, token) = (root.clone(), path.clone(), token.clone());
    let size = size_in(&token).unwrap_or(0);
    let first = pool.run(move || {
        let version = Version::open(&*root.open()?, &at, &token)?;
        if size.saturating_sub(from) > PIECE as u64 {
            sys::sequential(&version.fd);
        }
        let (meta, piece) = (version.seen()?.meta(), version.piece(from)?);
        Ok((meta, Arc::new(version), piece))
    });
    let (meta, version, piece) = first.await?;
    let reader = Reader { pool: pool.clone(), version, at: from + piece.len() as u64, next: None };
    let rest = futures::stream::unfold(reader.ahead(), Reader::step);
    Ok(Reading { meta, body: futures::stream::once(std::future::ready(Ok(piece))).chain(rest).boxed() })
}

struct Reader {
    pool: Arc<Pool>,
    version: Arc<Version>,
    at: u64,
    next: Option<Task<Bytes>>,
}

impl Reader {
    /// Begins to read the next piece, if there is one.
    fn ahead(mut self) -> Self {
        if self.at < self.version.size() {
            let (version, at) = (self.version.clone(), self.at);
            self.next = Some(self.pool.run(move || version.piece(at)));
        }
        self
    }

    async fn step(mut self) -> Option<(Result<Bytes>, Self)> {
        let piece = self.next.take()?.await;
        if let Ok(piece) = &piece {
            self.at += piece.len() as u64;
            self = self.ahead();
        }
        Some((piece, self))
    }
}
