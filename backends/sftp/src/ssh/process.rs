//! Commands that run on the server.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use wl_core::error::Result;

use super::link::Shared;

/// Chunks of output that wait to be taken, at most.
const CHUNKS: usize = 8;

/// A command line for the shell of the server's user, and what it reads.
#[derive(Debug, Clone)]
pub struct Command {
    /// For the user's shell. Never put a name into it that is not quoted for sure: hand names over on `stdin`.
    pub line: String,
    /// What its standard input holds.
    pub stdin: Bytes,
    /// Whether its standard input stays open after that, until the [`Process`] is dropped: a command that is to live as
    /// long as wl wants it ends itself when its input ends.
    pub hold: bool,
}

impl Command {
    /// A command that reads this and then the end.
    pub fn new(line: impl Into<String>, stdin: impl Into<Bytes>) -> Self {
        Self { line: line.into(), stdin: stdin.into(), hold: false }
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it said it ended with; `None` if it was killed. A server that does not say it looks like 0: where it
    /// matters, a command should write that it is done.
    pub status: Option<i32>,
    /// The beginning of what it wrote to standard error.
    pub stderr: String,
}

/// What a command that ended wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Bytes,
    /// How it ended.
    pub ended: Ended,
}

/// A command that runs. Dropped, its input and output are closed; it is not killed.
pub struct Process {
    output: mpsc::Receiver<Bytes>,
    input: mpsc::UnboundedSender<Bytes>,
    ended: oneshot::Receiver<Ended>,
    shared: Arc<Shared>,
}

impl Process {
    /// Writes more to its standard input, which was to be held open; does not wait for it.
    pub fn feed(&self, bytes: impl Into<Bytes>) {
        // Fails only where it ended, which its output tells.
        let _ = self.input.send(bytes.into());
        self.shared.poke();
    }

    /// More of its standard output; `None` at its end. Fails with `Offline` if the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.output.recv().await;
        self.shared.taken();
        match chunk {
            Some(chunk) => Ok(Some(chunk)),
            // The end of the output is told apart from the loss of the connection: the thread tells how it ended first.
            None if self.ended.is_terminated() || !self.ended.is_empty() => Ok(None),
            None => Err(self.shared.why_lost()),
        }
    }

    /// Waits until it ended; throws away what it still writes.
    pub async fn end(mut self) -> Result<Ended> {
        while self.next().await?.is_some() {}
        self.ended.try_recv().map_err(|_| self.shared.why_lost())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.output.close();
        self.shared.poke();
    }
}

/// The thread's half of a command.
pub(super) struct Spawn {
    pub command: Command,
    /// What more goes to its standard input.
    pub input: mpsc::UnboundedReceiver<Bytes>,
    pub started: Option<oneshot::Sender<Result<()>>>,
    pub output: mpsc::Sender<Bytes>,
    pub ended: oneshot::Sender<Ended>,
    /// Given back when the server has closed the channel.
    pub _turn: OwnedSemaphorePermit,
}

/// Both halves of a command, and what tells whether it began.
pub(super) fn pair(
    shared: Arc<Shared>,
    command: Command,
    turn: OwnedSemaphorePermit,
) -> (Spawn, Process, oneshot::Receiver<Result<()>>) {
    let (output, taken) = mpsc::channel(CHUNKS);
    let (ended, end) = oneshot::channel();
    let (started, start) = oneshot::channel();
    let (feed, input) = mpsc::unbounded_channel();
    let spawn = Spawn { command, input, started: Some(started), output, ended, _turn: turn };
    (spawn, Process { output: taken, input: feed, ended: end, shared }, start)
}
