//! Listing: a thread of its own walks the tree in order and sends what it sees.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use wl_core::backend::{Listed, Listing, Obstacle, Prune};
use wl_core::entry::Kind;
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR, listing_order};
use wl_core::report::ProblemKind;

use crate::error::obstacle;
use crate::leftovers::Leftovers;
use crate::mounts::missing;
use crate::root::{Handle, Root};
use crate::seen::{Seen, What};
use crate::sys;

/// Items in a full chunk.
const CHUNK: usize = 1024;
/// Items in the first chunk, so that a listing begins early.
const FIRST_CHUNK: usize = 64;
/// How long a chunk may wait to be filled.
const PATIENCE: Duration = Duration::from_millis(5);
/// Chunks that wait to be taken.
const AHEAD: usize = 8;

/// Lists everything below a directory.
pub fn list(root: Arc<Root>, under: &RelPath, prune: Option<Prune>, leftovers: Arc<Leftovers>) -> Listing {
    let (chunks, mut taken) = mpsc::channel(AHEAD);
    let from = under.clone();
    let walk = move || {
        let mut out = Out { chunks, chunk: Vec::new(), limit: FIRST_CHUNK, since: Instant::now() };
        let handle = match root.open() {
            Ok(handle) => handle,
            // A missing root too: it is not an empty one.
            Err(error) => {
                let why = Obstacle { kind: ProblemKind::Unreadable, message: error.message };
                let _ = out.push(Listed::Blocked(from, why)).and_then(|()| out.flush());
                return;
            }
        };
        let mut walker = Walker { handle, prune, leftovers, out, levels: Vec::new() };
        // A closed channel means that nobody listens any more.
        let _ = walker.walk(&from).and_then(|()| walker.out.flush());
    };
    if thread::Builder::new().name("wl-list".into()).spawn(walk).is_ok() {
        return futures::stream::poll_fn(move |cx| taken.poll_recv(cx)).boxed();
    }
    let none = vec![Listed::Blocked(under.clone(), obstacle(Errno::AGAIN))];
    futures::stream::once(std::future::ready(none)).boxed()
}

/// The listener is gone.
struct Gone;

struct Walker {
    handle: Arc<Handle>,
    prune: Option<Prune>,
    leftovers: Arc<Leftovers>,
    out: Out,
    levels: Vec<Level>,
}

/// One directory on the way down.
struct Level {
    dir: OwnedFd,
    /// The file system it is on.
    dev: u64,
    path: RelPath,
    names: Names,
    next: usize,
}

impl Walker {
    fn walk(&mut self, under: &RelPath) -> Result<(), Gone> {
        let opened = self.handle.open(under, OFlags::RDONLY | OFlags::DIRECTORY);
        // Asked afterwards: what is unmounted just now is missed, too.
        if self.handle.misses(under) {
            return self.out.push(Listed::Blocked(under.clone(), missing()));
        }
        match opened.and_then(|dir| Ok((sys::seen_of(&dir)?.dev, dir))) {
            Ok((dev, dir)) => self.enter(dir, dev, under.clone())?,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => self.out.push(Listed::Blocked(under.clone(), obstacle(errno)))?,
        }
        while let Some(level) = self.levels.last_mut() {
            match level.names.get(level.next) {
                Some(_) => {
                    level.next += 1;
                    self.visit()?;
                }
                None => {
                    self.levels.pop();
                }
            }
        }
        Ok(())
    }

    /// Reads a directory's names, which will be visited next.
    fn enter(&mut self, dir: OwnedFd, dev: u64, path: RelPath) -> Result<(), Gone> {
        match Names::read(&dir) {
            Ok(names) => self.levels.push(Level { dir, dev, path, names, next: 0 }),
            Err(Errno::NOENT) => {}
            Err(errno) => self.out.push(Listed::Blocked(path, obstacle(errno)))?,
        }
        Ok(())
    }

    /// Visits the name that the innermost level counted last.
    fn visit(&mut self) -> Result<(), Gone> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let Some((name, what)) = level.names.get(level.next - 1) else { return Ok(()) };
        let Ok(text) = std::str::from_utf8(name) else {
            let shown = shown(&level.path, name);
            let message = "the name is not UTF-8: rename it".to_owned();
            return self.out.push(Listed::Nameless(shown, Obstacle { kind: ProblemKind::Name, message }));
        };
        let Ok(path) = level.path.join(text) else { return Ok(()) };
        if text.starts_with(PART_PREFIX) {
            self.leftovers.came_across(path);
            return Ok(());
        }
        if level.path.is_root() && text == TRASH_DIR {
            return Ok(());
        }
        let kind = match what {
            What::File => Kind::File,
            What::Dir => Kind::Dir,
            What::Special(what) => return self.out.push(skipped(path, what)),
        };
        if self.prune.as_ref().is_some_and(|prune| prune(&path, kind)) {
            return Ok(());
        }
        match sys::seen_at(level.dir.as_fd(), text) {
            Ok(seen) if seen.what == what => self.report(path, &seen),
            Ok(Seen { what: What::Special(what), .. }) => self.out.push(skipped(path, what)),
            // Listed now it would stand in the wrong place.
            Ok(_) => {
                let message = "it was replaced while the directory was listed".to_owned();
                self.out.push(Listed::Blocked(path, Obstacle { kind: ProblemKind::Busy, message }))
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => self.out.push(Listed::Blocked(path, obstacle(errno))),
        }
    }

    /// Reports a file or a directory, and goes into the directory.
    fn report(&mut self, path: RelPath, seen: &Seen) -> Result<(), Gone> {
        let Some(entry) = self.handle.clock(seen).entry(seen) else { return Ok(()) };
        if !entry.is_dir() {
            return self.out.push(Listed::Entry(path, entry));
        }
        let Some(level) = self.levels.last() else { return Ok(()) };
        let above = level.dev;
        if self.handle.mounts.misses(&path, seen.dev, above) {
            return self.out.push(Listed::Blocked(path, missing()));
        }
        self.out.push(Listed::Entry(path.clone(), entry))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&level.dir, path.name(), flags, Mode::empty());
        match opened.and_then(|dir| Ok((sys::seen_of(&dir)?.dev, dir))) {
            // It was unmounted since it was looked at.
            Ok((dev, _)) if self.handle.mounts.misses(&path, dev, above) => {
                self.out.push(Listed::Blocked(path, missing()))
            }
            Ok((dev, dir)) => self.enter(dir, dev, path),
            Err(Errno::NOENT) => Ok(()),
            // A file or a link took its place just now.
            Err(Errno::NOTDIR) => self.out.push(Listed::Blocked(path, obstacle(Errno::BUSY))),
            Err(errno) => self.out.push(Listed::Blocked(path, obstacle(errno))),
        }
    }
}

fn skipped(path: RelPath, what: &str) -> Listed {
    Listed::Blocked(path, Obstacle { kind: ProblemKind::Skipped, message: what.to_owned() })
}

fn shown(dir: &RelPath, name: &[u8]) -> String {
    let name = name.escape_ascii();
    if dir.is_root() { name.to_string() } else { format!("{dir}/{name}") }
}

/// What was seen and not sent yet.
struct Out {
    chunks: mpsc::Sender<Vec<Listed>>,
    chunk: Vec<Listed>,
    limit: usize,
    since: Instant,
}

impl Out {
    fn push(&mut self, item: Listed) -> Result<(), Gone> {
        if self.chunk.is_empty() {
            self.since = Instant::now();
        }
        self.chunk.push(item);
        // The clock is looked at now and then only.
        let waited = self.chunk.len().is_multiple_of(64) && self.since.elapsed() > PATIENCE;
        if self.chunk.len() < self.limit && !waited {
            return if self.chunks.is_closed() { Err(Gone) } else { Ok(()) };
        }
        self.limit = (self.limit * 2).min(CHUNK);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(self.limit));
        self.chunks.blocking_send(full).map_err(|_| Gone)
    }
}

/// The names in one directory, in the order of a listing.
struct Names {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

struct Item {
    start: usize,
    end: usize,
    what: What,
}

impl Names {
    fn read(dir: &OwnedFd) -> rustix::io::Result<Self> {
        let mut names = Self { bytes: Vec::new(), items: Vec::new() };
        let mut unknown = false;
        sys::names_in(dir, |name, file_type| {
            if name == b"." || name == b".." {
                return;
            }
            let start = names.bytes.len();
            names.bytes.extend_from_slice(name);
            unknown |= file_type == FileType::Unknown;
            names.items.push(Item { start, end: names.bytes.len(), what: What::of(file_type) });
        })?;
        if unknown {
            names.find_out(dir)?;
        }
        let Self { bytes, items } = &mut names;
        items.sort_unstable_by(|a, b| {
            listing_order((&bytes[a.start..a.end], a.what == What::Dir), (&bytes[b.start..b.end], b.what == What::Dir))
        });
        Ok(names)
    }

    /// Asks for the types that the file system did not tell.
    fn find_out(&mut self, dir: &OwnedFd) -> rustix::io::Result<()> {
        for item in &mut self.items {
            item.what = match sys::seen_at(dir.as_fd(), &self.bytes[item.start..item.end]) {
                Ok(seen) => seen.what,
                // Whoever visits it finds that out again.
                Err(Errno::NOENT | Errno::ACCESS) => What::File,
                Err(errno) => return Err(errno),
            };
        }
        Ok(())
    }

    fn get(&self, at: usize) -> Option<(&[u8], What)> {
        self.items.get(at).map(|item| (&self.bytes[item.start..item.end], item.what))
    }
}
