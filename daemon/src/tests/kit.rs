//! A daemon in a temporary directory, whose jobs do what their container's name says, and a bare client.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wl_core::backend::Backend;
use wl_core::config::{Config, LogTo, Places};
use wl_core::job::Run;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_core::report::{JobState, Summary};
use wl_core::syncer::{ANY, Syncer, Traits};
use wl_core::{Error, Fault, Result};

use super::nowhere::Nowhere;
use crate::rooms::Rooms;

/// How long a test waits for what must come.
pub const LONG: Duration = Duration::from_secs(20);

/// A daemon of this process.
pub struct Daemon {
    pub dir: Arc<TempDir>,
    pub rooms: Arc<Invented>,
    end: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Daemon {
    pub async fn new() -> Self {
        Self::within(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// A daemon where another one was before.
    pub async fn within(dir: Arc<TempDir>) -> Self {
        let (rooms, end) = (Arc::new(Invented::default()), CancellationToken::new());
        let (places, its_rooms, its_end) = (places(&dir), rooms.clone(), end.clone());
        let task = tokio::spawn(async move {
            std::fs::create_dir_all(&places.state_dir).unwrap();
            crate::run::serve(&places, &Config::default(), its_rooms, its_end, true).await
        });
        let daemon = Self { dir, rooms, end, task };
        eventually(async || UnixStream::connect(daemon.socket()).await.ok()).await;
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        places(&self.dir).socket
    }

    pub async fn connect(&self) -> Wire {
        Wire::connect(self.socket()).await
    }

    /// Makes the state refuse to have jobs inserted or deleted, as a full disk does, until it is let go.
    pub fn refuse(&self, what: &'static str) -> Refusing {
        let database = rusqlite::Connection::open(places(&self.dir).state_dir.join("state.db")).unwrap();
        let text = format!("CREATE TRIGGER no BEFORE {what} ON jobs BEGIN SELECT RAISE(ABORT, 'no room'); END");
        database.execute_batch(&text).unwrap();
        Refusing(database)
    }

    /// Ends it as SIGTERM does.
    pub async fn end(self) -> Arc<TempDir> {
        self.end.cancel();
        timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        self.dir
    }
}

/// A state that refuses something.
pub struct Refusing(rusqlite::Connection);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.execute_batch("DROP TRIGGER no").unwrap();
    }
}

pub fn places(dir: &TempDir) -> Places {
    let base_dir = dir.path().join("base");
    Places {
        base_dir_given: true,
        state_dir: dir.path().join("state"),
        socket: dir.path().join("run/wl.sock"),
        log: LogTo::Stderr,
        config_file: base_dir.join("config.yaml"),
        containers_dir: base_dir.join("containers"),
        base_dir,
    }
}

/// The arguments of `start` for the container of that name.
pub fn job(name: &str) -> Value {
    let storage = |id: &str| json!({ "type": "local", "backend-id": id, "location": format!("/nowhere/{name}/{id}") });
    json!({
        "container-name": name, "job-id": format!("local|{name}"), "source": storage("one"), "target": storage("two"),
        "continuous": true, "unidirectional": false,
    })
}

/// The same, to be run once.
pub fn once(name: &str) -> Value {
    let mut args = job(name);
    args["continuous"] = json!(false);
    args
}

/// Asks again until there is an answer.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = timeout(LONG, async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    answer.await.expect("it did not come")
}

/// A client that sends bytes and reads messages.
pub struct Wire {
    pub stream: UnixStream,
    read: Vec<u8>,
}

impl Wire {
    pub async fn connect(socket: PathBuf) -> Self {
        Self { stream: UnixStream::connect(socket).await.unwrap(), read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(LONG, self.stream.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// Sends a request with an id.
    pub async fn ask(&mut self, cmd: &str, args: Value, id: u64) {
        self.send(format!("{}\n\n", json!({ "cmd": cmd, "args": args, "id": id }))).await;
    }

    /// The next message; none at the end.
    pub async fn receive(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\n\n") {
                let message: Vec<_> = self.read.drain(..at + 2).collect();
                return Some(serde_json::from_slice(&message).unwrap());
            }
            let count = timeout(LONG, self.stream.read_buf(&mut self.read)).await.expect("no message came").unwrap();
            if count == 0 {
                return None;
            }
        }
    }

    /// The next message that is no event.
    pub async fn answer(&mut self) -> Value {
        loop {
            let message = self.receive().await.expect("the connection ended");
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> (String, String) {
        loop {
            let message = self.receive().await.expect("the connection ended");
            if let Some(text) = message.get("event") {
                let event: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
                return (event["type"].as_str().unwrap().to_owned(), event["value"].as_str().unwrap().to_owned());
            }
        }
    }

    /// Asks, and passes over events until the result comes.
    pub async fn call(&mut self, cmd: &str, args: Value) -> Value {
        self.ask(cmd, args, 1).await;
        let answer = self.answer().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer.get("result").unwrap_or_else(|| panic!("{cmd}: {answer}")).clone()
    }

    /// The same for what must fail: class and text.
    pub async fn fails(&mut self, cmd: &str, args: Value) -> (String, String) {
        self.ask(cmd, args, 1).await;
        let answer = self.answer().await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{cmd}: {answer}"));
        (error["class"].as_str().unwrap().to_owned(), error["desc"].as_str().unwrap().to_owned())
    }

    /// The structured status of a job.
    pub async fn status(&mut self, name: &str) -> Option<Value> {
        let jobs = self.call("jobs", json!({ "job-id": format!("local|{name}") })).await;
        jobs["jobs"].get(0).cloned()
    }

    /// Waits for a job to be in that state.
    pub async fn until(&mut self, name: &str, state: &str) -> Value {
        eventually(async || self.status(name).await.filter(|status| status["state"] == state)).await
    }
}

/// Storages that hold nothing, and one syncer.
pub struct Invented {
    syncers: Vec<Arc<dyn Syncer>>,
    running: Arc<AtomicUsize>,
}

impl Rooms for Invented {
    fn open(&self, storage: &Storage) -> Result<Arc<dyn Backend>> {
        if storage.location().contains("unbuilt") {
            return Err(Error::new(Fault::Unsupported, "built without it"));
        }
        Ok(Arc::new(Nowhere))
    }

    fn syncers(&self) -> &[Arc<dyn Syncer>] {
        &self.syncers
    }
}

impl Default for Invented {
    fn default() -> Self {
        let running = Arc::<AtomicUsize>::default();
        Self { syncers: vec![Arc::new(ByName { running: running.clone() })], running }
    }
}

impl Invented {
    /// How many runs there are.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

/// Does what the container's name begins with.
struct ByName {
    running: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ByName {
    async fn run(&self, run: &Run) -> Result<Summary> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(self.running.clone());
        let path = RelPath::parse("a/b").unwrap();
        match run.pair.container.split('-').next().unwrap_or_default() {
            "ends" => Ok(summary()),
            "panics" => panic!("as it was told"),
            "fails" => Err(Error::new(Fault::Offline, "the storage is gone")),
            "deaf" => std::future::pending().await,
            "chatty" => {
                while !run.stop.is_cancelled() {
                    run.monitor.progress("CREATE", &path);
                    tokio::task::yield_now().await;
                }
                Err(Error::stopped())
            }
            _ => {
                run.monitor.set_state(JobState::Synced);
                loop {
                    tokio::select! {
                        () = run.stop.cancelled() => return Err(Error::stopped()),
                        () = run.poke.notified() => {}
                    }
                    run.monitor.set_state(JobState::Running);
                    run.monitor.progress("CREATE", &path);
                    run.monitor.conflict(&path, "both changed");
                    run.monitor.set_state(JobState::Synced);
                }
            }
        }
    }
}

#[async_trait]
impl Syncer for ByName {
    fn traits(&self) -> Traits {
        Traits {
            name: "by-name",
            source_types: &[ANY],
            target_types: &[ANY],
            one_shot: true,
            continuous: true,
            unidirectional: true,
            requires_mount: false,
        }
    }

    async fn one_shot(&self, run: &Run) -> Result<Summary> {
        self.run(run).await
    }

    async fn continuous(&self, run: &Run) -> Result<()> {
        self.run(run).await.map(drop)
    }
}

fn summary() -> Summary {
    Summary {
        state: JobState::Synced,
        copied: 3,
        deleted: 0,
        moved: 0,
        adopted: 0,
        bytes: 5,
        seconds: 0.5,
        conflicts: Vec::new(),
        problems: Vec::new(),
    }
}
