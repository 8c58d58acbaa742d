//! Makes a connection: reaches the server, makes sure that it is the right one, logs in, starts SFTP.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustix::fd::OwnedFd;
use ssh2::{Channel, MethodType, Session};
use tokio::sync::oneshot;
use wl_core::error::{Error, Fault, Result};

use super::config::Target;
use super::link::{Server, Shared, nonsense};
use super::worker::{Line, Worker};
use super::{Link, Settings, auth, dial, hostkey, library, program};
use crate::wire::extension::LIMITS;
use crate::wire::{Frames, Limits, Packet, Reply, Request};

/// How long the server may take for one step of the beginning.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long all of the beginning may take.
const ALL_OF_IT: Duration = Duration::from_mins(3);

/// What SFTP's answers may take before wl reads them: enough for 160 MiB a second at 50 ms.
const RECEIVE_WINDOW: u32 = 8 << 20;
const PACKET: u32 = 32 << 10;

/// ChaCha20 first on every processor, since libssh2 does it a packet at a time, but AES in calls of 16 bytes. Its seconds
/// of processor time for 512 MiB up and down, on a Xeon with AES-NI: chacha20-poly1305 1.7 and 1.6, aes128-gcm 2.3 and 3.0,
/// aes256-gcm 2.5 and 3.0, aes128-ctr with hmac-sha2-256-etm 2.1 and 2.4.
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,\
                       aes128-ctr,aes192-ctr,aes256-ctr";

/// A connection, on a thread of its own.
pub async fn connect(target: Arc<Target>) -> Result<Arc<Link>> {
    let patience = target.patience;
    begin(None, patience, move || establish(&target)).await
}

/// One more, by the program `ssh`, for the SFTP of one there is.
pub async fn connect_by_program(settings: &Settings, target: &Target, beside: Arc<Link>) -> Result<Arc<Link>> {
    let command = program::command(settings, target)?;
    begin(Some(beside), target.patience, move || establish_by_program(command)).await
}

/// A connection that is up, and what is known of its server.
struct Up {
    line: Line,
    socket: Arc<OwnedFd>,
    server: Server,
    way: dial::Way,
}

async fn begin(
    beside: Option<Arc<Link>>,
    patience: Duration,
    establish: impl FnOnce() -> Result<Up> + Send + 'static,
) -> Result<Arc<Link>> {
    let shared = Shared::new()?;
    let (ready, outcome) = oneshot::channel();
    let thread = std::thread::Builder::new().name("wl-sftp".into()).spawn(move || {
        let Up { line, socket, server, way } = match establish() {
            Ok(up) => up,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let extensions: Vec<_> = server.extensions.names().collect();
        tracing::debug!(server.banner, ?extensions, limits = ?server.limits, near = ?server.round_trip, "connected");
        let worker = Worker::new(line, socket, shared.clone(), patience);
        // Nobody waiting any more drops the link, which ends the worker.
        let _ = ready.send(Ok(Arc::new(Link::new(shared, server, beside))));
        worker.run();
        drop(way);
    });
    thread.map_err(|error| Error::new(Fault::Busy, format!("no thread for a connection: {error}")))?;
    // A key agent that does not answer would hold it up for ever.
    let outcome = tokio::time::timeout(ALL_OF_IT, outcome).await;
    let outcome = outcome.map_err(|_| Error::new(Fault::Offline, "connecting to the server took too long"))?;
    outcome.unwrap_or_else(|_| Err(Error::new(Fault::Broken, "the thread of a connection ended unexpectedly")))
}

fn establish(target: &Target) -> Result<Up> {
    let way = dial::dial(target)?;
    let socket = Arc::new(way.socket.try_clone().map_err(|error| Error::new(Fault::Busy, error.to_string()))?);
    let mut session = Session::new().map_err(|error| library::error(&error, "cannot begin"))?;
    session.set_timeout(u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX));
    session.set_tcp_stream(socket.clone());
    let known = hostkey::KnownHosts::read(target)?;
    prefer(&session, MethodType::HostKey, &known.preferred_types());
    prefer(&session, MethodType::CryptCs, CIPHERS);
    prefer(&session, MethodType::CryptSc, CIPHERS);
    session.handshake().map_err(|error| way.explain(at(target, &error, "does not begin to speak SSH")))?;
    known.check(&session)?;
    let by_bare_key = auth::log_in(&session, target)?;
    let mut sftp = open_sftp(&session, target)?;
    let banner = session.banner().unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
    let server = Server { banner, by_bare_key, ..start_sftp(&mut sftp)? };
    Ok(Up { line: Line::Channel { session, sftp }, socket, server, way })
}

fn establish_by_program(command: std::process::Command) -> Result<Up> {
    let failed = |error: std::io::Error| Error::new(Fault::Busy, error.to_string());
    let way = dial::through(command, "`ssh`")?;
    let mut stream = UnixStream::from(way.socket.try_clone().map_err(failed)?);
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let server = start_sftp(&mut stream).map_err(|error| way.explain(error))?;
    stream.set_read_timeout(None).map_err(failed)?;
    let socket = Arc::new(way.socket.try_clone().map_err(failed)?);
    Ok(Up { line: Line::Program { stream, full: false }, socket, server, way })
}

/// What this build of libssh2 does not know of it is left out.
fn prefer(session: &Session, method: MethodType, names: &str) {
    let _ = session.method_pref(method, names);
}

fn at(target: &Target, error: &ssh2::Error, what: &str) -> Error {
    library::error(error, &format!("{} {what}", target.shown()))
}

fn open_sftp(session: &Session, target: &Target) -> Result<Channel> {
    let opened = session.channel_open("session", RECEIVE_WINDOW, PACKET, None);
    let mut sftp = opened.map_err(|error| at(target, &error, "opens no session"))?;
    sftp.subsystem("sftp").map_err(|error| {
        if library::is_refusal(&error) {
            let text = format!("{} offers no SFTP: enable `Subsystem sftp` in its sshd_config", target.shown());
            return Error::new(Fault::Unsupported, text);
        }
        at(target, &error, "starts no SFTP")
    })?;
    Ok(sftp)
}

/// What the server says about its SFTP.
fn start_sftp(stream: &mut (impl Read + Write)) -> Result<Server> {
    let mut opening = Opening { stream, frames: Frames::default() };
    let extensions = match opening.ask(&Request::init())? {
        Packet::Version(extensions) => extensions,
        Packet::Reply(..) => return Err(nonsense("it does not begin with its version")),
    };
    let (mut limits, mut round_trip) = (None, None);
    if extensions.has(LIMITS) {
        let mut request = BytesMut::new();
        Request::Extended { name: LIMITS, body: Bytes::new() }.encode(0, &mut request);
        let asked = Instant::now();
        if let Packet::Reply(0, Reply::Extended(body)) = opening.ask(&request)? {
            limits = Limits::decode(body).ok();
            round_trip = Some(asked.elapsed());
        }
    }
    Ok(Server { banner: String::new(), extensions, limits, round_trip, by_bare_key: false })
}

/// The beginning of SFTP, one question at a time.
struct Opening<'a, S> {
    stream: &'a mut S,
    frames: Frames,
}

impl<S: Read + Write> Opening<'_, S> {
    fn ask(&mut self, request: &[u8]) -> Result<Packet> {
        let silent = |error: std::io::Error| Error::new(Fault::Offline, format!("the server starts no SFTP: {error}"));
        self.stream.write_all(request).map_err(silent)?;
        let mut buffer = [0; 4096];
        loop {
            let count = self.stream.read(&mut buffer).map_err(silent)?;
            if count == 0 {
                let text = "the server ends SFTP as soon as it is started: see its log";
                return Err(Error::new(Fault::Unsupported, text));
            }
            self.frames.push(&buffer[..count]);
            let packet = self.frames.next().map_err(|_| {
                nonsense("does the user's shell there print something when it starts? It must print nothing then")
            })?;
            if let Some(packet) = packet {
                return Packet::decode(packet).map_err(|garbled| nonsense(garbled.0));
            }
        }
    }
}
