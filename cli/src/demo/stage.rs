//! Where the demo plays: a temporary directory, and the `wl` it was started as.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use wl_core::entry::Hash;

use super::trees::{self, Tree};
use super::{Step, transferred_in};
use crate::failure::{Exit, Failure, Outcome};
use crate::render::words::{duration, indented};
use crate::render::{BOLD, DIM, GOOD, Screen, styled};

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(3);
/// How often a condition is looked at that takes a command to see.
const LOOK: Duration = Duration::from_millis(50);
/// Time to read a chapter's title, on a terminal.
const BREATH: Duration = Duration::from_millis(700);

/// Two directories, a base dir, and what was seen so far.
pub struct Stage<'a> {
    pub(super) steps: Vec<Step>,
    screen: &'a Screen,
    root: TempDir,
    program: PathBuf,
}

impl<'a> Stage<'a> {
    /// Makes the directories.
    pub fn build(screen: &'a Screen) -> Outcome<Self> {
        let cannot = |error: io::Error| Failure::new(format!("the demo's directories cannot be made: {error}"));
        let root = tempfile::Builder::new().prefix("wl-demo-").tempdir().map_err(cannot)?;
        for dir in ["laptop", "usb-stick", "base"] {
            fs::create_dir(root.path().join(dir)).map_err(cannot)?;
        }
        let program = std::env::current_exe().map_err(cannot)?;
        screen.tell(styled(DIM, format!("Everything happens in {}.", root.path().display())))?;
        Ok(Self { steps: Vec::new(), screen, root, program })
    }

    /// Ends the daemon and removes everything.
    pub async fn clear(self) -> Outcome<()> {
        let place = self.root.path().display().to_string();
        // An interrupted command may have left a daemon behind that does not listen yet, and could not be told to end:
        // `start` returns once one does.
        if !(self.succeeds(&["daemon", "start"]).await && self.succeeds(&["daemon", "stop"]).await) {
            let kept = self.root.keep();
            let hint = format!("`wl -b {}/base daemon stop` ends it; then remove {}", kept.display(), kept.display());
            return Err(Failure::new("the demo's daemon could not be stopped").hint(hint));
        }
        self.root.close().map_err(|error| Failure::new(format!("{place} cannot be removed: {error}")))
    }

    /// Begins a chapter.
    pub async fn chapter(&self, title: &str) -> Outcome<()> {
        self.screen.tell(format!("\n{}", styled(BOLD, title)))?;
        // Only for whoever reads along: nothing is waited for here.
        if io::stdout().is_terminal() && !self.screen.is_json() {
            tokio::time::sleep(BREATH).await;
        }
        Ok(())
    }

    /// Says something that was found out.
    pub fn note(&self, text: &str) -> Outcome<()> {
        self.screen.tell(format!("  {text}"))
    }

    /// Shows what a user would type for what the demo does next by itself.
    pub fn shell(&self, line: &str) -> Outcome<()> {
        self.screen.tell(format!("  {} {line}", styled(DIM, "$")))
    }

    /// Runs a command and shows it with what it said.
    pub async fn wl(&self, args: &[&str], expected: Exit) -> Outcome<()> {
        self.shell(&format!("wl {}", args.join(" ")))?;
        let output = self.run(args).await?;
        let said = [output.stderr, output.stdout].map(|text| self.shortened(&String::from_utf8_lossy(&text)));
        for text in said.iter().filter(|text| !text.is_empty()) {
            self.screen.tell(indented(&indented(text)).trim_end_matches('\n'))?;
        }
        if output.status.code() == Some(i32::from(expected as u8)) {
            return Ok(());
        }
        Err(Failure::new(format!("`wl {}` ended with {}, not {}", args.join(" "), output.status, expected as u8)))
    }

    /// Waits until something is so, and says how long it took.
    pub async fn seen(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome<()> {
        let start = Instant::now();
        while !is_so(self) {
            if start.elapsed() > PATIENCE {
                return Err(broken(what));
            }
            tokio::time::sleep(GLANCE).await;
        }
        let time = start.elapsed();
        self.steps.push(Step { what: what.to_owned(), seconds: time.as_secs_f64() });
        self.screen.tell(format!("  {} {what}, after {}", styled(GOOD, "✓"), duration(time)))
    }

    /// Checks that something is so now.
    pub fn promise(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome<()> {
        if !is_so(self) {
            return Err(broken(what));
        }
        self.steps.push(Step { what: what.to_owned(), seconds: 0.0 });
        self.screen.tell(format!("  {} {what}", styled(GOOD, "✓")))
    }

    /// Shows what both directories hold.
    pub fn list(&self) -> Outcome<()> {
        for dir in ["laptop", "usb-stick"] {
            let files = self.tree(dir).into_iter().filter(|(_, hash)| hash.is_some()).map(|(path, _)| path);
            self.screen.tell(format!("  {:<11} {}", format!("{dir}/"), files.collect::<Vec<_>>().join("   ")))?;
        }
        Ok(())
    }

    /// Writes a file, with its directory.
    pub fn write(&self, path: &str, content: &[u8]) -> Outcome<()> {
        let file = self.at(path);
        let dir = file.parent().map_or(Ok(()), fs::create_dir_all);
        dir.and_then(|()| fs::write(&file, content)).map_err(|error| cannot(path, "written", &error))
    }

    /// Renames a file.
    pub fn rename(&self, from: &str, to: &str) -> Outcome<()> {
        fs::rename(self.at(from), self.at(to)).map_err(|error| cannot(from, "renamed", &error))
    }

    /// Deletes a file.
    pub fn remove(&self, path: &str) -> Outcome<()> {
        fs::remove_file(self.at(path)).map_err(|error| cannot(path, "deleted", &error))
    }

    /// Whether a file has that content.
    pub fn holds(&self, path: &str, content: &[u8]) -> bool {
        fs::read(self.at(path)).is_ok_and(|held| held == content)
    }

    /// Whether nothing is there.
    pub fn is_gone(&self, path: &str) -> bool {
        !self.at(path).exists()
    }

    /// Whether both directories hold the same, that many files among it.
    pub fn is_equal_with(&self, files: usize) -> bool {
        let (laptop, stick) = (self.tree("laptop"), self.tree("usb-stick"));
        laptop == stick && laptop.values().flatten().count() == files
    }

    /// Whether both directories hold the same, with a file of each of these contents.
    pub fn both_hold(&self, contents: &[&[u8]]) -> bool {
        let laptop = self.tree("laptop");
        let holds = |content: &&[u8]| laptop.values().flatten().any(|hash| *hash == Hash::of(content));
        laptop == self.tree("usb-stick") && contents.iter().all(holds)
    }

    /// Waits until a conflict is open under that path.
    pub async fn conflict_is_open(&mut self, path: &str) -> Outcome<()> {
        let start = Instant::now();
        loop {
            let found = self.json(&["container", "list-conflicts", "laptop"]).await?;
            let conflicts = found["conflicts"].as_array().map(Vec::as_slice).unwrap_or_default();
            if conflicts.iter().any(|conflict| conflict["path"] == path) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(broken(&format!("a conflict on {path} is open")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the job has nothing left to do.
    pub async fn settled(&self) -> Outcome<()> {
        let start = Instant::now();
        while self.json(&["status"]).await?["jobs"][0]["state"] != "SYNCED" {
            if start.elapsed() > PATIENCE {
                return Err(broken("the job is SYNCED"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The bytes the job has transferred since it began.
    pub async fn transferred(&self) -> Outcome<u64> {
        Ok(transferred_in(&self.json(&["status"]).await?))
    }

    async fn json(&self, args: &[&str]) -> Outcome<Value> {
        let output = self.run(&[args, &["--json"]].concat()).await?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Failure::new(format!("`wl {} --json` failed: {said}", args.join(" ")))
        })
    }

    async fn succeeds(&self, args: &[&str]) -> bool {
        let ended = tokio::time::timeout(PATIENCE, self.run(args)).await;
        matches!(ended, Ok(Ok(output)) if output.status.success())
    }

    async fn run(&self, args: &[&str]) -> Outcome<Output> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.root.path()).stdin(Stdio::null()).kill_on_drop(true);
        // Nothing of the user's own configuration plays a part.
        command.env("WL_BASE_DIR", self.at("base")).env("WL_SYNC_LOG_PATH", self.at("base/wl-sync.log"));
        command.output().await.map_err(|error| Failure::new(format!("`wl {}` cannot be run: {error}", args.join(" "))))
    }

    fn shortened(&self, text: &str) -> String {
        text.trim_end().replace(&format!("{}/", self.root.path().display()), "")
    }

    /// What a directory holds; a tree that changes while it is read is looked at again by whoever waits.
    fn tree(&self, dir: &str) -> Tree {
        trees::read(&self.at(dir)).unwrap_or_default()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(Path::new(path))
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(format!("this was promised and did not happen: {what}"))
        .hint("please report it, with what `wl --version` says and the system you are on")
}

fn cannot(path: &str, what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("the demo's {path} cannot be {what}: {error}"))
}
