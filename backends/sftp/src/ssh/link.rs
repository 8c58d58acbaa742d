//! One connection: requests go in, answers come out.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use wl_core::error::{Error, Fault, Result};

use super::process::{self, Spawn};
use super::{Answer, Command, Output, Process};
use crate::wire::{Extensions, Limits, Reply, Request};

/// What may be in flight on one connection: 512 small requests, or 8 MiB.
pub(super) const WINDOW: usize = 4096;
/// What a request takes of it, and what every 4 KiB it carries takes.
const REQUEST: usize = 8;
const BLOCK: usize = 4096;

/// Commands at once on one connection. OpenSSH allows ten sessions by default (`MaxSessions`), SFTP's among them.
const COMMANDS: usize = 4;

/// What a server said about itself when a connection was made.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it calls itself, such as `SSH-2.0-OpenSSH_9.2p1 Debian-2`.
    pub banner: String,
    /// The extensions of SFTP it has.
    pub extensions: Extensions,
    /// How much it takes at once; `None` where it does not say.
    pub limits: Option<Limits>,
    /// How long it took to answer a first question; `None` where none was asked.
    pub round_trip: Option<Duration>,
    /// Whether it let wl in by a key alone, without any secret of the manifest's.
    pub by_bare_key: bool,
}

impl Server {
    /// How many bytes to read at once. More than 32 KiB is slower with OpenSSH.
    pub fn read_size(&self) -> u32 {
        u32::try_from(within(self.limits.map(|limits| limits.read))).unwrap_or(u32::MAX)
    }

    /// How many bytes to write at once.
    pub fn write_size(&self) -> usize {
        within(self.limits.map(|limits| limits.write))
    }

    /// The same of a large content: each write has its price at both ends. More than 32 KiB only where the server says
    /// that it takes it.
    pub fn large_write_size(&self) -> usize {
        const MOST: u64 = 128 << 10;
        let told = self.limits.map_or(0, |limits| limits.write.min(MOST));
        usize::try_from(told).unwrap_or(0).max(self.write_size())
    }
}

/// "All servers SHOULD support packets of at least 34000 bytes", section 3 of the draft.
fn within(limit: Option<u64>) -> usize {
    const ALWAYS: u64 = 32 << 10;
    let least = limit.filter(|&limit| limit > 0).map_or(ALWAYS, |limit| limit.min(ALWAYS));
    usize::try_from(least).unwrap_or(1)
}

/// One connection with SFTP on it. Requests may be in flight by the hundred; they begin in the order they are made.
pub struct Link {
    shared: Arc<Shared>,
    server: Server,
    window: Semaphore,
    commands: Arc<Semaphore>,
    /// Where commands run, if this one carries SFTP alone.
    beside: Option<Arc<Link>>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, server: Server, beside: Option<Arc<Self>>) -> Self {
        let (window, commands) = (Semaphore::new(WINDOW), Arc::new(Semaphore::new(COMMANDS)));
        Self { shared, server, window, commands, beside }
    }

    /// Whether an `ssh` carries it.
    pub fn is_by_program(&self) -> bool {
        self.beside.is_some()
    }

    /// What the server said about itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether it is lost; what is asked on it fails with `Offline`.
    pub fn is_lost(&self) -> bool {
        self.shared.state().lost.is_some() || self.beside.as_ref().is_some_and(|beside| beside.is_lost())
    }

    /// Whether the `ssh` that carried it ended, while the connection beside it lives.
    pub fn lost_its_program(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| !beside.is_lost()) && self.shared.state().lost.is_some()
    }

    /// Whether all that anybody waited for was answered, also where nobody waits for it any more.
    pub fn is_quiet(&self) -> bool {
        self.shared.unanswered.load(Ordering::Acquire) == 0
    }

    /// Whether no command runs.
    pub fn runs_nothing(&self) -> bool {
        self.commands.available_permits() == COMMANDS
    }

    /// How much of its window is in use.
    pub fn load(&self) -> usize {
        WINDOW - self.window.available_permits()
    }

    /// Asks, and waits for the answer. Dropped, the answer is thrown away, but what was asked may still be done.
    pub async fn request(&self, request: Request) -> Answer<Reply> {
        let units = (REQUEST + request.payload() / BLOCK).min(WINDOW);
        let turn = self.window.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await;
        let _turn = turn.map_err(|_| Error::stopped())?;
        let (answer, outcome) = oneshot::channel();
        self.shared.unanswered.fetch_add(1, Ordering::AcqRel);
        self.shared.push(Job::Ask(request, Some(answer)))?;
        match outcome.await {
            Ok(mut delivery) => delivery.take(),
            Err(_) => Err(self.shared.why_lost().into()),
        }
    }

    /// Asks without waiting for an answer.
    pub fn forget(&self, request: Request) {
        // A lost connection has forgotten already.
        let _ = self.shared.push(Job::Ask(request, None));
    }

    /// Begins a command; waits while too many run. `Unsupported` where the server runs none on this connection.
    pub async fn spawn(&self, command: Command) -> Result<Process> {
        let Self { commands, shared, .. } = self.beside.as_deref().unwrap_or(self);
        let turn = commands.clone().acquire_owned().await.map_err(|_| Error::stopped())?;
        let (spawn, process, started) = process::pair(shared.clone(), command, turn);
        shared.push(Job::Spawn(spawn))?;
        started.await.unwrap_or_else(|_| Err(shared.why_lost()))?;
        Ok(process)
    }

    /// Runs a command to its end. Fails with `Broken` if it writes more than `most` bytes, with `Busy` if it says nothing
    /// for so long.
    pub async fn run(&self, command: Command, most: usize, silence: Duration) -> Result<Output> {
        let silent = |_| Error::new(Fault::Busy, "a command on the server does not end: it is tried again");
        let mut process = self.spawn(command).await?;
        let mut stdout = BytesMut::new();
        while let Some(chunk) = timeout(silence, process.next()).await.map_err(silent)?? {
            if stdout.len() + chunk.len() > most {
                return Err(Error::new(Fault::Broken, "a command on the server writes far more than it should"));
            }
            stdout.extend_from_slice(&chunk);
        }
        Ok(Output { stdout: stdout.freeze(), ended: timeout(silence, process.end()).await.map_err(silent)?? })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.poke();
    }
}

/// The server does not speak SFTP as it should.
pub(super) fn nonsense(what: &str) -> Error {
    Error::new(Fault::Malformed, format!("the server does not speak SFTP as it should: {what}"))
}

/// What the connection's thread is to do.
pub(super) enum Job {
    /// Ask the server. Nobody waits where there is nobody to tell.
    Ask(Request, Option<oneshot::Sender<Delivery>>),
    /// Begin a command.
    Spawn(Spawn),
}

/// What a connection's thread shares with those who use it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Becomes readable when the thread is to look again.
    pub wake: UnixStream,
    /// Its other end.
    waker: UnixStream,
    /// Whether the thread waits for somebody to take what a command wrote.
    pub stalled: AtomicBool,
    /// What was asked by somebody who waits for the answer, and not answered yet.
    pub unanswered: AtomicUsize,
}

#[derive(Default)]
pub(super) struct State {
    pub jobs: Vec<Job>,
    /// Nobody uses it any more.
    pub closed: bool,
    /// Why the thread ended.
    pub lost: Option<Error>,
}

impl Shared {
    pub fn new() -> Result<Arc<Self>> {
        let [wake, waker] =
            wake().map_err(|error| Error::new(Fault::Busy, format!("no more files can be opened: {error}")))?;
        Ok(Arc::new(Self {
            state: Mutex::default(),
            wake,
            waker,
            stalled: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
        }))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, job: Job) -> Result<()> {
        let first = {
            let mut state = self.state();
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            state.jobs.push(job);
            state.jobs.len() == 1
        };
        // The thread takes all jobs at once: it was woken for the first.
        if first {
            self.poke();
        }
        Ok(())
    }

    /// Makes the thread look again.
    pub fn poke(&self) {
        // Fails only where it is full: the other end is readable then.
        let _ = (&self.waker).write(&[1]);
    }

    /// Somebody took what a command wrote.
    pub fn taken(&self) {
        if self.stalled.swap(false, Ordering::AcqRel) {
            self.poke();
        }
    }

    pub fn why_lost(&self) -> Error {
        self.state().lost.clone().unwrap_or_else(|| Error::new(Fault::Offline, "the connection to the server was lost"))
    }

    /// The thread ended: nothing is taken any more, and what waits is told.
    pub fn lose(&self, why: Error) {
        let mut state = self.state();
        state.lost = Some(why);
        drop(std::mem::take(&mut state.jobs));
    }
}

/// The two ends of what wakes a connection's thread. Neither waits.
fn wake() -> std::io::Result<[UnixStream; 2]> {
    let (wake, waker) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    waker.set_nonblocking(true)?;
    Ok([wake, waker])
}

/// An answer on its way to who asked. An open file that nobody takes is closed.
pub(super) struct Delivery {
    answer: Option<Answer<Reply>>,
    shared: Arc<Shared>,
}

impl Delivery {
    pub fn new(answer: Answer<Reply>, shared: &Arc<Shared>) -> Self {
        Self { answer: Some(answer), shared: shared.clone() }
    }

    fn take(&mut self) -> Answer<Reply> {
        self.answer.take().unwrap_or_else(|| Err(Error::stopped().into()))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(Ok(Reply::Handle(handle))) = self.answer.take() {
            let _ = self.shared.push(Job::Ask(Request::Close { handle }, None));
        }
    }
}
