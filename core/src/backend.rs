//! What a storage must be able to do. Every change names what it expects to find: there is no word for a blind write.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sha2::{Digest as _, Sha256};

use crate::entry::{Entry, Hash, Kind, Meta, Token};
use crate::error::Result;
use crate::path::RelPath;
use crate::report::ProblemKind;

/// What a change expects to find under its path. If it finds anything else it fails with [`Fault::Refused`] and nothing
/// has changed.
///
/// [`Fault::Refused`]: crate::error::Fault::Refused
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Nothing at all.
    Absent,
    /// Exactly this version of a file.
    Unchanged(Token),
}

/// What is under one path now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing. Also said of a path below a file, and of wl's own part files.
    Absent,
    /// A file or a directory.
    Entry(Entry),
    /// Something that cannot be synced or looked at: what is at and below the path is unknown.
    Blocked(Obstacle),
}

/// Why something cannot be listed or synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The kind of problem it is listed as.
    pub kind: ProblemKind,
    /// A sentence without its final stop.
    pub message: String,
}

/// One item of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A file or a directory.
    Entry(RelPath, Entry),
    /// What is at the path (unless it was listed as a directory) and everything below it is unknown. Stands in the order
    /// where the path stands, after the directory's own entry if there is one; after a file's entry, which it takes back,
    /// also where a directory of that name would stand.
    Blocked(RelPath, Obstacle),
    /// A name that is no [`RelPath`]; the text shows it as well as it can be shown. Stands anywhere.
    Nameless(String, Obstacle),
    /// The listing ends here; this path and everything after it in the listing's order, below the directory listed, is
    /// unknown. Always the last item.
    Cut(RelPath, Obstacle),
}

/// A listing in chunks, in byte order of the path, where a directory sorts as `name/` and a file as `name`. A directory
/// comes before everything below it.
pub type Listing = BoxStream<'static, Vec<Listed>>;

/// Paths that a listing need not report nor descend into. What it says of a directory holds for all below it.
pub type Prune = Arc<dyn Fn(&RelPath, Kind) -> bool + Send + Sync>;

/// The bytes of one version of one file. Ends with an error of fault `Refused` if the file changed while it was read:
/// never a mixture.
pub type Body = BoxStream<'static, Result<Bytes>>;

/// A version being read.
pub struct Reading {
    /// What travels beside it, as the storage really holds it: a listing may not have known.
    pub meta: Meta,
    /// Its bytes, from the offset asked for on.
    pub body: Body,
}

impl Reading {
    /// The same with its body passed through `wrap`: to count or slow down what is read.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Body) -> Body) -> Self {
        Self { meta: self.meta, body: wrap(self.body) }
    }
}

/// A content that can be read as often as needed, from any offset on: what a write is fed from.
#[derive(Clone)]
pub struct Content {
    /// Bytes in all.
    pub size: u64,
    /// Its sha256, where it is known already. A write fails with `Refused`, and nothing has changed, if the bytes read
    /// do not have it.
    pub hash: Option<Hash>,
    /// Names the version that is read, as its storage and path and token do; the same in every run of the program. None
    /// where nothing vouches for it. What an interrupted write of the same version left may be gone on with.
    pub version: Option<Hash>,
    open: Arc<dyn Fn(u64) -> BoxFuture<'static, Result<Reading>> + Send + Sync>,
    find_hash: Option<Arc<dyn Fn() -> BoxFuture<'static, Result<Hash>> + Send + Sync>>,
}

impl Content {
    /// A content that is read by `open`, given the offset to begin at.
    pub fn new(
        size: u64,
        hash: Option<Hash>,
        open: impl Fn(u64) -> BoxFuture<'static, Result<Reading>> + Send + Sync + 'static,
    ) -> Self {
        Self { size, hash, version: None, open: Arc::new(open), find_hash: None }
    }

    /// The same, whose sha256 `find` finds more cheaply than by reading it all.
    #[must_use]
    pub fn hashed_by(self, find: impl Fn() -> BoxFuture<'static, Result<Hash>> + Send + Sync + 'static) -> Self {
        Self { find_hash: Some(Arc::new(find)), ..self }
    }

    /// Bytes in memory.
    pub fn of(bytes: Bytes, meta: Meta) -> Self {
        let (size, hash) = (bytes.len() as u64, Hash::of(&bytes));
        Self::new(size, Some(hash), move |from| {
            let rest = bytes.slice(usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len())..);
            let body: Body = Box::pin(futures::stream::once(std::future::ready(Ok(rest))));
            Box::pin(std::future::ready(Ok(Reading { meta, body })))
        })
    }

    /// One version of a file on a storage.
    pub fn on(backend: Arc<dyn Backend>, path: RelPath, entry: &Entry, hash: Option<Hash>) -> Self {
        let (token, hashing) = (entry.token.clone(), (backend.clone(), path.clone(), entry.token.clone()));
        let content = Self::new(entry.size, hash, move |from| {
            let (backend, path, token) = (backend.clone(), path.clone(), token.clone());
            Box::pin(async move { backend.read(&path, &token, from).await })
        });
        content.hashed_by(move || {
            let (backend, path, token) = hashing.clone();
            Box::pin(async move { backend.hash(&path, &token).await })
        })
    }

    /// The same, known to be that version of a path in that place.
    #[must_use]
    pub fn identified(self, place: &str, path: &RelPath, token: &Token) -> Self {
        let name = [place.as_bytes(), path.as_str().as_bytes(), token.as_bytes()].join(&0);
        Self { version: (!token.is_racy()).then(|| Hash::of(&name)), ..self }
    }

    /// Reads from an offset on.
    pub async fn read(&self, from: u64) -> Result<Reading> {
        (self.open)(from).await
    }

    /// Its sha256: known, or found by the cheapest sound way its storage has. For writers that must know it before they
    /// begin.
    pub async fn sha256(&self) -> Result<Hash> {
        if let Some(hash) = self.hash {
            return Ok(hash);
        }
        if let Some(find) = &self.find_hash {
            return find().await;
        }
        let hasher = self.read(0).await?.body.try_fold(Sha256::new(), async |mut hasher, piece| {
            hasher.update(&piece);
            Ok(hasher)
        });
        Ok(Hash(hasher.await?.finalize().into()))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("size", &self.size).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// What a write left behind, looked at after it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The entry as it stands now.
    pub entry: Entry,
    /// The sha256 of what the storage holds, proven.
    pub hash: Hash,
}

/// A version of a file whose content is known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its path.
    pub path: &'a RelPath,
    /// Which version of it.
    pub token: &'a Token,
    /// Its bytes.
    pub size: u64,
    /// Its sha256.
    pub hash: Hash,
}

/// What a watcher noticed. It may say too much, never too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something may have appeared or changed under these paths.
    Look(Vec<RelPath>),
    /// Anything at or below these directories may have changed.
    LookBelow(Vec<RelPath>),
    /// These paths may have vanished.
    Gone(Vec<RelPath>),
    /// Anything may have changed.
    Everything,
    /// The watcher can no longer see everything, for the reason given: the storage must be scanned from time to time.
    Degraded(String),
}

/// How a storage answers a change that expects something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Swap {
    /// Compare and swap are one step: of two racing writers one is refused.
    Atomic,
    /// It looks, then acts; [`Facts::windows`] names the time between.
    Checked,
}

/// How a storage comes by a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashBy {
    /// The storage computes or keeps it.
    Native,
    /// By reading the content.
    Read,
}

/// How much a token vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vouch {
    /// Every change of content changes it.
    Strong,
    /// A change within the storage's clock resolution may not change it.
    Weak,
}

/// How changes made by others are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchBy {
    /// The storage tells.
    Native,
    /// By listing it every `watcher-interval`.
    Scan,
}

/// What a storage can do: measured where it can be measured, never assumed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// How a hash is come by.
    pub hash: HashBy,
    /// What a token vouches for.
    pub token: Vouch,
    /// Replacing a known version.
    pub replace: Swap,
    /// Creating where nothing was.
    pub create: Swap,
    /// Deleting a known version.
    pub delete: Swap,
    /// How changes are noticed.
    pub watcher: WatchBy,
    /// How often it is to be scanned, in seconds, unless the manifest says: none where its watcher tells everything, or
    /// itself scans at the manifest's interval. Beneath a watcher whose messages may get lost, too.
    pub scan_every_s: Option<u64>,
    /// Whether content can be copied inside the storage.
    pub server_copy: bool,
    /// Whether a file can be moved inside the storage.
    pub server_move: bool,
    /// Whether what is overwritten or deleted can be kept first.
    pub trash: bool,
    /// Whether modification times are kept.
    pub mtime: bool,
    /// Whether permission bits are kept.
    pub mode: bool,
    /// What a modification time is rounded down to, in nanoseconds.
    pub mtime_resolution_ns: u64,
    /// How many small operations at once pay.
    pub in_flight: usize,
    /// The time between looking and acting, in words, for everything that is [`Swap::Checked`]; and other limits.
    pub windows: Vec<String>,
}

/// One place of one type. Proven by the conformance suite of the test kit against the real thing.
///
/// Paths handed to it never escape its root, nor pass through a link. The root itself is the empty path.
#[async_trait]
pub trait Backend: Any + Send + Sync {
    /// What it can do.
    fn facts(&self) -> Facts;

    /// Looks at the root and says which one it is: another text means that the place was replaced (another disk, a new
    /// directory). `Missing` if there is none.
    async fn root(&self) -> Result<String>;

    /// Whether what [`root`](Self::root) said names this place and no other: else a place that took its address goes
    /// unnoticed.
    fn is_named(&self, _root: &str) -> bool {
        true
    }

    /// Makes the root if its parent exists, which is all right if it exists already.
    async fn make_root(&self) -> Result<()>;

    /// Fails as [`make_root`](Self::make_root) would where there is nothing to make the root in, and changes nothing.
    async fn can_make_root(&self) -> Result<()>;

    /// Finds out what it can do by trying it, under temporary names.
    async fn probe(&self) -> Result<Facts>;

    /// Lists everything below a directory, not the directory itself. Names with the part prefix and the root's trash are
    /// left out; the trash is listed when `under` lies in it. A missing directory lists as empty, an unreadable one as
    /// one `Blocked`.
    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing;

    /// Looks at one path.
    async fn stat(&self, path: &RelPath) -> Result<Look>;

    /// The sha256 of that version of a file, by the cheapest way that is sound as long as the storage keeps its word: it may
    /// be what the storage, or a writer of that very version, noted beside it. `Refused` if it is another version by now.
    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash>;

    /// Reads that version of a file from an offset on.
    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading>;

    /// Puts content under a path, at once, if the path still is what `guard` says: readers see the old or the new
    /// content, never a part. The parent must exist. What it replaces is kept under `trash` if one is given, whose
    /// parents are made. When it returns, the write is durable and its hash proven.
    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written>;

    /// Deletes that version of a file; keeps it under `trash` if one is given, whose parents are made.
    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()>;

    /// Makes a directory in an existing one. It is all right if it exists; `Refused` if a file is in the way.
    async fn make_dir(&self, path: &RelPath, meta: &Meta) -> Result<()>;

    /// Removes an empty directory; `Refused` if it holds anything but wl's own leftovers.
    async fn remove_dir(&self, path: &RelPath) -> Result<()>;

    /// Moves that version of a file to a path where nothing is, whose parent exists.
    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry>;

    /// Copies that version of a file, inside the storage, to a path where nothing is, whose parent exists. Where only
    /// reading proves a copy, it must have the sha256 that is known.
    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry>;

    /// Puts that version of another of its files under a path, copied inside the storage, as [`replace`](Self::replace)
    /// does with a content. None, and nothing has changed, where the storage does not copy this one.
    async fn replace_within(
        &self,
        _path: &RelPath,
        _known: Known<'_>,
        _guard: &Guard,
        _trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        Ok(None)
    }

    /// Sets modification time and mode of that version of a file, as far as the storage keeps them.
    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry>;

    /// Begins to watch. Everything that changes after this returned leads to a hint. Fails with `Unsupported` where only
    /// scanning is possible.
    async fn watch(&self) -> Result<BoxStream<'static, Hint>>;

    /// Removes part files of dead writers that listings came across; how many it removed.
    async fn sweep(&self) -> Result<usize>;
}
