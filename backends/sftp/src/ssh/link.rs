//! One connection: requests go in, answers come out.

use wl_core::error::{Error, Fault, Result};

use super::{Answer, Command, Failure, Output, Process};
use crate::wire::{Extensions, Garbled, Limits, Reply, Request};

/// What a server said about itself when a connection was made.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it calls itself, such as `SSH-2.0-OpenSSH_9.2p1 Debian-2`.
    pub banner: String,
    /// The extensions of SFTP it has.
    pub extensions: Extensions,
    /// How much it takes at once; `None` where it does not say.
    pub limits: Option<Limits>,
}

impl Server {
    /// How many bytes to read at once.
    pub fn read_size(&self) -> u32 {
        32 << 10
    }

    /// How many bytes to write at once.
    pub fn write_size(&self) -> usize {
        32 << 10
    }
}

/// One connection with SFTP on it. Requests may be in flight by the hundred; they begin in the order they are made.
pub struct Link {
}

impl Link {
    /// What the server said about itself.
    pub fn server(&self) -> &Server {
        todo!()
    }

    /// Whether it is lost; what is asked on it fails with `Offline`.
    pub fn is_lost(&self) -> bool {
        todo!()
    }

    /// Asks, and waits for the answer. Dropped, the answer is thrown away, but what was asked may still be done.
    pub async fn request(&self, request: Request) -> Answer<Reply> {
        let _ = request;
        todo!()
    }

    /// Asks without waiting for an answer.
    pub fn forget(&self, request: Request) {
        let _ = request;
        todo!()
    }

    /// Begins a command. `Unsupported` where the server runs none on this connection.
    pub async fn spawn(&self, command: Command) -> Result<Process> {
        let _ = command;
        todo!()
    }

    /// Runs a command to its end. Fails with `Broken` if it writes more than `most` bytes.
    pub async fn run(&self, command: Command, most: usize) -> Result<Output> {
        let _ = (command, most);
        todo!()
    }

    /// What the server sent makes no sense.
    pub fn garbled(&self, garbled: Garbled) -> Failure {
        nonsense(garbled.0).into()
    }
}

/// The server does not speak SFTP as it should.
pub(super) fn nonsense(what: &str) -> Error {
    Error::new(Fault::Malformed, format!("the server does not speak SFTP as it should: {what}"))
}
