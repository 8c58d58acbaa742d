//! Listing: whole trees in one answer where the server gives them, else one `Depth: 1` request a directory, several ahead;
//! put together as one sorted stream.

use std::cmp::Ordering;
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wl_core::backend::{Listed, Listing, Obstacle, Prune};
use wl_core::entry::Kind;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};
use wl_core::report::ProblemKind;

use crate::error::{ends_it_all, no_version, obstacle};
use crate::server::{Depth, Server};
use crate::subtree::{self, Below};
use crate::version::Seen;

/// Directories asked for ahead of their turn.
const AHEAD: usize = 16;
/// Items in a chunk.
const CHUNK: usize = 1024;
/// Chunks that wait to be taken.
const WAITING: usize = 4;
/// Bytes of the longest path that is followed: a server may make up directories without end.
const LONGEST_PATH: usize = 4096;

/// Lists everything below a directory.
pub fn list(server: Arc<Server>, under: &RelPath, prune: Option<Prune>) -> Listing {
    let under = under.clone();
    let begin = async move {
        let (chunks, mut taken) = mpsc::channel(WAITING);
        let walker = Walker { server, prune, out: Out { chunks, chunk: Vec::new() }, levels: Vec::new(), ahead: 0 };
        let task = AbortOnDropHandle::new(tokio::spawn(walker.walk(under)));
        futures::stream::poll_fn(move |cx| {
            let _while_listened_to = &task;
            taken.poll_recv(cx)
        })
    };
    futures::stream::once(begin).flatten().boxed()
}

/// The listener is gone, or nothing more can be known.
struct Over;

struct Walker {
    server: Arc<Server>,
    prune: Option<Prune>,
    out: Out,
    levels: Vec<Level>,
    /// Directories asked for and not entered yet.
    ahead: usize,
}

/// A directory on the way down, or everything below one.
struct Level {
    children: std::vec::IntoIter<Child>,
    /// The answers asked for ahead, in order; as many as directories will be come across.
    asked: std::collections::VecDeque<Asked>,
}

type Asked = AbortOnDropHandle<Result<Option<Vec<Child>>>>;

struct Child {
    item: Listed,
    inside: Inside,
}

/// Where what is in a directory is known from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// There is nothing in it to be listed, or it follows.
    Told,
    /// It is to be asked for, in whatever way.
    Unknown,
    /// It was told that nothing is in it: it is to be asked itself.
    Doubtful,
}

impl Child {
    /// The directory that it is, if what is in it is to be asked for.
    fn dir(&self) -> Option<&RelPath> {
        match &self.item {
            Listed::Entry(path, entry) if entry.is_dir() && self.inside != Inside::Told => Some(path),
            _ => None,
        }
    }
}

impl Walker {
    async fn walk(mut self, under: RelPath) {
        // Nobody listens any more, or the end was told.
        let _ = self.walk_below(under).await;
        let _ = self.out.flush().await;
    }

    async fn walk_below(&mut self, under: RelPath) -> Result<(), Over> {
        match self.inside(&under, Inside::Unknown).await {
            Ok(Some(children)) => self.enter(children),
            Ok(None) => return self.missing(under).await,
            Err(error) => return self.out.push(Listed::Blocked(under, obstacle(&error))).await,
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(child) = level.children.next() else {
                self.levels.pop();
                continue;
            };
            let (dir, inside) = (child.dir().cloned(), child.inside);
            self.out.push(child.item).await?;
            if let Some(dir) = dir {
                self.descend(dir, inside).await?;
            }
        }
        Ok(())
    }

    /// Goes into a directory that was listed.
    async fn descend(&mut self, dir: RelPath, inside: Inside) -> Result<(), Over> {
        self.ask_ahead();
        let asked = self.levels.last_mut().and_then(|level| level.asked.pop_front());
        let mut answer = match asked {
            Some(asked) => {
                self.ahead -= 1;
                asked.await.unwrap_or_else(|_| Err(Error::stopped()))
            }
            None => self.inside(&dir, inside).await,
        };
        if let Err(error) = &mut answer
            && error.fault == Fault::Offline
            && self.server.see(&dir).await.is_ok()
        {
            // Apache closes the connection over a directory that it may not read: only this one cannot be listed.
            error.fault = Fault::Broken;
            error.message = format!("the server answers, but not with what is in this directory: {}", error.message);
        }
        match answer {
            Ok(Some(children)) => self.enter(children),
            Ok(None) => {
                let message = "it vanished while it was listed: the next pass sees what became of it".to_owned();
                self.out.push(Listed::Blocked(dir, Obstacle { kind: ProblemKind::Busy, message })).await?;
            }
            Err(error) if ends_it_all(&error) => {
                self.out.push(Listed::Cut(dir, obstacle(&error))).await?;
                return Err(Over);
            }
            Err(error) => self.out.push(Listed::Blocked(dir, obstacle(&error))).await?,
        }
        Ok(())
    }

    /// Nothing below a directory that is not there; but a missing root is not an empty one.
    async fn missing(&mut self, under: RelPath) -> Result<(), Over> {
        match self.server.root_is_there().await {
            Ok(()) if !under.is_root() => Ok(()),
            Ok(()) => {
                let message = "the root was missing a moment ago".to_owned();
                self.out.push(Listed::Blocked(under, Obstacle { kind: ProblemKind::Unreadable, message })).await
            }
            Err(error) => self.out.push(Listed::Blocked(under, obstacle(&error))).await,
        }
    }

    async fn inside(&self, dir: &RelPath, inside: Inside) -> Result<Option<Vec<Child>>> {
        ask(&self.server, dir, inside, self.prune.as_ref()).await
    }

    fn enter(&mut self, children: Vec<Child>) {
        self.levels.push(Level { children: children.into_iter(), asked: std::collections::VecDeque::new() });
        self.ask_ahead();
    }

    /// Asks for the next directories of the innermost level, and of those around it as far as there is room.
    fn ask_ahead(&mut self) {
        for level in self.levels.iter_mut().rev() {
            if self.ahead >= AHEAD {
                return;
            }
            let rest = level.children.as_slice().iter();
            let dirs = rest.filter_map(|child| child.dir().map(|dir| (dir, child.inside)));
            for (dir, inside) in dirs.skip(level.asked.len()).take(AHEAD - self.ahead) {
                let (server, dir, prune) = (self.server.clone(), dir.clone(), self.prune.clone());
                let asking = async move { ask(&server, &dir, inside, prune.as_ref()).await };
                level.asked.push_back(AbortOnDropHandle::new(tokio::spawn(asking)));
                self.ahead += 1;
            }
        }
    }
}

/// What is in a directory, maybe with everything below; none if it is not there.
async fn ask(server: &Server, dir: &RelPath, inside: Inside, prune: Option<&Prune>) -> Result<Option<Vec<Child>>> {
    if inside == Inside::Unknown && dir.as_str().len() <= LONGEST_PATH {
        match subtree::below(server, dir, prune).await {
            Below::Tree(tree) => {
                let child = |item: Listed| {
                    let doubtful = path_of(&item).is_some_and(|path| tree.doubtful.contains(path));
                    Child { item, inside: if doubtful { Inside::Doubtful } else { Inside::Told } }
                };
                return Ok(Some(tree.items.into_iter().map(child).collect()));
            }
            Below::Nothing => return Ok(None),
            Below::Unsaid => {}
        }
    }
    let listed = children(server, dir, prune).await?;
    if inside == Inside::Doubtful && listed.as_ref().is_some_and(|listed| !listed.is_empty()) {
        server.trees.are_refused();
    }
    let child = |item| Child { item, inside: Inside::Unknown };
    Ok(listed.map(|listed| listed.into_iter().map(child).collect()))
}

/// A directory's children in the order of a listing; none if it is not there.
pub async fn children(server: &Server, dir: &RelPath, prune: Option<&Prune>) -> Result<Option<Vec<Listed>>> {
    if dir.as_str().len() > LONGEST_PATH {
        return Err(Error::new(Fault::Malformed, "this path is too long to be followed"));
    }
    let mut listed = Vec::new();
    let answered = server
        .listed(dir, Depth::One, |names, seen| {
            let [name] = &names[..] else {
                return Err(Error::new(Fault::Malformed, "the server listed more than it was asked for"));
            };
            listed.extend(listed_as(server, dir, name, seen, prune));
            Ok(())
        })
        .await?;
    Ok(answered.map(|()| in_order(listed)))
}

/// A resource as an item of a listing; none if it is not one.
pub fn listed_as(
    server: &Server,
    dir: &RelPath,
    name: &[u8],
    seen: Result<Option<Seen>>,
    prune: Option<&Prune>,
) -> Option<Listed> {
    let path = match std::str::from_utf8(name).map_err(|_| wl_core::path::BadPath::NotUtf8).and_then(|n| dir.join(n)) {
        Ok(path) => path,
        Err(bad) => {
            let shown = dir.as_str().to_owned() + "/" + &String::from_utf8_lossy(name);
            let obstacle = Obstacle { kind: ProblemKind::Name, message: format!("its name {bad}") };
            return Some(Listed::Nameless(shown.trim_start_matches('/').to_owned(), obstacle));
        }
    };
    if dir.is_root() && path.name() == TRASH_DIR {
        return None;
    }
    if path.name().starts_with(PART_PREFIX) {
        server.parts.came_across(path);
        return None;
    }
    match seen {
        Ok(None) => None,
        Ok(Some(seen)) if seen.is_nameless() => Some(Listed::Blocked(path, no_version())),
        Ok(Some(seen)) => {
            let kind = if seen.is_dir { Kind::Dir } else { Kind::File };
            let wanted = prune.is_none_or(|prune| !prune(&path, kind));
            wanted.then(|| Listed::Entry(path, seen.entry(server.precision())))
        }
        Err(error) => Some(Listed::Blocked(path, obstacle(&error))),
    }
}

/// Sorts, and blocks what was listed twice.
fn in_order(mut listed: Vec<Listed>) -> Vec<Listed> {
    listed.sort_by(|a, b| path_of(a).cmp(&path_of(b)));
    listed.dedup_by(|second, first| {
        let twice = matches!((path_of(first), path_of(second)), (Some(one), Some(other)) if one == other);
        if twice && let Some(path) = path_of(first).cloned() {
            let message = "the server lists this name twice".to_owned();
            *first = Listed::Blocked(path, Obstacle { kind: ProblemKind::Name, message });
        }
        twice
    });
    listed.sort_by(by_bytes);
    listed
}

/// The path that an item is about.
pub fn path_of(listed: &Listed) -> Option<&RelPath> {
    match listed {
        Listed::Entry(path, _) | Listed::Blocked(path, _) | Listed::Cut(path, _) => Some(path),
        Listed::Nameless(..) => None,
    }
}

/// Bytes of the path, with a slash behind a directory's.
pub fn by_bytes(a: &Listed, b: &Listed) -> Ordering {
    fn key(listed: &Listed) -> impl Iterator<Item = u8> {
        let is_dir = matches!(listed, Listed::Entry(_, entry) if entry.is_dir());
        let path = path_of(listed).map(RelPath::as_str).unwrap_or_default();
        path.bytes().chain(is_dir.then_some(b'/'))
    }
    key(a).cmp(key(b))
}

/// What was seen and not sent yet.
struct Out {
    chunks: mpsc::Sender<Vec<Listed>>,
    chunk: Vec<Listed>,
}

impl Out {
    async fn push(&mut self, item: Listed) -> Result<(), Over> {
        self.chunk.push(item);
        if self.chunk.len() < CHUNK { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.chunks.send(std::mem::take(&mut self.chunk)).await.map_err(|_| Over)
    }
}
