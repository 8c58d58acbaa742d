//! Reaches a server: by TCP, or through a command that does.

use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use wl_core::error::{Error, Fault, Result};

use super::config::{Proxy, Target, tokens};

const PATIENCE: Duration = Duration::from_secs(15);
/// How long a command that has failed may take to end, and with it what it says.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A way to the server, and what a command on the way complained about.
pub struct Way {
    pub socket: OwnedFd,
    complaint: Option<Complaint>,
    /// The command on the way, which is not to outlive the connection.
    _proxy: Option<Ending>,
}

/// What a command says of its troubles.
struct Complaint {
    /// What the command is to people.
    of: &'static str,
    heard: Arc<Mutex<String>>,
    /// Who hears it, until there is no more.
    listener: JoinHandle<()>,
}

/// A process that ends with this value.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // Fails only where it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Way {
    /// The error with what the command on the way said.
    pub fn explain(&self, error: Error) -> Error {
        let Some(Complaint { of, heard, listener }) = &self.complaint else {
            return error;
        };
        let begun = Instant::now();
        while !listener.is_finished() && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(10));
        }
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.trim().lines().last() {
            Some(last) => Error::new(error.fault, format!("{} ({of} says: {last})", error.message)),
            None => error,
        }
    }
}

/// Reaches the server.
pub fn dial(target: &Target) -> Result<Way> {
    match &target.proxy {
        Proxy::Direct => Ok(Way { socket: tcp(target)?.into(), complaint: None, _proxy: None }),
        Proxy::Command(line) => through(proxy_command(target, line)?, "the proxy"),
        Proxy::Jump(hosts) => through(jump(target, hosts), "the proxy"),
    }
}

fn tcp(target: &Target) -> Result<TcpStream> {
    let offline = |why: String| Error::new(Fault::Offline, why);
    let addresses = (target.host.as_str(), target.port).to_socket_addrs();
    let addresses =
        addresses.map_err(|error| offline(format!("the address of {} is not found: {error}", target.host)))?;
    let mut why = offline(format!("{} has no address", target.host));
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                // Without it small requests would wait for one another.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => why = offline(format!("{} cannot be reached: {error}", target.shown())),
        }
    }
    Err(why)
}

/// As `ssh` does it: the user's command, by a shell.
fn proxy_command(target: &Target, line: &str) -> Result<Command> {
    // They come from the manifest and would be read by a shell.
    let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "-_.:%@+\\".contains(c));
    if !plain(&target.host) || !plain(&target.user) {
        let text = format!("`{}` and `{}` cannot be handed to a ProxyCommand", target.host, target.user);
        return Err(Error::new(Fault::Malformed, text));
    }
    let port = target.port.to_string();
    let known = [('h', &*target.host), ('p', &*port), ('r', &*target.user), ('n', &*target.host)];
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {}", tokens(line, &known)));
    Ok(command)
}

/// `ssh -W` through the last host, itself reached through those before it.
fn jump(target: &Target, hosts: &str) -> Command {
    let (before, last) = hosts.rsplit_once(',').map_or((None, hosts), |(before, last)| (Some(before), last));
    let mut command = Command::new("ssh");
    if let Some(config) = &target.config {
        command.arg("-F").arg(config);
    }
    if let Some(before) = before {
        command.arg("-J").arg(before);
    }
    // Nobody is there to answer questions.
    command.args(["-o", "BatchMode=yes", "-W"]).arg(format!("[{}]:{}", target.host, target.port));
    let last = last.strip_prefix("ssh://").unwrap_or(last);
    let (user, place) = last.rsplit_once('@').map_or((None, last), |(user, place)| (Some(user), place));
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    if let Some(user) = user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = port {
        command.arg("-p").arg(port);
    }
    command.arg("--").arg(host.trim_start_matches('[').trim_end_matches(']'));
    command
}

/// The input and output of a command as a way; `of` is what people call it.
pub fn through(mut command: Command, of: &'static str) -> Result<Way> {
    let failed = |error: std::io::Error| Error::new(Fault::Offline, format!("{of} cannot be started: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let input = theirs.try_clone().map_err(failed)?;
    command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // It holds the other end, which is to close when the child ends.
    drop(command);
    let complaint = Arc::new(Mutex::new(String::new()));
    let heard = complaint.clone();
    let mut stderr = child.stderr.take();
    let proxy = Ending(child);
    let listen = move || {
        let mut buffer = [0; 1024];
        while let Some(count) = stderr.as_mut().and_then(|stderr| stderr.read(&mut buffer).ok()).filter(|&n| n > 0) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() < 4096 {
                heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    };
    let listener = std::thread::Builder::new().name("wl-proxy".into()).spawn(listen).map_err(failed)?;
    Ok(Way { socket: ours.into(), complaint: Some(Complaint { of, heard: complaint, listener }), _proxy: Some(proxy) })
}
