//! What is asked of a server, and what is made of its answers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use support::{Bucket, PREFIX, storage};
use wl_core::backend::{Backend, Content, Guard, Listed, Look};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::Fault;
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;
use wl_test_kit::proxy::{Action, Answer, Http, s3_operation};
use wl_test_kit::servers;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

async fn listed(storage: &dyn Backend) -> Vec<Listed> {
    storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat()
}

/// Items as `file`, `dir/`, `blocked!`, `?nameless`, `cut...`.
fn shown(items: &[Listed]) -> Vec<String> {
    let shown = items.iter().map(|item| match item {
        Listed::Entry(path, entry) if entry.is_dir() => format!("{path}/"),
        Listed::Entry(path, _) => path.to_string(),
        Listed::Blocked(path, _) => format!("{path}!"),
        Listed::Nameless(name, _) => format!("?{name}"),
        Listed::Cut(path, _) => format!("{path}..."),
    });
    shown.collect()
}

async fn entry(storage: &dyn Backend, at: &str) -> Entry {
    match storage.stat(&path(at)).await {
        Ok(Look::Entry(entry)) => entry,
        other => panic!("{at}: {other:?}"),
    }
}

/// An answer to ListObjectsV2: keys below the prefix, each with a size.
fn page(keys: &[(&str, u64)], next: Option<&str>) -> Action {
    let truncated = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |token| format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"),
    );
    let objects = keys.iter().map(|(key, size)| {
        format!("<Contents><Key>{PREFIX}{key}</Key><Size>{size}</Size><ETag>&quot;e&quot;</ETag></Contents>")
    });
    let objects: String = objects.collect();
    let body = format!("<ListBucketResult><Name>b</Name>{truncated}{objects}</ListBucketResult>");
    Action::Answer(Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body })
}

/// A storage whose server gives these answers, one after the other, and the last one for ever.
fn answering(answers: Vec<Action>) -> (Http, Arc<dyn Backend>) {
    let asked = AtomicUsize::new(0);
    let decide = move |_: &_| answers[asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)].clone();
    let proxy = Http::with("127.0.0.1:1", decide);
    let storage = storage(&format!("http://{}", proxy.address()), "b");
    (proxy, storage)
}

fn asked(proxy: &Http) -> Vec<String> {
    proxy.take().iter().map(|request| s3_operation(request).to_owned()).collect()
}

async fn an_unchanged_pass_lists_only(server: &servers::S3) {
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    for name in ["a", "a-b", "d/e/f", "d/g"] {
        let content = Content::of(Bytes::from_static(b"x"), Meta::default());
        bucket.storage.replace(&path(name), content, &Guard::Absent, None).await.unwrap();
    }
    bucket.storage.make_dir(&path("empty"), &Meta::default()).await.unwrap();
    proxy.take();
    bucket.storage.root().await.unwrap();
    let items = listed(&*bucket.storage).await;
    assert_eq!(shown(&items), ["a", "a-b", "d/", "d/e/", "d/e/f", "d/g", "empty/"]);
    let asked = asked(&proxy);
    assert!(asked.iter().all(|operation| operation == "ListObjectsV2") && asked.len() <= 5, "{asked:?}");
}

#[tokio::test]
async fn an_unchanged_pass_over_seaweedfs_lists_only() {
    an_unchanged_pass_lists_only(servers::seaweed::shared()).await;
}

#[tokio::test]
async fn an_unchanged_pass_over_juicefs_lists_only() {
    an_unchanged_pass_lists_only(servers::juicefs::shared()).await;
}

#[tokio::test]
async fn keys_that_are_no_paths_are_problems() {
    let keys = ["/lead", "a/../up", "a//b", "body/", "c", "d", "d/e", "dot/./x", "last"];
    let sized: Vec<_> = keys.iter().map(|&key| (key, 3)).collect();
    let (_proxy, storage) = answering(vec![page(&sized, None)]);
    let wanted = ["?/lead", "a/", "?a/../up", "?a//b", "body/", "?body", "c", "d", "d!", "dot/", "?dot/./x", "last"];
    assert_eq!(shown(&listed(&*storage).await), wanted);
}

#[tokio::test]
async fn a_listing_that_is_cut_off_says_where() {
    let denied = Action::s3_error(403, "AccessDenied");
    let (_proxy, storage) = answering(vec![page(&[("a", 1), ("b/c", 1)], Some("more")), denied.clone()]);
    assert_eq!(shown(&listed(&*storage).await), ["a", "b/", "b/c", "b/c..."]);
    let (_proxy, storage) = answering(vec![denied]);
    assert_eq!(shown(&listed(&*storage).await), ["!"], "nothing is known");
}

#[tokio::test]
async fn a_listing_that_goes_on_where_it_began_is_not_followed() {
    let (proxy, storage) = answering(vec![page(&[("a", 1)], Some("more")), page(&[], Some("more"))]);
    assert_eq!(shown(&listed(&*storage).await), ["a", "a..."]);
    assert_eq!(asked(&proxy).len(), 2);
    assert_eq!(storage.remove_dir(&path("d")).await.unwrap_err().fault, Fault::Broken);
}

#[tokio::test]
async fn a_page_that_ends_in_the_middle_is_no_last_page() {
    let objects = "<Contents><Key>pre fix/a</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>";
    let end = "<IsTruncated>false</IsTruncated>";
    for (text, what) in [
        (format!("<ListBucketResult>{end}{objects}<Contents><Key>pre fix/ab"), "cut"),
        (format!("<ListBucketResult>{end}{objects}"), "cut between two"),
        (format!("<ListBucketResult>{objects}</ListBucketResult>"), "without an end"),
        (format!("<ListBucketResult>{end}<KeyCount>2</KeyCount>{objects}</ListBucketResult>"), "too few"),
    ] {
        let headers = vec![("content-type", "application/xml".to_owned())];
        let (_proxy, storage) = answering(vec![Action::Answer(Answer { status: 200, headers, body: text })]);
        assert_eq!(shown(&listed(&*storage).await), ["!"], "{what}");
        assert!(storage.root().await.is_err_and(|error| error.message.contains("in the middle")), "{what}");
    }
}

#[tokio::test]
async fn keys_in_no_order_are_listed_by_directory() {
    let disorder = page(&[("a/x", 1), ("a-b", 1)], None);
    let (proxy, storage) = answering(vec![disorder, page(&[("a", 1), ("b", 1)], None)]);
    assert_eq!(shown(&listed(&*storage).await), ["a", "b"]);
    let delimited: Vec<_> = proxy.take().iter().map(|request| request.query.contains("delimiter")).collect();
    assert_eq!(delimited, [false, true]);
    let late = vec![page(&[("a", 1), ("b", 1)], Some("more")), page(&[("0", 1)], None)];
    let (_proxy, storage) = answering(late);
    assert_eq!(shown(&listed(&*storage).await), ["a", "b", "..."], "nothing that was not listed is known");
}

#[tokio::test]
async fn throttling_and_lost_connections_are_retried() {
    for (status, code) in [(503, "SlowDown"), (429, "TooManyRequests")] {
        let slow = Action::s3_error(status, code);
        let (proxy, storage) = answering(vec![slow.clone(), slow, page(&[("a", 1)], None)]);
        assert_eq!(shown(&listed(&*storage).await), ["a"]);
        assert_eq!(proxy.take().len(), 3);
    }
    let (proxy, storage) = answering(vec![Action::Close, page(&[("a", 1)], None)]);
    assert_eq!(shown(&listed(&*storage).await), ["a"]);
    assert_eq!(proxy.take().len(), 2);
}

#[tokio::test]
async fn a_root_that_cannot_be_looked_at_says_why() {
    for (status, code, fault, says) in [
        (404, "NoSuchBucket", Fault::Missing, "make it first"),
        (403, "AccessDenied", Fault::Denied, "s3:ListBucket"),
        (403, "SignatureDoesNotMatch", Fault::Denied, "secret key"),
        (400, "ExpiredToken", Fault::Denied, "expired"),
        (403, "RequestTimeTooSkewed", Fault::Denied, "NTP"),
        (400, "AuthorizationHeaderMalformed", Fault::Denied, "set `region`"),
        (301, "PermanentRedirect", Fault::Denied, "set `region`"),
    ] {
        let (_proxy, storage) = answering(vec![Action::s3_error(status, code)]);
        let error = storage.root().await.unwrap_err();
        assert!(error.fault == fault && error.message.contains(says), "{code}: {error:?}");
    }
    let storage = storage("http://127.0.0.1:1", "b");
    assert_eq!(storage.root().await.unwrap_err().fault, Fault::Offline);
}

#[tokio::test]
async fn what_an_answer_without_words_means_is_asked_for() {
    for (status, code, says) in [
        (400, "ExpiredToken", "expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "InvalidAccessKeyId", "access key"),
        (403, "AccessDenied", "s3:ListBucket"),
    ] {
        let proxy = Http::with("127.0.0.1:1", move |request| {
            if request.method == "HEAD" { Action::status(status) } else { Action::s3_error(status, code) }
        });
        let storage = storage(&format!("http://{}", proxy.address()), "b");
        let error = storage.hash(&path("x"), &Token::new(&[0; 25])).await.unwrap_err();
        assert!(error.fault == Fault::Denied && error.message.contains(says), "{code}: {error:?}");
        assert_eq!(asked(&proxy), ["HeadObject", "ListObjectsV2"]);
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_looked_at_is_blocked() {
    let proxy = Http::with("127.0.0.1:1", |request| {
        let named = |etag: &str| Answer { status: 200, headers: vec![("etag", etag.to_owned())], body: String::new() };
        match request.method.as_str() {
            "HEAD" if request.path.ends_with("/shut") => Action::status(403),
            "HEAD" => Action::Answer(named("\"e\"")),
            _ => page(&[], None),
        }
    });
    let storage = storage(&format!("http://{}", proxy.address()), "b");
    // A directory of that name would have a key that is too long: there is none.
    let longest = "x".repeat(1024 - PREFIX.len());
    assert!(matches!(storage.stat(&path(&longest)).await, Ok(Look::Entry(_))));
    for (at, kind) in [(format!("{longest}x"), ProblemKind::Name), ("shut".to_owned(), ProblemKind::Denied)] {
        let look = storage.stat(&path(&at)).await;
        assert!(matches!(&look, Ok(Look::Blocked(why)) if why.kind == kind), "{look:?}");
    }
}

#[tokio::test]
async fn modification_times_of_other_tools_are_read() {
    let bucket = Bucket::on_seaweed();
    for (name, text) in [("wl", "2024-02-29T12:00:00.25Z"), ("rclone", "1709208000.25")] {
        bucket.put(&format!("{PREFIX}{name}"), b"x", &[("mtime", text)]).await;
        let mtime = entry(&*bucket.storage, name).await.meta.mtime;
        assert_eq!(mtime, Some("2024-02-29T12:00:00.25Z".parse().unwrap()), "{name}");
    }
}

#[tokio::test]
async fn a_copied_hash_is_not_believed() {
    let lie = Hash::of(b"another").to_string();
    for bucket in [Bucket::on_seaweed(), Bucket::on_juicefs()] {
        bucket.put(&format!("{PREFIX}stale"), b"content", &[("sha256", lie.as_str()), ("wl-bound", "0")]).await;
        let there = entry(&*bucket.storage, "stale").await;
        assert_eq!(bucket.storage.hash(&path("stale"), &there.token).await, Ok(Hash::of(b"content")));
    }
}

#[tokio::test]
async fn what_wl_wrote_is_hashed_without_reading_it() {
    let server = servers::seaweed::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    let content = Content::of(Bytes::from_static(b"content"), Meta::default());
    let written = bucket.storage.replace(&path("x"), content, &Guard::Absent, None).await.unwrap();
    proxy.take();
    assert_eq!(bucket.storage.hash(&path("x"), &written.entry.token).await, Ok(Hash::of(b"content")));
    assert_eq!(asked(&proxy), ["HeadObject"]);
}

#[tokio::test]
async fn what_a_server_honours_is_found_out() {
    use wl_core::backend::Swap::{Atomic, Checked};
    for (bucket, swap) in [(Bucket::on_seaweed(), Atomic), (Bucket::on_juicefs(), Checked)] {
        let facts = bucket.storage.probe().await.unwrap();
        assert_eq!(facts.delete, swap, "{facts:?}");
        // SeaweedFS holds the condition of a completed upload, but not against a plain write in the same instant, mostly.
        for (does, done) in [("creating", facts.create), ("replacing", facts.replace)] {
            let told = facts.windows.iter().any(|window| window.starts_with(does));
            assert_eq!(told, done == Checked, "{:?}", facts.windows);
            assert!(swap == Atomic || done == Checked, "{facts:?}");
        }
        assert_eq!(bucket.keys("").await, [""; 0], "nothing is left");
    }
}

#[tokio::test]
async fn what_is_archived_is_tried_once_a_version() {
    let server = servers::seaweed::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    let key = format!("{PREFIX}x");
    bucket.put(&key, b"content", &[]).await;
    proxy.decide(|request| {
        let read = s3_operation(request) == "GetObject";
        if read { Action::s3_error(403, "InvalidObjectState") } else { Action::Pass }
    });
    let there = entry(&*bucket.storage, "x").await;
    for _ in 0..3 {
        let read = bucket.storage.read(&path("x"), &there.token, 0).await.err().unwrap();
        assert!(read.fault == Fault::Denied && read.message.contains("restore it"), "{read:?}");
        assert_eq!(bucket.storage.hash(&path("x"), &there.token).await, Err(read));
    }
    let reads = || asked(&proxy).iter().filter(|asked| *asked == "GetObject").count();
    assert_eq!(reads(), 1);
    bucket.put(&key, b"another", &[]).await;
    let there = entry(&*bucket.storage, "x").await;
    assert_eq!(bucket.storage.hash(&path("x"), &there.token).await.unwrap_err().fault, Fault::Denied);
    assert_eq!(reads(), 1, "it is another version");
}

#[tokio::test]
async fn who_only_reads_writes_nothing() {
    let server = servers::seaweed::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    bucket.put(&format!("{PREFIX}x"), b"content", &[]).await;
    let there = entry(&*bucket.storage, "x").await;
    assert_eq!(bucket.storage.hash(&path("x"), &there.token).await, Ok(Hash::of(b"content")));
    let asked = asked(&proxy);
    let reads = ["HeadObject", "GetObject", "ListObjectsV2"];
    assert!(asked.iter().all(|asked| reads.contains(&asked.as_str())), "{asked:?}");
}

#[tokio::test]
async fn the_first_write_does_not_wait_for_races_or_repeat_what_was_answered() {
    let bucket = Bucket::on_seaweed();
    // The first object of a bucket may take a server seconds.
    bucket.put("warm", b"", &[]).await;
    let proxy = Http::start(servers::seaweed::shared().address());
    let storage = storage(&format!("http://{}", proxy.address()), &bucket.name);
    let write = |name| {
        let content = Content::of(Bytes::from_static(b"x"), Meta::default());
        let storage = storage.clone();
        async move { storage.replace(&path(name), content, &Guard::Absent, None).await }
    };
    let all = futures::future::join_all(["a", "b", "c", "d"].map(write)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let number = proxy.take().len();
    assert!(number < 90, "{number} requests");
}

#[tokio::test]
async fn a_trial_that_fails_is_not_repeated_by_all_who_wait_for_it() {
    let (proxy, storage) = answering(vec![Action::s3_error(403, "AccessDenied")]);
    let write = |name: String| {
        let content = Content::of(Bytes::from_static(b"x"), Meta::default());
        let storage = storage.clone();
        async move { storage.replace(&path(&name), content, &Guard::Absent, None).await }
    };
    let all = futures::future::join_all((0..20).map(|number| write(number.to_string()))).await;
    assert!(all.iter().all(|done| done.as_ref().is_err_and(|error| error.fault == Fault::Denied)), "{all:?}");
    let number = proxy.take().len();
    assert!(number < 30, "{number} requests");
}
