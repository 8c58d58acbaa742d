//! One client's connection: requests in, answers and events out.
//!
//! Requests are begun in the order in which they came. Commands that take long run beside the later ones if their
//! answer can be told by its id; without an id, answers come in the order of the requests.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::ClientHandle;
use crate::protocol::{Answer, BadRequest, ErrorClass, Frame, Framing, MAX_MESSAGE, Parts, Request, WireError};
use crate::service::{self, Service};

/// Events that may wait for a slow client; it misses the others.
const EVENTS: usize = 4096;
/// Requests read ahead.
const REQUESTS: usize = 8;
/// Commands running beside each other for one client.
const AT_ONCE: usize = 32;
/// How often a client that sends no more is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Serves one client until it is gone and its requests are answered, or the daemon ends.
pub async fn serve(stream: UnixStream, service: Arc<Service>, end: CancellationToken) {
    let gone = CancellationToken::new();
    let _gone_after_all = gone.clone().drop_guard();
    let (reader, writer) = stream.into_split();
    let (requests_in, requests) = mpsc::channel(REQUESTS);
    let (answers_in, answers) = mpsc::channel(REQUESTS);
    let (events_in, events) = mpsc::channel(EVENTS);
    let client = ClientHandle::new(events_in, gone.clone());

    let reading = tokio::spawn(read(reader, requests_in, gone.clone()));
    let mut writing = tokio::spawn(write(writer, answers, events, gone.clone()));
    let answering = async {
        answer_all(requests, answers_in.clone(), &service, &client).await;
        if client.follows() {
            gone.cancelled().await;
        }
    };
    tokio::select! {
        () = answering => {}
        () = gone.cancelled() => {}
        () = end.cancelled() => {}
    }
    reading.abort();
    drop(answers_in);
    // The writer ends by itself once nobody can send it another answer and all were taken.
    tokio::select! {
        _ = &mut writing => {}
        () = gone.cancelled() => writing.abort(),
    }
}

/// Answers a client that may not talk to this daemon, and closes.
pub async fn refuse(stream: UnixStream, why: &str) {
    let answer = Answer::to(None, Err(WireError::new(ErrorClass::PermissionError, why)));
    let mut sink = FramedWrite::new(stream, Framing::default());
    for message in Parts::of(&answer, false) {
        // It may be gone already.
        let _ = sink.send(message).await;
    }
}

/// Reads requests until the client sends no more; then finds out when it is gone.
async fn read(reader: OwnedReadHalf, requests: mpsc::Sender<Result<Request, BadRequest>>, gone: CancellationToken) {
    let mut frames = FramedRead::new(reader, Framing::default());
    while let Some(frame) = frames.next().await {
        let request = match frame {
            Ok(Frame::Message(message)) => Request::parse(&message),
            Ok(Frame::TooLong) => Err(too_long()),
            Err(_) => return gone.cancel(),
        };
        if requests.send(request).await.is_err() {
            return;
        }
    }
    drop(requests);
    let reader = frames.into_inner();
    // A client may close its sending half and still wait for answers: that one is not gone.
    while reader.as_ref().ready(Interest::WRITABLE).await.is_ok_and(|ready| !ready.is_write_closed()) {
        tokio::time::sleep(LOOK).await;
    }
    gone.cancel();
}

fn too_long() -> BadRequest {
    let text = format!("the message is longer than {MAX_MESSAGE} bytes and was passed over");
    BadRequest { error: WireError::new(ErrorClass::MessageError, text), id: None }
}

/// Writes answers and events until nobody can send another answer.
async fn write(
    writer: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Vec<Bytes>>,
    mut events: mpsc::Receiver<Answer>,
    gone: CancellationToken,
) {
    let mut sink = FramedWrite::new(writer, Framing::default());
    loop {
        let messages = tokio::select! {
            Some(event) = events.recv() => Parts::of(&event, false),
            answer = answers.recv() => match answer {
                Some(messages) => messages,
                None => return,
            },
        };
        for message in messages {
            if sink.feed(message).await.is_err() {
                return gone.cancel();
            }
        }
        // What follows at once shares a write.
        if events.is_empty() && sink.flush().await.is_err() {
            return gone.cancel();
        }
    }
}

/// Carries out requests until there are no more and all are answered.
async fn answer_all(
    mut requests: mpsc::Receiver<Result<Request, BadRequest>>,
    answers: mpsc::Sender<Vec<Bytes>>,
    service: &Arc<Service>,
    client: &ClientHandle,
) {
    let beside = TaskTracker::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(request) = requests.recv().await {
        let request = match request {
            Ok(request) => request,
            Err(BadRequest { error, id }) => {
                send(&answers, &Answer::to(id, Err(error)), false).await;
                continue;
            }
        };
        let overtakable = request.id.is_some() && service::takes_long(&request.cmd);
        // Before it begins: what has begun may hold a turn that others wait for.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let mut handling = Box::pin(handle(service.clone(), client.clone(), request, answers.clone()));
        if begun(&mut handling).await {
            continue;
        }
        // A task of its own: what has begun is finished even if its client leaves.
        let handled = beside.spawn(async move {
            handling.await;
            drop(permit);
        });
        if !overtakable {
            // Nothing to learn from it: a panic was answered already.
            let _ = handled.await;
        }
    }
    beside.close();
    beside.wait().await;
}

/// Lets a command run up to where it first waits, so that those on the same job keep their order. Whether it ended.
async fn begun<F: Future<Output = ()>>(handling: &mut Pin<Box<F>>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(handling.as_mut().poll(context).is_ready())).await
}

async fn handle(service: Arc<Service>, client: ClientHandle, request: Request, answers: mpsc::Sender<Vec<Bytes>>) {
    let Request { cmd, args, id, parts } = request;
    let outcome = AssertUnwindSafe(service.handle(&client, &cmd, args)).catch_unwind().await.unwrap_or_else(|_| {
        let text = format!("`{cmd}` met a bug in wl: the daemon's log says more");
        Err(WireError::new(ErrorClass::DaemonError, text))
    });
    if let Err(error) = &outcome {
        tracing::debug!("{cmd}: {:?}: {}", error.class, error.desc);
    }
    send(&answers, &Answer::to(id, outcome), parts).await;
}

async fn send(answers: &mpsc::Sender<Vec<Bytes>>, answer: &Answer, parts: bool) {
    // The writer ends only when the client is gone.
    let _ = answers.send(Parts::of(answer, parts)).await;
}
