//! Watching: the system's own events, as hints.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use futures::stream::BoxStream;
use notify::event::{CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::{Instant, Sleep, sleep_until};
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::root::Root;

/// Begins to watch everything below the root. The stream ends, after it said `Everything`, when the root itself was
/// deleted, moved or unmounted: then there is nothing left that this watch could see.
pub fn watch(root: &Root) -> Result<BoxStream<'static, Hint>> {
    if root.open()?.nature.remote {
        let why = "changes made elsewhere on a network or user-space file system raise no events here: it is scanned";
        return Err(Error::new(Fault::Unsupported, why));
    }
    // Events name paths as the watch was asked for.
    let path = std::fs::canonicalize(root.path())
        .map_err(|error| Error::new(Fault::Missing, format!("{}: {error}", root.path().display())))?;
    let waiting = Arc::new(Waiting { most: MOST, hints: Mutex::default() });
    let (told, base) = (waiting.clone(), path.clone());
    let config = Config::default()
        .with_event_kinds(EventKindMask::CORE | EventKindMask::ACCESS_CLOSE)
        .with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(move |event| told.tell(&base, event), config).map_err(failed)?;
    match watcher.watch(&path, RecursiveMode::Recursive) {
        Ok(()) => {}
        Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => waiting.tell(&path, Err(error)),
        Err(error) => return Err(failed(error)),
    }
    Ok(Box::pin(Hints { waiting, again: None, _watcher: watcher }))
}

/// Paths that wait to be taken; beyond them everything is to be looked at.
const MOST: usize = 16_384;
/// How long after it was noticed a directory with all below it is surely watched.
const WATCHED_BY_THEN: Duration = Duration::from_secs(2);
/// And how long it takes at least where little is going on.
const SOON: Duration = Duration::from_secs(1);

fn failed(error: notify::Error) -> Error {
    match error.kind {
        ErrorKind::MaxFilesWatch => Error::new(Fault::Unsupported, TOO_MANY),
        ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            Error::new(Fault::Unsupported, "too many watchers: raise fs.inotify.max_user_instances (sysctl)")
        }
        ErrorKind::PathNotFound => Error::new(Fault::Missing, "the storage's root vanished"),
        kind => Error::new(Fault::Broken, format!("the directory cannot be watched: {kind:?}")),
    }
}

const TOO_MANY: &str = "more directories than the system lets a user watch: raise fs.inotify.max_user_watches (sysctl); \
                        until then the storage is scanned";

/// The stream of hints. Dropped, it ends the watcher.
struct Hints {
    waiting: Arc<Waiting>,
    /// When directories are looked at again.
    again: Option<Pin<Box<Sleep>>>,
    _watcher: RecommendedWatcher,
}

impl Stream for Hints {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let this = self.get_mut();
        let mut hints = this.waiting.lock();
        hints.look_again(Instant::now());
        let hint = hints.take();
        if hint.is_none() && !hints.over {
            hints.waker = Some(cx.waker().clone());
            if let Some((due, _)) = hints.again.front() {
                let again = this.again.get_or_insert_with(|| Box::pin(sleep_until(*due)));
                again.as_mut().reset(*due);
                if again.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
            return Poll::Pending;
        }
        Poll::Ready(hint)
    }
}

/// What was noticed and not taken yet. The watcher's thread is never kept waiting.
struct Waiting {
    most: usize,
    hints: Mutex<Noticed>,
}

#[derive(Default)]
struct Noticed {
    look: Vec<RelPath>,
    below: Vec<RelPath>,
    gone: Vec<RelPath>,
    everything: bool,
    degraded: Option<String>,
    /// New directories, and when they are watched for sure.
    again: VecDeque<(Instant, RelPath)>,
    /// The root is gone from its place, and the watch with it.
    over: bool,
    waker: Option<Waker>,
}

impl Noticed {
    /// The next hint. Looks come last, so that a path that vanished and came back is looked at.
    fn take(&mut self) -> Option<Hint> {
        if let Some(why) = self.degraded.take() {
            return Some(Hint::Degraded(why));
        }
        if std::mem::take(&mut self.everything) {
            return Some(Hint::Everything);
        }
        let some = |paths: &mut Vec<RelPath>| Some(std::mem::take(paths)).filter(|paths| !paths.is_empty());
        some(&mut self.gone)
            .map(Hint::Gone)
            .or_else(|| some(&mut self.below).map(Hint::LookBelow))
            .or_else(|| some(&mut self.look).map(Hint::Look))
    }

    /// A new directory is told of before it is watched: what was put into it in between is only seen by looking again.
    fn look_again(&mut self, now: Instant) {
        while self.again.front().is_some_and(|(due, _)| *due <= now) {
            self.below.extend(self.again.pop_front().map(|(_, dir)| dir));
        }
    }

    fn everything(&mut self) {
        (self.look, self.below, self.gone) = Default::default();
        self.everything = true;
    }

    fn len(&self) -> usize {
        self.look.len() + self.below.len() + self.gone.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0 && !self.everything && !self.over && self.degraded.is_none()
    }

    fn notice(&mut self, base: &Path, event: &Event) {
        if event.need_rescan() {
            return self.everything();
        }
        for path in &event.paths {
            let Ok(below) = path.strip_prefix(base) else { return self.everything() };
            let Some(what) = meaning(event.kind, path) else { continue };
            match relative(below) {
                // The root itself was deleted, moved or unmounted.
                Some(root) if root.is_root() && what == Meaning::Gone => {
                    self.everything();
                    self.over = true;
                }
                Some(path) if path.is_root() || path.is_ours() => {}
                Some(path) => self.add(what, path),
                // A name that cannot be said: whoever looks at its directory finds it.
                None => match nearest(below) {
                    Some(dir) if dir.is_root() => self.everything(),
                    Some(dir) => self.add(Meaning::Below, dir),
                    None => self.everything(),
                },
            }
        }
    }

    fn add(&mut self, what: Meaning, path: RelPath) {
        let list = match what {
            Meaning::Look => &mut self.look,
            Meaning::Below => &mut self.below,
            Meaning::Gone => &mut self.gone,
        };
        // One file's events often follow each other.
        if list.last() == Some(&path) {
            return;
        }
        let now = Instant::now();
        // A look that is due soon may come before this directory is watched, too.
        let covers = |(due, dir): &(Instant, RelPath)| path.is_at_or_below(dir) && *due >= now + SOON;
        if what == Meaning::Below && !self.again.back().is_some_and(covers) {
            let due = now + WATCHED_BY_THEN;
            if self.again.len() >= MOST {
                self.again = [(due, RelPath::root())].into();
            } else {
                self.again.push_back((due, path.clone()));
            }
        }
        list.push(path);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Look,
    Below,
    Gone,
}

/// What an event means for a path; none if another event says it too.
fn meaning(kind: EventKind, path: &Path) -> Option<Meaning> {
    Some(match kind {
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Meaning::Gone,
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return None,
        // Files may have been put into a new directory before it was watched; one moved here brings what it holds.
        EventKind::Create(CreateKind::Folder) => Meaning::Below,
        EventKind::Create(CreateKind::Any | CreateKind::Other) | EventKind::Modify(ModifyKind::Name(_))
            if path.symlink_metadata().is_ok_and(|found| found.is_dir()) =>
        {
            Meaning::Below
        }
        _ => Meaning::Look,
    })
}

fn relative(below: &Path) -> Option<RelPath> {
    RelPath::parse(below.to_str()?).ok()
}

fn nearest(below: &Path) -> Option<RelPath> {
    below.ancestors().skip(1).find_map(relative)
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Noticed> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, base: &Path, event: notify::Result<Event>) {
        let mut noticed = self.lock();
        match event {
            Ok(event) => noticed.notice(base, &event),
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                noticed.degraded = Some(TOO_MANY.to_owned());
                noticed.everything();
            }
            Err(error) => {
                tracing::debug!(%error, "the watcher could not watch everything");
                noticed.degraded =
                    Some(format!("a part of the tree cannot be watched ({error}): it is scanned instead"));
                noticed.everything();
            }
        }
        if noticed.len() > self.most {
            noticed.everything();
        }
        let waker = if noticed.is_empty() { None } else { noticed.waker.take() };
        drop(noticed);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lags_looks_at_everything() {
        let waiting = Waiting { most: 10, hints: Mutex::default() };
        for at in 0..11 {
            let event = Event::new(EventKind::Create(CreateKind::File)).add_path(format!("/r/f{at}").into());
            waiting.tell(Path::new("/r"), Ok(event));
        }
        let mut noticed = waiting.lock();
        assert_eq!((noticed.take(), noticed.take()), (Some(Hint::Everything), None));
    }

    #[test]
    fn a_look_that_is_due_soon_does_not_stand_for_a_directory_that_is_newer() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        for (due_in, looks) in [(SOON / 2, 2), (SOON * 2, 1)] {
            let again = [(Instant::now() + due_in, path("d"))].into();
            let mut noticed = Noticed { again, ..Noticed::default() };
            noticed.add(Meaning::Below, path("d/e"));
            assert_eq!(noticed.again.len(), looks, "{due_in:?}");
        }
    }

    #[test]
    fn too_many_directories_degrade_the_watch() {
        let waiting = Waiting { most: 10, hints: Mutex::default() };
        waiting.tell(Path::new("/r"), Err(notify::Error::new(ErrorKind::MaxFilesWatch)));
        let mut noticed = waiting.lock();
        assert_eq!(noticed.take(), Some(Hint::Degraded(TOO_MANY.to_owned())));
        assert_eq!((noticed.take(), noticed.take()), (Some(Hint::Everything), None));
    }

    #[test]
    fn a_lost_queue_has_no_path_and_means_everything() {
        let mut noticed = Noticed::default();
        noticed.notice(Path::new("/r"), &Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan));
        assert_eq!(noticed.take(), Some(Hint::Everything));
    }
}
