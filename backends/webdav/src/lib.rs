//! Storage type `webdav`: a collection of a WebDAV server (RFC 4918).
//!
//! Servers differ in what they heed; what this one does is found out by trying it (`probe`). What is written is proven under
//! a part name before it gets its own, what is deleted is moved aside before it goes, and whatever a server answered, what
//! is there is looked at afterwards.

mod abilities;
mod auth;
mod change;
mod checksum;
mod client;
mod config;
mod error;
mod inplace;
mod list;
mod lock;
mod multistatus;
mod names;
mod note;
mod parts;
mod place;
mod probe;
mod read;
mod server;
mod transfer;
mod trash;
mod version;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use reqwest::StatusCode;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Listing, Look, Prune, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};

use crate::client::{Ask, drain};
use crate::config::Settings;
use crate::server::Server;

/// A collection as a storage.
pub struct WebDav {
    server: Arc<Server>,
}

/// The storage that a manifest describes. Its server need not be reachable yet.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(WebDav { server: Arc::new(Server::new(Settings::read(storage)?)) }))
}

#[async_trait]
impl Backend for WebDav {
    fn facts(&self) -> Facts {
        abilities::facts(self.server.known_abilities().as_deref())
    }

    async fn root(&self) -> Result<String> {
        let id = self.server.root_id().await?;
        let url = self.server.client.base.url();
        Ok(id.map_or_else(|| url.to_string(), |id| format!("{url}#{id}")))
    }

    async fn make_root(&self) -> Result<()> {
        let url = self.server.client.base.url().clone();
        let response = self.server.client.send(Ask::new("MKCOL", url), None).await?;
        let error = error::of_answer(&response);
        let status = drain(response).await;
        match self.server.root_id().await.map(drop) {
            Err(missing) if missing.fault == Fault::Missing => match status {
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => Err(missing),
                _ => Err(error),
            },
            there => there,
        }
    }

    async fn probe(&self) -> Result<Facts> {
        self.server.try_hard().await.map(|abilities| abilities::facts(Some(&abilities)))
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        list::list(self.server.clone(), under, prune)
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
            return Ok(Look::Absent);
        }
        match self.server.see(path).await {
            Ok(Some(seen)) => Ok(Look::Entry(seen.entry(self.server.precision()))),
            Ok(None) => self.server.root_is_there().await.map(|()| Look::Absent),
            Err(error) if error::ends_it_all(&error) => Err(error.at(path)),
            Err(error) => Ok(Look::Blocked(error::obstacle(&error))),
        }
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        read::hash_or_note(&self.server, path, token).await
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        read::read(&self.server, path, token, from).await
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        write::replace(&self.server, path, content, guard, trash).await
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        change::remove(&self.server, path, token, trash).await
    }

    async fn make_dir(&self, path: &RelPath, _meta: &Meta) -> Result<()> {
        if path.is_root() {
            return self.make_root().await;
        }
        change::make_dir(&self.server, path).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        change::remove_dir(&self.server, path).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        change::move_within(&self.server, from, token, to).await
    }

    async fn copy_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        change::copy_within(&self.server, from, token, to).await
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        write::set_meta(&self.server, path, token, meta).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        Err(Error::new(Fault::Unsupported, "a WebDAV server tells nobody what changes: it is listed from time to time"))
    }

    async fn sweep(&self) -> Result<usize> {
        change::sweep(&self.server).await
    }
}
