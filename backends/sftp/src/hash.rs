//! Hashes: computed on the server, many files a command, where commands can be run; else by reading.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::read;
use crate::root::{At, Found, Root, refused_if_gone};
use crate::seen::size_in;
use crate::shell::{after_beginning, script, shell};
use crate::ssh::Command;
use crate::wire::{Attrs, OpenFlags};

/// Commands at once.
const AT_ONCE: usize = 3;
/// Files a command hashes, and bytes, unless one file has more.
const BATCH: (usize, u64) = (512, 256 << 20);
/// A command may take so long, and a second more for so many bytes.
pub const PATIENCE: Duration = Duration::from_mins(1);
const SLOWEST: u64 = 4 << 20;

/// The sha256 of that version of a file.
pub async fn hash(root: &Arc<Root>, path: &RelPath, token: &Token) -> Result<Hash> {
    let hash = found(root, path, token).await?;
    root.young.told(path, token, hash);
    Ok(hash)
}

/// The same, told to nobody who will act on that version.
pub async fn found(root: &Arc<Root>, path: &RelPath, token: &Token) -> Result<Hash> {
    let size = size_in(token).ok_or_else(|| Error::changed(path))?;
    // Looked at first: a command that opens a named pipe waits for its other end.
    if shell(root).await?.is_some_and(|shell| shell.hashes) {
        must_be(root, path, token).await?;
    }
    if let Some(hash) = on_the_server(root, path, size).await? {
        // And afterwards: whatever was hashed, it was this version if this version is there now.
        return must_be(root, path, token).await.map(|()| hash);
    }
    let mut body = read::read(root, path, token, 0).await?.body;
    let mut hasher = Sha256::new();
    while let Some(piece) = body.next().await {
        hasher.update(&piece?);
    }
    Ok(Hash(hasher.finalize().into()))
}

async fn must_be(root: &Arc<Root>, path: &RelPath, token: &Token) -> Result<()> {
    match root.attempt(|at, _| async move { at.look(path).await }).await? {
        Found::Seen(seen) if seen.is(token) => Ok(()),
        Found::Nothing => Err(Error::missing(path)),
        Found::Seen(_) | Found::Behind(_) => Err(Error::changed(path)),
    }
}

/// The sha256 of a file of that size that nobody else is to know by this name.
pub async fn of_content(root: &Arc<Root>, path: &RelPath, size: u64) -> Result<Hash> {
    if let Some(hash) = on_the_server(root, path, size).await? {
        return Ok(hash);
    }
    let read = |at: At, _| async move {
        let file = at.link.open(&at.full(path), OpenFlags::READ, Attrs::default()).await;
        let file = file.map_err(|failure| refused_if_gone(&failure, path))?;
        read::hash_of(&file, size).await.map_err(|failure| error(&failure, path))
    };
    root.attempt(read).await
}

/// The sha256 of what is under a path by a command on the server; none where it cannot be had that way.
pub async fn on_the_server(root: &Arc<Root>, path: &RelPath, size: u64) -> Result<Option<Hash>> {
    match shell(root).await? {
        Some(shell) if shell.hashes => {
            // Once more where the connection was lost, or whoever had the command run is gone.
            for _ in 0..3 {
                match root.hasher.ask(root, path, size).await {
                    Some(Err(error)) if error.fault == Fault::Offline => {}
                    Some(done) => return done,
                    None => {}
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

type Told = Result<Option<Hash>>;

struct Job {
    path: RelPath,
    size: u64,
    tell: oneshot::Sender<Told>,
}

/// Gathers what is to be hashed while commands run, so that the next one hashes it all.
pub struct Hasher {
    waiting: Arc<Mutex<Vec<Job>>>,
    turns: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { waiting: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Hasher {
    /// None if it was not answered.
    async fn ask(&self, root: &Arc<Root>, path: &RelPath, size: u64) -> Option<Told> {
        let (tell, told) = oneshot::channel();
        self.lock().push(Job { path: path.clone(), size, tell });
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            tokio::spawn(work(root.clone(), turn));
        }
        told.await.ok()
    }

    /// As much as one command hashes.
    fn batch(&self) -> Vec<Job> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let within = |job: &Job| {
            bytes += job.size;
            bytes <= BATCH.1
        };
        let count = waiting.iter().take(BATCH.0).map(within).take_while(|within| *within).count();
        let count = count.max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs commands until nothing waits.
async fn work(root: Arc<Root>, turn: OwnedSemaphorePermit) {
    let mut turn = Some(turn);
    while turn.is_some() {
        loop {
            let batch = root.hasher.batch();
            if batch.is_empty() {
                break;
            }
            answer(&root, batch).await;
        }
        // Who came after the last look and before the turn was given back found no turn.
        drop(turn.take());
        if !root.hasher.lock().is_empty() {
            turn = root.hasher.turns.clone().try_acquire_owned().ok();
        }
    }
}

async fn answer(root: &Arc<Root>, batch: Vec<Job>) {
    match run(root, &batch).await {
        Ok(hashes) => {
            for job in batch {
                let hash = hashes.get(job.path.as_str().as_bytes()).copied();
                let _ = job.tell.send(Ok(hash));
            }
        }
        Err(error) => {
            for job in batch {
                let _ = job.tell.send(Err(error.clone().at(&job.path)));
            }
        }
    }
}

async fn run(root: &Arc<Root>, batch: &[Job]) -> Result<HashMap<Vec<u8>, Hash>> {
    let mut names = BytesMut::new();
    for job in batch {
        names.put_slice(b"./");
        names.put_slice(job.path.as_str().as_bytes());
        names.put_u8(0);
    }
    // Hash, separators and name of each, and what start-up files may say.
    let most = names.len() + batch.len() * 80 + (1 << 20);
    let at = root.open().await?;
    // It would not end by itself if a file became a named pipe, or a disk behind the server does not answer.
    let bytes: u64 = batch.iter().map(|job| job.size).sum();
    let patience = patience(bytes);
    // `openssl` ends its lines with newlines, and writes some names otherwise.
    let plain = |job: &Job| !job.path.as_str().contains(|c: char| c.is_control() || c == '\\');
    let digests = shell(root).await?.is_some_and(|shell| shell.digests) && batch.iter().all(plain);
    let (by, end) = if digests { ("openssl dgst -sha256 -r", b'\n') } else { ("sha256sum -z --", 0) };
    let line = format!("exec timeout {} xargs -0 {by}", patience.as_secs());
    let command = Command::new(script(at.root(), &line), names.freeze());
    let output = match at.link.run(command, most, patience + PATIENCE).await {
        // They are read instead, as where the server allows no further session.
        Err(error) if matches!(error.fault, Fault::Busy | Fault::Unsupported) => return Ok(HashMap::new()),
        output => output?,
    };
    Ok(after_beginning(&output.stdout).map(|said| hashes(&said, end)).unwrap_or_default())
}

/// How long a command may take that reads so many bytes.
pub fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// What was printed in lines that end like this: the hash, two characters, the name. A last line without its end was cut
/// off.
fn hashes(said: &Bytes, end: u8) -> HashMap<Vec<u8>, Hash> {
    let mut found = HashMap::new();
    let Some(last) = said.iter().rposition(|byte| *byte == end) else { return found };
    for line in said[..last].split(|byte| *byte == end) {
        let Some((hash, rest)) = line.split_at_checked(64) else { continue };
        let hash = std::str::from_utf8(hash).ok().and_then(|hash| hash.parse().ok());
        // The second character says whether it was read as text, which means nothing here.
        if let (Some(hash), Some((b" ", name))) = (hash, rest.split_at_checked(1))
            && let Some(name) = name.get(1..).and_then(|name| name.strip_prefix(b"./"))
        {
            found.insert(name.to_vec(), hash);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_believed() {
        let (one, two) = (Hash::of(b"1"), Hash::of(b"2"));
        let said = Bytes::from(format!("{one}  ./a\nb\0nonsense\0{two} *./c\0{two}  ./cut"));
        let found = hashes(&said, 0);
        assert_eq!(found, HashMap::from([(b"a\nb".to_vec(), one), (b"c".to_vec(), two)]));
        assert_eq!(hashes(&Bytes::from_static(b"no end"), 0), HashMap::new());
        let said = Bytes::from(format!("{one} *./a b\n{two} *./cut"));
        assert_eq!(hashes(&said, b'\n'), HashMap::from([(b"a b".to_vec(), one)]));
    }

    #[test]
    fn a_batch_is_bounded_in_files_and_bytes() {
        let sizes = |sizes: &[u64]| {
            let hasher = Hasher::default();
            for size in sizes {
                let (tell, _) = oneshot::channel();
                hasher.lock().push(Job { path: RelPath::root(), size: *size, tell });
            }
            let counts = std::iter::from_fn(|| Some(hasher.batch().len()).filter(|count| *count > 0));
            counts.collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[1; 600]), [512, 88]);
        assert_eq!(sizes(&[1 << 30, 1, 200 << 20, 100 << 20]), [1, 2, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
