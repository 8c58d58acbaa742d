//! Hashes that the server keeps for wl: believed of the version that they are about, and of no other.

use reqwest::{Client, Method};

use super::*;

const SIZE: usize = 3 << 19;

/// What another client does, without wl.
async fn other(bench: &Bench, method: &str, at: &str, body: Vec<u8>, destination: Option<&str>) {
    let url = |at: &str| format!("{}{at}", bench.server.url());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut ask = Client::new().request(method, url(at)).basic_auth(USER, Some(PASSWORD)).body(body);
    if let Some(destination) = destination {
        ask = ask.header("destination", url(destination)).header("overwrite", "T");
    }
    assert!(ask.send().await.unwrap().status().is_success());
}

/// The version that is there, once its token vouches for it.
async fn settled(storage: &Arc<dyn Backend>, at: &str) -> Entry {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let Ok(Look::Entry(entry)) = storage.stat(&path(at)).await else { panic!("{at} is not there") };
        if !entry.token.is_racy() {
            return entry;
        }
        assert!(Instant::now() < deadline, "{at} never settles");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The hash, told by a note if it is told at all: no download comes to its end.
async fn noted(bench: &Bench, storage: &Arc<dyn Backend>, at: &str) -> Option<Hash> {
    let entry = settled(storage, at).await;
    bench.proxy.decide(|request| if request.method == "GET" { Action::Truncate(1000) } else { Action::Pass });
    let hash = storage.hash(&path(at), &entry.token).await.ok();
    bench.proxy.decide(|_| Action::Pass);
    hash
}

/// The hash, also where it has to be read.
async fn hash(bench: &Bench, at: &str) -> Hash {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let entry = settled(&bench.storage, at).await;
        match bench.storage.hash(&path(at), &entry.token).await {
            // lighttpd goes on sending the old file for a second.
            Err(error) if error.fault == Fault::Refused && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            hash => return hash.unwrap(),
        }
    }
}

async fn a_note_is_about_its_version(server: Dav) {
    let bench = Bench::on(server).await;
    let [one, two, three] = [b'1', b'2', b'3'].map(|byte| vec![byte; SIZE]);
    let [one_hash, two_hash, three_hash] = [&one, &two, &three].map(|bytes| Hash::of(bytes));
    bench.write("big", &one, &Guard::Absent).await.unwrap();
    // Where a fresh version's token does not vouch for it, the note comes with the first look.
    assert_eq!(hash(&bench, "big").await, one_hash);
    assert_eq!(noted(&bench, &bench.storage, "big").await, Some(one_hash), "{:?}", bench.server);
    // A wl that knows nothing of the server believes it, too.
    let stranger = Http::start(&bench.proxy.address());
    let fresh = storage(&format!("http://{}/dav/", stranger.address()), &login());
    assert_eq!(noted(&bench, &fresh, "big").await, Some(one_hash));

    other(&bench, "PUT", "big", two.clone(), None).await;
    assert_eq!(
        noted(&bench, &bench.storage, "big").await,
        None,
        "{:?}: another version of the same size",
        bench.server
    );
    assert_eq!(hash(&bench, "big").await, two_hash);
    assert_eq!(noted(&bench, &bench.storage, "big").await, Some(two_hash), "a download leaves a note");

    // A new file in place of the old one.
    bench.server.user_write("new", &three);
    std::fs::rename(bench.server.root().join("new"), bench.server.root().join("big")).unwrap();
    assert_eq!(noted(&bench, &bench.storage, "big").await, None, "{:?}: written past the server", bench.server);
    assert_eq!(hash(&bench, "big").await, three_hash, "{:?}", bench.server);

    // Another file put in its place, with its own note.
    bench.write("beside", &one, &Guard::Absent).await.unwrap();
    for method in ["COPY", "MOVE"] {
        other(&bench, method, "beside", Vec::new(), Some("big")).await;
        let told = noted(&bench, &bench.storage, "big").await;
        assert!(told.is_none() || told == Some(one_hash), "{method} {:?}: {told:?}", bench.server);
        assert_eq!(hash(&bench, "big").await, one_hash);
        other(&bench, "PUT", "big", two.clone(), None).await;
        assert_eq!(hash(&bench, "big").await, two_hash);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_on_apache_is_about_its_version() {
    a_note_is_about_its_version(servers::apache::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_on_lighttpd_is_about_its_version() {
    a_note_is_about_its_version(servers::lighttpd::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_on_sabre_is_about_its_version() {
    a_note_is_about_its_version(servers::sabre::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_noted_where_it_does_not_pay_or_may_not_be() {
    let bytes = vec![1; SIZE];
    let noting = |bench: &Bench| bench.proxy.count(|request| request.method == "PROPPATCH");
    // It keeps no properties: that is tried once.
    let bench = Bench::on(servers::nginx::start()).await;
    bench.proxy.take();
    bench.write("big", &bytes, &Guard::Absent).await.unwrap();
    assert_eq!((noting(&bench), hash(&bench, "big").await), (0, Hash::of(&bytes)));

    let bench = Bench::on(servers::apache::start()).await;
    bench.proxy.take();
    bench.write("small", b"x", &Guard::Absent).await.unwrap();
    assert_eq!((noting(&bench), hash(&bench, "small").await), (0, Hash::of(b"x")));
    let mut more = login();
    more["read-only"] = json!(true);
    let reader = storage(&format!("http://{}/dav/", bench.proxy.address()), &more);
    bench.server.user_write("big", &bytes);
    let entry = settled(&bench.storage, "big").await;
    assert_eq!(reader.hash(&path("big"), &entry.token).await, Ok(Hash::of(&bytes)));
    assert_eq!(noting(&bench), 0, "what is only read is not written to");
}
