//! A user's world for one test: a base dir and directories to sync, away from everybody's real ones.
//!
//! Everything goes through the built `wl`. The daemon ends with the test, however the test ends.

#![allow(dead_code, reason = "the test targets that share it use different parts")]

pub mod json;
pub mod pair;
pub mod tree;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

#[allow(unused_imports, reason = "as above")]
pub use json::shape;
#[allow(unused_imports, reason = "as above")]
pub use pair::Pair;
pub use tree::tree;

/// How long anything may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A base dir, a home directory and whatever else a test makes in it.
pub struct Home {
    dir: TempDir,
    /// Whom the commands run as; the test's own user where none.
    user: Option<u32>,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    /// An empty world.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wl-e2e-").tempdir().unwrap();
        let home = Self { dir, user: None };
        for name in ["base", "home", "run"] {
            fs::create_dir(home.path(name)).unwrap();
        }
        home
    }

    /// A world whose commands run as that user, to whom it belongs; only root can make one.
    pub fn of_user(uid: u32) -> Self {
        let mut home = Self::new();
        home.user = Some(uid);
        for name in ["", "base", "home", "run"] {
            home.give(name);
        }
        home
    }

    /// Gives a path to the user of this world.
    pub fn give(&self, path: &str) {
        std::os::unix::fs::chown(self.path(path), self.user, self.user).unwrap();
    }

    /// A path in this world.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The same as a text.
    pub fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    /// The base dir.
    pub fn base(&self) -> PathBuf {
        self.path("base")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("base/wlsync.sock")
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("wl-sync.log")).unwrap_or_default()
    }

    /// `wl` with nothing of the real user's environment, and no base dir yet.
    pub fn bare<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = match self.user {
            None => Command::new(env!("CARGO_BIN_EXE_wl")),
            Some(uid) => {
                let mut command = Command::new("setpriv");
                let user = uid.to_string();
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups", env!("CARGO_BIN_EXE_wl")]);
                command
            }
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("WL_SYNC_LOG_PATH", self.path("wl-sync.log"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// `wl` in this world's base dir.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = self.bare(args);
        command.arg("--base-dir").arg(self.base());
        command
    }

    /// Runs `wl` to its end.
    pub fn wl(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().unwrap())
    }

    /// Runs `wl` and expects it to end well.
    pub fn ok(&self, args: &[&str]) -> Ran {
        self.expect(0, args)
    }

    /// Runs `wl` and expects that exit code.
    pub fn expect(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.wl(args);
        assert_eq!(ran.code, code, "`wl {}` said:\n{}\n{}", args.join(" "), ran.stderr, ran.stdout);
        ran
    }

    /// Runs `wl … --json`, expects that exit code and one document on stdout.
    pub fn json_of(&self, code: i32, args: &[&str]) -> Value {
        let ran = self.expect(code, &[args, &["--json"]].concat());
        ran.json()
    }

    /// The same of a command that ends well.
    pub fn json(&self, args: &[&str]) -> Value {
        self.json_of(0, args)
    }

    /// The jobs that `status` shows.
    pub fn jobs(&self) -> Vec<Value> {
        let ran = self.wl(&["status", "--json"]);
        ran.json()["jobs"].as_array().unwrap().clone()
    }

    /// The process id of the daemon, asked of the socket.
    pub fn daemon(&self) -> Option<Pid> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.pid)
    }

    /// Kills the daemon with no chance to tidy up; returns when it is gone.
    pub fn kill_daemon(&self) {
        if let Some(pid) = self.daemon() {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
            wait_until(|| is_gone(pid));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        self.kill_daemon();
    }
}

/// Whether no such process runs any more.
pub fn is_gone(pid: Pid) -> bool {
    // A zombie that nobody has reaped runs no more either.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    test_kill_process(pid).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout.clone()).unwrap(),
        stderr: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

impl Ran {
    /// What a command did.
    pub fn of(command: &mut Command) -> Self {
        ran(&command.output().unwrap())
    }

    /// The one document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON document: {error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// Whether stderr says all of this.
    pub fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "stderr does not say {word:?}:\n{}", self.stderr);
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(is_so: impl FnMut() -> bool) {
    wait_for(PATIENCE, is_so);
}

/// Waits so long at most until something is so.
#[track_caller]
pub fn wait_for(patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "this did not happen within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
