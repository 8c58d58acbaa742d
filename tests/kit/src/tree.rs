//! Trees written down in one line, as scenarios need them.

use std::collections::BTreeMap;
use std::fmt;

use wl_core::path::RelPath;

use crate::memory::Memory;
use crate::path;

/// A tree in one line: `a=1 d/ d/x=2 s?` is a file `a` that holds `1`, a directory with a file in it, and something that
/// cannot be synced. A `!` at an item's end makes it unreadable. Directories that are implied need not be written.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tree {
    items: BTreeMap<RelPath, Item>,
}

/// What is under one path: as [`Memory::snapshot`] shows it, and whether it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    shown: String,
    readable: bool,
}

const DIR: &str = "/";
const SPECIAL: &str = "?";

impl Tree {
    /// Reads a tree.
    ///
    /// # Panics
    /// If the text is none.
    pub fn parse(text: &str) -> Self {
        let mut tree = Self::default();
        for word in text.split_whitespace() {
            let (word, readable) = word.strip_suffix('!').map_or((word, true), |word| (word, false));
            let (name, shown) = if let Some((name, content)) = word.split_once('=') {
                (name, content)
            } else if let Some(name) = word.strip_suffix('/') {
                (name, DIR)
            } else if let Some(name) = word.strip_suffix('?') {
                (name, SPECIAL)
            } else {
                panic!("{word:?} is no item of a tree: write name=content, name/ or name?")
            };
            tree.put(&path(name), shown, readable);
        }
        tree
    }

    /// What a storage's user sees.
    pub fn on(storage: &Memory) -> Self {
        let snapshot = storage.snapshot().into_iter();
        Self { items: snapshot.map(|(path, shown)| (path, Item { shown, readable: true })).collect() }
    }

    /// Makes a storage hold exactly this tree, changing nothing that it holds already.
    pub fn put_on(&self, storage: &Memory) {
        let there = storage.snapshot();
        for path in there.keys() {
            storage.set_readable(path);
            if !self.items.contains_key(path) {
                storage.user_delete(path);
            }
        }
        for (path, item) in &self.items {
            if there.get(path) != Some(&item.shown) || !storage.user_exists(path) {
                match item.shown.as_str() {
                    DIR => storage.user_mkdir(path),
                    SPECIAL => storage.user_special(path),
                    content => storage.user_write(path, content.to_owned()),
                }
            }
        }
        for (path, _) in self.items.iter().filter(|(_, item)| !item.readable) {
            storage.set_unreadable(path);
        }
    }

    /// The paths, and what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        self.items.iter().map(|(path, item)| (path, item.shown.as_str()))
    }

    /// Whether both hold the same, readable or not.
    pub fn same(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }

    fn put(&mut self, path: &RelPath, shown: &str, readable: bool) {
        for dir in path.ancestors() {
            self.items.entry(dir).or_insert(Item { shown: DIR.to_owned(), readable: true });
        }
        self.items.insert(path.clone(), Item { shown: shown.to_owned(), readable });
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.iter().map(|(path, shown)| match shown {
            DIR | SPECIAL => format!("{path}{shown}"),
            content => format!("{path}={content}"),
        });
        let words: Vec<_> = words.collect();
        write!(f, "[{}]", words.join(" "))
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
