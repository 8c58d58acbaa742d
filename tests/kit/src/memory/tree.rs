//! What lies in the memory storage.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use jiff::Timestamp;
use wl_core::entry::{Entry, Hash, Kind, Meta, Token};
use wl_core::path::RelPath;

/// One thing under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir(Meta),
    /// A file.
    File(Version),
    /// A link, a socket or the like.
    Special,
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The content.
    pub bytes: Bytes,
    /// Never given twice in one storage.
    pub number: u64,
    /// Modification time and mode.
    pub meta: Meta,
}

impl Version {
    /// The sha256 of the content.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes)
    }

    /// Whether this is the version that the token names.
    pub fn is(&self, token: &Token) -> bool {
        token.as_bytes() == self.number.to_be_bytes()
    }
}

impl Node {
    /// How a listing shows it; none if it cannot be synced.
    pub fn entry(&self, racy: bool) -> Option<Entry> {
        let token = |number: u64| {
            let bytes = number.to_be_bytes();
            if racy { Token::racy(&bytes) } else { Token::new(&bytes) }
        };
        match self {
            Self::Dir(meta) => Some(Entry { kind: Kind::Dir, size: 0, meta: *meta, token: token(0) }),
            Self::File(version) => Some(Entry {
                kind: Kind::File,
                size: version.bytes.len() as u64,
                meta: version.meta,
                token: token(version.number),
            }),
            Self::Special => None,
        }
    }
}

/// Everything below a root, without the root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<RelPath, Node>,
    /// What all names have in common that are one here.
    pub folds: Option<fn(&str) -> String>,
    /// How a new name is spelled, whoever gave it.
    pub spells: Option<fn(&str) -> String>,
    /// Whether versions are told apart by their content alone.
    pub by_content: bool,
}

impl Tree {
    pub fn get(&self, path: &RelPath) -> Option<&Node> {
        self.nodes.get(&self.as_listed(path))
    }

    /// A path in the spelling that it is listed in, or would be.
    fn as_listed(&self, path: &RelPath) -> RelPath {
        let Some(fold) = self.folds.filter(|_| !self.nodes.contains_key(path)) else { return path.clone() };
        // What is new stands where its directory does.
        let dir = path.parent().map_or_else(RelPath::root, |dir| self.as_listed(&dir));
        let new = dir.join(path.name()).unwrap_or_else(|_| path.clone());
        let folded = fold(new.as_str());
        let listed = self.nodes.keys().find(|listed| fold(listed.as_str()) == folded).cloned();
        let spelled = || RelPath::parse(&self.spells?(new.as_str())).ok();
        listed.or_else(spelled).unwrap_or(new)
    }

    /// The file under a path.
    pub fn file(&self, path: &RelPath) -> Option<&Version> {
        match self.get(path) {
            Some(Node::File(version)) => Some(version),
            _ => None,
        }
    }

    /// Whether a directory is under the path; the root is one.
    pub fn is_dir(&self, path: &RelPath) -> bool {
        path.is_root() || matches!(self.get(path), Some(Node::Dir(_)))
    }

    pub fn put(&mut self, path: &RelPath, node: Node) {
        let node = match node {
            Node::File(version) if self.by_content => {
                let mut number = [0; 8];
                number.copy_from_slice(&version.hash().0[..8]);
                Node::File(Version { number: u64::from_be_bytes(number), ..version })
            }
            node => node,
        };
        self.nodes.insert(self.as_listed(path), node);
    }

    pub fn take(&mut self, path: &RelPath) -> Option<Node> {
        self.nodes.remove(&self.as_listed(path))
    }

    /// Everything below a directory, in the order of [`RelPath`].
    pub fn below(&self, dir: &RelPath) -> impl Iterator<Item = (&RelPath, &Node)> {
        let from = if dir.is_root() { Bound::Unbounded } else { Bound::Excluded(dir) };
        self.nodes.range((from, Bound::Unbounded)).take_while(move |(path, _)| path.is_below(dir))
    }

    /// Everything there is, in the order of [`RelPath`].
    pub fn all(&self) -> impl Iterator<Item = (&RelPath, &Node)> {
        self.nodes.iter()
    }

    /// Takes out a path and everything below it.
    pub fn take_all(&mut self, path: &RelPath) -> Vec<(RelPath, Node)> {
        let all: Vec<_> = self.get(path).map(|_| path.clone()).into_iter().collect();
        let all = all.into_iter().chain(self.below(path).map(|(path, _)| path.clone()).collect::<Vec<_>>());
        all.filter_map(|path| self.nodes.remove_entry(&path)).collect()
    }

    /// Makes the directories a path is in; false if something else is in the way.
    pub fn make_parents(&mut self, path: &RelPath) -> bool {
        let missing: Vec<_> = path.ancestors().take_while(|dir| !self.is_dir(dir)).collect();
        let free = missing.iter().all(|dir| self.get(dir).is_none());
        if free {
            for dir in missing {
                self.put(&dir, Node::Dir(Meta::default()));
            }
        }
        free
    }
}

/// A time that is the same in every run: version numbers are its seconds.
pub fn moment(number: u64) -> Timestamp {
    let seconds = 1_700_000_000 + i64::try_from(number).unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
