//! Everything below a directory in one answer (`Depth: infinity`, RFC 4918, section 9.1), where the server gives it.
//!
//! Servers list in whatever order: an answer is sorted once it is whole, and is given up when it grows too long. Many answer
//! as if asked for less, or leave out what they may not read: a directory that is shown without children is always asked
//! for itself.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::StatusCode;
use wl_core::backend::{Listed, Prune};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::{of_status, timed_out};
use crate::list::{by_bytes, listed_as, path_of};
use crate::server::{Depth, Server, is_changing};

/// Resources in one answer at most. Several answers wait for their turn at a time, so this bounds what is held.
const MOST: usize = 5_000;
/// So many directories are remembered as too large to be asked for in one go.
const REMEMBERED: usize = 10_000;

/// Whether a server is asked for whole trees.
#[derive(Debug, Default)]
pub struct Trees {
    refused: AtomicBool,
    too_large: Mutex<BTreeSet<RelPath>>,
}

impl Trees {
    /// Whether it may pay to ask for everything below that directory.
    pub fn are_answered(&self, dir: &RelPath) -> bool {
        !self.refused.load(Ordering::Relaxed) && !self.lock().contains(dir)
    }

    /// The server does not answer such requests, or not truly.
    pub fn are_refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    fn is_too_large(&self, dir: &RelPath) {
        let mut too_large = self.lock();
        if too_large.len() >= REMEMBERED {
            too_large.clear();
        }
        too_large.insert(dir.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<RelPath>> {
        self.too_large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is below a directory.
pub struct Tree {
    /// In the order of a listing.
    pub items: Vec<Listed>,
    /// Directories among them that may hold more than is shown.
    pub doubtful: HashSet<RelPath>,
}

/// What the server says of everything below a directory.
pub enum Below {
    Tree(Tree),
    /// The directory is not there.
    Nothing,
    /// That has to be asked for directory by directory.
    Unsaid,
}

/// Asks for everything below a directory.
pub async fn below(server: &Server, dir: &RelPath, prune: Option<&Prune>) -> Below {
    if !server.trees.are_answered(dir) {
        return Below::Unsaid;
    }
    let mut found = Found {
        server,
        dir,
        prune,
        items: Vec::new(),
        hidden: HashSet::new(),
        filled: HashSet::new(),
        count: 0,
        unsure: false,
    };
    let answered = server.listed(dir, Depth::Infinity, |names, seen| found.take(&names, seen)).await;
    if found.count > MOST {
        server.trees.is_too_large(dir);
        return Below::Unsaid;
    }
    if found.unsure {
        return Below::Unsaid;
    }
    let tree = match answered {
        Ok(Some(())) => found.in_order(),
        // It was asked itself, too.
        Ok(None) => return Below::Nothing,
        Err(error) => Err(error),
    };
    match tree {
        Ok(tree) => Below::Tree(tree),
        Err(error) => {
            // Something else is the matter with what is missing, changing, busy or broke off: Apache closes the connection over
            // a directory that it may not read.
            if !error.fault.passes() && error.fault != Fault::Missing && error != is_changing(dir) {
                server.trees.are_refused();
            } else if came_too_late(&error) {
                // It may be more than can be told in time: nobody waits for it in each pass.
                server.trees.is_too_large(dir);
            }
            Below::Unsaid
        }
    }
}

fn came_too_late(error: &Error) -> bool {
    [timed_out(), of_status(StatusCode::GATEWAY_TIMEOUT)].iter().any(|late| late.message == error.message)
}

struct Found<'a> {
    server: &'a Server,
    dir: &'a RelPath,
    prune: Option<&'a Prune>,
    items: Vec<Listed>,
    /// Directories that are not listed, nor what is below them.
    hidden: HashSet<RelPath>,
    /// Directories that are shown with children.
    filled: HashSet<RelPath>,
    count: usize,
    /// Something could not be shown: what that is, its own directory's list says best.
    unsure: bool,
}

impl Found<'_> {
    fn take(&mut self, names: &[Vec<u8>], seen: Result<Option<crate::version::Seen>>) -> Result<()> {
        self.count += 1;
        if self.count > MOST {
            return Err(Error::new(Fault::Unsupported, "more is below this directory than is asked for in one go"));
        }
        if let Err(error) = seen {
            self.unsure = true;
            return Err(error);
        }
        let Some((name, above)) = names.split_last() else { return Ok(()) };
        let parent =
            above.iter().try_fold(self.dir.clone(), |dir, name| dir.join(std::str::from_utf8(name).ok()?).ok());
        // What is above has no proper name, which is said of it.
        let Some(parent) = parent else { return Ok(()) };
        let path = std::str::from_utf8(name).ok().and_then(|name| parent.join(name).ok());
        let listed = listed_as(self.server, &parent, name, seen, self.prune);
        if !above.is_empty() && !self.filled.contains(&parent) {
            self.filled.insert(parent);
        }
        if !matches!(listed, Some(Listed::Entry(..))) {
            self.hidden.extend(path);
        }
        self.items.extend(listed);
        Ok(())
    }

    /// Sorted; fails if it does not fit together.
    fn in_order(self) -> Result<Tree> {
        let Self { dir, mut items, mut hidden, filled, .. } = self;
        let odd = || Error::new(Fault::Malformed, "the server's list of everything below does not fit together");
        items.sort_by(|a, b| path_of(a).cmp(&path_of(b)));
        if items.windows(2).any(|two| path_of(&two[0]).is_some() && path_of(&two[0]) == path_of(&two[1])) {
            return Err(odd());
        }
        items.sort_by(by_bytes);
        let (mut tree, mut shown) =
            (Tree { items: Vec::with_capacity(items.len()), doubtful: HashSet::new() }, HashSet::new());
        for item in items {
            let Some(path) = path_of(&item) else {
                tree.items.push(item);
                continue;
            };
            let parent = path.parent().unwrap_or_else(RelPath::root);
            if hidden.contains(&parent) {
                hidden.insert(path.clone());
                continue;
            }
            if parent != *dir && !shown.contains(&parent) {
                return Err(odd());
            }
            if matches!(&item, Listed::Entry(_, entry) if entry.is_dir()) {
                shown.insert(path.clone());
                if !filled.contains(path) {
                    tree.doubtful.insert(path.clone());
                }
            }
            tree.items.push(item);
        }
        Ok(tree)
    }
}
