//! Listing: by one command on the server where that can be, else directory by directory.

use std::sync::Arc;

use futures::{StreamExt as _, join};
use tokio::sync::mpsc;
use wl_core::backend::{Listed, Listing, Obstacle, Prune};
use wl_core::entry::Kind;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};
use wl_core::report::ProblemKind;

use crate::aside::bring_all_back;
use crate::error::obstacle;
use crate::root::{Found, Root};
use crate::seen::{Seen, What};
use crate::shell::shell;
use crate::{facts, find, walk};

/// Items in a full chunk.
const CHUNK: usize = 1024;
/// Items in the first chunk, so that a listing begins early.
const FIRST_CHUNK: usize = 64;
/// Chunks that wait to be taken.
const AHEAD: usize = 8;

/// Lists everything below a directory.
pub fn list(root: Arc<Root>, under: &RelPath, prune: Option<Prune>) -> Listing {
    let (chunks, taken) = mpsc::channel(AHEAD);
    let out = Out { root, under: under.clone(), prune, chunks, chunk: Vec::new(), limit: FIRST_CHUNK };
    let walk = Some(tokio::spawn(out.fill()).abort_handle());
    // Nobody listens any more: nothing more is asked of the server.
    let walk = Abort(walk);
    futures::stream::unfold((taken, walk), |(mut taken, walk)| async move {
        taken.recv().await.map(|chunk| (chunk, (taken, walk)))
    })
    .boxed()
}

struct Abort(Option<tokio::task::AbortHandle>);

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// The listener is gone.
#[derive(Debug)]
pub struct Gone;

/// What was seen and not sent yet; what is to be left out.
pub struct Out {
    pub root: Arc<Root>,
    /// The directory listed.
    pub under: RelPath,
    prune: Option<Prune>,
    chunks: mpsc::Sender<Vec<Listed>>,
    chunk: Vec<Listed>,
    limit: usize,
}

impl Out {
    async fn fill(mut self) {
        // A closed channel means that nobody listens any more.
        if self.everything().await.is_ok() {
            let _ = self.flush().await;
        }
    }

    async fn everything(&mut self) -> Result<(), Gone> {
        let under = self.under.clone();
        match self.begin().await {
            Ok(None) => Ok(()),
            Ok(Some(by_command)) => {
                if by_command && find::find(self).await? {
                    return Ok(());
                }
                walk::walk(self).await
            }
            Err(error) => self.blocked(under, &error).await,
        }
    }

    /// Whether a command can list it; none if there is nothing to list.
    async fn begin(&self) -> Result<Option<bool>> {
        let (root, under) = (&self.root, &self.under);
        facts::meet(root).await?;
        bring_all_back(root).await?;
        // A missing root is not an empty one.
        let looks = root.attempt(|at, _| async move {
            let (there, found) = join!(root.seen(&at), at.look(under));
            there.and(found)
        });
        match looks.await? {
            Found::Seen(Seen { what: What::Dir, .. }) => Ok(Some(shell(root).await?.is_some_and(|shell| shell.lists))),
            Found::Behind(what) | Found::Seen(Seen { what: What::Special(what), .. }) => {
                Err(Error::new(Fault::Broken, format!("a {what} is in the way")).at(under))
            }
            Found::Seen(_) => Ok(None),
            Found::Nothing => {
                // Nor is it empty if it went away between the two looks.
                root.attempt(|at, _| async move { root.seen(&at).await }).await?;
                Ok(None)
            }
        }
    }

    /// Takes what is under a name in a directory. Returns the path of a directory that is to be gone into.
    pub async fn take(&mut self, dir: &RelPath, name: &[u8], seen: &Seen) -> Result<Option<RelPath>, Gone> {
        let Ok(text) = std::str::from_utf8(name) else {
            self.nameless(dir, name).await?;
            return Ok(None);
        };
        let Ok(path) = dir.join(text) else {
            self.nameless(dir, name).await?;
            return Ok(None);
        };
        if text.starts_with(PART_PREFIX) {
            self.root.leftovers.came_across(path);
            return Ok(None);
        }
        if dir.is_root() && text == TRASH_DIR {
            return Ok(None);
        }
        if let Some(obstacle) = seen.obstacle() {
            self.push(Listed::Blocked(path, obstacle)).await?;
            return Ok(None);
        }
        let kind = if seen.what == What::Dir { Kind::Dir } else { Kind::File };
        if self.prune.as_ref().is_some_and(|prune| prune(&path, kind)) {
            return Ok(None);
        }
        let Some(entry) = self.root.clock.entry(seen) else { return Ok(None) };
        self.push(Listed::Entry(path.clone(), entry)).await?;
        Ok((kind == Kind::Dir).then_some(path))
    }

    /// Says that a directory could not be listed.
    pub async fn blocked(&mut self, path: RelPath, error: &Error) -> Result<(), Gone> {
        self.push(Listed::Blocked(path, obstacle(error))).await
    }

    /// Says that a listing ends here.
    pub async fn cut(&mut self, path: RelPath, error: &Error) -> Result<(), Gone> {
        self.push(Listed::Cut(path, obstacle(error))).await
    }

    /// Says that something has a name that no path can hold.
    pub async fn nameless(&mut self, dir: &RelPath, name: &[u8]) -> Result<(), Gone> {
        let name = name.escape_ascii();
        let shown = if dir.is_root() { name.to_string() } else { format!("{dir}/{name}") };
        let message = "the name is not UTF-8, or none that a path can hold: rename it".to_owned();
        self.push(Listed::Nameless(shown, Obstacle { kind: ProblemKind::Name, message })).await
    }

    async fn push(&mut self, item: Listed) -> Result<(), Gone> {
        self.chunk.push(item);
        if self.chunk.len() < self.limit {
            return Ok(());
        }
        self.limit = (self.limit * 2).min(CHUNK);
        self.flush().await
    }

    /// Sends what there is.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(self.limit));
        self.chunks.send(full).await.map_err(|_| Gone)
    }
}
