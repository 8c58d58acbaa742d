//! A server process that ends with whoever started it, and takes its directory along.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start. Generous: SeaweedFS takes three seconds on an idle machine.
const STARTING: Duration = Duration::from_mins(1);
/// How often it is asked whether it has.
const POLL: Duration = Duration::from_millis(5);
/// How often it may fail: the port that was free may be somebody else's by then.
const ATTEMPTS: usize = 3;
/// How much of a log is shown.
const SHOWN: usize = 4096;

/// Starts the server, waits until nobody holds the other end of its input, and cleans up. Thus not even a test that is
/// killed leaves anything behind. What a server starts may be in sessions of its own, as what sshd starts is.
const LEASH: &str = r#"
dir=$1 user=$2; shift 2
setsid "$@" </dev/null >>"$dir/log" 2>&1 &
server=$!
echo $server
exec >/dev/null
cat
below() {
    for child in $(grep -ls "^PPid:.$1\$" /proc/[0-9]*/status | cut -d/ -f3); do echo $child; below $child; done
}
kill -KILL $(below $server) -$server
wait
rm -rf "$dir"
until [ -z "$user" ] || userdel -f "$user" || ! id "$user"; do sleep 0.1; done
"#;

/// A running server. It is stopped, and its directory removed, when this is dropped or its process ends.
#[derive(Debug)]
pub struct Server {
    leash: Child,
    pid: Pid,
    dir: PathBuf,
}

impl Server {
    /// Starts a command whose files are all in `dir`, which becomes the server's.
    pub(super) fn start(dir: PathBuf, command: &Command) -> Self {
        Self::start_with_user(dir, command, "")
    }

    /// The same, where a user was made for the server.
    pub(super) fn start_with_user(dir: PathBuf, command: &Command, user: &str) -> Self {
        let mut leash = Command::new("sh");
        leash.args(["-c", LEASH, "leash"]).arg(&dir).arg(user).arg(command.get_program()).args(command.get_args());
        leash.current_dir(command.get_current_dir().unwrap_or(&dir)).process_group(0);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leash.env(name, value),
                None => leash.env_remove(name),
            };
        }
        leash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut leash = leash.spawn().expect("starting sh");
        let mut line = String::new();
        BufReader::new(leash.stdout.take().unwrap()).read_line(&mut line).expect("reading a process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Self { leash, pid, dir }
    }

    /// Waits until it is ready; else says why it is not.
    pub(super) fn wait(self, mut ready: impl FnMut() -> bool) -> Result<Self, String> {
        let deadline = Instant::now() + STARTING;
        while !ready() {
            if self.ended() {
                return Err(format!("it has ended; {}", self.logs()));
            }
            if Instant::now() > deadline {
                return Err(format!("it is not ready after {STARTING:?}; {}", self.logs()));
            }
            sleep(POLL);
        }
        Ok(self)
    }

    /// Where its configuration, logs and data are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        // proc(5): the state follows the name, which is in parentheses; Z is a process that has ended.
        !stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
    }

    /// Stops all of it in its tracks: connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on after [`Server::freeze`].
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Kills what it has started, which for some servers is one process a connection, but not the server itself.
    pub fn kill_children(&self) {
        for pid in descendants(self.pid) {
            signal(pid, Signal::KILL);
        }
    }

    /// The ends of its logs.
    pub fn logs(&self) -> String {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut logs: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with("log")).collect();
        logs.sort();
        let shown = logs.iter().map(|path| {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
            let from = text.ceil_char_boundary(text.len().saturating_sub(SHOWN));
            format!("{}:\n{}", path.display(), &text[from..])
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    fn signal_all(&self, which: Signal) {
        for pid in descendants(self.pid).into_iter().chain([self.pid]) {
            signal(pid, which);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The leash reads until this is closed.
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}

/// Whoever has just ended needs no signal.
fn signal(pid: Pid, which: Signal) {
    let _ = kill_process(pid, which);
}

/// All that a process has started, and what those have.
fn descendants(pid: Pid) -> Vec<Pid> {
    let mut found = vec![pid];
    let mut next = 0;
    let processes: Vec<_> = processes().collect();
    while let Some(&parent) = found.get(next) {
        found.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Every process, and who started it.
fn processes() -> impl Iterator<Item = (Pid, Pid)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        Some((pid, parent.trim().parse().ok().and_then(Pid::from_raw)?))
    })
}

/// Starts a server, once more where it fails.
///
/// # Panics
/// With its log, if it cannot be started.
pub(super) fn launch<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(server) => return server,
            Err(why) => last = why,
        }
    }
    panic!("{what} does not start: {last}")
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Whether somebody listens there.
pub(super) fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A fresh directory that every user may look into.
pub(super) fn fresh_dir(below: &Path) -> PathBuf {
    let dir = tempfile::Builder::new().prefix("wl-test-").tempdir_in(below).expect("a directory").keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("setting a mode");
    dir
}

/// Whether the tests run as root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a program is.
///
/// # Panics
/// If it is nowhere.
pub(super) fn program(name: &str) -> PathBuf {
    let tools = env::var_os("WL_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/bin"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let places: Vec<_> = [tools].into_iter().chain(env::split_paths(&path)).chain(system).collect();
    let found = places.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no program {name}: install it, as tests/run does"))
}
