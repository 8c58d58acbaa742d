//! One channel of a command, as the connection's thread moves it on.
//!
//! Nothing here waits: each step does what can be done now. A step that libssh2 left half done must be repeated, or
//! nothing else on the connection gets through: so no step is given up on the way.

use std::io::{self, Read as _, Write as _};
use std::sync::atomic::Ordering;

use bytes::{Buf as _, Bytes};
use ssh2::{Channel, Session};
use tokio::sync::mpsc::error::TrySendError;
use wl_core::error::{Error, Fault};

use super::library::{is_refusal, lost, outbound, waits};
use super::link::Shared;
use super::process::{Ended, Spawn};

/// What a command may write before wl takes it.
const RECEIVE_WINDOW: u32 = 1 << 20;
const PACKET: u32 = 32 << 10;
/// How much of standard error is kept.
const STDERR: usize = 4096;

/// A command on its way through its life.
pub struct Running {
    spawn: Spawn,
    stage: Stage,
    /// Output that nobody took yet.
    held: Option<Bytes>,
    stderr: Vec<u8>,
    /// libssh2 is in the middle of telling the server that it may send more: the next read goes on with it.
    adjusting: bool,
    /// libssh2 is in the middle of sending input, or its end.
    feeding: bool,
}

enum Stage {
    Opening,
    Starting(Channel),
    Running(Channel),
    /// All its output is read; the exit status is on its way.
    Ending(Channel),
    Closing(Channel),
    Over,
}

/// Whether a step got done.
enum Step {
    Done,
    Waits,
}

impl Running {
    pub fn new(spawn: Spawn) -> Self {
        Self { spawn, stage: Stage::Opening, held: None, stderr: Vec::new(), adjusting: false, feeding: false }
    }

    pub fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Opening)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Does what can be done now. An error is the end of the connection.
    pub fn advance(&mut self, session: &Session, shared: &Shared, buffer: &mut [u8]) -> Result<(), ssh2::Error> {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Over);
            let (stage, step) = match stage {
                Stage::Opening => self.open(session)?,
                Stage::Starting(channel) => self.start(channel)?,
                Stage::Running(channel) => self.run(channel, session, shared, buffer)?,
                Stage::Ending(channel) => self.end(channel)?,
                Stage::Closing(mut channel) => match channel.close() {
                    Err(error) if waits(&error) => (Stage::Closing(channel), Step::Waits),
                    closed => closed.map(|()| (Stage::Over, Step::Waits))?,
                },
                Stage::Over => (Stage::Over, Step::Waits),
            };
            self.stage = stage;
            if matches!(step, Step::Waits) {
                return Ok(());
            }
        }
    }

    fn open(&mut self, session: &Session) -> Result<(Stage, Step), ssh2::Error> {
        match session.channel_open("session", RECEIVE_WINDOW, PACKET, None) {
            Ok(channel) => Ok((Stage::Starting(channel), Step::Done)),
            Err(error) if waits(&error) => Ok((Stage::Opening, Step::Waits)),
            Err(error) if is_refusal(&error) => {
                self.refused(
                    "the server allows no more sessions on a connection: raise MaxSessions in its sshd_config",
                );
                Ok((Stage::Over, Step::Done))
            }
            Err(error) => Err(error),
        }
    }

    fn start(&mut self, mut channel: Channel) -> Result<(Stage, Step), ssh2::Error> {
        match channel.exec(&self.spawn.command.line) {
            Ok(()) => {
                if let Some(started) = self.spawn.started.take() {
                    let _ = started.send(Ok(()));
                }
                Ok((Stage::Running(channel), Step::Done))
            }
            Err(error) if waits(&error) => Ok((Stage::Starting(channel), Step::Waits)),
            Err(error) if is_refusal(&error) => {
                self.refused("the server runs no commands for this user");
                Ok((Stage::Closing(channel), Step::Done))
            }
            Err(error) => Err(error),
        }
    }

    fn refused(&mut self, why: &str) {
        if let Some(started) = self.spawn.started.take() {
            let _ = started.send(Err(Error::new(Fault::Unsupported, why)));
        }
    }

    fn run(
        &mut self,
        mut channel: Channel,
        session: &Session,
        shared: &Shared,
        buffer: &mut [u8],
    ) -> Result<(Stage, Step), ssh2::Error> {
        self.feeding = !self.feed(&mut channel)? && outbound(session);
        self.hear_stderr(&channel, buffer)?;
        loop {
            if !self.hand_over(shared) && !self.adjusting {
                return Ok((Stage::Running(channel), Step::Waits));
            }
            // Nobody listens any more; a write in the middle goes first.
            if self.spawn.output.is_closed() && !self.feeding && !self.adjusting {
                return Ok((Stage::Closing(channel), Step::Done));
            }
            match channel.read(buffer) {
                Ok(0) if channel.eof() => break,
                Ok(0) => return Ok((Stage::Running(channel), Step::Waits)),
                Ok(count) => {
                    self.adjusting = false;
                    self.hold(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.adjusting = outbound(session);
                    return Ok((Stage::Running(channel), Step::Waits));
                }
                Err(error) => return Err(lost(&error)),
            }
        }
        self.adjusting = false;
        if self.held.is_some() {
            return Ok((Stage::Running(channel), Step::Waits));
        }
        Ok((Stage::Ending(channel), Step::Done))
    }

    /// Writes its standard input; whether that is done.
    fn feed(&mut self, channel: &mut Channel) -> Result<bool, ssh2::Error> {
        let command = &mut self.spawn.command;
        loop {
            if command.stdin.is_empty() {
                let Some(more) = self.spawn.input.try_recv().ok().filter(|_| command.hold) else { break };
                command.stdin = more;
            }
            match channel.write(&command.stdin) {
                Ok(count) => command.stdin.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // The command closed its input, or ended.
                Err(_) if channel.eof() => command.stdin.clear(),
                Err(error) => return Err(lost(&error)),
            }
        }
        if command.hold {
            return Ok(true);
        }
        match channel.send_eof() {
            Ok(()) => {
                // Once is enough.
                command.hold = true;
                Ok(true)
            }
            Err(error) if waits(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn hear_stderr(&mut self, channel: &Channel, buffer: &mut [u8]) -> Result<(), ssh2::Error> {
        loop {
            match channel.stderr().read(buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let room = STDERR.saturating_sub(self.stderr.len()).min(count);
                    self.stderr.extend_from_slice(&buffer[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held = Some(match self.held.take() {
            None => Bytes::copy_from_slice(bytes),
            Some(held) => [&held[..], bytes].concat().into(),
        });
    }

    /// Whether there is room for more output.
    fn hand_over(&mut self, shared: &Shared) -> bool {
        for last in [false, true] {
            let Some(chunk) = self.held.take() else {
                return true;
            };
            match self.spawn.output.try_send(chunk) {
                Ok(()) | Err(TrySendError::Closed(_)) => return true,
                Err(TrySendError::Full(chunk)) => self.held = Some(chunk),
            }
            // Whoever takes something from now on says so; what was taken before is seen by trying once more.
            if !last {
                shared.stalled.store(true, Ordering::Release);
            }
        }
        false
    }

    fn end(&mut self, mut channel: Channel) -> Result<(Stage, Step), ssh2::Error> {
        match channel.wait_close() {
            Err(error) if waits(&error) => return Ok((Stage::Ending(channel), Step::Waits)),
            closed => closed?,
        }
        let killed = channel.exit_signal().is_ok_and(|signal| signal.exit_signal.is_some());
        let status = if killed { None } else { channel.exit_status().ok() };
        let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        let (unheard, _) = tokio::sync::oneshot::channel();
        let _ = std::mem::replace(&mut self.spawn.ended, unheard).send(Ended { status, stderr });
        Ok((Stage::Closing(channel), Step::Done))
    }
}
