//! Requests: with their credentials, tried again where that is safe, never sent to another server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reqwest::header::{self, HeaderName, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::time::Instant;
use wl_core::error::{Error, Fault, Result};

use crate::auth::Auth;
use crate::config::Settings;
use crate::error::{of_answer, of_network, of_status, timed_out};
use crate::place::Base;
use crate::turns::Distance;

/// How long a server may take to begin its answer…
const PATIENCE: Duration = Duration::from_mins(1);
/// …where it may have to copy or delete much first, or to store what was sent…
const LONG_PATIENCE: Duration = Duration::from_mins(10);
/// …and how long the next piece of an answer may take.
const SILENCE: Duration = Duration::from_mins(1);
/// The most that a server's wish for patience is granted at once.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often something is tried in all.
pub const TRIES: u32 = 4;
/// What is read of an answer that nobody wants, so that its connection can be used again.
const LEFTOVER: usize = 64 << 10;

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    url: Url,
    headers: Vec<(HeaderName, String)>,
}

impl Ask {
    pub fn new(method: &'static str, url: Url) -> Self {
        // INVARIANT: the names of methods are constants of letters.
        Self { method: Method::from_bytes(method.as_bytes()).unwrap_or_default(), url, headers: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }

    /// Whether it changes nothing, however often it is done.
    fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PROPFIND")
    }

    fn patience(&self) -> Duration {
        if self.is_safe() { PATIENCE } else { LONG_PATIENCE }
    }
}

/// What came of one try.
pub enum Try {
    /// The server's answer.
    Answer(Response),
    /// The server did nothing, and may do it if asked again; else this is the error.
    Again(Error),
}

/// A server and the way to it.
pub struct Client {
    pub base: Base,
    pub distance: Arc<Distance>,
    http: reqwest::Client,
    auth: Auth,
    /// The server wishes not to be asked anything before.
    quiet_until: Mutex<Option<Instant>>,
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self {
            base: settings.base,
            distance: settings.way.distance,
            http: settings.way.http,
            auth: Auth::new(settings.credentials, settings.way.wanted),
            quiet_until: Mutex::default(),
        }
    }

    /// Whether both lead to one server as one user.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.base.url().origin() == other.base.url().origin() && self.auth.is_alike(&other.auth)
    }

    /// Sends a request whose body, if any, is short. What changes nothing is tried again after a failure; anything else
    /// only if the server did not do it.
    pub async fn send(&self, ask: Ask, body: Option<Bytes>) -> Result<Response> {
        let mut ask = ask;
        let mut redirected = false;
        let mut tried = 0;
        loop {
            tried += 1;
            let last = tried >= TRIES;
            let result = self.once(&ask, body.clone().map(|bytes| (bytes.len() as u64, Body::from(bytes))), None).await;
            match result {
                Ok(Try::Answer(response)) => {
                    if let Some(url) = self.slash_added(&ask, &response).filter(|_| !redirected) {
                        (ask.url, redirected) = (url, true);
                        drain(response).await;
                    } else if ask.is_safe() && fails_for_now(response.status()) && !last {
                        drain(response).await;
                    } else {
                        return Ok(response);
                    }
                }
                Ok(Try::Again(error)) if last => return Err(error),
                Ok(Try::Again(_)) => continue,
                Err(error) if !ask.is_safe() || last => return Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50) * tried * tried).await;
        }
    }

    /// Sends a request once. `progress` counts what was sent of a long body: as long as it grows, the server has time.
    pub async fn once(&self, ask: &Ask, body: Option<(u64, Body)>, progress: Option<&Arc<AtomicU64>>) -> Result<Try> {
        if self.auth.should_ask() && self.ask_what_is_wanted().await? {
            self.auth.has_asked();
        }
        self.keep_quiet().await;
        self.deliver(ask, body, progress).await
    }

    /// Sends a request without a body now, or not at all: what was looked at right before may be something else later.
    /// Whoever looked has learned what credentials are wanted.
    pub async fn at_once(&self, ask: &Ask) -> Result<Try> {
        if self.quiet_until().is_some_and(|until| Instant::now() < until) {
            return Ok(Try::Again(of_status(StatusCode::SERVICE_UNAVAILABLE)));
        }
        self.deliver(ask, None, None).await
    }

    async fn deliver(&self, ask: &Ask, body: Option<(u64, Body)>, progress: Option<&Arc<AtomicU64>>) -> Result<Try> {
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        let came_with = self.auth.header(&ask.method, &ask.url);
        if let Some(value) = &came_with {
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in &ask.headers {
            // Never without its value: an empty condition may hold of anything.
            let value = HeaderValue::from_str(value).map_err(|_| cannot_be_sent(name))?;
            request = request.header(name, value);
        }
        request = match body {
            // With its length: some servers refuse or spool what comes in chunks.
            Some((length, body)) => request.header(header::CONTENT_LENGTH, length).body(body),
            None if ask.method == Method::PUT => request.header(header::CONTENT_LENGTH, 0),
            None => request,
        };
        let begun = Instant::now();
        let answer = match progress {
            None => {
                let answer = tokio::time::timeout(ask.patience(), request.send()).await;
                if let Ok(Ok(_)) = answer {
                    self.distance.answered_after(begun.elapsed());
                }
                answer.map_err(|_| timed_out())?
            }
            Some(progress) => while_it_grows(progress, request.send()).await?,
        };
        self.judge(answer.map_err(|error| of_network(&error.without_url()))?, came_with.as_ref()).await
    }

    async fn judge(&self, response: Response, came_with: Option<&HeaderValue>) -> Result<Try> {
        let status = response.status();
        let again = match status {
            StatusCode::UNAUTHORIZED => self.auth.learn(response.headers(), came_with),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                self.be_quiet_for(retry_after(&response));
                true
            }
            _ => false,
        };
        if !again {
            return Ok(Try::Answer(response));
        }
        drain(response).await;
        Ok(Try::Again(of_status(status)))
    }

    /// Asks without credentials, to learn which kind of them the server wants. Whether it said so: another answer may be that
    /// of somebody between, and no password goes to a server that cannot answer yet.
    async fn ask_what_is_wanted(&self) -> Result<bool> {
        let mut answer = self.ask_plainly(Ask::new("OPTIONS", self.base.url().clone())).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            // Some servers let anybody ask for their options.
            drain(answer).await;
            answer = self.ask_plainly(Ask::new("PROPFIND", self.base.url().clone()).with("depth", "0")).await?;
        }
        let (status, error) = (answer.status(), of_answer(&answer));
        match status {
            StatusCode::UNAUTHORIZED => {
                self.auth.learn(answer.headers(), None);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => self.be_quiet_for(retry_after(&answer)),
            _ => {}
        }
        drain(answer).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::MULTI_STATUS => Ok(true),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(error),
            // It knows no such place, or hides it from strangers: its owner may see it.
            status if status.is_client_error() => Ok(false),
            _ => Err(error),
        }
    }

    async fn ask_plainly(&self, ask: Ask) -> Result<Response> {
        self.keep_quiet().await;
        let mut request = self.http.request(ask.method, ask.url);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.map_err(|_| timed_out())?;
        answer.map_err(|error| of_network(&error.without_url()))
    }

    /// Where a redirect leads to, if that is the same place of the same server with a slash behind it.
    fn slash_added(&self, ask: &Ask, response: &Response) -> Option<Url> {
        if !response.status().is_redirection() || !ask.is_safe() {
            return None;
        }
        let to = ask.url.join(response.headers().get(header::LOCATION)?.to_str().ok()?).ok()?;
        let same = to.origin() == self.base.url().origin() && to.path() == format!("{}/", ask.url.path());
        same.then_some(to)
    }

    fn be_quiet_for(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_WAIT);
        let mut quiet = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = Some(quiet.map_or(until, |known| known.max(until)));
    }

    async fn keep_quiet(&self) {
        if let Some(until) = self.quiet_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn quiet_until(&self) -> Option<Instant> {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a header whose value is not of visible characters.
fn cannot_be_sent(name: &HeaderName) -> Error {
    Error::new(Fault::Malformed, format!("the header `{name}` of a request would hold characters that cannot be sent"))
}

/// Whether a failure is one that proxies and restarting servers answer with.
pub fn fails_for_now(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 500 | 502 | 504)
}

/// How long a server wishes not to be asked again (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Duration {
    const USUAL: Duration = Duration::from_secs(1);
    let said = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let until = |date: &str| httpdate::parse_http_date(date).ok()?.duration_since(SystemTime::now()).ok();
    said.and_then(|said| said.trim().parse().ok().map(Duration::from_secs).or_else(|| until(said))).unwrap_or(USUAL)
}

/// Waits for an answer as long as the body grows, and then some.
async fn while_it_grows<T>(progress: &AtomicU64, answer: impl Future<Output = T>) -> Result<T> {
    let mut answer = std::pin::pin!(answer);
    let (mut before, mut since) = (0, Instant::now());
    loop {
        if let Ok(answer) = tokio::time::timeout(Duration::from_secs(5), &mut answer).await {
            return Ok(answer);
        }
        let now = progress.load(Ordering::Relaxed);
        if now != before {
            (before, since) = (now, Instant::now());
        } else if since.elapsed() > LONG_PATIENCE {
            return Err(timed_out());
        }
    }
}

/// The pieces of an answer, each in good time.
pub fn pieces(response: Response) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let stream = response.bytes_stream().boxed();
    futures::stream::unfold(Some(stream), |stream| async {
        let mut stream = stream?;
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(of_network(&error.without_url())), None)),
            Ok(None) => None,
            Err(_) => Some((Err(timed_out()), None)),
        }
    })
}

/// Reads what is left of a short answer; its status.
pub async fn drain(response: Response) -> StatusCode {
    let status = response.status();
    let mut pieces = std::pin::pin!(pieces(response));
    let mut read = 0;
    while let Some(Ok(piece)) = pieces.next().await {
        read += piece.len();
        if read > LEFTOVER {
            break;
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wl_core::manifest::Storage;

    use super::*;

    /// One whose server nobody reaches.
    fn client() -> (Client, Url) {
        let params = json!({ "type": "webdav", "backend-id": "dav", "url": "http://127.0.0.1:9/" });
        let client = Client::new(Settings::read(&Storage::from_params(params).unwrap()).unwrap());
        let url = client.base.url().clone();
        (client, url)
    }

    #[tokio::test]
    async fn what_must_not_wait_is_not_sent_while_the_server_wishes_for_patience() {
        let (client, url) = client();
        let ask = Ask::new("MOVE", url);
        assert!(matches!(client.at_once(&ask).await, Err(error) if error.fault == Fault::Offline));
        client.be_quiet_for(LONGEST_WAIT);
        assert!(matches!(client.at_once(&ask).await, Ok(Try::Again(error)) if error.fault == Fault::Busy));
    }

    #[tokio::test]
    async fn no_header_goes_without_its_value() {
        let (client, url) = client();
        for bad in ["\u{7f}", "a\r\nb: c", "\0"] {
            let error = client.send(Ask::new("MOVE", url.clone()).with("if", bad), None).await.unwrap_err();
            assert!(error.fault == Fault::Malformed && error.message.contains("`if`"), "{bad:?}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_grows_has_time_and_one_that_does_not_has_an_end() {
        let progress = Arc::new(AtomicU64::new(0));
        let growing = tokio::spawn({
            let progress = progress.clone();
            async move {
                for _ in 0..20 {
                    tokio::time::sleep(LONG_PATIENCE / 2).await;
                    progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert_eq!(while_it_grows(&progress, growing).await.map(|joined| joined.is_ok()), Ok(true));
        assert_eq!(while_it_grows::<()>(&progress, std::future::pending()).await, Err(timed_out()));
    }
}
