//! Starting a daemon in the background.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wl_core::config::{LogTo, Places};

use super::{Client, ClientError, check_alive};
use crate::run::DETACHED;

/// How many heaps the GNU allocator may have (mallopt(3), `M_ARENA_MAX`).
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// How long a daemon has to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a daemon that lost the race to be the only one is given for the other one to answer.
const GRACE: Duration = Duration::from_secs(2);
/// How often to look.
const LOOK: Duration = Duration::from_millis(20);
/// How much of what it said before it died is shown.
const LAST_LINES: usize = 10;

/// Connects to the daemon of these places; starts one, with `exe` and this process's environment, if none is running.
/// It is then independent of this process and its terminal.
pub async fn ensure_daemon(places: &Places, exe: &Path) -> Result<Client, ClientError> {
    match running(places).await? {
        Some(client) => Ok(client),
        None => start(places, exe).await,
    }
}

/// The daemon of these places, if one is running and not about to end.
async fn running(places: &Places) -> Result<Option<Client>, ClientError> {
    let answering = async {
        let client = Client::connect(&places.socket).await?;
        check_alive(&places.socket).await?;
        Ok(client)
    };
    match answering.await {
        Err(ClientError::NotRunning(_) | ClientError::Ended(_)) => Ok(None),
        outcome => outcome.map(Some),
    }
}

async fn start(places: &Places, exe: &Path) -> Result<Client, ClientError> {
    let said = said_file(places);
    let failed =
        |error: io::Error| ClientError::NotStarted(format!("cannot start the sync daemon {}: {error}", exe.display()));
    let stderr = open_said(&said).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "something that is no directory has its name: move that away".to_owned()
            }
            _ => format!("it cannot be written to: {error}; make room or grant that"),
        };
        let dir = places.state_dir.display();
        ClientError::NotStarted(format!(
            "the sync daemon cannot keep its state in {dir}: {why}, or choose another place with --base-dir or XDG_STATE_HOME"
        ))
    })?;
    let logged = logged(places);
    let mut child = command(places, exe).stderr(stderr).spawn().map_err(failed)?;
    let begun = Instant::now();
    let mut died = None;
    loop {
        if let Some(client) = running(places).await? {
            return Ok(client);
        }
        if died.is_none() && child.try_wait().map_err(failed)?.is_some() {
            died = Some(Instant::now());
        }
        // It may have died because another one is beginning: that one will answer soon.
        if died.is_some_and(|died| died.elapsed() > GRACE) {
            return Err(ClientError::NotStarted(last_words(places, &said, logged, "it ended at once")));
        }
        if begun.elapsed() > PATIENCE {
            return Err(ClientError::NotStarted(last_words(places, &said, logged, "it does not answer")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn command(places: &Places, exe: &Path) -> Command {
    let mut command = Command::new(exe);
    command.args(["daemon", "run"]);
    if places.base_dir_given {
        command.arg("--base-dir").arg(&places.base_dir);
    }
    command.arg("--socket-path").arg(&places.socket);
    let log = match &places.log {
        LogTo::File(path) => path.as_path(),
        LogTo::Stderr => Path::new("-"),
    };
    command.arg("--log-path").arg(log);
    // The GNU allocator keeps a heap a thread, which a round over many files would leave half-empty in each.
    if std::env::var_os(HEAPS).is_none() {
        command.env(HEAPS, "2");
    }
    command.env(DETACHED, "1").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// What a daemon in the background says outside its log: the error it ends with.
fn said_file(places: &Places) -> PathBuf {
    places.state_dir.join("daemon.stderr")
}

fn open_said(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// How long the log is: what was in it before, other daemons may have said.
fn logged(places: &Places) -> u64 {
    log_file(places).and_then(|log| fs::metadata(log).ok()).map_or(0, |log| log.len())
}

fn log_file(places: &Places) -> Option<&Path> {
    if let LogTo::File(log) = &places.log { Some(log) } else { None }
}

/// What a daemon said before it failed to begin, and where its log is.
fn last_words(places: &Places, said: &Path, logged: u64, what: &str) -> String {
    let mute = mute(said).map_or_else(String::new, |error| {
        let dir = places.state_dir.display();
        format!("; it could not say why, for nothing can be written in {dir}: {error}; make room or grant that")
    });
    let begin = format!("the sync daemon cannot be started: {what}{mute}");
    let log = log_file(places);
    let ends = [Some((said, 0)), log.map(|log| (log, logged))].into_iter().flatten();
    let ends = ends.filter_map(|(file, from)| Some(format!("\nthe end of {}:\n{}", file.display(), tail(file, from)?)));
    let place = log.map(|log| format!("\nthe log is {}", log.display()));
    ends.chain(place).fold(begin, |text, end| text + &end)
}

/// Why there is nothing in the file for what a daemon says, if nothing can be written there.
fn mute(said: &Path) -> Option<io::Error> {
    /// What a file system may keep without room for it is shorter.
    const SOME: [u8; 4096] = [b'\n'; 4096];
    let is_empty = fs::metadata(said).is_ok_and(|found| found.len() == 0);
    let tried = is_empty.then(|| fs::write(said, SOME))?;
    // It stays empty, or that will be told as what failed.
    let _ = fs::write(said, []);
    tried.err()
}

/// The last lines of what a file holds behind that many bytes, if there are any.
fn tail(path: &Path, from: u64) -> Option<String> {
    const ENOUGH: u64 = 8192;
    let mut file = File::open(path).ok()?;
    let size = fs::metadata(path).ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(ENOUGH).max(from))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    (!last.is_empty()).then_some(last)
}
