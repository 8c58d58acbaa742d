//! Storage type `sftp`: a directory of an SSH server.
//!
//! All changes of what others see are SFTP's own. Commands, where the server runs any, look and fill part files: they list,
//! hash, watch and copy faster than the protocol can, with the same result.

mod aside;
mod change;
mod clock;
mod copy;
mod durable;
mod error;
mod facts;
mod find;
mod hash;
mod identity;
mod leftovers;
mod list;
mod maker;
mod part;
mod patch;
mod publish;
mod read;
mod root;
mod seen;
mod shell;
mod ssh;
mod take;
mod trash;
mod upload;
mod walk;
mod watch;
mod why;
mod width;
mod wire;
mod write;
mod young;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Known, Listing, Look, Obstacle, Prune, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};
use wl_core::report::ProblemKind;

use crate::root::{Found, Root};
use crate::ssh::Settings;

pub use crate::patch::{New, Peer, Turn};
pub use crate::take::Offer;

/// A directory of an SSH server as a storage.
pub struct Sftp {
    root: Arc<Root>,
}

/// The storage that a manifest describes. Its server need not be reachable yet.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    let path = storage.params().get("path").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !(path.starts_with('/') || path == "~" || path.starts_with("~/")) {
        let text =
            "an sftp storage needs a `path`: absolute, or one below the home directory there that begins with ~/";
        return Err(Error::new(Fault::Malformed, text));
    }
    let root = Root::new(Settings::of(storage)?, path, storage.read_only());
    Ok(Arc::new(Sftp { root: Arc::new(root) }))
}

#[async_trait]
impl Backend for Sftp {
    fn facts(&self) -> Facts {
        facts::facts(&self.root)
    }

    async fn root(&self) -> Result<String> {
        identity::identity(&self.root).await
    }

    fn is_named(&self, root: &str) -> bool {
        identity::is_named(root)
    }

    async fn make_root(&self) -> Result<()> {
        let root = &self.root;
        root.attempt(|at, _| async move { root.make(&at).await }).await
    }

    async fn can_make_root(&self) -> Result<()> {
        let root = &self.root;
        root.attempt(|at, _| async move { root.can_be_made(&at).await }).await
    }

    async fn probe(&self) -> Result<Facts> {
        facts::probe(&self.root).await
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        list::list(self.root.clone(), under, prune)
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
            return Ok(Look::Absent);
        }
        facts::meet(&self.root).await?;
        if self.root.aside.concerns(path) {
            aside::bring_one_back(&self.root, path).await?;
        }
        let found = match self.root.attempt(|at, _| async move { at.look(path).await }).await {
            // What may not be looked at, or cannot be there under such a name: the rest goes on.
            Err(error) if error.fault == Fault::Denied || error::is_no_name(&error) => {
                return Ok(Look::Blocked(error::obstacle(&error)));
            }
            found => found?,
        };
        Ok(match found {
            Found::Nothing => {
                // Below a root that is not mounted nothing is absent. Looked at last: a root that was there before says
                // nothing of the path.
                self.root.attempt(|at, _| async move { self.root.seen(&at).await }).await?;
                Look::Absent
            }
            Found::Behind(what) => {
                Look::Blocked(Obstacle { kind: ProblemKind::Skipped, message: format!("lies below a {what}") })
            }
            Found::Seen(seen) => match (self.root.clock.entry(&seen), seen.obstacle()) {
                (Some(entry), _) => Look::Entry(entry),
                (None, Some(obstacle)) => Look::Blocked(obstacle),
                (None, None) => Look::Absent,
            },
        })
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        hash::hash(&self.root, path, token).await
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        read::read(&self.root, path, token, from).await
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        facts::meet(&self.root).await?;
        write::replace(&self.root, path, content, guard, trash).await
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        publish::remove(&self.root, path, token, trash).await
    }

    async fn make_dir(&self, path: &RelPath, meta: &Meta) -> Result<()> {
        if path.is_root() {
            return self.make_root().await;
        }
        change::make_dir(&self.root, path, meta).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        change::remove_dir(&self.root, path).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        publish::move_within(&self.root, from, token, to).await
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        change::copy_within(&self.root, known, to).await
    }

    async fn replace_within(
        &self,
        path: &RelPath,
        known: Known<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        let offer = Offer { at: self, path: known.path, token: known.token, hash: Some(known.hash) };
        self.take(path, offer, guard, trash, &|_| ()).await
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        change::set_meta(&self.root, path, token, meta).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        watch::watch(&self.root).await
    }

    async fn sweep(&self) -> Result<usize> {
        leftovers::sweep(&self.root).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;

    fn manifest(sshd: &Sshd, port: u16) -> Storage {
        let params = json!({
            "object": "storage",
            "type": "sftp",
            "backend-id": "3cba7968-da34-4b8c-8dc7-83d8860a8933",
            "host": "127.0.0.1",
            "port": port,
            "ssh-user": sshd.user(),
            "ssh-identity": sshd.identity(),
            "known-hosts": sshd.known_hosts_at(port),
            "path": sshd.remote_root(),
        });
        Storage::from_params(params).unwrap()
    }

    /// The directory that a server serves.
    pub fn storage_on(sshd: &Sshd) -> Arc<dyn Backend> {
        open(&manifest(sshd, sshd.port())).unwrap()
    }

    /// The same, from the inside.
    pub fn root_on(sshd: &Sshd) -> Arc<Root> {
        root_behind(sshd, sshd.port())
    }

    /// The same, reached through a port.
    pub fn root_behind(sshd: &Sshd, port: u16) -> Arc<Root> {
        let path = sshd.remote_root().to_str().unwrap();
        Arc::new(Root::new(Settings::of(&manifest(sshd, port)).unwrap(), path, false))
    }

    /// It is wrong for every path: it says nothing of the name that was asked for.
    #[tokio::test]
    async fn what_is_wrong_with_a_server_is_not_wrong_with_a_name() {
        let sshd = Sshd::start(Mode::Exec);
        let (storage, x) = (storage_on(&sshd), RelPath::parse("x").unwrap());
        assert_eq!(storage.stat(&x).await, Ok(Look::Absent));
        let keys = sshd.identity().with_extension("pub");
        let key = fs::read_to_string(&keys).unwrap();
        fs::write(&keys, format!("command=\"echo Welcome to this server\" {key}")).unwrap();
        sshd.kill_connections();
        let look = storage.stat(&x).await;
        assert!(matches!(&look, Err(error) if error.message.contains("does not speak SFTP")), "{look:?}");
    }
}
