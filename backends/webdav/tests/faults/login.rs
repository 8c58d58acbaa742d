//! Proving who one is, to a real server: in every way, without a secret going where it does not belong.

use std::io::Read as _;
use std::net::TcpListener;

use wl_core::error::Result;
use wl_test_kit::servers::apache::{Login, start_with};

use super::*;

/// Whether everything that a sync does is let through.
async fn works(storage: &dyn Backend) -> Result<()> {
    storage.root().await?;
    let bytes = Bytes::from(vec![7; 100_000]);
    let at = path("x");
    let written = storage.replace(&at, Content::of(bytes.clone(), Meta::default()), &Guard::Absent, None).await?;
    assert_eq!(storage.hash(&at, &written.entry.token).await?, written.hash);
    let content = Content::of(bytes.slice(1..), Meta::default());
    let written = storage.replace(&at, content, &Guard::Unchanged(written.entry.token), None).await?;
    let listed = storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
    assert!(matches!(&listed[..], [Listed::Entry(path, _)] if *path == at), "{listed:?}");
    let moved = storage.move_within(&at, &written.entry.token, &path("y")).await?;
    storage.remove(&path("y"), &moved.token, None).await
}

fn file(server: &Dav, name: &str) -> String {
    server.server().dir().join(name).display().to_string()
}

/// With the user's login, or without, and more settings.
fn at(url: &str, with_login: bool, more: &[(&str, String)]) -> Arc<dyn Backend> {
    let mut settings = if with_login { login() } else { json!({}) };
    for (key, value) in more {
        settings[*key] = json!(value);
    }
    storage(url, &settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_enough_and_a_new_nonce_is_taken() {
    let server = start_with(Login::Digest);
    let proxy = Http::start(server.address());
    let storage = at(&format!("http://{}/dav/", proxy.address()), true, &[]);
    works(&*storage).await.unwrap();
    // By now the nonce is stale.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    works(&*storage).await.unwrap();
    let sent =
        |kind: &str| proxy.count(|request| request.header("authorization").is_some_and(|sent| sent.starts_with(kind)));
    assert!(sent("Basic") == 0 && sent("Digest") > 20, "{} digests", sent("Digest"));
    let stranger = json!({ "credentials": { "login": USER, "password": "wrong" } });
    let error = super::storage(server.url(), &stranger).root().await.unwrap_err();
    assert!(error.fault == Fault::Denied && error.message.contains("credentials"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_enough() {
    let server = start_with(Login::Bearer);
    let with = |token: &str| at(server.url(), false, &[("bearer-token", token.to_owned())]);
    works(&*with(PASSWORD)).await.unwrap();
    assert_eq!(with("wrong").root().await.map_err(|error| error.fault), Err(Fault::Denied));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_signed_the_certificate_is_trusted() {
    let server = start_with(Login::Tls);
    let ca = ("ca-certificate", file(&server, "ca.pem"));
    works(&*at(server.url(), true, std::slice::from_ref(&ca))).await.unwrap();
    let error = at(server.url(), true, &[]).root().await.unwrap_err();
    assert!(error.fault == Fault::Offline && error.message.contains("ca-certificate"), "{error}");
    // A certificate for 127.0.0.1 is none for this name.
    let other = server.url().replace("127.0.0.1", "localhost");
    let error = at(&other, true, std::slice::from_ref(&ca)).root().await.unwrap_err();
    assert_eq!(error.fault, Fault::Offline, "{error}");
    // Out of TLS leads no way, not even to the same server.
    let away = server.url().replace("/dav/", "/away/");
    let error = at(&away, true, &[ca]).root().await.unwrap_err();
    assert!(error.fault == Fault::Malformed && error.message.contains("-> http://127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_enough() {
    let server = start_with(Login::Certificate);
    let settings = [("ca-certificate", "ca.pem"), ("client-certificate", "client.pem"), ("client-key", "client.key")]
        .map(|(key, name)| (key, file(&server, name)));
    works(&*at(server.url(), false, &settings)).await.unwrap();
    let without = at(server.url(), false, &settings[..1]);
    let mut said = Vec::new();
    // What the server says last may be lost with the connection that it ends: whoever asks again hears it.
    while said.len() < 10 && !said.last().is_some_and(|text: &String| text.contains("client-certificate")) {
        said.push(without.root().await.unwrap_err().message);
    }
    assert!(said.last().is_some_and(|text| text.contains("client-certificate")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_encrypted_is_never_sent_in_the_clear() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let first = std::thread::spawn(move || {
        let mut first = [0; 1];
        server.accept().unwrap().0.read_exact(&mut first).unwrap();
        first
    });
    let storage = at(&format!("https://{address}/dav/"), true, &[]);
    assert_eq!(storage.root().await.map_err(|error| error.fault), Err(Fault::Offline));
    assert_eq!(first.join().unwrap(), [0x16], "RFC 8446, section 5.1: a handshake");
    for url in [format!("{address}/dav/"), format!("//{address}/dav/"), format!("ftp://{address}/dav/")] {
        let params = json!({ "type": "webdav", "backend-id": "dav", "url": url });
        let opened = Storage::from_params(params).and_then(|storage| wl_backend_webdav::open(&storage));
        assert!(opened.is_err(), "{url}: whether it is encrypted must be said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_follow_no_redirect() {
    let server = servers::apache::start();
    let elsewhere = Http::start(server.address());
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://{}/dav/", elsewhere.address());
        let mut strict = true;
        let leads = to.clone();
        let proxy = Http::with(server.address(), move |_| {
            // It asks for a login before it leads away.
            if std::mem::take(&mut strict) { Action::Pass } else { answers(status, "location", &leads) }
        });
        for more in [login(), json!({ "bearer-token": "t0ken" })] {
            let storage = storage(&format!("http://{}/dav/", proxy.address()), &more);
            let error = storage.root().await.unwrap_err();
            assert!(error.fault == Fault::Malformed && error.message.contains(&elsewhere.address()), "{error}");
            assert!(!error.message.contains("t0ken"));
        }
    }
    assert_eq!(elsewhere.requests().len(), 0, "nothing was sent there at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_for_is_asked_once_by_all_jobs_of_one_user() {
    let bench = Bench::on(servers::apache::start()).await;
    let url = format!("http://{}/dav/", bench.proxy.address());
    bench.proxy.take();
    storage(&url, &login()).root().await.unwrap();
    let methods: Vec<_> = bench.proxy.take().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["PROPFIND"]);
}
