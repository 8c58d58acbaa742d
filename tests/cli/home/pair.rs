//! A container of two directories and what a test does with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Home, PATIENCE, Ran, tree, wait_for};

/// The backend-id of the source, `a`.
pub const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// The backend-id of the target, `b`.
pub const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
/// The container's job.
pub const JOB: &str = "local|11e69833-0152-4563-92fc-b1540fc54a69";

/// The container `c` of the directories `a` (source) and `b` (target).
pub struct Pair {
    pub home: Home,
}

impl Pair {
    /// Two empty directories.
    pub fn new() -> Self {
        Self::with("", "", "")
    }

    /// The same, with further lines for the container and for either storage, one `key: value` a line.
    pub fn with(container: &str, a: &str, b: &str) -> Self {
        Self::in_home(Home::new(), container, a, b)
    }

    /// The same in a world that is there already.
    pub fn in_home(home: Home, container: &str, a: &str, b: &str) -> Self {
        for side in ["a", "b"] {
            fs::create_dir_all(home.path(side)).unwrap();
        }
        let pair = Self { home };
        pair.write_manifest(container, a, b);
        pair
    }

    /// Writes the manifest anew.
    pub fn write_manifest(&self, container: &str, a: &str, b: &str) {
        let storage = |id: &str, side: &str, more: &str| {
            let more = more.lines().fold(String::new(), |text, line| text + "      " + line + "\n");
            format!(
                "    - type: local\n      backend-id: {id}\n      location: {}\n{more}",
                self.home.path(side).display()
            )
        };
        let text = format!(
            "object: container\nversion: '1'\npaths: [/.uuid/11e69833-0152-4563-92fc-b1540fc54a69, /c]\n{container}\n\
             backends:\n  storage:\n{}{}",
            storage(A, "a", a),
            storage(B, "b", b)
        );
        let dir = self.home.path("base/containers");
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("c.container.yaml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::getuid().is_root() {
            self.home.give("base/containers");
            self.home.give("base/containers/c.container.yaml");
        }
    }

    /// A path on the source.
    pub fn a(&self, path: impl AsRef<Path>) -> PathBuf {
        self.home.path("a").join(path)
    }

    /// A path on the target.
    pub fn b(&self, path: impl AsRef<Path>) -> PathBuf {
        self.home.path("b").join(path)
    }

    /// Syncs once and expects that exit code.
    #[track_caller]
    pub fn sync(&self, code: i32, options: &[&str]) -> Value {
        self.home.json_of(code, &[&["container", "sync", "c", "--one-shot"], options].concat())
    }

    /// Starts syncing continuously and waits until nothing is left to do.
    #[track_caller]
    pub fn keep(&self, options: &[&str]) -> Ran {
        self.home.ok(&[&["container", "sync", "c", "--wait"], options].concat())
    }

    /// The continuous job as `status` shows it.
    pub fn job(&self) -> Value {
        self.home.jobs().into_iter().next().expect("a job")
    }

    /// Waits until the job's status is so.
    #[track_caller]
    pub fn wait_job(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_for(PATIENCE, || {
            last = self.job();
            is_so(&last)
        });
        last
    }

    /// The plan, as `--dry-run` shows it.
    pub fn plan(&self, options: &[&str]) -> Vec<Value> {
        let args = [&["container", "sync", "c", "--dry-run", "--json"], options].concat();
        self.home.wl(&args).json()["actions"].as_array().unwrap().clone()
    }

    /// The recorded conflicts.
    pub fn conflicts(&self) -> Vec<Value> {
        let ran = self.home.wl(&["container", "list-conflicts", "c", "--json"]);
        ran.json()["conflicts"].as_array().unwrap().clone()
    }

    /// Whether both sides hold the same.
    pub fn is_equal(&self) -> bool {
        tree(&self.a("")) == tree(&self.b(""))
    }

    /// Both sides hold the same, and hashing everything anew finds the same.
    #[track_caller]
    pub fn assert_equal(&self) {
        assert_eq!(tree(&self.a("")), tree(&self.b("")));
        self.home.ok(&["container", "verify", "c"]);
    }

    /// Writes a file on a side, with its directory.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.home.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// Reads a file of a side.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.home.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether anything is at a path of a side.
    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.home.path(path)).is_ok()
    }

    /// Deletes a file of a side.
    #[track_caller]
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.home.path(path)).unwrap();
    }
}
