//! Storage type `webdav`: a collection of a WebDAV server (RFC 4918).
//!
//! Servers differ in what they heed; what this one does is found out by trying it (`probe`). What is written is proven under
//! a part name before it gets its own, what is deleted is moved aside before it goes, and whatever a server answered, what
//! is there is looked at afterwards.

mod abilities;
mod auth;
mod change;
mod checksum;
mod chunks;
mod client;
mod config;
mod deep;
mod direct;
mod error;
mod findings;
mod inplace;
mod kept;
mod learning;
mod list;
mod lock;
mod looks;
mod multistatus;
mod names;
mod note;
mod parts;
mod place;
mod probe;
mod read;
mod server;
mod subtree;
mod take;
mod transfer;
mod trash;
mod tree;
mod turns;
mod version;
mod watch;
mod way;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use reqwest::StatusCode;
use tokio_util::task::AbortOnDropHandle;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Known, Listing, Look, Prune, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};

use crate::client::{Ask, drain};
use crate::config::Settings;
use crate::server::Server;

pub use crate::take::Offer;

/// A collection as a storage.
pub struct WebDav {
    server: Arc<Server>,
    /// How often it is looked at.
    every: Duration,
}

impl Drop for WebDav {
    /// Nothing is written once nobody has the storage open any more.
    fn drop(&mut self) {
        self.server.learning.stop();
    }
}

/// The storage that a manifest describes. Its server need not be reachable yet.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    let server = Server::new(Settings::read(storage)?);
    Ok(Arc::new(WebDav { server, every: storage.watcher_interval().unwrap_or(watch::EVERY) }))
}

fn orphaned() -> Error {
    let text = "the server has neither a collection at the url of this storage nor the one it is in: make that first";
    Error::new(Fault::Missing, text)
}

/// Something short, in a task of its own: thousands are awaited by one task, which would do the work of all of them.
async fn in_a_task<T: Send + 'static>(short: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    AbortOnDropHandle::new(tokio::spawn(short)).await.unwrap_or_else(|error| {
        // Who is stopped says nothing; a bug is to be told.
        Err(if error.is_cancelled() { Error::stopped() } else { Error::new(Fault::Broken, error.to_string()) })
    })
}

#[async_trait]
impl Backend for WebDav {
    fn facts(&self) -> Facts {
        let facts = abilities::facts(self.server.known_abilities().as_deref());
        let mut windows = facts.windows;
        windows.extend(self.server.uploads.as_ref().and_then(chunks::told));
        Facts { scan_every_s: facts.scan_every_s.filter(|_| !self.server.may_watch()), windows, ..facts }
    }

    async fn root(&self) -> Result<String> {
        let id = self.server.root_id().await?;
        let url = self.server.client.base.url();
        Ok(id.map_or_else(|| url.to_string(), |id| format!("{url}#{id}")))
    }

    fn is_named(&self, root: &str) -> bool {
        // The server's own name for it, which few servers have.
        root.contains('#')
    }

    async fn make_root(&self) -> Result<()> {
        let url = self.server.client.base.url().clone();
        let response = self.server.client.send(Ask::new("MKCOL", url), None).await?;
        let error = error::of_answer(&response);
        let status = drain(response).await;
        match self.server.root_id().await.map(drop) {
            Err(missing) if missing.fault == Fault::Missing => match status {
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => Err(orphaned()),
                _ => Err(error),
            },
            there => there,
        }
    }

    async fn can_make_root(&self) -> Result<()> {
        match self.server.root_id().await {
            Err(missing) if missing.fault == Fault::Missing => {}
            there => return there.map(drop),
        }
        let Some(above) = self.server.client.base.above() else { return Ok(()) };
        let response = self.server.client.send(Ask::new("PROPFIND", above).with("depth", "0"), None).await?;
        match drain(response).await {
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Err(orphaned()),
            // It may be there and be shown to nobody.
            _ => Ok(()),
        }
    }

    async fn probe(&self) -> Result<Facts> {
        if self.server.read_only {
            // Nothing is written there, not even to find out what the server would do with it.
            return self.server.root_id().await.map(|_| self.facts());
        }
        self.server.try_hard().await?;
        chunks::try_afresh(&self.server).await?;
        Ok(self.facts())
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        list::list(self.server.clone(), under, prune)
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        let _turn = self.server.turns.change().await;
        if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
            return Ok(Look::Absent);
        }
        match self.server.see(path).await {
            Ok(Some(seen)) if seen.is_nameless() => Ok(Look::Blocked(error::no_version())),
            Ok(Some(seen)) => Ok(Look::Entry(seen.entry(self.server.precision()))),
            Ok(None) => self.server.root_is_there().await.map(|()| Look::Absent),
            Err(error) if error::ends_it_all(&error) => Err(error.at(path)),
            Err(error) => Ok(Look::Blocked(error::obstacle(&error))),
        }
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        let _turn = self.server.turns.read().await;
        read::hash_or_note(&self.server, path, token).await
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        if version::size_in(token).is_none_or(|size| size > direct::LARGEST) {
            let turn = self.server.turns.read().await;
            return read::read(&self.server, path, token, from, turn).await;
        }
        let (server, path, token) = (self.server.clone(), path.clone(), token.clone());
        in_a_task(async move {
            let turn = server.turns.read().await;
            read::read_short(&server, &path, &token, from, turn).await
        })
        .await
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        if direct::fits(&self.server, path, &content, guard).await? {
            let (server, path) = (self.server.clone(), path.clone());
            return in_a_task(async move { direct::create(&server, &path, &content).await }).await;
        }
        let _turn = self.server.turns.change().await;
        write::replace(&self.server, path, content, guard, trash).await
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        let _turn = self.server.turns.change().await;
        change::remove(&self.server, path, token, trash).await
    }

    async fn make_dir(&self, path: &RelPath, _meta: &Meta) -> Result<()> {
        if path.is_root() {
            return self.make_root().await;
        }
        // What goes into it follows.
        self.server.learn();
        let _turn = self.server.turns.change().await;
        change::make_dir(&self.server, path).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let _turn = self.server.turns.change().await;
        change::remove_dir(&self.server, path).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        let _turn = self.server.turns.change().await;
        change::move_within(&self.server, from, token, to).await
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        let _turn = self.server.turns.change().await;
        change::copy_within(&self.server, known, to).await
    }

    async fn replace_within(
        &self,
        path: &RelPath,
        known: Known<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        let _turn = self.server.turns.change().await;
        let Known { path: from, token, size, hash } = known;
        let offer = Offer { at: self, path: from, token, size, hash: Some(hash) };
        self.take(path, offer, guard, trash, &|_| ()).await
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        let _turn = self.server.turns.change().await;
        write::set_meta(&self.server, path, token, meta).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        watch::watch(self.server.clone(), self.every).await
    }

    async fn sweep(&self) -> Result<usize> {
        change::sweep(&self.server).await
    }
}
