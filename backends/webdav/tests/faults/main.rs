//! What a server or the network may do in the middle of something, and that it is never taken for an absence.

mod chunks;
mod kept;
mod login;
mod notes;
mod pruning;
mod race;
mod trees;
mod versions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use wl_core::backend::{Backend, Content, Guard, Listed, Look};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::Fault;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_test_kit::proxy::{Action, Answer, Http};
use wl_test_kit::servers::{self, Dav, PASSWORD, USER};

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn storage(url: &str, more: &Value) -> Arc<dyn Backend> {
    let mut params = json!({ "type": "webdav", "backend-id": "dav", "url": url });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    wl_backend_webdav::open(&Storage::from_params(params).unwrap()).unwrap()
}

fn login() -> Value {
    json!({ "credentials": { "login": USER, "password": PASSWORD } })
}

/// A server, a proxy before it, and the storage behind both, tried out already.
struct Bench {
    server: Dav,
    proxy: Http,
    storage: Arc<dyn Backend>,
}

impl Bench {
    async fn on(server: Dav) -> Self {
        let proxy = Http::start(server.address());
        let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
        let bench = Self { server, proxy, storage };
        bench.write("first", b"x", &Guard::Absent).await.unwrap();
        // Nobody waits for all of the trial but who clears up: its directory is gone then.
        bench.storage.sweep().await.unwrap();
        bench
    }

    async fn write(&self, at: &str, bytes: &[u8], guard: &Guard) -> Result<Entry, Fault> {
        let content = Content::of(Bytes::copy_from_slice(bytes), Meta::default());
        let written = self.storage.replace(&path(at), content, guard, None).await;
        written.map(|written| written.entry).map_err(|error| error.fault)
    }

    async fn entry(&self, at: &str) -> Entry {
        match self.storage.stat(&path(at)).await {
            Ok(Look::Entry(entry)) => entry,
            other => panic!("{at}: {other:?}"),
        }
    }

    async fn list(&self) -> Vec<String> {
        let items = self.storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
        let shown = items.iter().map(|item| match item {
            Listed::Entry(path, _) => path.to_string(),
            Listed::Blocked(path, _) => format!("{path}!"),
            Listed::Cut(path, _) => format!("{path}..."),
            Listed::Nameless(name, _) => format!("{name}?"),
        });
        shown.collect()
    }

    async fn read(&self, at: &str) -> Result<Vec<u8>, Fault> {
        let entry = self.entry(at).await;
        let reading = self.storage.read(&path(at), &entry.token, 0).await.map_err(|error| error.fault)?;
        reading.body.try_collect::<Vec<_>>().await.map(|pieces| pieces.concat()).map_err(|error| error.fault)
    }

    /// What lies on the server's disk, with wl's own leftovers.
    fn on_disk(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.server.root()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".DAV");
        names.sort();
        names
    }
}

fn answers(status: u16, name: &'static str, value: &str) -> Action {
    Action::Answer(Answer {
        status,
        headers: vec![(name, value.to_owned())],
        body: "<html>Log in first</html>".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_listed_is_unknown() {
    let bench = Bench::on(servers::apache::start()).await;
    for name in ["a/x", "b/x", "c/x"] {
        bench.server.user_write(name, b"x");
    }
    // Each directory is asked for by itself from now on.
    bench.proxy.decide(|request| match request.header("depth") {
        Some("infinity") => Action::status(403),
        _ => Action::Pass,
    });
    let whole = ["a", "a/x", "b", "b/x", "c", "c/x", "first"];
    assert_eq!(bench.list().await, whole);
    let cases = [
        (Action::status(401), &["a", "a/x", "b", "b!", "c", "c/x", "first"][..]),
        (Action::status(403), &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
        (Action::status(404), &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
        (answers(200, "content-type", "text/html"), &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
        (Action::Truncate(200), &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
        (Action::Close, &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
        (Action::status(507), &["a", "a/x", "b", "b!", "c", "c/x", "first"]),
    ];
    for (action, expected) in cases {
        let wanted = action.clone();
        bench.proxy.decide(move |request| {
            if request.method == "PROPFIND" && request.path == "/dav/b/" { wanted.clone() } else { Action::Pass }
        });
        assert_eq!(bench.list().await, expected, "{action:?}");
    }
    // Once the server is gone nothing more is known.
    let mut gone = false;
    bench.proxy.decide(move |request| {
        gone |= request.path == "/dav/b/";
        if gone { Action::Close } else { Action::Pass }
    });
    // Directories are asked for several at a time: `a` may have come too late, too.
    let listed = bench.list().await;
    assert!(["a...", "b..."].contains(&listed.last().map_or("", String::as_str)), "{listed:?}");
    bench.proxy.decide(|_| Action::Pass);
    assert_eq!(bench.list().await, whole, "nothing is remembered of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_changes_nothing_and_leaves_nothing() {
    let bench = Bench::on(servers::lighttpd::start()).await;
    let cases = [
        ("PUT", Action::status(507), Fault::Full),
        ("PUT", Action::status(413), Fault::Unsupported),
        ("PUT", Action::status(403), Fault::Denied),
        ("PUT", Action::status(401), Fault::Denied),
        ("PUT", Action::status(404), Fault::Missing),
        ("PUT", Action::status(409), Fault::Missing),
        ("PUT", Action::status(412), Fault::Refused),
        ("PUT", Action::status(423), Fault::Busy),
        ("PUT", answers(429, "retry-after", "0"), Fault::Busy),
        ("PUT", answers(503, "retry-after", "0"), Fault::Busy),
        ("PUT", answers(200, "content-type", "text/html"), Fault::Offline),
        ("PUT", answers(302, "location", "http://127.0.0.2:1/login"), Fault::Malformed),
        ("GET", answers(200, "content-type", "text/html"), Fault::Broken),
        ("MOVE", Action::status(401), Fault::Denied),
        ("MOVE", Action::status(409), Fault::Refused),
        ("MOVE", Action::status(412), Fault::Refused),
        ("MOVE", Action::status(423), Fault::Busy),
        ("MOVE", Action::status(507), Fault::Full),
        ("MOVE", Action::status(403), Fault::Denied),
        ("MOVE", answers(302, "location", "http://127.0.0.2:1/dav/x"), Fault::Malformed),
        ("MOVE", answers(200, "content-type", "text/html"), Fault::Refused),
    ];
    let long = vec![b'n'; 100_000];
    for (method, action, fault) in cases {
        // A short content is created by its PUT alone: it is no part any more when it is read.
        let short: &[&[u8]] = if method == "PUT" { &[&long, b"new"] } else { &[&long] };
        for content in short {
            let wanted = action.clone();
            bench.proxy.decide(move |request| if request.method == method { wanted.clone() } else { Action::Pass });
            assert_eq!(bench.write("new", content, &Guard::Absent).await, Err(fault), "{method} {action:?}");
            assert_eq!(bench.on_disk(), ["first"], "{method} {action:?}");
        }
    }
    bench.proxy.decide(|request| match request.method.as_str() {
        "GET" => answers(200, "content-type", "text/html"),
        _ => Action::Pass,
    });
    assert_eq!(bench.write("new", b"new", &Guard::Absent).await, Err(Fault::Malformed));
    assert_eq!(std::fs::read(bench.server.root().join("new")).unwrap(), b"new", "whole, or not at all");
}

/// A login that is refused for a while, as when a password is being changed: nothing is known, nothing is done, and then it
/// goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_401_in_the_middle_is_over_when_it_is_over() {
    for server in [servers::apache::start(), servers::nginx::start()] {
        let bench = Bench::on(server).await;
        let old = bench.entry("first").await;
        bench.proxy.decide(|_| Action::status(401));
        let look = bench.storage.stat(&path("first")).await;
        assert!(matches!(&look, Ok(Look::Blocked(why)) if why.message.contains("credentials")), "{look:?}");
        assert_eq!(bench.list().await, ["!"]);
        let gone = bench.storage.remove(&path("first"), &old.token, None).await;
        assert_eq!(gone.map_err(|error| error.fault), Err(Fault::Denied));
        assert_eq!(bench.write("new", b"new", &Guard::Absent).await, Err(Fault::Denied));
        assert_eq!(bench.storage.root().await.map_err(|error| error.fault), Err(Fault::Denied));
        bench.proxy.decide(|_| Action::Pass);
        assert_eq!(bench.list().await, ["first"]);
        bench.write("new", b"new", &Guard::Absent).await.unwrap();
        let token = bench.entry("first").await.token;
        assert_eq!(bench.storage.remove(&path("first"), &token, None).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_found_by_looking() {
    for server in [servers::apache::start(), servers::lighttpd::start()] {
        let bench = Bench::on(server).await;
        for method in ["PUT", "MOVE", "GET", "HEAD"] {
            let mut done = false;
            bench.proxy.decide(move |request| {
                let lose = !done && request.method == method;
                done |= lose;
                if lose { Action::LoseAnswer } else { Action::Pass }
            });
            let written = bench.write(method, method.as_bytes(), &Guard::Absent).await;
            assert!(written.is_ok(), "{method}: {written:?}");
            let token = bench.entry(method).await.token;
            let replaced = bench.write(method, b"again", &Guard::Unchanged(token)).await;
            assert!(replaced.is_ok(), "{method}: {replaced:?}");
            assert_eq!(bench.read(method).await, Ok(b"again".to_vec()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_patience_gets_it() {
    let bench = Bench::on(servers::lighttpd::start()).await;
    for status in [429, 503] {
        let mut asked = 0;
        bench.proxy.decide(move |request| {
            asked += usize::from(request.method == "PUT");
            if request.method == "PUT" && asked == 1 { answers(status, "retry-after", "1") } else { Action::Pass }
        });
        let begun = Instant::now();
        let written = bench.write(&format!("x{status}"), b"x", &Guard::Absent).await;
        assert!(written.is_ok() && begun.elapsed() >= Duration::from_secs(1), "{written:?}");
    }
    bench.proxy.decide(|_| answers(503, "retry-after", "0"));
    assert_eq!(bench.storage.stat(&path("first")).await.map_err(|error| error.fault), Err(Fault::Busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_no_content() {
    let bench = Bench::on(servers::apache::start()).await;
    let bytes = vec![7; 300_000];
    bench.server.user_write("big", &bytes);
    for action in [Action::Truncate(1000), answers(200, "content-type", "text/html")] {
        let wanted = action.clone();
        bench.proxy.decide(move |request| if request.method == "GET" { wanted.clone() } else { Action::Pass });
        let read = bench.read("big").await;
        assert!(matches!(read, Err(Fault::Offline | Fault::Refused)), "{action:?}: {:?}", read.map(|read| read.len()));
    }
    // An interrupted read goes on where it broke off.
    bench.proxy.decide(|_| Action::Pass);
    let entry = bench.entry("big").await;
    let rest = bench.storage.read(&path("big"), &entry.token, 299_000).await.unwrap().body;
    assert_eq!(rest.try_collect::<Vec<_>>().await.unwrap().concat().len(), 1000);
    assert!(bench.proxy.count(|request| request.header("range") == Some("bytes=299000-")) == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_sent_in_the_clear_where_digest_is_asked_for() {
    const ROOT: &str = r#"<multistatus xmlns="DAV:"><response><href>/dav/</href><propstat><prop><resourcetype><collection/>
        </resourcetype></prop><status>HTTP/1.1 200 OK</status></propstat></response></multistatus>"#;
    let mut nonce = 0_usize;
    let proxy = Http::with("127.0.0.1:9", move |request| {
        let sent = request.header("authorization").unwrap_or_default();
        // A nonce is good for two requests.
        if sent.starts_with("Digest ") && sent.contains(&format!("nonce=\"n{}\"", nonce / 3)) {
            nonce += 1;
            return Action::Answer(Answer { status: 207, headers: Vec::new(), body: ROOT.to_owned() });
        }
        nonce = nonce.div_ceil(3) * 3;
        answers(401, "www-authenticate", &format!("Digest realm=\"dav\", qop=\"auth\", nonce=\"n{}\"", nonce / 3))
    });
    let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
    for _ in 0..5 {
        storage.root().await.unwrap();
    }
    assert_eq!(proxy.count(|request| request.header("authorization").is_some_and(|sent| sent.starts_with("Basic"))), 0);
    assert!(proxy.count(|request| request.header("authorization").is_some_and(|sent| sent.starts_with("Digest"))) >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_as_one() {
    let server = servers::lighttpd::start();
    let proxy = Http::start(server.address());
    let storage = storage(&format!("http://{}/dav/", proxy.address()), &json!({ "bearer-token": "t0ken" }));
    assert_eq!(storage.root().await.map_err(|error| error.fault), Err(Fault::Denied), "this server wants a password");
    assert!(proxy.count(|request| request.header("authorization") == Some("Bearer t0ken")) > 0);
}

/// Every write either took effect or was refused, and nothing else is ever there.
#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing() {
    let bench = Bench::on(servers::apache::start()).await;
    let mut state = 7_u32;
    bench.proxy.decide(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 24 {
            0..8 => Action::status(500),
            8..16 => Action::Close,
            16..24 => Action::LoseAnswer,
            24..32 => Action::Truncate(20),
            _ => Action::Pass,
        }
    });
    let (mut written, mut failed) = (0, 0);
    for round in 0..150_u32 {
        let (name, bytes) = (format!("f{round}"), round.to_string().repeat(50));
        let there = || std::fs::read(bench.server.root().join(&name)).ok();
        if let Ok(entry) = bench.write(&name, bytes.as_bytes(), &Guard::Absent).await {
            written += 1;
            assert_eq!(there().map(|there| Hash::of(&there)), Some(Hash::of(bytes.as_bytes())), "{name}");
            let result = bench.storage.remove(&path(&name), &entry.token, None).await;
            assert!(result.is_err() || there().is_none(), "{name} is said to be removed");
        } else {
            // Whoever is not sure says so; what is there is whole all the same.
            failed += 1;
            assert!(there().is_none_or(|there| there == bytes.as_bytes()), "{name}");
        }
    }
    println!("{written} written, {failed} failed");
    assert!(written > 100, "retrying helps: {written} of 150");
}

/// Who does not say what credentials are wanted gets none: neither a server that is starting, nor a page in between.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_to_a_server_that_has_not_asked_for_one() {
    for first in [answers(503, "retry-after", "0"), answers(200, "content-type", "text/html"), Action::status(502)] {
        let begin = first.clone();
        let mut asked = 0;
        let proxy = Http::with("127.0.0.1:9", move |_| {
            asked += 1;
            let digest = || answers(401, "www-authenticate", "Digest realm=\"dav\", qop=\"auth\", nonce=\"n\"");
            if asked <= 12 { begin.clone() } else { digest() }
        });
        let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
        for _ in 0..5 {
            assert!(storage.root().await.is_err(), "{first:?}");
        }
        let sent = |kind: &str| {
            proxy.count(|request| request.header("authorization").is_some_and(|sent| sent.starts_with(kind)))
        };
        assert_eq!(sent("Basic"), 0, "{first:?}");
        assert!(sent("Digest") > 0, "{first:?}");
    }
}

/// What is only read is not written to, not even to find out what the server would do with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_only_read_is_only_looked_at() {
    for (server, at) in
        [(servers::apache::start(), "/dav/"), (servers::sabre::start_like_nextcloud(), servers::sabre::NEXTCLOUD_FILES)]
    {
        let proxy = Http::start(server.address());
        let mut more = login();
        more["read-only"] = json!(true);
        let reader = storage(&format!("http://{}{at}", proxy.address()), &more);
        let facts = reader.probe().await.unwrap();
        assert!(!facts.trash && !facts.server_copy, "nothing is claimed that was not tried");
        let safe = ["OPTIONS", "PROPFIND", "HEAD", "GET"];
        let written: Vec<_> = proxy.take().into_iter().filter(|one| !safe.contains(&one.method.as_str())).collect();
        assert!(written.is_empty(), "{written:?}");
        proxy.decide(|_| Action::status(403));
        assert_eq!(reader.probe().await.map_err(|error| error.fault).err(), Some(Fault::Denied), "it is looked at");
    }
}
