//! The memory storage as a [`Backend`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Known, Listing, Look, Prune, Reading, Swap, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use super::listing::{self, special, unreadable};
use super::tree::{Node, Tree, Version, moment};
use super::{Disk, Memory, Stage, What};

/// The memory storage, shared: what a body or a listing goes on reading from.
#[derive(Clone)]
pub struct Storage(pub Arc<Memory>);

impl Memory {
    /// The way wl reaches it.
    pub fn backend(self: &Arc<Self>) -> Arc<dyn Backend> {
        Arc::new(Storage(self.clone()))
    }

    /// Checks an expectation and acts on it: at once if `swap` is atomic, else with a window between the two.
    async fn swap<T>(
        &self,
        (what, path): (What, &RelPath),
        swap: Swap,
        check: impl Fn(&Disk, &Tree) -> Result<()> + Send,
        act: impl FnOnce(&mut Disk) -> Result<T> + Send,
    ) -> Result<T> {
        let checked = |disk: &Disk| disk.tree().and_then(|tree| check(disk, tree));
        if swap == Swap::Checked {
            checked(&self.disk())?;
            self.moment(what, Stage::Window, path).await?;
        }
        let mut disk = self.disk();
        if swap == Swap::Atomic {
            checked(&disk)?;
        }
        act(&mut disk)
    }

    /// Puts a content under a path if the guard allows it.
    async fn put(
        &self,
        (what, path): (What, &RelPath),
        swap: Swap,
        (bytes, meta): (Bytes, Meta),
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Entry> {
        let act = |disk: &mut Disk| {
            disk.tree()?.expect_parent(path)?;
            disk.take(path, trash)?;
            disk.put_file(path, bytes, meta)?;
            disk.entry(path)
        };
        self.swap((what, path), swap, |_, tree| tree.expect(path, guard), act).await
    }

    /// The bytes of that version, or why not.
    fn version(&self, path: &RelPath, token: &Token) -> Result<Version> {
        let disk = self.disk();
        if disk.unreadable_above(path).is_some() {
            return Err(Error::new(Fault::Denied, "it cannot be read").at(path));
        }
        disk.tree()?.expect_version(path, token).cloned()
    }

    fn changed(&self, path: &RelPath) {
        self.tell(Hint::Look(vec![path.clone()]));
    }
}

impl Disk {
    fn tree(&self) -> Result<&Tree> {
        self.root.as_ref().map(|(_, tree)| tree).ok_or_else(no_root)
    }

    fn tree_mut(&mut self) -> Result<&mut Tree> {
        self.root.as_mut().map(|(_, tree)| tree).ok_or_else(no_root)
    }

    /// The entry under a path, as the change that is under way leaves it.
    fn entry(&self, path: &RelPath) -> Result<Entry> {
        self.tree()?.get(path).and_then(|node| node.entry(self.racy)).ok_or_else(|| Error::changed(path))
    }

    fn may_hold(&self, path: &RelPath) -> Result<()> {
        let forbidden = self.forbidden.as_ref().is_some_and(|forbidden| forbidden(path));
        if forbidden { Err(Error::new(Fault::Malformed, "this storage cannot hold the name").at(path)) } else { Ok(()) }
    }

    /// Takes out a file on wl's behalf, into the trash if it is to be kept.
    fn take(&mut self, path: &RelPath, trash: Option<&RelPath>) -> Result<()> {
        let tree = self.tree_mut()?;
        let version = match tree.get(path) {
            None => return Ok(()),
            Some(Node::File(version)) => version.clone(),
            Some(_) => return Err(Error::changed(path)),
        };
        tree.take(path);
        let hash = version.hash();
        if let Some(trash) = trash {
            tree.make_parents(trash);
            tree.put(trash, Node::File(version));
        }
        // What is here under another name was moved there.
        let moved = self.tree()?.visible_hashes().any(|other| other == hash);
        if trash.is_some() || !moved {
            self.ledger.taken.push((path.clone(), hash));
        }
        Ok(())
    }

    fn put_file(&mut self, path: &RelPath, bytes: Bytes, meta: Meta) -> Result<()> {
        let number = self.next_version();
        let tree = self.tree_mut()?;
        let meta = Meta { mtime: meta.mtime.or(Some(moment(number))), mode: meta.mode.or(Some(0o644)) };
        tree.put(path, Node::File(Version { bytes, number, meta }));
        Ok(())
    }
}

impl Tree {
    fn expect_version(&self, path: &RelPath, token: &Token) -> Result<&Version> {
        match self.get(path) {
            Some(Node::File(version)) if version.is(token) => Ok(version),
            Some(_) => Err(Error::changed(path)),
            None => Err(Error::missing(path)),
        }
    }

    fn expect(&self, path: &RelPath, guard: &Guard) -> Result<()> {
        match guard {
            Guard::Absent if self.get(path).is_some() => Err(Error::changed(path)),
            Guard::Absent => Ok(()),
            Guard::Unchanged(token) => match self.expect_version(path, token) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::changed(path)),
            },
        }
    }

    /// Whether a path is free and in a directory.
    fn expect_place(&self, path: &RelPath) -> Result<()> {
        self.expect(path, &Guard::Absent)?;
        self.expect_parent(path)
    }

    fn expect_parent(&self, path: &RelPath) -> Result<()> {
        if path.parent().is_some_and(|dir| self.is_dir(&dir)) { Ok(()) } else { Err(no_parent(path)) }
    }
}

#[async_trait]
impl Backend for Storage {
    fn facts(&self) -> Facts {
        self.0.disk().facts.clone()
    }

    async fn root(&self) -> Result<String> {
        self.0.moment(What::Root, Stage::Before, &RelPath::root()).await?;
        let disk = self.0.disk();
        let (id, _) = disk.root.as_ref().ok_or_else(no_root)?;
        Ok(if disk.nameless { "memory".to_owned() } else { format!("memory {id}") })
    }

    fn is_named(&self, root: &str) -> bool {
        root != "memory"
    }

    async fn make_root(&self) -> Result<()> {
        self.0.moment(What::MakeRoot, Stage::Before, &RelPath::root()).await?;
        let mut disk = self.0.disk();
        if disk.root.is_none() {
            disk.fresh_root();
        }
        Ok(())
    }

    async fn can_make_root(&self) -> Result<()> {
        self.0.moment(What::Root, Stage::Before, &RelPath::root()).await
    }

    async fn probe(&self) -> Result<Facts> {
        self.root().await?;
        Ok(self.facts())
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        listing::list(self.0.clone(), under, prune)
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        self.0.moment(What::Stat, Stage::Before, path).await?;
        let disk = self.0.disk();
        let tree = disk.tree()?;
        if path.is_root() {
            return Ok(Node::Dir(Meta::default()).entry(disk.racy).map_or(Look::Absent, Look::Entry));
        }
        if path.segments().any(|segment| segment.starts_with(PART_PREFIX)) {
            return Ok(Look::Absent);
        }
        if path.ancestors().any(|dir| disk.unreadable.contains(&dir)) {
            return Ok(Look::Blocked(unreadable()));
        }
        if path.ancestors().any(|dir| tree.get(&dir) == Some(&Node::Special)) {
            return Ok(Look::Blocked(special()));
        }
        Ok(match tree.get(path) {
            None => Look::Absent,
            Some(node) => node.entry(disk.racy).map_or_else(|| Look::Blocked(special()), Look::Entry),
        })
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        self.0.moment(What::Hash, Stage::Before, path).await?;
        let version = self.0.version(path, token)?;
        Ok(self.0.claimed_hash().unwrap_or_else(|| version.hash()))
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        self.0.moment(What::Read, Stage::Before, path).await?;
        let Version { bytes, meta, .. } = self.0.version(path, token)?;
        let rest = bytes.slice(usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len())..);
        // Two pieces, so that something can happen between them.
        let pieces = [rest.slice(..rest.len() / 2), rest.slice(rest.len() / 2..)];
        let (storage, path, token) = (self.0.clone(), path.clone(), token.clone());
        let body = stream::iter(pieces).then(move |piece| {
            let (storage, path, token) = (storage.clone(), path.clone(), token.clone());
            async move {
                tokio::task::yield_now().await;
                storage.moment(What::Read, Stage::Midway, &path).await?;
                storage.version(&path, &token).map_err(|_| Error::changed(&path))?;
                Ok(piece)
            }
        });
        Ok(Reading { meta, body: Box::pin(body) })
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        self.0.moment(What::Replace, Stage::Before, path).await?;
        self.0.disk().may_hold(path)?;
        let (bytes, meta) = read_whole(path, &content).await?;
        self.0.moment(What::Replace, Stage::Publish, path).await?;
        let facts = self.facts();
        let swap = if *guard == Guard::Absent { facts.create } else { facts.replace };
        let hash = Hash::of(&bytes);
        let written = self.0.put((What::Replace, path), swap, (bytes, meta), guard, trash).await?;
        self.0.changed(path);
        self.0.moment(What::Replace, Stage::After, path).await?;
        Ok(Written { entry: written, hash })
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        self.0.moment(What::Remove, Stage::Before, path).await?;
        let swap = self.facts().delete;
        let check = |_: &Disk, tree: &Tree| tree.expect_version(path, token).map(drop);
        self.0.swap((What::Remove, path), swap, check, |disk| disk.take(path, trash)).await?;
        self.0.tell(Hint::Gone(vec![path.clone()]));
        self.0.moment(What::Remove, Stage::After, path).await
    }

    async fn make_dir(&self, path: &RelPath, meta: &Meta) -> Result<()> {
        self.0.moment(What::MakeDir, Stage::Before, path).await?;
        {
            let mut disk = self.0.disk();
            disk.may_hold(path)?;
            let tree = disk.tree_mut()?;
            if !tree.is_dir(path) {
                tree.expect_place(path)?;
                tree.put(path, Node::Dir(*meta));
            }
        }
        self.0.changed(path);
        self.0.moment(What::MakeDir, Stage::After, path).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.0.moment(What::RemoveDir, Stage::Before, path).await?;
        {
            let mut disk = self.0.disk();
            let tree = disk.tree_mut()?;
            match tree.get(path) {
                None => return Err(Error::missing(path)),
                Some(Node::Dir(_)) => {}
                Some(_) => return Err(Error::changed(path)),
            }
            if tree.below(path).any(|(below, _)| !below.is_ours()) {
                return Err(Error::new(Fault::Refused, "the directory is not empty").at(path));
            }
            tree.take_all(path);
        }
        self.0.tell(Hint::Gone(vec![path.clone()]));
        self.0.moment(What::RemoveDir, Stage::After, path).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        self.within(What::Move, from, token, to).await
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        self.within(What::Copy, known.path, known.token, to).await
    }

    async fn replace_within(
        &self,
        path: &RelPath,
        known: Known<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        self.0.moment(What::Copy, Stage::Before, known.path).await?;
        let facts = self.facts();
        if !facts.server_copy {
            return Ok(None);
        }
        self.0.disk().may_hold(path)?;
        let Version { bytes, meta, .. } = self.0.version(known.path, known.token)?;
        if Hash::of(&bytes) != known.hash {
            return Err(Error::changed(known.path));
        }
        self.0.moment(What::Replace, Stage::Publish, path).await?;
        let swap = if *guard == Guard::Absent { facts.create } else { facts.replace };
        let entry = self.0.put((What::Replace, path), swap, (bytes, meta), guard, trash).await?;
        self.0.changed(path);
        self.0.moment(What::Copy, Stage::After, path).await?;
        Ok(Some(Written { entry, hash: known.hash }))
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        self.0.moment(What::SetMeta, Stage::Before, path).await?;
        let entry = {
            let mut disk = self.0.disk();
            let number = disk.next_version();
            let tree = disk.tree_mut()?;
            let version = tree.expect_version(path, token)?.clone();
            let meta = Meta { mtime: meta.mtime.or(version.meta.mtime), mode: meta.mode.or(version.meta.mode) };
            tree.put(path, Node::File(Version { number, meta, ..version }));
            disk.entry(path)?
        };
        self.0.changed(path);
        self.0.moment(What::SetMeta, Stage::After, path).await?;
        Ok(entry)
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        if self.0.disk().unwatched {
            return Ok(Box::pin(stream::empty()));
        }
        let hints = self.0.hints.subscribe();
        Ok(Box::pin(stream::unfold(hints, |mut hints| async move {
            match hints.recv().await {
                Ok(hint) => Some((hint, hints)),
                Err(RecvError::Lagged(_)) => Some((Hint::Everything, hints)),
                Err(RecvError::Closed) => None,
            }
        })))
    }

    async fn sweep(&self) -> Result<usize> {
        let mut disk = self.0.disk();
        let tree = disk.tree_mut()?;
        let parts: Vec<_> = tree.all().map(|(path, _)| path.clone()).collect();
        let parts: Vec<_> = parts.into_iter().filter(|path| path.name().starts_with(PART_PREFIX)).collect();
        Ok(parts.iter().filter_map(|path| tree.take(path)).count())
    }
}

impl Storage {
    /// Moves or copies a version to another place in one step.
    async fn within(&self, what: What, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        self.0.moment(what, Stage::Before, from).await?;
        let facts = self.facts();
        if !(if what == What::Move { facts.server_move } else { facts.server_copy }) {
            return Err(Error::new(Fault::Unsupported, "this storage cannot do it inside itself").at(from));
        }
        let entry = {
            let mut disk = self.0.disk();
            disk.may_hold(to)?;
            let number = disk.next_version();
            let tree = disk.tree_mut()?;
            let version = tree.expect_version(from, token)?.clone();
            let moved = if what == What::Move { tree.take(from) } else { None };
            // Where it has gone from is free: another case of its name may be the same one.
            if let Err(taken) = tree.expect_place(to) {
                if let Some(node) = moved {
                    tree.put(from, node);
                }
                return Err(taken);
            }
            tree.put(to, Node::File(Version { number, ..version }));
            disk.entry(to)?
        };
        self.0.changed(to);
        self.0.tell(Hint::Gone(vec![from.clone()]));
        self.0.moment(what, Stage::After, from).await?;
        Ok(entry)
    }
}

/// Reads a content and proves it.
async fn read_whole(path: &RelPath, content: &Content) -> Result<(Bytes, Meta)> {
    let Reading { meta, body } = content.read(0).await?;
    let bytes = body.try_fold(BytesMut::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    let bytes = bytes.await?.freeze();
    let proven = bytes.len() as u64 == content.size && content.hash.is_none_or(|hash| hash == Hash::of(&bytes));
    if proven {
        Ok((bytes, meta))
    } else {
        Err(Error::new(Fault::Refused, "the content read is not the one announced").at(path))
    }
}

fn no_root() -> Error {
    Error::new(Fault::Missing, "the storage's root does not exist")
}

fn no_parent(path: &RelPath) -> Error {
    Error::new(Fault::Missing, "the directory it belongs in does not exist").at(path)
}
