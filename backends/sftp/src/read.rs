//! Reading a version: many reads in flight, in order, resumed when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesOrdered;
use futures::{StreamExt as _, join};
use sha2::{Digest as _, Sha256};
use wl_core::backend::Reading;
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::facts::meet;
use crate::root::{At, Found, Root, refused_if_gone};
use crate::seen::{Seen, size_in};
use crate::ssh::{Answer, Failure, Handle};
use crate::wire::{Attrs, OpenFlags};

/// Bytes in flight of one file.
const WINDOW: u64 = 8 << 20;
/// So much is handed out at a time: each piece is work for whoever takes it.
const HANDED: usize = 256 << 10;
/// A file up to this size is read at once.
const SMALL: u64 = 256 << 10;
/// Connections lost in a row, without a byte read in between, before giving up.
const ATTEMPTS: u32 = 6;
/// How often to look whether a file is young no longer.
const POLL: Duration = Duration::from_millis(100);

/// The bytes of that version from an offset on.
pub async fn read(root: &Arc<Root>, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
    root.prepare_for(size_in(token).unwrap_or(0).saturating_sub(from)).await?;
    let (file, seen) = root.attempt(|at, _| async move { open(root, &at, path, token).await }).await?;
    let meta = seen.meta();
    let rest = seen.size.saturating_sub(from);
    if rest <= SMALL {
        let bytes = match small(root, &file, &seen, from, path).await {
            Err(error) if error.fault == Fault::Offline && file.link().is_lost() => {
                let again = |at: At, _| async move {
                    let (file, seen) = open(root, &at, path, token).await?;
                    small(root, &file, &seen, from, path).await
                };
                root.attempt(again).await?
            }
            done => done?,
        };
        let once = futures::stream::once(std::future::ready(Ok(bytes)));
        return Ok(Reading { meta, body: once.filter(|piece| std::future::ready(has_bytes(piece))).boxed() });
    }
    let (root, path, token) = (root.clone(), path.clone(), token.clone());
    let pieces = FuturesOrdered::new();
    let reader = Reader { root, path, token, file: Arc::new(file), seen, at: from, asked: from, pieces, lost: 0 };
    let body = futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Reading { meta, body: body.boxed() })
}

fn has_bytes(piece: &Result<Bytes>) -> bool {
    piece.as_ref().map_or(true, |bytes| !bytes.is_empty())
}

/// Opens that version. It is looked at first: opening a named pipe would wait for its other end.
async fn open(root: &Arc<Root>, at: &At, path: &RelPath, token: &Token) -> Result<(Handle, Seen)> {
    let mut met = false;
    let seen = loop {
        let seen = match at.look(path).await? {
            Found::Seen(seen) if seen.is(token) => seen,
            Found::Nothing => return Err(Error::missing(path)),
            Found::Seen(_) | Found::Behind(_) => return Err(Error::changed(path)),
        };
        if seen.size <= SMALL || !root.clock.is_young(seen.mtime) {
            break seen;
        }
        // It could change now and keep its date, and a mixture would be read: by then the date says so. A small file is
        // read twice instead.
        if !std::mem::replace(&mut met, true) && root.clock.is_due() {
            meet(root).await?;
        }
        tokio::time::sleep(POLL).await;
    };
    let opened = at.link.open(&at.full(path), OpenFlags::READ, Attrs::default()).await;
    Ok((opened.map_err(|failure| refused_if_gone(&failure, path))?, seen))
}

/// Reads a small file, twice if it is young: what is the same both times is no mixture.
async fn small(root: &Root, file: &Handle, seen: &Seen, from: u64, path: &RelPath) -> Result<Bytes> {
    let failed = |failure: Failure| match failure {
        // Shorter than it was.
        Failure::Link(error) if error.fault == Fault::Refused => error.at(path),
        failure => error(&failure, path),
    };
    let link = file.link();
    let length = seen.size.saturating_sub(from);
    let (bytes, after) = join!(range(file, from, length), link.fstat(file));
    let (bytes, mut after) = (bytes.map_err(failed)?.concat(), after);
    if root.clock.is_young(seen.mtime) {
        let again;
        (again, after) = join!(range(file, from, length), link.fstat(file));
        if again.map_err(failed)?.concat() != bytes {
            return Err(Error::changed(path));
        }
    }
    match after.map(|attrs| Seen::of(&attrs)) {
        Ok(after) if after.same(seen) => Ok(bytes.into()),
        Ok(_) => Err(Error::changed(path)),
        Err(failure) => Err(error(&failure, path)),
    }
}

/// All bytes of a range, in pieces, asked for in one go. `Refused` if the file ends before.
pub async fn range(file: &Handle, from: u64, length: u64) -> Answer<Vec<Bytes>> {
    let size = u64::from(file.link().server().read_size());
    let pieces = (0..length).step_by(usize::try_from(size).unwrap_or(usize::MAX));
    let pieces = pieces.map(|at| piece(file, from + at, size.min(length - at)));
    join_all(pieces).await.into_iter().collect()
}

/// Exactly these bytes: a server may answer fewer than it was asked for.
async fn piece(file: &Handle, from: u64, length: u64) -> Answer<Bytes> {
    let ask = |done: u64| {
        let rest = u32::try_from(length - done).unwrap_or(u32::MAX);
        async move { file.link().read(file, from + done, rest).await }
    };
    let ended = || Failure::Link(Error::new(Fault::Refused, "it changed meanwhile"));
    let first = ask(0).await?.ok_or_else(ended)?;
    if first.len() as u64 == length {
        return Ok(first);
    }
    let mut bytes = first.to_vec();
    while (bytes.len() as u64) < length {
        bytes.extend_from_slice(&ask(bytes.len() as u64).await?.ok_or_else(ended)?);
    }
    Ok(bytes.into())
}

/// The sha256 of the first bytes of an open file.
pub async fn hash_of(file: &Handle, size: u64) -> Answer<Hash> {
    let step = u64::from(file.link().server().read_size());
    let (mut hasher, mut pieces, mut asked) = (Sha256::new(), FuturesOrdered::new(), 0);
    loop {
        while asked < size && (pieces.len() as u64) < WINDOW / step {
            let length = step.min(size - asked);
            pieces.push_back(piece(file, asked, length));
            asked += length;
        }
        match pieces.next().await {
            Some(bytes) => hasher.update(&bytes?),
            None => return Ok(Hash(hasher.finalize().into())),
        }
    }
}

type Piece = BoxFuture<'static, (Answer<Bytes>, Option<Answer<Attrs>>)>;

/// A large file on its way.
struct Reader {
    root: Arc<Root>,
    path: RelPath,
    token: Token,
    file: Arc<Handle>,
    seen: Seen,
    /// Where the next piece handed out begins.
    at: u64,
    /// Where the next piece asked for begins.
    asked: u64,
    pieces: FuturesOrdered<Piece>,
    lost: u32,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut gathered = BytesMut::with_capacity(HANDED);
        while gathered.len() < HANDED {
            self.ask();
            let Some((bytes, after)) = self.pieces.next().await else { break };
            match bytes.and_then(|bytes| Ok((bytes, after.transpose()?))) {
                Ok((_, Some(after))) if !Seen::of(&after).same(&self.seen) => return Err(Error::changed(&self.path)),
                Ok((bytes, _)) => {
                    self.at += bytes.len() as u64;
                    self.lost = 0;
                    gathered.extend_from_slice(&bytes);
                }
                Err(Failure::Link(error)) if error.fault == Fault::Offline => self.reconnect(error).await?,
                Err(Failure::Link(error)) => return Err(error.at(&self.path)),
                Err(failure) => return Err(error(&failure, &self.path)),
            }
        }
        Ok(Some(gathered.freeze()).filter(|gathered| !gathered.is_empty()))
    }

    /// Asks ahead. With the last piece comes a look at the file: it is handed out only if that still is the version.
    fn ask(&mut self) {
        let step = u64::from(self.file.link().server().read_size());
        while self.asked < self.seen.size && self.asked - self.at < WINDOW {
            let (from, length) = (self.asked, step.min(self.seen.size - self.asked));
            let (file, last) = (self.file.clone(), from + length == self.seen.size);
            self.pieces.push_back(Box::pin(async move {
                let look = async { if last { Some(file.link().fstat(&file).await) } else { None } };
                join!(piece(&file, from, length), look)
            }));
            self.asked += length;
        }
    }

    /// Goes on where it was on another connection, if it still is that version.
    async fn reconnect(&mut self, error: Error) -> Result<()> {
        let mut error = error;
        loop {
            self.lost += 1;
            if self.lost >= ATTEMPTS {
                return Err(error.at(&self.path));
            }
            tracing::debug!(path = %self.path, "the connection was lost during a download: it goes on with another");
            let at = self.root.open().await?;
            match open(&self.root, &at, &self.path, &self.token).await {
                // What cut the one may have cut this one, too, which nobody has noticed yet.
                Err(again) if again.fault == Fault::Offline && at.link.is_lost() => error = again,
                opened => {
                    let (file, seen) = opened?;
                    (self.file, self.seen, self.asked) = (Arc::new(file), seen, self.at);
                    self.pieces = FuturesOrdered::new();
                    return Ok(());
                }
            }
        }
    }
}
