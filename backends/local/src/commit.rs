//! Durability for many at the price of a few: one thread makes finished writes durable in groups.
//!
//! A group's contents are synced together, then all its files take their names, and one more sync, which is at the same
//! time the next group's first, makes the names durable. Only then is anybody told.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::sync::oneshot;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::root::Dir;
use crate::sys;

/// How many writes share a sync at most.
const GROUP: usize = 1024;
/// From so many writes in a group on more are surely coming: they are given a while, so that they share the next sync.
const CROWD: usize = 16;
const LINGER: Duration = Duration::from_millis(30);

/// The thread that makes writes durable. It begins with the first one and ends with this.
pub struct Committer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    tickets: Vec<Ticket>,
    running: bool,
    closed: bool,
}

/// Tells the caller, given whether the sync succeeded.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;
/// Gives a file its name, given whether its content is durable; none if that failed, which it has told.
type Act = Box<dyn FnOnce(Result<()>) -> Option<Answer> + Send>;

/// What is to be made durable, by the directory it happens in.
#[derive(Clone)]
pub struct Touched {
    dir: Arc<Dir>,
    elsewhere: bool,
}

impl Touched {
    /// Names change there, and nothing else.
    pub fn only(dir: &Arc<Dir>) -> Self {
        Self { dir: dir.clone(), elsewhere: false }
    }

    /// Names change there, and something else on the same file system: names in the trash, or the times and modes of
    /// what the names stand for, which a sync of the directory does not make durable.
    pub fn and_more(dir: &Arc<Dir>) -> Self {
        Self { dir: dir.clone(), elsewhere: true }
    }

    /// Whether a sync of the directory makes all of it durable.
    #[cfg(test)]
    pub fn is_only_names(&self) -> bool {
        !self.elsewhere
    }
}

struct Ticket {
    dirs: Vec<Touched>,
    step: Step,
}

enum Step {
    Publish { content: Arc<OwnedFd>, act: Act },
    Acknowledge(Answer),
}

impl Committer {
    /// No thread yet.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Makes a finished content durable, lets `act` give it its name, and returns once that is durable too. Called off
    /// before it acted, it does not act.
    pub async fn publish<T: Send + 'static>(
        &self,
        path: &RelPath,
        content: Arc<OwnedFd>,
        dirs: Vec<Touched>,
        act: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let act: Act = Box::new(move |synced| {
            if answer.is_closed() {
                return None;
            }
            match synced.and_then(|()| act()) {
                Ok(done) => Some(Box::new(move |durable: Result<()>| {
                    let _ = answer.send(durable.map(|()| done));
                })),
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            }
        });
        self.push(Ticket { dirs, step: Step::Publish { content, act } });
        outcome.await.unwrap_or_else(|_| Err(ended())).map_err(|error| error.at(path))
    }

    /// Returns once what was done in these directories is durable.
    pub async fn durable(&self, path: &RelPath, dirs: Vec<Touched>) -> Result<()> {
        let (answer, outcome) = oneshot::channel();
        let tell: Answer = Box::new(move |synced| {
            let _ = answer.send(synced);
        });
        self.push(Ticket { dirs, step: Step::Acknowledge(tell) });
        outcome.await.unwrap_or_else(|_| Err(ended())).map_err(|error| error.at(path))
    }

    fn push(&self, ticket: Ticket) {
        let mut queue = self.shared.lock();
        queue.tickets.push(ticket);
        if queue.running {
            drop(queue);
            self.shared.work.notify_one();
            return;
        }
        let shared = self.shared.clone();
        match thread::Builder::new().name("wl-commit".into()).spawn(move || shared.run()) {
            Ok(_) => queue.running = true,
            // Dropped tickets tell their callers.
            Err(_) => queue.tickets.clear(),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

fn ended() -> Error {
    Error::new(Fault::Broken, "the thread that makes writes durable ended unexpectedly")
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut named = Group::default();
        loop {
            let tickets = self.take(named.answers.is_empty());
            if tickets.is_empty() && named.answers.is_empty() {
                return;
            }
            let crowd = tickets.len() >= CROWD;
            named = named.next(tickets);
            if crowd {
                thread::sleep(LINGER);
            }
        }
    }

    /// The next group; waits for one if there is nothing else to do. Empty when it is over.
    fn take(&self, wait: bool) -> Vec<Ticket> {
        let mut queue = self.lock();
        while wait && queue.tickets.is_empty() && !queue.closed {
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let count = queue.tickets.len().min(GROUP);
        queue.tickets.drain(..count).collect()
    }
}

/// What has happened and is not known to be durable yet.
#[derive(Default)]
struct Group {
    dirs: Vec<Touched>,
    answers: Vec<Answer>,
}

impl Group {
    /// Makes this group durable together with the contents of the next, which it then gives their names.
    fn next(mut self, tickets: Vec<Ticket>) -> Self {
        let alone = self.answers.is_empty() && tickets.len() == 1;
        let mut publish = Vec::new();
        for ticket in tickets {
            self.dirs.extend(ticket.dirs.iter().cloned());
            match ticket.step {
                Step::Publish { content, act } => publish.push((ticket.dirs, content, act)),
                Step::Acknowledge(answer) => self.answers.push(answer),
            }
        }
        let synced = match publish.first() {
            Some((_, content, _)) if alone => sys::data_sync(content),
            _ => sync_each(&self.dirs),
        };
        let synced = synced.map_err(|errno| error(errno, &RelPath::root()));
        self.answers.into_iter().for_each(|tell| tell(synced.clone()));
        let mut named = Self::default();
        for (dirs, content, act) in publish {
            // Who has failed waits for no sync, and what is held open for nobody keeps an idle storage from being unmounted.
            if let Some(answer) = act(synced.clone()) {
                named.answers.push(answer);
                named.dirs.extend(dirs);
            }
            drop(content);
        }
        named
    }
}

/// One sync for every file system; a single directory by itself.
fn sync_each(touched: &[Touched]) -> Result<(), Errno> {
    if let [Touched { dir, elsewhere: false }] = touched {
        return rustix::fs::fsync(dir);
    }
    let systems: BTreeMap<u64, &Arc<Dir>> = touched.iter().map(|at| (at.dir.dev, &at.dir)).collect();
    systems.into_values().try_for_each(sys::sync_fs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn who_is_refused_leaves_nothing_open() {
        let dir = tempfile::tempdir().unwrap();
        let handle = Root::new(dir.path().to_owned(), false).open().unwrap();
        let touched = Touched::only(&handle.dir(&RelPath::root()).unwrap());
        let content = Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
        let step = Step::Publish { content, act: Box::new(|_| None) };
        let named = Group::default().next(vec![Ticket { dirs: vec![touched], step }]);
        assert!(named.answers.is_empty() && named.dirs.is_empty());
    }
}
