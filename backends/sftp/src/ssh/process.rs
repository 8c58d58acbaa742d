//! Commands that run on the server.

use bytes::Bytes;
use wl_core::error::Result;

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
    /// What it said it ended with; `None` if it was killed or the server does not say.
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

/// A command that runs. Dropped, its input and output are closed.
pub struct Process {
}

impl Process {
    /// More of its standard output; `None` at its end. Fails with `Offline` if the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        todo!()
    }

    /// Waits until it ended; throws away what it still writes.
    pub async fn end(self) -> Result<Ended> {
        todo!()
    }
}
