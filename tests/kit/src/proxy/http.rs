//! A proxy that knows requests.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::header::HeaderMap;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, Sleep, sleep};

use super::thread::{Listening, resolve};

/// A request that came through.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// The path, percent-encoded as it was sent.
    pub path: String,
    /// What follows the question mark; empty if nothing does.
    pub query: String,
    headers: HeaderMap,
}

impl Request {
    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The server answers.
    Pass,
    /// The server answers, but is asked only after this long.
    Wait(Duration),
    /// The server is not asked; this is the answer.
    Answer(Answer),
    /// The server is not asked, and the connection is closed.
    Close,
    /// The server does what it is asked, but its answer is lost: the connection is closed.
    LoseAnswer,
    /// The server answers, but the answer's body ends after so many bytes, and the connection with it.
    Truncate(u64),
}

/// An answer that no server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Such as 503.
    pub status: u16,
    /// Headers, besides the body's length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Action {
    /// Answers with a status and no body.
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer { status, headers: Vec::new(), body: String::new() })
    }

    /// Answers as S3 does: an error in XML.
    pub fn s3_error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>made up</Message></Error>"
        );
        Self::Answer(Answer { status, headers: vec![("content-type", "application/xml".to_owned())], body })
    }
}

/// Decides on each request, in the order in which they come. It may also do something at that very moment, such as changing
/// a file behind the server's back.
type Decide = Box<dyn FnMut(&Request) -> Action + Send>;

/// A proxy before a server that speaks HTTP/1.1 without TLS. Headers, `Host` among them, go through as they are, so that
/// signatures hold.
#[derive(Debug)]
pub struct Http {
    house: Arc<House>,
    listening: Listening,
}

struct House {
    to: SocketAddr,
    decide: Mutex<Decide>,
    seen: Mutex<Vec<Request>>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Http {
    /// A proxy to HOST:PORT that lets everything pass.
    pub fn start(to: &str) -> Self {
        Self::with(to, |_| Action::Pass)
    }

    /// A proxy to HOST:PORT that asks what becomes of each request.
    pub fn with(to: &str, decide: impl FnMut(&Request) -> Action + Send + 'static) -> Self {
        let house = Arc::new(House { to: resolve(to), decide: Mutex::new(Box::new(decide)), seen: Mutex::default() });
        let serving = Arc::clone(&house);
        let listening = Listening::start(0, move |client| Arc::clone(&serving).serve(client));
        Self { house, listening }
    }

    /// Where it listens, as HOST:PORT.
    pub fn address(&self) -> String {
        self.listening.address().to_string()
    }

    /// From now on decides otherwise.
    pub fn decide(&self, decide: impl FnMut(&Request) -> Action + Send + 'static) {
        *lock(&self.house.decide) = Box::new(decide);
    }

    /// The requests since the start or the last [`Http::take`], in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.house.seen).clone()
    }

    /// The same, and forgets them.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.house.seen))
    }

    /// How many requests there were that this holds for.
    pub fn count(&self, holds: impl Fn(&Request) -> bool) -> usize {
        lock(&self.house.seen).iter().filter(|request| holds(request)).count()
    }
}

/// Where a panic of a test's closure has poisoned a lock, the test fails anyway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answered = Response<BoxBody<Bytes, Failure>>;
/// The one connection to the server that stands for one of a client's.
type Upstream = AsyncMutex<Option<client::SendRequest<Incoming>>>;

impl House {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let upstream = Upstream::new(None);
        let service = service_fn(|request| self.answer(request, &upstream));
        // An error here is a connection closed on purpose, or by the client.
        let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// An error closes the client's connection without an answer.
    async fn answer(&self, request: hyper::Request<Incoming>, upstream: &Upstream) -> Result<Answered, Failure> {
        let seen = Request {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
        };
        let action = (lock(&self.decide))(&seen);
        lock(&self.seen).push(seen);
        match action {
            Action::Pass => self.pass(request, upstream).await,
            Action::Wait(time) => {
                sleep(time).await;
                self.pass(request, upstream).await
            }
            Action::Answer(answer) => {
                // A client that is still sending might not look at an answer.
                let _ = request.into_body().collect().await;
                made_up(answer)
            }
            Action::Close => Err("closed on purpose".into()),
            Action::LoseAnswer => {
                let answer = self.pass(request, upstream).await?;
                let _ = answer.into_body().collect().await;
                Err("lost on purpose".into())
            }
            Action::Truncate(left) => {
                let answer = self.pass(request, upstream).await?;
                Ok(answer.map(|body| Truncated { body, left, end: Box::pin(sleep(FLUSH)) }.boxed()))
            }
        }
    }

    async fn pass(&self, request: hyper::Request<Incoming>, upstream: &Upstream) -> Result<Answered, Failure> {
        let mut upstream = upstream.lock().await;
        if upstream.as_ref().is_none_or(client::SendRequest::is_closed) {
            let stream = TcpStream::connect(self.to).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
            tokio::task::spawn_local(connection);
            *upstream = Some(sender);
        }
        let Some(sender) = upstream.as_mut() else { return Err("no connection".into()) };
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        Ok(answer.map(|body| body.map_err(Into::into).boxed()))
    }
}

fn made_up(answer: Answer) -> Result<Answered, Failure> {
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status)?);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = Full::from(answer.body).map_err(|never: Infallible| match never {});
    Ok(response.body(body.boxed())?)
}

/// A body that breaks off, although its headers promise all of it.
struct Truncated {
    body: BoxBody<Bytes, Failure>,
    left: u64,
    /// What is passed on in the same moment as an error, hyper drops.
    end: Pin<Box<Sleep>>,
}

/// How long what came before an error has to be sent.
const FLUSH: Duration = Duration::from_millis(50);

impl Body for Truncated {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.left == 0 {
            ready!(self.end.as_mut().poll(context));
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset).into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                    self.left -= data.len() as u64;
                    self.end.as_mut().reset(Instant::now() + FLUSH);
                    data
                })
            })
        }))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
