//! Listing the memory storage, a chunk at a time: what changes while it runs is seen or not, as on a real storage.

use std::sync::Arc;

use futures::stream;
use wl_core::backend::{Listed, Listing, Obstacle, Prune};
use wl_core::entry::{Kind, Meta};
use wl_core::error::{Error, Fault};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};
use wl_core::report::ProblemKind;

use super::tree::Node;
use super::{Disk, Memory, Stage, What};

/// Items in a chunk: few, so that every test crosses a boundary…
const CHUNK: usize = 7;
/// …and one more after so many, so that a test of many files is not all listing.
const GROWTH: usize = 64;

/// Where a listing stands.
struct Cursor {
    storage: Arc<Memory>,
    under: RelPath,
    prune: Option<Prune>,
    /// The key of the last item given.
    after: Option<Vec<u8>>,
    /// How many items were given.
    given: usize,
    done: bool,
}

pub fn list(storage: Arc<Memory>, under: &RelPath, prune: Option<Prune>) -> Listing {
    let cursor = Cursor { storage, under: under.clone(), prune, after: None, given: 0, done: false };
    Box::pin(stream::unfold(cursor, |mut cursor| async move {
        // Lets others run between the chunks, as waiting for a storage would.
        tokio::task::yield_now().await;
        cursor.next_chunk().await.map(|chunk| (chunk, cursor))
    }))
}

impl Cursor {
    async fn next_chunk(&mut self) -> Option<Vec<Listed>> {
        if self.done {
            return None;
        }
        let stage = if self.after.is_none() { Stage::Before } else { Stage::Midway };
        let disturbed = self.storage.moment(What::List, stage, &self.under).await.err();
        let items = self.storage.disk().items(&self.under, self.prune.as_ref(), self.after.as_deref());
        if let Some(error) = disturbed {
            self.done = true;
            return self.broken_off(&error, items.first());
        }
        let most = CHUNK + self.given / GROWTH;
        self.done = items.len() <= most || matches!(items[most - 1].1, Listed::Cut(..));
        let chunk: Vec<_> = items.into_iter().take(most).collect();
        self.given += chunk.len();
        self.after = chunk.last().map(|(key, _)| key.clone());
        (!chunk.is_empty()).then(|| chunk.into_iter().map(|(_, item)| item).collect())
    }

    fn broken_off(&self, error: &Error, next: Option<&(Vec<u8>, Listed)>) -> Option<Vec<Listed>> {
        let obstacle = Obstacle { kind: problem(error.fault), message: error.message.clone() };
        if self.after.is_none() {
            return Some(vec![Listed::Blocked(self.under.clone(), obstacle)]);
        }
        match &next?.1 {
            Listed::Entry(path, _) | Listed::Blocked(path, _) | Listed::Cut(path, _) => {
                Some(vec![Listed::Cut(path.clone(), obstacle)])
            }
            Listed::Nameless(..) => None,
        }
    }
}

impl Disk {
    /// Everything that a listing gives after that key, in its order, with the keys it is ordered by.
    fn items(&self, under: &RelPath, prune: Option<&Prune>, after: Option<&[u8]>) -> Vec<(Vec<u8>, Listed)> {
        let Some((_, tree)) = &self.root else { return no_root(under, after) };
        if let Some(dir) = self.unreadable_above(under) {
            return if after.is_none() { vec![(Vec::new(), Listed::Blocked(dir, unreadable()))] } else { Vec::new() };
        }
        let mut items = Vec::new();
        let mut left_out: Option<RelPath> = None;
        for (path, node) in tree.below(under) {
            if left_out.as_ref().is_some_and(|dir| path.is_below(dir)) {
                continue;
            }
            let kind = if matches!(node, Node::Dir(_)) { Kind::Dir } else { Kind::File };
            let ours = path.name().starts_with(PART_PREFIX) || path.as_str() == TRASH_DIR;
            if ours || prune.is_some_and(|prune| prune(path, kind)) || self.unlisted.as_ref().is_some_and(|f| f(path)) {
                left_out = Some(path.clone());
                continue;
            }
            let mut key = path.as_str().as_bytes().to_vec();
            if kind == Kind::Dir {
                key.push(b'/');
            }
            match node.entry(self.racy) {
                Some(mut entry) => {
                    if self.untimed {
                        entry.meta = Meta::default();
                    }
                    items.push((key.clone(), Listed::Entry(path.clone(), entry)));
                }
                None => items.push((key.clone(), Listed::Blocked(path.clone(), special()))),
            }
            if kind == Kind::Dir && self.unreadable.contains(path) {
                key.push(0);
                items.push((key, Listed::Blocked(path.clone(), unreadable())));
                left_out = Some(path.clone());
            }
        }
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(cut) = self.cut.as_ref().filter(|cut| cut.is_below(under)) {
            items.retain(|(key, _)| key.as_slice() < cut.as_str().as_bytes());
            let obstacle = Obstacle { kind: ProblemKind::Unreadable, message: "the listing was cut off".to_owned() };
            items.push((cut.as_str().as_bytes().to_vec(), Listed::Cut(cut.clone(), obstacle)));
        }
        items.retain(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        items
    }

    /// The unreadable directory that this is, or is in.
    pub(super) fn unreadable_above(&self, path: &RelPath) -> Option<RelPath> {
        self.unreadable.iter().find(|dir| path.is_at_or_below(dir)).cloned()
    }
}

/// A root that is missing, or vanished on the way, is not an empty one.
fn no_root(under: &RelPath, after: Option<&[u8]>) -> Vec<(Vec<u8>, Listed)> {
    let obstacle = Obstacle { kind: ProblemKind::Unreadable, message: "the root is not there".to_owned() };
    let next = |after: &[u8]| [after, b"\x01"].concat();
    match after.map(next).and_then(|key| Some((RelPath::from_bytes(&key).ok()?, key))) {
        Some((path, key)) => vec![(key, Listed::Cut(path, obstacle))],
        None => vec![(Vec::new(), Listed::Blocked(under.clone(), obstacle))],
    }
}

pub fn special() -> Obstacle {
    Obstacle { kind: ProblemKind::Skipped, message: "it is neither a file nor a directory".to_owned() }
}

pub fn unreadable() -> Obstacle {
    Obstacle { kind: ProblemKind::Unreadable, message: "it cannot be read".to_owned() }
}

fn problem(fault: Fault) -> ProblemKind {
    match fault {
        Fault::Offline => ProblemKind::Offline,
        Fault::Busy => ProblemKind::Busy,
        Fault::Denied => ProblemKind::Denied,
        _ => ProblemKind::Unreadable,
    }
}
