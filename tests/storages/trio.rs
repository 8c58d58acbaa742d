//! Two directories and a remote storage between them.

use std::fs;

use serde_json::Value;

use crate::home::tree::tree;
use crate::home::{Home, wait_until};
use crate::manifest;
use crate::remote::Remote;

/// The containers `up` (directory `a` and the remote) and `down` (directory `b` and the remote).
pub struct Trio {
    pub home: Home,
}

impl Trio {
    /// Everything empty; the remote is scanned every second.
    pub fn new(remote: &Remote) -> Self {
        Self::between(remote, remote)
    }

    /// The same with a remote for each directory.
    pub fn between(up: &Remote, down: &Remote) -> Self {
        let trio = Self { home: Home::new() };
        for (container, dir, remote) in [("up", "a", up), ("down", "b", down)] {
            manifest::write(&trio.home, container, &[&manifest::local(&trio.home, dir), &remote.lines]);
        }
        trio
    }

    /// Syncs a container once and expects that exit code.
    #[track_caller]
    pub fn sync(&self, container: &str, code: i32) -> Value {
        self.home.json_of(code, &["container", "sync", container, "--one-shot"])
    }

    /// Brings what is in `a` to `b`, by way of the remote.
    #[track_caller]
    pub fn through(&self) -> [Value; 2] {
        [self.sync("up", 0), self.sync("down", 0)]
    }

    /// Keeps both containers equal from now on.
    #[track_caller]
    pub fn keep(&self) {
        for container in ["up", "down"] {
            self.home.ok(&["container", "sync", container, "--wait"]);
        }
    }

    /// Writes a file, with its directory.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.home.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// A file's text; none if there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.home.path(path)).ok()
    }

    /// Both directories hold the same.
    #[track_caller]
    pub fn assert_equal(&self) {
        assert_eq!(tree(&self.home.path("a")), tree(&self.home.path("b")));
    }

    /// Waits until both directories hold the same.
    #[track_caller]
    pub fn wait_equal(&self) {
        wait_until(|| tree(&self.home.path("a")) == tree(&self.home.path("b")));
    }

    /// The recorded conflicts of a container.
    pub fn conflicts(&self, container: &str) -> Vec<Value> {
        let ran = self.home.wl(&["container", "list-conflicts", container, "--json"]);
        ran.json()["conflicts"].as_array().unwrap().clone()
    }
}
