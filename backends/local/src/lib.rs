//! Storage type `local`: a directory.
//!
//! Everything below it is reached from its open handle and through no link. What a user wrote is never the only copy
//! under a name that is swept, and nothing is told to be done before it is durable.

mod change;
mod commit;
mod error;
mod leftovers;
mod mounts;
mod part;
mod patch;
mod pool;
mod probe;
mod progress;
mod publish;
mod read;
mod rename;
mod root;
mod scratch;
mod seen;
mod sys;
mod take;
mod trash;
mod walk;
mod watch;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Known, Listing, Look, Obstacle, Prune, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};
use wl_core::report::ProblemKind;

use crate::commit::{Committer, Touched};
use crate::leftovers::Leftovers;
use crate::pool::Pool;
use crate::root::Root;
use crate::seen::What;
use crate::trash::Trash;

pub use crate::patch::Copy;
pub use crate::read::Version;

/// A directory as a storage.
pub struct Local {
    root: Arc<Root>,
    pool: Arc<Pool>,
    committer: Committer,
    /// Writers at once: each holds a file open, and a process may have few.
    writers: Semaphore,
    leftovers: Arc<Leftovers>,
}

/// The storage that a manifest describes. Its directory need not exist yet.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    let location = storage.params().get("location").and_then(serde_json::Value::as_str);
    let location = location.filter(|location| !location.is_empty()).ok_or_else(|| {
        Error::new(Fault::Malformed, "a local storage needs a `location`: the absolute path of a directory")
    })?;
    let path = match location.strip_prefix("~/") {
        None => PathBuf::from(location),
        Some(below) => std::env::home_dir()
            .ok_or_else(|| Error::new(Fault::Malformed, format!("{location}: no home directory is known: set HOME")))?
            .join(below),
    };
    Ok(Local::at(&path, storage.read_only())?)
}

impl Local {
    /// The directory at that absolute path, whether it exists yet or not.
    pub fn new(root: &Path) -> Result<Arc<Self>> {
        Self::at(root, false)
    }

    fn at(root: &Path, read_only: bool) -> Result<Arc<Self>> {
        if !root.is_absolute() {
            let message = format!("{}: the location of a local storage must be an absolute path", root.display());
            return Err(Error::new(Fault::Malformed, message));
        }
        Ok(Arc::new(Self {
            root: Arc::new(Root::new(root.to_owned(), read_only)),
            pool: Arc::new(Pool::new()),
            committer: Committer::new(),
            writers: Semaphore::new(probe::in_flight()),
            leftovers: Arc::default(),
        }))
    }

    /// Opens that version of a file, to be taken over by another directory with [`replace_with`](Self::replace_with).
    pub async fn open(&self, path: &RelPath, token: &Token) -> Result<Version> {
        let (root, at, token) = (self.root.clone(), path.clone(), token.clone());
        self.pool.run(move || Version::open(&*root.open()?, &at, &token)).await
    }

    /// As [`replace`](Backend::replace) with a content that the system copies by itself, or lets both files share where
    /// the file system can. Refused if it does not have the `hash`, where one is given; `passed` is told
    /// of bytes as they are known to be there. None, and nothing has changed, where the system cannot do it.
    pub async fn replace_with(
        &self,
        path: &RelPath,
        (version, hash): (Version, Option<Hash>),
        guard: &Guard,
        trash: Option<&RelPath>,
        passed: impl Fn(u64) + Send + 'static,
    ) -> Result<Option<Written>> {
        take::replace(self, path, (version, hash), guard, trash, passed).await
    }
}

#[async_trait]
impl Backend for Local {
    fn facts(&self) -> Facts {
        probe::facts(self.root.nature().as_deref())
    }

    async fn root(&self) -> Result<String> {
        let root = self.root.clone();
        self.pool.run(move || root.identity()).await
    }

    fn is_named(&self, root: &str) -> bool {
        root::is_named(root)
    }

    async fn make_root(&self) -> Result<()> {
        let root = self.root.clone();
        self.pool.run(move || root.make()).await
    }

    async fn can_make_root(&self) -> Result<()> {
        let root = self.root.clone();
        self.pool.run(move || root.can_be_made()).await
    }

    async fn probe(&self) -> Result<Facts> {
        let root = self.root.clone();
        self.pool.run(move || probe::probe(&root)).await
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        walk::list(self.root.clone(), under, prune, self.leftovers.clone())
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
            return Ok(Look::Absent);
        }
        let (root, path) = (self.root.clone(), path.clone());
        self.pool.run(move || look(&root, &path)).await
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        read::hash(&self.pool, &self.root, path, token).await
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        read::read(&self.pool, &self.root, path, token, from).await
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        write::replace(self, path, content, guard, trash).await
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        let (root, at, token, wanted) = (self.root.clone(), path.clone(), token.clone(), trash.cloned());
        let remove = move || {
            let handle = root.open_to_change()?;
            publish::remove(&handle, &at, &token, &Trash::new(&handle, wanted.as_ref()))
        };
        let dir = self.pool.run(remove).await?;
        self.committer.durable(path, vec![Touched::and_more(&dir)]).await
    }

    async fn make_dir(&self, path: &RelPath, meta: &Meta) -> Result<()> {
        if path.is_root() {
            return self.make_root().await;
        }
        let (root, at, meta) = (self.root.clone(), path.clone(), *meta);
        let touched = self.pool.run(move || change::make_dir(&*root.open_to_change()?, &at, &meta)).await?;
        self.committer.durable(path, vec![touched]).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let (root, at) = (self.root.clone(), path.clone());
        let dir = self.pool.run(move || change::remove_dir(&root.open_to_change()?, &at)).await?;
        self.committer.durable(path, vec![Touched::only(&dir)]).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        let (root, source, token, target) = (self.root.clone(), from.clone(), token.clone(), to.clone());
        let moved = move || publish::move_within(&root.open_to_change()?, &source, &token, &target);
        let (entry, dirs) = self.pool.run(moved).await?;
        let touched = dirs.iter().map(Touched::only).collect();
        self.committer.durable(to, touched).await.map(|()| entry)
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        let (root, source, token, target) = (self.root.clone(), known.path.clone(), known.token.clone(), to.clone());
        let _turn = self.writers.acquire().await.map_err(|_| Error::stopped())?;
        let copied =
            self.pool.run_long(move |_| change::copy(&root.open_to_change()?, &source, &token, &target)).await?;
        write::publish(self, copied, &Guard::Absent, None).await
    }

    async fn replace_within(
        &self,
        path: &RelPath,
        known: Known<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        // What is wrong with it is told by whoever has to read it.
        let Ok(version) = self.open(known.path, known.token).await else { return Ok(None) };
        self.replace_with(path, (version, Some(known.hash)), guard, trash, |_| ()).await
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        let (root, at, token, meta) = (self.root.clone(), path.clone(), token.clone(), *meta);
        let set = move || change::set_meta(&*root.open_to_change()?, &at, &token, &meta);
        let (entry, touched) = self.pool.run(set).await?;
        self.committer.durable(path, vec![touched]).await.map(|()| entry)
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        let root = self.root.clone();
        self.pool.run_long(move |_| watch::watch(&root)).await
    }

    async fn sweep(&self) -> Result<usize> {
        let (root, leftovers) = (self.root.clone(), self.leftovers.clone());
        self.pool.run_long(move |_| Ok(leftovers.sweep(&root.open()?))).await
    }
}

fn look(root: &Root, path: &RelPath) -> Result<Look> {
    let handle = root.open()?;
    let seen = handle.look(path);
    // Asked afterwards: what is unmounted just now is missed, too.
    if handle.misses(path) {
        return Ok(Look::Blocked(mounts::missing()));
    }
    let seen = match seen {
        Ok(None) => return Ok(Look::Absent),
        Ok(Some(seen)) => seen,
        Err(errno) => return Ok(Look::Blocked(error::obstacle(errno))),
    };
    Ok(match (handle.clock(&seen).entry(&seen), seen.what) {
        (Some(entry), _) => Look::Entry(entry),
        (None, What::Special(what)) => Look::Blocked(Obstacle { kind: ProblemKind::Skipped, message: what.to_owned() }),
        (None, _) => Look::Absent,
    })
}
