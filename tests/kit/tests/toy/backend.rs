//! The toy storage: a shelf in memory that can do what a storage must, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use wl_core::backend::{
    Backend, Content, Facts, Guard, HashBy, Hint, Known, Listed, Listing, Look, Prune, Reading, Swap, Vouch, WatchBy,
    Written,
};
use wl_core::entry::{Entry, Hash, Kind, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};
use wl_test_kit::conformance::Bench;

#[derive(Clone, Default)]
pub struct Toy(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    items: BTreeMap<RelPath, Item>,
    versions: u64,
}

#[derive(Clone)]
enum Item {
    Dir,
    File(Version),
}

#[derive(Clone)]
pub struct Version {
    bytes: Bytes,
    meta: Meta,
    number: u64,
}

impl Version {
    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes)
    }

    fn entry(&self) -> Entry {
        let token = Token::new(&self.number.to_be_bytes());
        Entry { kind: Kind::File, size: self.bytes.len() as u64, meta: self.meta, token }
    }
}

impl Item {
    fn entry(&self) -> Entry {
        match self {
            Self::Dir => Entry { kind: Kind::Dir, size: 0, meta: Meta::default(), token: Token::new(b"dir") },
            Self::File(version) => version.entry(),
        }
    }
}

impl Shelf {
    fn is_dir(&self, path: &RelPath) -> bool {
        path.is_root() || matches!(self.items.get(path), Some(Item::Dir))
    }

    fn make_parents(&mut self, path: &RelPath) {
        for dir in path.ancestors() {
            self.items.entry(dir).or_insert(Item::Dir);
        }
    }

    fn version(&self, path: &RelPath, token: &Token) -> Result<&Version> {
        match self.items.get(path) {
            Some(Item::File(version)) if version.entry().token.same(token) => Ok(version),
            _ => Err(Error::changed(path)),
        }
    }

    fn expect(&self, path: &RelPath, guard: &Guard) -> Result<()> {
        if path.parent().is_none_or(|parent| !self.is_dir(&parent)) {
            return Err(Error::new(Fault::Missing, "the directory it belongs in does not exist").at(path));
        }
        match guard {
            Guard::Absent if self.items.contains_key(path) => Err(Error::changed(path)),
            Guard::Absent => Ok(()),
            Guard::Unchanged(token) => self.version(path, token).map(drop),
        }
    }

    /// Takes what is there away, into the trash if one is given.
    fn clear(&mut self, path: &RelPath, trash: Option<&RelPath>) {
        if let (Some(old), Some(trash)) = (self.items.remove(path), trash) {
            self.make_parents(trash);
            self.items.insert(trash.clone(), old);
        }
    }

    fn put(&mut self, path: &RelPath, bytes: Bytes, meta: Meta) -> Entry {
        self.versions += 1;
        let version = Version { bytes, meta, number: self.versions };
        let entry = version.entry();
        self.items.insert(path.clone(), Item::File(version));
        entry
    }
}

impl Toy {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap()
    }

    pub fn version(&self, path: &RelPath, token: &Token) -> Result<Version> {
        self.lock().version(path, token).cloned()
    }

    /// What `replace` does with a content that is here already.
    pub fn put(&self, path: &RelPath, version: Version, guard: &Guard, trash: Option<&RelPath>) -> Result<Written> {
        let mut held = self.lock();
        held.expect(path, guard)?;
        held.clear(path, trash);
        let hash = version.hash();
        Ok(Written { entry: held.put(path, version.bytes, version.meta), hash })
    }
}

/// A directory stands as `name/` in the order.
fn place(item: &(RelPath, Item)) -> Vec<u8> {
    let slash: &[u8] = if matches!(item.1, Item::Dir) { b"/" } else { b"" };
    [item.0.as_str().as_bytes(), slash].concat()
}

fn is_part(path: &RelPath) -> bool {
    path.segments().any(|segment| segment.starts_with(PART_PREFIX))
}

#[async_trait]
impl Backend for Toy {
    fn facts(&self) -> Facts {
        Facts {
            hash: HashBy::Read,
            token: Vouch::Strong,
            replace: Swap::Atomic,
            create: Swap::Atomic,
            delete: Swap::Atomic,
            watcher: WatchBy::Scan,
            scan_every_s: Some(60),
            server_copy: true,
            server_move: true,
            trash: true,
            mtime: true,
            mode: true,
            mtime_resolution_ns: 1,
            in_flight: 4,
            windows: Vec::new(),
        }
    }

    async fn root(&self) -> Result<String> {
        Ok("the shelf".to_owned())
    }

    async fn make_root(&self) -> Result<()> {
        Ok(())
    }

    async fn can_make_root(&self) -> Result<()> {
        Ok(())
    }

    async fn probe(&self) -> Result<Facts> {
        Ok(self.facts())
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        let trash = RelPath::parse(TRASH_DIR).unwrap();
        let held = self.lock();
        let pruned = |path: &RelPath, item: &Item| prune.as_ref().is_some_and(|prune| prune(path, item.entry().kind));
        let left_out = |path: &RelPath| {
            let above = path.ancestors().filter(|dir| dir.is_below(under));
            let mut items = above.filter_map(|dir| Some((held.items.get(&dir)?.clone(), dir)));
            is_part(path)
                || path.is_at_or_below(&trash) && !under.is_at_or_below(&trash)
                || items.any(|(item, dir)| pruned(&dir, &item))
        };
        let items =
            held.items.iter().filter(|(path, item)| path.is_below(under) && !left_out(path) && !pruned(path, item));
        let mut items: Vec<_> = items.map(|(path, item)| (path.clone(), item.clone())).collect();
        items.sort_by_key(place);
        let items = items.into_iter().map(|(path, item)| Listed::Entry(path, item.entry())).collect();
        futures::stream::once(std::future::ready(items)).boxed()
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        if path.is_root() {
            return Ok(Look::Entry(Item::Dir.entry()));
        }
        let held = self.lock();
        Ok(held.items.get(path).filter(|_| !is_part(path)).map_or(Look::Absent, |item| Look::Entry(item.entry())))
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        self.version(path, token).map(|version| version.hash())
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        let Version { bytes, meta, .. } = self.version(path, token)?;
        let rest = bytes.slice(usize::try_from(from).unwrap().min(bytes.len())..);
        Ok(Reading { meta, body: futures::stream::once(std::future::ready(Ok(rest))).boxed() })
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        self.lock().expect(path, guard)?;
        let Reading { meta, body } = content.read(0).await?;
        let bytes = Bytes::from(body.try_collect::<Vec<_>>().await?.concat());
        let right = bytes.len() as u64 == content.size && content.hash.is_none_or(|hash| hash == Hash::of(&bytes));
        if !right {
            return Err(Error::changed(path));
        }
        self.put(path, Version { bytes, meta, number: 0 }, guard, trash)
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        let mut held = self.lock();
        held.version(path, token)?;
        held.clear(path, trash);
        Ok(())
    }

    async fn make_dir(&self, path: &RelPath, _: &Meta) -> Result<()> {
        let mut held = self.lock();
        if !held.is_dir(path) {
            held.expect(path, &Guard::Absent)?;
            held.items.insert(path.clone(), Item::Dir);
        }
        Ok(())
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let mut held = self.lock();
        match held.items.get(path) {
            None => return Err(Error::missing(path)),
            Some(Item::File(_)) => return Err(Error::changed(path)),
            Some(Item::Dir) => {}
        }
        held.items.retain(|item, _| !(item.is_below(path) && is_part(item)));
        if held.items.keys().any(|item| item.is_below(path)) {
            return Err(Error::new(Fault::Refused, "the directory is not empty").at(path));
        }
        held.items.remove(path);
        Ok(())
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        let mut held = self.lock();
        let Version { bytes, meta, .. } = held.version(from, token)?.clone();
        held.expect(to, &Guard::Absent)?;
        held.items.remove(from);
        Ok(held.put(to, bytes, meta))
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        let mut held = self.lock();
        let Version { bytes, meta, .. } = held.version(known.path, known.token)?.clone();
        held.expect(to, &Guard::Absent)?;
        Ok(held.put(to, bytes, meta))
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        let mut held = self.lock();
        let Version { bytes, meta: old, .. } = held.version(path, token)?.clone();
        Ok(held.put(path, bytes, meta.or(&old)))
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        Err(Error::new(Fault::Unsupported, "a shelf does not tell"))
    }

    async fn sweep(&self) -> Result<usize> {
        let mut held = self.lock();
        let before = held.items.len();
        held.items.retain(|path, _| !is_part(path));
        Ok(before - held.items.len())
    }
}

#[async_trait]
impl Bench for Toy {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        let mut held = self.lock();
        held.make_parents(path);
        held.put(path, Bytes::copy_from_slice(bytes), Meta { mtime: None, mode: Some(0o644) });
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        match self.lock().items.get(path)? {
            Item::File(version) => Some(version.bytes.to_vec()),
            Item::Dir => None,
        }
    }

    async fn user_delete(&self, path: &RelPath) {
        self.lock().items.retain(|item, _| !item.is_at_or_below(path));
    }

    async fn user_mkdir(&self, path: &RelPath) {
        let mut held = self.lock();
        held.make_parents(path);
        held.items.insert(path.clone(), Item::Dir);
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.lock().items.contains_key(path)
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        let mut held = self.lock();
        let (moved, stays) =
            std::mem::take(&mut held.items).into_iter().partition(|(path, _)| path.is_at_or_below(from));
        held.items = stays;
        held.make_parents(to);
        let moved: BTreeMap<RelPath, Item> = moved;
        for (path, item) in moved {
            let below = path.as_str()[from.as_str().len()..].trim_start_matches('/');
            let path = if below.is_empty() { to.clone() } else { to.join_path(&RelPath::parse(below).unwrap()) };
            held.items.insert(path, item);
        }
    }
}
