//! The other end of the control socket.

mod holder;
mod launch;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as Turn, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};
use wl_core::monitor::Event;

use crate::lock::Lock;
use crate::protocol::{Answer, Assembled, Frame, Framing, Id, Request, WireError};
use crate::server::too_long;

pub use holder::{has_ended, process, unreachable};
pub use launch::ensure_daemon;

/// How long an answer may take before it is looked whether the daemon is alive.
const DOUBT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 3000 });
/// How long a daemon then has to answer anything at all before it counts as frozen.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 7000 });

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no sync daemon is running ({0} is not answered): `wl daemon start` starts one")]
    NotRunning(PathBuf),
    /// The connection cannot be made or used.
    #[error("cannot talk to the sync daemon at {0}: {1}")]
    Io(PathBuf, io::Error),
    /// It does not answer any more.
    #[error(
        "the sync daemon at {0} does not answer: it may be frozen; {how} ends it, and nothing is lost by that",
        how = killing(.0)
    )]
    Frozen(PathBuf),
    /// It ended before it answered.
    #[error("the sync daemon at {0} ended before it answered: its log says why; run the command again")]
    Ended(PathBuf),
    /// It answered with an error.
    #[error("{0}")]
    Refused(#[from] WireError),
    /// It answered something that is no answer.
    #[error(
        "the sync daemon at {0} answers in a way this wl does not know: end it with `wl daemon stop` and try again"
    )]
    Nonsense(PathBuf),
    /// It cannot be started, or there can be none at this socket.
    #[error("{0}")]
    NotStarted(String),
}

type Answered = Result<Value, ClientError>;

/// A connection to a daemon. Commands may be called beside each other.
pub struct Client {
    socket: PathBuf,
    writer: Turn<FramedWrite<OwnedWriteHalf, Framing>>,
    waiting: Arc<Mutex<Waiting>>,
    events: Turn<mpsc::UnboundedReceiver<Event>>,
    next: AtomicU64,
    reader: JoinHandle<()>,
}

/// Who waits for which answer; none once the connection has ended.
type Waiting = Option<HashMap<Id, oneshot::Sender<Result<Value, WireError>>>>;

impl Client {
    /// Connects to the daemon that listens at `socket`.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        if let Some(text) = too_long(socket) {
            return Err(ClientError::NotStarted(text));
        }
        let connected = timeout(PATIENCE, UnixStream::connect(socket)).await;
        let stream =
            connected.map_err(|_| ClientError::Frozen(socket.to_owned()))?.map_err(|error| match error.kind() {
                // A daemon that dies resets those who were about to be let in.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                    ClientError::NotRunning(socket.to_owned())
                }
                _ => ClientError::Io(socket.to_owned(), error),
            })?;
        let (reader, writer) = stream.into_split();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (events_in, events) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(reader, waiting.clone(), events_in));
        let writer = Turn::new(FramedWrite::new(writer, Framing::default()));
        let (socket, events) = (socket.to_owned(), Turn::new(events));
        Ok(Self { socket, writer, waiting, events, next: AtomicU64::new(1), reader })
    }

    /// Carries out a command. Waits for as long as it takes, but not for a daemon that has died or is frozen.
    pub async fn call(&self, cmd: &str, args: Value) -> Answered {
        let mut answer = self.send(cmd, args).await?;
        loop {
            match timeout(DOUBT, &mut answer).await {
                Ok(Ok(outcome)) => return outcome.map_err(ClientError::Refused),
                Ok(Err(_)) => return Err(ClientError::Ended(self.socket.clone())),
                Err(_) => check_alive(&self.socket).await?,
            }
        }
    }

    /// The next event of the jobs that this connection started or subscribed to; none when the connection has ended.
    pub async fn next_event(&self) -> Option<Event> {
        self.events.lock().await.recv().await
    }

    /// Returns when the daemon has closed the connection.
    pub async fn closed(&self) {
        while self.next_event().await.is_some() {}
    }

    async fn send(&self, cmd: &str, args: Value) -> Result<oneshot::Receiver<Result<Value, WireError>>, ClientError> {
        let args = if let Value::Object(args) = args { args } else { Map::new() };
        let id = Id::Number(self.next.fetch_add(1, Ordering::Relaxed).into());
        let request = Request { id: Some(id.clone()), parts: true, ..Request::new(cmd, args) };
        let text = serde_json::to_vec(&request).map_err(|error| self.io(error.into()))?;
        let (outcome, answer) = oneshot::channel();
        match lock(&self.waiting).as_mut() {
            Some(waiting) => drop(waiting.insert(id, outcome)),
            None => return Err(ClientError::Ended(self.socket.clone())),
        }
        let mut writer = self.writer.lock().await;
        match timeout(PATIENCE, writer.send(Bytes::from(text))).await {
            Err(_) => Err(ClientError::Frozen(self.socket.clone())),
            Ok(Err(error)) if is_end(&error) => Err(ClientError::Ended(self.socket.clone())),
            Ok(Err(error)) => Err(self.io(error)),
            Ok(Ok(())) => Ok(answer),
        }
    }

    fn io(&self, error: io::Error) -> ClientError {
        ClientError::Io(self.socket.clone(), error)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Whether the other end is gone.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// How a daemon ends that does nothing more that it is asked for.
fn killing(socket: &Path) -> String {
    let holder = Lock::holder(&Lock::of_socket(socket));
    holder.map_or_else(|| "killing its process".to_owned(), |(process, _)| format!("`kill -9 {process}`"))
}

/// Hands answers to who waits for them, and events on, until the connection ends.
async fn read(reader: OwnedReadHalf, waiting: Arc<Mutex<Waiting>>, events: mpsc::UnboundedSender<Event>) {
    let mut frames = FramedRead::new(reader, Framing::default());
    let mut assembled = Assembled::default();
    while let Some(Ok(Frame::Message(message))) = frames.next().await {
        let (id, outcome) = match serde_json::from_slice(&message) {
            Ok(Answer::Event { event }) => {
                if let Ok(event) = serde_json::from_str(&event) {
                    // Nobody has to listen.
                    let _ = events.send(event);
                }
                continue;
            }
            Ok(Answer::Part { part, id: Some(id) }) => {
                assembled.take(id, &part);
                continue;
            }
            Ok(Answer::Result { result, id: Some(id) }) => match assembled.finish(&id, result) {
                Ok(result) => (id, Ok(result)),
                Err(_) => break,
            },
            Ok(Answer::Error { error, id: Some(id) }) => (id, Err(error)),
            // An error without an id is about the connection: whoever waits is refused with it.
            Ok(Answer::Error { error, id: None }) => {
                refuse_all(&waiting, &error);
                continue;
            }
            _ => break,
        };
        let asker = lock(&waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(asker) = asker {
            // It may have lost its patience.
            let _ = asker.send(outcome);
        }
    }
    lock(&waiting).take();
}

fn refuse_all(waiting: &Mutex<Waiting>, error: &WireError) {
    let askers = lock(waiting).replace(HashMap::new());
    for (_, asker) in askers.into_iter().flatten() {
        // It may have lost its patience.
        let _ = asker.send(Err(error.clone()));
    }
}

/// Fails unless the daemon answers something at once on another connection.
async fn check_alive(socket: &Path) -> Result<(), ClientError> {
    let asked = async {
        let client = Client::connect(socket).await?;
        let answer = client.send("job-state", json!({ "job-id": "-" })).await?;
        answer.await.map_err(|_| ClientError::Ended(socket.to_owned()))?.map_err(ClientError::Refused)
    };
    match Box::pin(timeout(PATIENCE, asked)).await {
        Err(_) => Err(ClientError::Frozen(socket.to_owned())),
        Ok(Err(ClientError::NotRunning(socket))) => Err(ClientError::Ended(socket)),
        Ok(outcome) => outcome.map(drop),
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
