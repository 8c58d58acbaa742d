//! The thread that owns a connection. Nobody else touches it: libssh2 is not made for two.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use ssh2::{Channel, Session};
use tokio::sync::oneshot;
use wl_core::error::{Error, Fault, Result};

use super::Failure;
use super::channel::Running;
use super::library::{self, outbound};
use super::link::{Delivery, Job, Shared, nonsense};
use crate::wire::{Code, Frames, Packet, Reply, Request};

/// SFTP requests wait, the server is there, and answers none of them.
const STUCK_AFTER: Duration = Duration::from_mins(5);

/// What is read at once.
const READ: usize = 256 << 10;

/// What carries the bytes of SFTP.
pub enum Line {
    /// A channel of libssh2's, whose session runs commands, too.
    Channel { session: Session, sftp: Channel },
    /// The input and output of an `ssh`. `full` while it takes no more.
    Program { stream: UnixStream, full: bool },
}

impl Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Channel { sftp, .. } => sftp.write(bytes),
            Self::Program { stream, full } => {
                let written = stream.write(bytes);
                *full = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                written
            }
        }
    }

    /// At least one byte; `UnexpectedEof` at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Channel { sftp, .. } => match sftp.read(buffer)? {
                0 if sftp.eof() => Err(io::ErrorKind::UnexpectedEof.into()),
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            },
            Self::Program { stream, .. } => match stream.read(buffer)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            },
        }
    }

    /// Whether it waits to send.
    fn outbound(&self) -> bool {
        match self {
            Self::Channel { session, .. } => outbound(session),
            Self::Program { full, .. } => *full,
        }
    }

    fn session(&self) -> Option<&Session> {
        match self {
            Self::Channel { session, .. } => Some(session),
            Self::Program { .. } => None,
        }
    }
}

/// A connection that is up, and everything that is going on on it.
pub struct Worker {
    line: Line,
    /// The line's, to wait on.
    socket: Arc<OwnedFd>,
    shared: Arc<Shared>,
    /// Requests not sent yet, as bytes.
    out: BytesMut,
    frames: Frames,
    asked: HashMap<u32, Option<oneshot::Sender<Delivery>>>,
    next_id: u32,
    commands: Vec<Running>,
    /// When the server last sent anything.
    heard: Instant,
    /// After so much silence the connection is lost; after a third of it the server is asked whether it is there.
    patience: Duration,
    /// When it was last asked whether it is there.
    pinged: Instant,
    /// When it last answered a request, or had none to answer.
    answered: Instant,
    /// libssh2 waits to send.
    sending: bool,
}

impl Worker {
    /// Takes over a connection whose SFTP is ready.
    pub fn new(line: Line, socket: Arc<OwnedFd>, shared: Arc<Shared>, patience: Duration) -> Self {
        let now = Instant::now();
        match &line {
            Line::Channel { session, .. } => {
                session.set_blocking(false);
                // libssh2 sends none of its own accord: an interval only makes `keepalive_send` do something.
                session.set_keepalive(true, 2);
            }
            // Fails on no socket.
            Line::Program { stream, .. } => drop(stream.set_nonblocking(true)),
        }
        Self {
            line,
            socket,
            shared,
            out: BytesMut::new(),
            frames: Frames::default(),
            asked: HashMap::new(),
            next_id: 0,
            commands: Vec::new(),
            heard: now,
            patience,
            pinged: now,
            answered: now,
            sending: false,
        }
    }

    /// Works until nobody uses the connection any more, or it is lost; then tells all who wait.
    pub fn run(mut self) {
        let mut end = End::of(&self.shared);
        end.why = match self.work() {
            Ok(()) => Error::new(Fault::Offline, "the connection was closed"),
            Err(why) => why,
        };
        tracing::debug!("connection ended: {}", end.why);
        // What libssh2 would like to send at the end could wait, and it would free nothing then.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    fn work(&mut self) -> Result<()> {
        let mut buffer = vec![0; READ];
        while self.take_jobs() {
            self.sending = false;
            self.send()?;
            self.receive(&mut buffer)?;
            // An answer may have made room, and what is to be closed is to be sent.
            self.send()?;
            self.run_commands(&mut buffer)?;
            self.wait()?;
        }
        if let Some(session) = self.line.session() {
            let _ = session.disconnect(None, "done", None);
        }
        Ok(())
    }

    /// Takes what is to be done; whether anybody uses this still.
    fn take_jobs(&mut self) -> bool {
        let (jobs, closed) = {
            let mut state = self.shared.state();
            (std::mem::take(&mut state.jobs), state.closed)
        };
        for job in jobs {
            match job {
                Job::Ask(request, answer) => self.ask(&request, answer),
                Job::Spawn(spawn) => self.commands.push(Running::new(spawn)),
            }
        }
        !closed
    }

    fn ask(&mut self, request: &Request, answer: Option<oneshot::Sender<Delivery>>) {
        // Not worth the server's time if nobody waits for it any more.
        if answer.as_ref().is_some_and(oneshot::Sender::is_closed) {
            self.shared.unanswered.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        if self.asked.is_empty() {
            self.answered = Instant::now();
        }
        self.next_id = self.next_id.wrapping_add(1);
        request.encode(self.next_id, &mut self.out);
        self.asked.insert(self.next_id, answer);
    }

    fn send(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            match self.line.write(&self.out) {
                Ok(0) => break,
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sending |= self.line.outbound();
                    break;
                }
                Err(error) => return Err(gone(&error)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<()> {
        loop {
            match self.line.read(buffer) {
                Ok(count) => self.frames.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sending |= self.line.outbound();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(offline("the server closed the connection"));
                }
                Err(error) => return Err(gone(&error)),
            }
            while let Some(packet) = self.frames.next().map_err(|garbled| nonsense(garbled.0))? {
                self.deliver(packet)?;
            }
        }
    }

    fn deliver(&mut self, packet: bytes::Bytes) -> Result<()> {
        let Packet::Reply(id, reply) = Packet::decode(packet).map_err(|garbled| nonsense(garbled.0))? else {
            return Err(nonsense("it begins again"));
        };
        let Some(answer) = self.asked.remove(&id) else {
            return Err(nonsense("it answers what was not asked"));
        };
        self.answered = Instant::now();
        let answered = match reply {
            Reply::Status(status) if status.code != Code::Ok => Err(Failure::Status(status)),
            reply => Ok(reply),
        };
        if let Some(answer) = answer {
            self.shared.unanswered.fetch_sub(1, Ordering::AcqRel);
            // What nobody waits for drops, which closes what was opened.
            let _ = answer.send(Delivery::new(answered, &self.shared));
        }
        Ok(())
    }

    fn run_commands(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(session) = self.line.session() else { return Ok(()) };
        let mut opening = false;
        for command in &mut self.commands {
            // libssh2 opens one channel at a time.
            if command.is_opening() && std::mem::replace(&mut opening, true) {
                continue;
            }
            let advanced = command.advance(session, &self.shared, buffer);
            advanced.map_err(|error| library::error(&error, "the connection was lost"))?;
            self.sending |= outbound(session);
            opening |= command.is_opening();
        }
        self.commands.retain(|command| !command.is_over());
        Ok(())
    }

    /// Waits until the server sent something, or can be sent to, or somebody wants something, or the silence is long.
    fn wait(&mut self) -> Result<()> {
        let now = Instant::now();
        let silent = now.duration_since(self.heard);
        // An `ssh` asks by itself whether the server is there.
        let minds = self.line.session().is_some();
        if minds && silent >= self.patience {
            return Err(offline("the server does not answer any more"));
        }
        if !self.asked.is_empty() && now.duration_since(self.answered) >= STUCK_AFTER {
            return Err(offline("the server has not answered a request for minutes"));
        }
        let tick = self.patience / 8;
        let tick = Timespec { tv_sec: i64::try_from(tick.as_secs()).unwrap_or(5), tv_nsec: tick.subsec_nanos().into() };
        let interest = if self.sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(&self.socket, interest), PollFd::new(&self.shared.wake, PollFlags::IN)];
        match poll(&mut fds, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(offline(&format!("cannot wait for the server: {errno}"))),
        }
        let (socket, woken) = (fds[0].revents(), fds[1].revents());
        if woken.contains(PollFlags::IN) {
            // What is left of it wakes once more.
            let _ = (&self.shared.wake).read(&mut [0; 64]);
        }
        if !socket.is_empty() && socket != PollFlags::OUT {
            self.heard = Instant::now();
        } else if minds && silent >= self.patience / 3 && self.pinged.elapsed() >= self.patience / 3 {
            self.ping()?;
        }
        Ok(())
    }

    /// Asks the server whether it is there. Its answer, whatever it is, is something heard.
    fn ping(&mut self) -> Result<()> {
        // By SFTP, if that is not busy: libssh2 never forgets the answer to a keep-alive.
        if self.asked.is_empty() {
            self.pinged = Instant::now();
            self.ask(&Request::Realpath { path: bytes::Bytes::from_static(b".") }, None);
            return Ok(());
        }
        // Sent in part it could not be finished: its bytes lie on libssh2's stack. So only where there is room.
        let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
        let ready = poll(&mut room, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if self.out.is_empty() && ready.is_ok_and(|count| count == 1) {
            self.pinged = Instant::now();
            if let Some(session) = self.line.session() {
                let sent = session.keepalive_send();
                sent.map_err(|error| library::error(&error, "the connection was lost"))?;
            }
        }
        Ok(())
    }
}

/// Says that the connection is lost however its thread ends, or whoever asks it something would wait for ever.
struct End {
    shared: Arc<Shared>,
    why: Error,
}

impl End {
    fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), why: offline("the work on the connection ended in the middle") }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.lose(self.why.clone());
    }
}

fn offline(why: &str) -> Error {
    Error::new(Fault::Offline, why)
}

fn gone(error: &io::Error) -> Error {
    Error::new(Fault::Offline, format!("the connection to the server was lost: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_has_lost_its_connection() {
        let shared = Shared::new().unwrap();
        let end = End::of(&shared);
        let thread = std::thread::spawn(move || {
            let _end = end;
            panic!("a defect");
        });
        assert!(thread.join().is_err());
        let asked = shared.push(Job::Ask(Request::Realpath { path: bytes::Bytes::from_static(b".") }, None));
        assert_eq!(asked.unwrap_err().fault, Fault::Offline);
    }
}
