//! Replacing and reading by differences: an `rsync` on the server speaks with one that the caller runs.
//!
//! What it makes is a content under a part name like any other: its hash is proven and its name taken as of what is
//! uploaded. Nothing is believed of either program.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wl_core::backend::{Guard, Written};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Sftp;
use crate::error::error;
use crate::facts::meet;
use crate::part::Part;
use crate::root::{At, Root};
use crate::seen::Seen;
use crate::shell::{CHATTER, after_beginning, quoted, script, shell};
use crate::ssh::{Command, Process};
use crate::take::seal;
use crate::write::{prove, publish};

/// Differences at once: each keeps a command running.
const AT_ONCE: usize = 2;
/// Where it failed it is not tried again for so long.
const REST: Duration = Duration::from_mins(5);
/// What goes to the server at a time, and how many of these may wait for their turn on the connection.
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 32;
/// How long the server's program may go on, silent, after the one here has ended.
const GRACE: Duration = Duration::from_secs(10);

/// How differences fared on this server.
pub struct Deltas {
    turns: Semaphore,
    failed: Mutex<Option<Instant>>,
}

impl Default for Deltas {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), failed: Mutex::default() }
    }
}

impl Deltas {
    fn rest(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn rests(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|when| when.elapsed() < REST)
    }
}

/// An `rsync` here that waits for its other end.
pub struct Peer {
    /// What the one on the server is to be started with, without the name of the file.
    pub options: Vec<String>,
    /// What this one says to it.
    pub says: ChildStdout,
    /// Where this one hears it.
    pub hears: ChildStdin,
}

/// What a path is to hold.
pub struct New<'a> {
    /// Bytes in all.
    pub size: u64,
    /// Their sha256.
    pub hash: Hash,
    /// What travels beside them.
    pub meta: &'a Meta,
}

/// One of the few differences at once.
pub struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
}

impl Sftp {
    /// A turn to try a difference; none where commands do not run, another one failed of late, or enough are on their way.
    pub async fn turn_to_differ(&self) -> Option<Turn<'_>> {
        let deltas = &self.root.deltas;
        if deltas.rests() || !shell(&self.root).await.ok()?.is_some_and(|shell| shell.hashes) {
            return None;
        }
        deltas.turns.try_acquire().ok().map(|turn| Turn { _turn: turn })
    }

    /// Says that the programs did not come to an end together: other ways are gone for a while.
    pub fn rest_from_differences(&self, why: &str) {
        tracing::info!("differences are not sent for some minutes: {why}");
        self.root.deltas.rest();
    }

    /// Replaces that version with another content, as `replace` does, where the peer's `rsync` can turn the one into the
    /// other; none where it cannot, and nothing has changed. `passed` is told of bytes on their way.
    pub async fn patch(
        &self,
        path: &RelPath,
        token: &Token,
        new: New<'_>,
        trash: Option<&RelPath>,
        peer: Peer,
        passed: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<Written>> {
        let (root, guard) = (&self.root, Guard::Unchanged(token.clone()));
        meet(root).await?;
        let at = root.open().await?;
        let old = at.check(path, &guard).await?;
        let mut part = Part::create(root, &at, path).await?;
        let filled = async {
            self.speak(&at, receiver(&at, path, &part, &peer)?, peer, passed).await?;
            proven(root, &part, &new, old.as_ref(), path).await
        };
        let sealed = match filled.await {
            Ok(Some(sealed)) => sealed,
            Ok(None) => {
                part.discard().await;
                return Ok(None);
            }
            Err(error) => {
                part.failed(&error).await;
                return none_if_plain_may_do(error);
            }
        };
        let done = publish(root, &mut part, path, sealed, new.hash, &guard, trash).await;
        if let Err(error) = &done {
            part.failed(error).await;
        }
        let entry = root.entry(&done?, path)?;
        root.young.told(path, &entry.token, new.hash);
        Ok(Some(Written { entry, hash: new.hash }))
    }

    /// Lets the peer's `rsync` have that version, and tells what travels beside it; none where it cannot have it.
    pub async fn tell_difference(
        &self,
        path: &RelPath,
        token: &Token,
        peer: Peer,
        passed: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<Meta>> {
        let root = &self.root;
        meet(root).await?;
        let at = root.open().await?;
        let Some(seen) = at.check(path, &Guard::Unchanged(token.clone())).await? else { return Ok(None) };
        let told = async { self.speak(&at, sender(&at, path, &peer)?, peer, passed).await };
        told.await.map_or_else(none_if_plain_may_do, |()| Ok(Some(seen.meta())))
    }

    /// Runs a command and connects it with the peer, until both have said all.
    async fn speak(&self, at: &At, line: String, peer: Peer, passed: &(dyn Fn(u64) + Send + Sync)) -> Result<()> {
        let process = at.link.spawn(Command { hold: true, ..Command::new(line, Bytes::new()) }).await?;
        let failed = match exchange(process, peer, passed).await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(error) if error.fault == Fault::Broken => error.message,
            Err(error) => return Err(error),
        };
        self.rest_from_differences(&failed);
        Err(broken(&failed))
    }
}

/// Nothing was changed: what went wrong between the programs, or on the way, need not go wrong without them.
fn none_if_plain_may_do<T>(error: Error) -> Result<Option<T>> {
    match error.fault {
        Fault::Broken | Fault::Unsupported | Fault::Offline => Ok(None),
        _ => Err(error),
    }
}

fn broken(why: &str) -> Error {
    Error::new(Fault::Broken, why)
}

/// The part as it is to be published, if it holds that content. It gets its date last: with that it looks like one that nobody
/// needs any more.
async fn proven(
    root: &Arc<Root>,
    part: &Part,
    new: &New<'_>,
    old: Option<&Seen>,
    path: &RelPath,
) -> Result<Option<Seen>> {
    let file = part.file()?;
    let seen = Seen::of(&file.link().fstat(file).await.map_err(|failure| error(&failure, path))?);
    if seen.size != new.size || !prove(root, part, new.size, new.hash, path).await? {
        return Ok(None);
    }
    let sealed = seal(root, part, new.meta, old, path).await?;
    Ok((sealed.size == new.size).then_some(sealed))
}

/// The command that makes a part a copy of the present version, and then what the peer wants it to be.
fn receiver(at: &At, path: &RelPath, part: &Part, peer: &Peer) -> Result<String> {
    let part = part.path().name();
    let copy = format!("test -f ./{part} && cp --reflink=auto -- \"$p\" ./{part} || exit 8");
    rsync(at, path, &copy, peer, &format!("./{part}"))
}

/// The command that tells the peer a version. Handed over open, it needs no name that the peer could know.
fn sender(at: &At, path: &RelPath, peer: &Peer) -> Result<String> {
    rsync(at, path, "exec 3<\"$p\"", peer, "/dev/fd/3")
}

fn rsync(at: &At, path: &RelPath, before: &str, peer: &Peer, file: &str) -> Result<String> {
    if !are_plain(&peer.options) {
        return Err(Error::new(Fault::Unsupported, "the local rsync asks for what is not known"));
    }
    let (dir, name) = (path.parent().unwrap_or_else(RelPath::root), quoted(format!("./{}", path.name()).as_bytes()));
    let line = format!(
        "command -v rsync >/dev/null 2>&1 || exit 127; p={name}; p=\"${{p%/.}}\"; test -f \"$p\" || exit 8; {before}; \
         exec rsync {} {file}",
        peer.options.join(" ")
    );
    Ok(script(&at.full(&dir), &line))
}

/// Whether these words mean nothing to a shell, and begin a server.
fn are_plain(options: &[String]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".,=_-".contains(&byte);
    options.first().is_some_and(|first| first == "--server") && options.iter().all(|word| word.bytes().all(plain))
}

/// Bytes on their way, which give back their room when the connection has taken them.
struct Paid {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the peer says next; none at its end.
async fn next(says: &mut ChildStdout, room: &Arc<Semaphore>) -> Result<Option<Paid>> {
    let room = room.clone().acquire_owned().await.map_err(|_| Error::stopped())?;
    let mut bytes = Vec::with_capacity(CHUNK);
    let count = says.read_buf(&mut bytes).await.map_err(|why| broken(&format!("the local rsync: {why}")))?;
    Ok((count > 0).then_some(Paid { bytes, _room: room }))
}

/// Hands over what each side says to the other until the server's has ended; what went wrong there, if anything did.
async fn exchange(
    mut process: Process,
    mut peer: Peer,
    passed: &(dyn Fn(u64) + Send + Sync),
) -> Result<Option<String>> {
    let room = Arc::new(Semaphore::new(CHUNKS));
    let (mut begun, mut over, mut before, mut pending) = (false, false, BytesMut::new(), Bytes::new());
    loop {
        tokio::select! {
            chunk = process.next(), if pending.is_empty() => match chunk? {
                Some(chunk) if begun => pending = chunk,
                Some(chunk) => {
                    before.extend_from_slice(&chunk);
                    match after_beginning(&before.clone().freeze()) {
                        Some(rest) => (begun, pending) = (true, rest),
                        None if before.len() > CHATTER => return Err(broken("the server's shell says too much")),
                        None => {}
                    }
                }
                None => break,
            },
            count = peer.hears.write(&pending), if !pending.is_empty() => {
                let count = count.map_err(|why| broken(&format!("the local rsync ended: {why}")))?;
                passed(count as u64);
                pending.advance(count);
            }
            said = next(&mut peer.says, &room), if !over => match said? {
                Some(said) => {
                    passed(said.bytes.len() as u64);
                    process.feed(Bytes::from_owner(said));
                }
                None => over = true,
            },
            () = tokio::time::sleep(GRACE), if over => return Err(broken("the local rsync ended before the server's")),
        }
    }
    let ended = process.end().await?;
    let missing = "there is no rsync on the server";
    Ok(match ended.status {
        Some(0) => None,
        Some(127) => Some(missing.to_owned()),
        status => Some(format!("rsync on the server ended with {status:?}: {}", ended.stderr)),
    })
}

#[cfg(test)]
mod tests {
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::tests::root_behind;

    #[tokio::test]
    async fn what_is_not_proven_gets_no_date() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let root = root_behind(&sshd, sshd.port());
        let (path, at) = (RelPath::parse("x").unwrap(), root.open().await.unwrap());
        let part = Part::create(&root, &at, &path).await.unwrap();
        let file = part.file().unwrap();
        at.link.write(file, 0, Bytes::from_static(b"content")).await.unwrap();
        let meta = Meta { mtime: "2020-02-02T02:02:02Z".parse().ok(), mode: None };
        for (content, dated) in [(b"another", false), (b"content", true)] {
            let new = New { size: 7, hash: Hash::of(content), meta: &meta };
            let sealed = proven(&root, &part, &new, None, &path).await.unwrap();
            let seen = Seen::of(&at.link.fstat(file).await.unwrap());
            assert_eq!((sealed.is_some(), seen.mtime == 1_580_608_922), (dated, dated));
        }
    }

    #[test]
    fn only_plain_words_are_handed_to_a_shell() {
        let are = |words: &[&str]| are_plain(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(are(&["--server", "-qIe.LsfxCIvu", "--timeout=300", "--inplace", "."]));
        for odd in ["a b", "$x", "`x`", "a;b", "'", "\\", "*", "a/b", "\n"] {
            assert!(!are(&["--server", odd]), "{odd}");
        }
        assert!(!are(&["--daemon"]) && !are(&[]));
    }
}
