//! Reading a version: many reads in flight, in order, resumed when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt as _, join};
use sha2::{Digest as _, Sha256};
use wl_core::backend::Reading;
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::root::{At, Found, Root, refused_if_gone};
use crate::seen::Seen;
use crate::ssh::{Answer, Failure, Handle};
use crate::wire::{Attrs, OpenFlags};

/// Bytes in flight of one file.
const WINDOW: u64 = 8 << 20;
/// A file up to this size is read at once.
const SMALL: u64 = 256 << 10;
/// Connections it is read on at once, and how many bytes after one the next is taken: the cipher of each keeps one
/// processor busy, and a channel brings no more than its window in a round trip.
const LANES: usize = 4;
const WIDEN: u64 = 4 << 20;
/// Connections lost in a row, without a byte read in between, before giving up.
const ATTEMPTS: u32 = 6;
/// How often to look whether a file is young no longer.
const POLL: Duration = Duration::from_millis(100);

/// The bytes of that version from an offset on.
pub async fn read(root: &Arc<Root>, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
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
    let reader = Reader::new(root, path, token, file, seen, from);
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
async fn open(root: &Root, at: &At, path: &RelPath, token: &Token) -> Result<(Handle, Seen)> {
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

type Piece = BoxFuture<'static, (Answer<Bytes>, Vec<Answer<Attrs>>)>;

/// A large file on its way.
struct Reader {
    root: Arc<Root>,
    path: RelPath,
    token: Token,
    lanes: Lanes,
    seen: Seen,
    /// Where the next piece handed out begins.
    at: u64,
    /// Where the next piece asked for begins.
    asked: u64,
    pieces: FuturesOrdered<Piece>,
    lost: u32,
}

impl Reader {
    fn new(root: &Arc<Root>, path: &RelPath, token: &Token, file: Handle, seen: Seen, from: u64) -> Self {
        let (root, path, token) = (root.clone(), path.clone(), token.clone());
        let (lanes, pieces) = (Lanes::new(file, from), FuturesOrdered::new());
        Self { root, path, token, lanes, seen, at: from, asked: from, pieces, lost: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.lanes.widen(&self.root, &self.path, &self.token, self.asked);
            self.ask();
            let Some((bytes, looks)) = self.pieces.next().await else { return Ok(None) };
            match bytes.and_then(|bytes| Ok((bytes, looks.into_iter().collect::<Answer<Vec<_>>>()?))) {
                Ok((_, looks)) if !looks.iter().all(|look| Seen::of(look).same(&self.seen)) => {
                    return Err(Error::changed(&self.path));
                }
                Ok((bytes, _)) => {
                    self.at += bytes.len() as u64;
                    self.lost = 0;
                    return Ok(Some(bytes));
                }
                Err(Failure::Link(error)) if error.fault == Fault::Offline => self.reconnect(error).await?,
                Err(Failure::Link(error)) => return Err(error.at(&self.path)),
                Err(failure) => return Err(error(&failure, &self.path)),
            }
        }
    }

    /// Asks ahead. With the last piece comes a look at the file on each connection, which answers it after all it was
    /// asked for there: that piece is handed out only if every one still is the version.
    fn ask(&mut self) {
        while self.asked < self.seen.size && self.asked - self.at < WINDOW {
            let file = self.lanes.freest();
            let step = u64::from(file.link().server().read_size());
            let (from, length) = (self.asked, step.min(self.seen.size - self.asked));
            let looked_at = if from + length == self.seen.size { self.lanes.open.clone() } else { Vec::new() };
            let piece = async move {
                let looks = join_all(looked_at.iter().map(|file| file.link().fstat(file)));
                join!(piece(&file, from, length), looks)
            };
            // Unconstrained: what yielded would be asked for after the look that is to come last.
            self.pieces.push_back(Box::pin(tokio::task::unconstrained(piece)));
            self.asked += length;
        }
    }

    /// Goes on where it was on another connection, if it still is that version.
    async fn reconnect(&mut self, error: Error) -> Result<()> {
        self.lost += 1;
        if self.lost >= ATTEMPTS {
            return Err(error.at(&self.path));
        }
        tracing::debug!(path = %self.path, "the connection was lost during a download: it goes on with another");
        self.pieces = FuturesOrdered::new();
        let at = self.root.open().await?;
        let (file, seen) = open(&self.root, &at, &self.path, &self.token).await?;
        (self.lanes, self.seen, self.asked) = (Lanes::new(file, self.at), seen, self.at);
        Ok(())
    }
}

/// A version, open on one connection or several.
///
/// RACE: another file that takes the name before the next connection opens it, with the size and the date of the version,
/// is taken for it, as by every look: a mixture is read. Where the sha256 of the version is known it is refused.
struct Lanes {
    open: Vec<Arc<Handle>>,
    opening: Option<BoxFuture<'static, Option<Handle>>>,
    /// When another one is looked for.
    widen_at: u64,
}

impl Lanes {
    fn new(first: Handle, from: u64) -> Self {
        Self { open: vec![Arc::new(first)], opening: None, widen_at: from + WIDEN }
    }

    /// The one with the fewest pieces on their way, each of which holds its file.
    fn freest(&self) -> Arc<Handle> {
        // INVARIANT: there is the first one, always.
        self.open.iter().min_by_key(|lane| Arc::strong_count(lane)).unwrap_or(&self.open[0]).clone()
    }

    /// Takes one more connection where there is one, without waiting for it: it is looked at with every piece.
    fn widen(&mut self, root: &Arc<Root>, path: &RelPath, token: &Token, asked: u64) {
        if let Some(done) = self.opening.as_mut().and_then(FutureExt::now_or_never) {
            self.opening = None;
            self.open.extend(done.map(Arc::new));
        }
        if asked < self.widen_at || self.opening.is_some() || self.open.len() >= LANES {
            return;
        }
        self.widen_at = asked + WIDEN;
        let known: Vec<_> = self.open.iter().map(|lane| lane.link().clone()).collect();
        if let Some(at) = root.another(&known) {
            let (root, path, token) = (root.clone(), path.clone(), token.clone());
            // What goes wrong there goes wrong on the first one, too, and is told then.
            self.opening =
                Some(Box::pin(async move { open(&root, &at, &path, &token).await.ok().map(|(file, _)| file) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::time::SystemTime;

    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::tests::root_on;

    async fn begin(root: &Arc<Root>, path: &RelPath) -> Reader {
        let at = root.open().await.unwrap();
        let Found::Seen(seen) = at.look(path).await.unwrap() else { panic!("nothing is there") };
        let token = Token::new(&seen.token_bytes());
        let (file, seen) = open(root, &at, path, &token).await.unwrap();
        Reader::new(root, path, &token, file, seen, 0)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn several_connections_bring_one_version_or_none() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let (root, path) = (root_on(&sshd), RelPath::parse("large").unwrap());
        let bytes: Vec<u8> = (0..40_u32 << 20).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
        fs::write(sshd.root().join("large"), &bytes).unwrap();
        let file = fs::File::options().write(true).open(sshd.root().join("large")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();

        let mut reader = begin(&root, &path).await;
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            read.extend_from_slice(&piece);
        }
        assert!(read == bytes);
        assert!(reader.lanes.open.len() > 1);

        let mut reader = begin(&root, &path).await;
        while reader.lanes.open.len() < 2 {
            assert!(reader.next().await.unwrap().is_some(), "read on one connection to the end");
        }
        file.write_all_at(b"changed", bytes.len() as u64 - 7).unwrap();
        let error = loop {
            match reader.next().await {
                Ok(piece) => assert!(piece.is_some(), "a mixture was read"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.fault, Fault::Refused);
    }
}
