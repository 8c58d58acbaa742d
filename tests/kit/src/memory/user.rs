//! What a user does to the storage behind wl's back, and the account of what became of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wl_core::backend::Hint;
use wl_core::entry::{Hash, Meta};
use wl_core::path::RelPath;

use super::tree::{Node, Tree, Version, moment};
use super::{Disk, Memory};

/// Which contents users made, which of them users gave up, and which wl took away.
#[derive(Debug, Default)]
pub struct Ledger {
    made: BTreeMap<Hash, (RelPath, Bytes)>,
    given_up: BTreeSet<Hash>,
    pub(super) taken: Vec<(RelPath, Hash)>,
}

/// A content that a user made and nobody gave up, and that is on no storage any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where it was made.
    pub path: RelPath,
    /// What it was, as text.
    pub content: String,
}

/// The contents that users made on any of these storages, that no user of any of them overwrote or deleted, and that none
/// of them holds under a visible name any more. The trash does not count: what nobody gave up belongs in its place.
pub fn lost(storages: &[&Memory]) -> Vec<Lost> {
    let mut present = BTreeSet::new();
    let (mut made, mut given_up) = (BTreeMap::new(), BTreeSet::new());
    for storage in storages {
        let disk = storage.disk();
        present.extend(disk.all_trees().flat_map(Tree::visible_hashes));
        made.extend(disk.ledger.made.clone());
        given_up.extend(disk.ledger.given_up.iter().copied());
    }
    made.retain(|hash, _| !present.contains(hash) && !given_up.contains(hash));
    made.into_values().map(|(path, bytes)| Lost { path, content: shown(&bytes) }).collect()
}

impl Memory {
    /// Writes a file as its user would, making its parents; whatever was in the way is given up.
    pub fn user_write(&self, path: &RelPath, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.user(path, |disk| {
            disk.clear(path);
            disk.ledger.made.insert(Hash::of(&bytes), (path.clone(), bytes.clone()));
            disk.ledger.given_up.remove(&Hash::of(&bytes));
            disk.put_version(path, bytes, Some(0o644));
        });
    }

    /// Appends to a file as its user would; makes it if there is none.
    pub fn user_append(&self, path: &RelPath, more: &[u8]) {
        let all = [self.user_read(path).unwrap_or_default().as_ref(), more].concat();
        self.user_write(path, all);
    }

    /// Makes a directory and its parents.
    pub fn user_mkdir(&self, path: &RelPath) {
        self.user(path, |disk| {
            let Some((_, tree)) = &disk.root else { return };
            if !tree.is_dir(path) {
                disk.clear(path);
                disk.put(path, Node::Dir(Meta::default()));
            }
        });
    }

    /// Puts something there that cannot be synced.
    pub fn user_special(&self, path: &RelPath) {
        self.user(path, |disk| {
            disk.clear(path);
            disk.put(path, Node::Special);
        });
    }

    /// Deletes a file, or a directory with all it holds.
    pub fn user_delete(&self, path: &RelPath) {
        self.user(path, |disk| disk.give_up(path));
    }

    /// Deletes a directory with all it holds.
    pub fn user_rmdir_all(&self, path: &RelPath) {
        self.user_delete(path);
    }

    /// Renames a file or a directory with all it holds; what was under the new name is given up.
    pub fn user_rename(&self, from: &RelPath, to: &RelPath) {
        if from == to || to.is_below(from) {
            return;
        }
        self.user(from, |disk| {
            let Some((_, tree)) = &mut disk.root else { return };
            let moved = tree.take_all(from);
            if moved.is_empty() {
                return;
            }
            disk.clear(to);
            for (path, node) in moved {
                let tail = path.as_str().strip_prefix(from.as_str()).unwrap_or_default().trim_start_matches('/');
                let path = RelPath::parse(tail).map_or_else(|_| to.clone(), |tail| to.join_path(&tail));
                let node = match node {
                    Node::File(version) => Node::File(Version { number: disk.next_version(), ..version }),
                    other => other,
                };
                disk.put(&path, node);
            }
        });
        self.tell(Hint::LookBelow(vec![to.clone()]));
        self.tell(Hint::Look(vec![to.clone()]));
    }

    /// Changes a file's version and modification time, and nothing else about it.
    pub fn user_touch(&self, path: &RelPath) {
        self.user(path, |disk| {
            let number = disk.next_version();
            let Some((_, tree)) = &mut disk.root else { return };
            if let Some(version) = tree.file(path).cloned() {
                let meta = Meta { mtime: Some(moment(number)), ..version.meta };
                tree.put(path, Node::File(Version { number, meta, ..version }));
            }
        });
    }

    /// What a user reads there; none if there is no file.
    pub fn user_read(&self, path: &RelPath) -> Option<Bytes> {
        self.disk().root.as_ref()?.1.file(path).map(|version| version.bytes.clone())
    }

    /// A file's modification time and mode.
    pub fn user_meta(&self, path: &RelPath) -> Option<Meta> {
        self.disk().root.as_ref()?.1.file(path).map(|version| version.meta)
    }

    /// Sets a file's modification time and mode, which makes another version of it.
    pub fn user_set_meta(&self, path: &RelPath, meta: Meta) {
        self.user(path, |disk| {
            let number = disk.next_version();
            let Some((_, tree)) = &mut disk.root else { return };
            if let Some(version) = tree.file(path).cloned() {
                tree.put(path, Node::File(Version { number, meta, ..version }));
            }
        });
    }

    /// Whether anything is there.
    pub fn user_exists(&self, path: &RelPath) -> bool {
        self.disk().root.as_ref().is_some_and(|(_, tree)| path.is_root() || tree.get(path).is_some())
    }

    /// Makes a path unreadable: a file's content, or everything below a directory.
    pub fn set_unreadable(&self, path: &RelPath) {
        self.disk().unreadable.insert(path.clone());
    }

    /// Makes it readable again.
    pub fn set_readable(&self, path: &RelPath) {
        self.disk().unreadable.remove(path);
    }

    /// Cuts every listing off before that path; none ends that.
    pub fn cut_listing_at(&self, path: Option<&RelPath>) {
        self.disk().cut = path.cloned();
    }

    /// Takes the root away, as when a disk is unmounted.
    pub fn remove_root(&self) {
        let mut disk = self.disk();
        let root = disk.root.take();
        disk.away.extend(root);
        drop(disk);
        self.tell(Hint::Everything);
    }

    /// Brings the root back that was taken away last.
    pub fn restore_root(&self) {
        let mut disk = self.disk();
        if let Some(back) = disk.away.pop() {
            let replaced = disk.root.replace(back);
            disk.away.splice(0..0, replaced);
        }
        drop(disk);
        self.tell(Hint::Everything);
    }

    /// Puts an empty root in the place of the one there is.
    pub fn replace_root(&self) {
        self.remove_root();
        self.disk().fresh_root();
        self.tell(Hint::Everything);
    }

    /// What a user sees: a file's content as text, a directory as `/`, anything else as `?`; without wl's own.
    pub fn snapshot(&self) -> BTreeMap<RelPath, String> {
        self.shown_nodes(|path| !path.is_ours())
    }

    /// What the trash holds.
    pub fn trash(&self) -> BTreeMap<RelPath, String> {
        self.shown_nodes(RelPath::is_ours)
    }

    /// Contents that wl overwrote or removed here and that are not in the trash here.
    pub fn taken_without_trash(&self) -> Vec<Lost> {
        let disk = self.disk();
        let kept: BTreeSet<_> = disk.all_trees().flat_map(Tree::trash_hashes).collect();
        let gone = disk.ledger.taken.iter().filter(|(_, hash)| !kept.contains(hash));
        gone.map(|(path, hash)| Lost { path: path.clone(), content: hash.to_string() }).collect()
    }

    fn shown_nodes(&self, wanted: impl Fn(&RelPath) -> bool) -> BTreeMap<RelPath, String> {
        let disk = self.disk();
        let Some((_, tree)) = &disk.root else { return BTreeMap::new() };
        let nodes = tree.all().filter(|(path, _)| wanted(path));
        nodes.map(|(path, node)| (path.clone(), node.shown())).collect()
    }

    fn user(&self, path: &RelPath, change: impl FnOnce(&mut Disk)) {
        change(&mut self.disk());
        if !path.is_ours() {
            self.tell(Hint::Look(vec![path.clone()]));
            self.tell(Hint::LookBelow(vec![path.clone()]));
            // Parents that came into being on the way.
            self.tell(Hint::Look(path.ancestors().collect()));
        }
    }
}

impl Disk {
    pub(super) fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    pub(super) fn fresh_root(&mut self) {
        self.roots += 1;
        self.root = Some((self.roots, Tree::default()));
    }

    fn all_trees(&self) -> impl Iterator<Item = &Tree> {
        self.root.iter().chain(&self.away).map(|(_, tree)| tree)
    }

    fn put(&mut self, path: &RelPath, node: Node) {
        if let Some((_, tree)) = &mut self.root {
            tree.put(path, node);
        }
    }

    fn put_version(&mut self, path: &RelPath, bytes: Bytes, mode: Option<u32>) {
        let number = self.next_version();
        let meta = Meta { mtime: Some(moment(number)), mode };
        self.put(path, Node::File(Version { bytes, number, meta }));
    }

    /// Makes room for a path: gives up what is there, and files where its parents must be.
    fn clear(&mut self, path: &RelPath) {
        self.give_up(path);
        for dir in path.ancestors() {
            let Some((_, tree)) = &self.root else { return };
            if !tree.is_dir(&dir) {
                self.give_up(&dir);
            }
        }
        if let Some((_, tree)) = &mut self.root {
            tree.make_parents(path);
        }
    }

    fn give_up(&mut self, path: &RelPath) {
        let Some((_, tree)) = &mut self.root else { return };
        for (_, node) in tree.take_all(path) {
            if let Node::File(version) = node {
                self.ledger.given_up.insert(version.hash());
            }
        }
    }
}

impl Tree {
    pub(super) fn visible_hashes(&self) -> impl Iterator<Item = Hash> {
        self.hashes(|path| !path.is_ours())
    }

    fn trash_hashes(&self) -> impl Iterator<Item = Hash> {
        self.hashes(RelPath::is_ours)
    }

    fn hashes(&self, wanted: impl Fn(&RelPath) -> bool) -> impl Iterator<Item = Hash> {
        self.all().filter(move |(path, _)| wanted(path)).filter_map(|(_, node)| match node {
            Node::File(version) => Some(version.hash()),
            _ => None,
        })
    }
}

impl Node {
    fn shown(&self) -> String {
        match self {
            Self::Dir(_) => "/".to_owned(),
            Self::File(version) => shown(&version.bytes),
            Self::Special => "?".to_owned(),
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 64 {
        format!("{} bytes {:?}", bytes.len(), Hash::of(bytes))
    } else {
        bytes.escape_ascii().to_string()
    }
}
