//! What was seen of directories whose entity tags change with everything below them, and what changed since: only what
//! changed, and the way down to it, is asked for.
//!
//! What is remembered of a directory is always compared with a tag that was read before its children were: what changes
//! while it is looked at shows in the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::future::try_join_all;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};

use crate::deep::tag_of;
use crate::error::ends_it_all;
use crate::server::{Depth, Server};
use crate::version::Seen;

/// Names that are remembered at most; what is not remembered is looked at as a whole once anything in it changed.
const MOST: usize = 200_000;
/// Directories that are learned between two looks, and how many of them at a time.
const LEARNED: usize = 64;
const AT_ONCE: usize = 8;

/// A storage as it was when it was last looked at.
pub struct Tree {
    /// The root's tag, read before anything that is remembered.
    tag: String,
    known: BTreeMap<RelPath, Children>,
    /// Directories in known ones that are not known themselves.
    unlearned: BTreeSet<RelPath>,
    names: usize,
}

/// What a directory holds, by name.
type Children = BTreeMap<Box<str>, Child>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Child {
    is_dir: bool,
    version: u64,
}

impl Tree {
    /// Begins to remember: what changes from now on shows in a look.
    pub async fn begin(server: &Server) -> Result<Self> {
        let tag = root_tag(server).await?;
        Ok(Self { tag, known: BTreeMap::new(), unlearned: BTreeSet::from([RelPath::root()]), names: 0 })
    }

    /// What changed since the last look. After an error anything may have, and this is of no more use.
    pub async fn look(&mut self, server: &Server) -> Result<Vec<Hint>> {
        let tag = root_tag(server).await?;
        if tag == self.tag {
            return Ok(Vec::new());
        }
        self.tag = tag;
        let mut changes = Changes::default();
        let mut waiting = vec![RelPath::root()];
        while let Some(dir) = waiting.pop() {
            let now = match children(server, &dir).await {
                Ok(now) => now,
                Err(error) if ends_it_all(&error) => return Err(error),
                Err(_) => None,
            };
            let old = self.known.remove(&dir);
            self.names -= old.as_ref().map_or(0, Children::len);
            match (old, now) {
                (Some(old), Some(now)) => {
                    let inside = compare(&dir, &old, &now, &mut changes);
                    let (known, unknown) = inside.into_iter().partition(|dir| self.known.contains_key(dir));
                    let (known, unknown): (Vec<_>, Vec<_>) = (known, unknown);
                    waiting.extend(known);
                    changes.below.extend(unknown);
                    self.keep(dir, now);
                }
                (None, Some(now)) => {
                    changes.below.push(dir.clone());
                    self.keep(dir, now);
                }
                // It vanished meanwhile, or may not be listed.
                (_, None) => changes.below.push(dir),
            }
        }
        for gone in &changes.gone {
            self.forget_below(gone);
        }
        Ok(changes.hints())
    }

    /// Gets to know some directories, as long as nothing changes.
    pub async fn learn(&mut self, server: &Server) -> Result<()> {
        let mut learned = Vec::new();
        let mut waiting: Vec<_> = self.unlearned.iter().take(LEARNED).cloned().collect();
        while !waiting.is_empty() && learned.len() < LEARNED && self.names < MOST {
            let rest = waiting.split_off(waiting.len().min(AT_ONCE));
            let asked = waiting.iter().map(|dir| children(server, dir));
            for (dir, found) in waiting.iter().zip(try_join_all(asked).await?) {
                learned.extend(found.map(|found| (dir.clone(), found)));
            }
            waiting = rest;
        }
        // Otherwise they may be newer than what a look was last taken for.
        if !learned.is_empty() && root_tag(server).await? == self.tag {
            for (dir, found) in learned {
                self.keep(dir, found);
            }
        }
        Ok(())
    }

    fn keep(&mut self, dir: RelPath, children: Children) {
        self.unlearned.remove(&dir);
        if self.names + children.len() > MOST {
            return;
        }
        let inside = children.iter().filter(|(_, child)| child.is_dir).filter_map(|(name, _)| dir.join(name).ok());
        self.unlearned.extend(inside.filter(|dir| !self.known.contains_key(dir)));
        self.names += children.len();
        self.known.insert(dir, children);
    }

    fn forget_below(&mut self, gone: &RelPath) {
        let below = |dir: &&RelPath| dir.is_at_or_below(gone);
        let known: Vec<_> = self.known.range(gone..).map(|(dir, _)| dir).take_while(below).cloned().collect();
        for dir in &known {
            self.names -= self.known.remove(dir).map_or(0, |children| children.len());
        }
        let unlearned: Vec<_> = self.unlearned.range(gone..).take_while(below).cloned().collect();
        for dir in &unlearned {
            self.unlearned.remove(dir);
        }
    }
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    look: Vec<RelPath>,
    below: Vec<RelPath>,
    gone: Vec<RelPath>,
}

impl Changes {
    fn hints(self) -> Vec<Hint> {
        let of = |paths: Vec<RelPath>, hint: fn(Vec<RelPath>) -> Hint| (!paths.is_empty()).then(|| hint(paths));
        if self.below.iter().any(RelPath::is_root) {
            return vec![Hint::Everything];
        }
        let all = [of(self.look, Hint::Look), of(self.below, Hint::LookBelow), of(self.gone, Hint::Gone)];
        all.into_iter().flatten().collect()
    }
}

/// Notes what changed among a directory's children; the directories among them in which something did.
fn compare(dir: &RelPath, old: &Children, now: &Children, changes: &mut Changes) -> Vec<RelPath> {
    let mut inside = Vec::new();
    for (name, child) in now {
        let Ok(path) = dir.join(name) else { continue };
        match old.get(name) {
            Some(before) if before == child => {}
            Some(before) if before.is_dir && child.is_dir => inside.push(path),
            Some(before) if before.is_dir => {
                changes.gone.push(path.clone());
                changes.look.push(path);
            }
            _ if child.is_dir => changes.below.push(path),
            _ => changes.look.push(path),
        }
    }
    let vanished = old.keys().filter(|name| !now.contains_key(*name));
    changes.gone.extend(vanished.filter_map(|name| dir.join(name).ok()));
    inside
}

async fn root_tag(server: &Server) -> Result<String> {
    let none = || Error::new(Fault::Broken, "the server does not tell the root's entity tag any more");
    tag_of(server, &RelPath::root()).await?.ok_or_else(none)
}

/// A directory's children now; none if it is not there. wl's own names are no children, and what has no proper name is
/// never synced.
async fn children(server: &Server, dir: &RelPath) -> Result<Option<Children>> {
    let mut children = Children::new();
    let answered = server
        .listed(dir, Depth::One, |names, seen| {
            let [name] = &names[..] else {
                return Err(Error::new(Fault::Malformed, "the server listed more than it was asked for"));
            };
            let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
            if name.starts_with(PART_PREFIX) || dir.is_root() && name == TRASH_DIR || dir.join(name).is_err() {
                return Ok(());
            }
            if let Some(child) = child(seen) {
                children.insert(name.into(), child);
            }
            Ok(())
        })
        .await?;
    Ok(answered.map(|()| children))
}

fn child(seen: Result<Option<Seen>>) -> Option<Child> {
    let mut hasher = DefaultHasher::new();
    let is_dir = match seen {
        Ok(None) => return None,
        Ok(Some(seen)) => {
            let etag = seen.etag.as_ref().map(crate::version::ETag::opaque);
            (etag, seen.size.filter(|_| !seen.is_dir), seen.modified.filter(|_| !seen.is_dir)).hash(&mut hasher);
            seen.is_dir
        }
        Err(error) => {
            error.message.hash(&mut hasher);
            false
        }
    };
    Some(Child { is_dir, version: hasher.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(listed: &[(&str, bool, u64)]) -> Children {
        listed
            .iter()
            .map(|(name, is_dir, version)| ((*name).into(), Child { is_dir: *is_dir, version: *version }))
            .collect()
    }

    fn paths(texts: &[&str]) -> Vec<RelPath> {
        texts.iter().map(|text| RelPath::parse(text).unwrap()).collect()
    }

    #[test]
    fn what_changed_is_told_apart() {
        let old = children(&[
            ("d", true, 1),
            ("e", true, 1),
            ("f", false, 1),
            ("g", false, 1),
            ("h", true, 1),
            ("i", false, 1),
        ]);
        let now = children(&[
            ("d", true, 2),
            ("e", true, 1),
            ("f", false, 2),
            ("h", false, 1),
            ("i", true, 1),
            ("j", true, 1),
            ("k", false, 1),
        ]);
        let mut changes = Changes::default();
        let inside = compare(&paths(&["a"])[0], &old, &now, &mut changes);
        assert_eq!(inside, paths(&["a/d"]));
        let look = paths(&["a/f", "a/h", "a/k"]);
        assert_eq!(changes, Changes { look, below: paths(&["a/i", "a/j"]), gone: paths(&["a/h", "a/g"]) });
    }

    #[test]
    fn what_is_below_a_name_that_vanished_is_forgotten() {
        let mut tree = Tree { tag: String::new(), known: BTreeMap::new(), unlearned: BTreeSet::new(), names: 0 };
        for dir in paths(&["a", "a-b", "a/b", "a/b/c", "b", "a.txt"]) {
            tree.keep(dir, children(&[("f", false, 1), ("unlearned", true, 1)]));
        }
        tree.forget_below(&paths(&["a"])[0]);
        let (mut known, mut unlearned) =
            (paths(&["a-b", "a.txt", "b"]), paths(&["a-b/unlearned", "a.txt/unlearned", "b/unlearned"]));
        known.sort();
        unlearned.sort();
        assert_eq!(tree.known.keys().cloned().collect::<Vec<_>>(), known);
        assert_eq!((tree.unlearned.iter().cloned().collect::<Vec<_>>(), tree.names), (unlearned, 6));
    }

    #[test]
    fn the_root_changed_is_everything_changed() {
        let changes = Changes { look: paths(&["x"]), below: vec![RelPath::root()], gone: Vec::new() };
        assert_eq!(changes.hints(), [Hint::Everything]);
    }
}
