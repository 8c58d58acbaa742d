//! Answers that get lost, and writers that come in between: nothing that is the only one goes.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use support::{Bucket, PREFIX, storage, user};
use wl_backend_s3::{Offer, S3};
use wl_core::backend::{Backend, Content, Guard, Look};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::Fault;
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench as _;
use wl_test_kit::known;
use wl_test_kit::proxy::{Action, Answer, Http, Request, s3_operation};
use wl_test_kit::servers;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

/// A bucket behind a proxy, whose server has been tried.
async fn bucket(server: &servers::S3) -> (Http, Bucket) {
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    bucket.storage.probe().await.unwrap();
    (proxy, bucket)
}

async fn put(bucket: &Bucket, at: &str, bytes: &'static [u8]) -> Entry {
    let content = Content::of(Bytes::from_static(bytes), Meta::default());
    bucket.storage.replace(&path(at), content, &Guard::Absent, None).await.unwrap().entry
}

async fn read(bucket: &Bucket, at: &str) -> Option<Vec<u8>> {
    bucket.user_read(&path(at)).await
}

fn about(request: &Request, operation: &str, name: &str) -> bool {
    s3_operation(request) == operation && request.path.ends_with(&format!("/{name}"))
}

/// What somebody does past wl while a request is on its way.
fn meanwhile<F: Future<Output = ()>>(server: &servers::S3, does: impl FnOnce(Client) -> F + Send) {
    let endpoint = server.endpoint();
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { does(user(endpoint)).await });
        });
        work.join().unwrap();
    });
}

async fn put_by(user: Client, bucket: String, name: &str, bytes: &'static [u8]) {
    let put = user.put_object().bucket(bucket).key(format!("{PREFIX}{name}"));
    put.body(ByteStream::from_static(bytes)).send().await.unwrap();
}

async fn a_move_never_loses_what_it_moves(server: &servers::S3) {
    for answered_later in [true, false] {
        let (proxy, bucket) = bucket(server).await;
        let x = put(&bucket, "x", b"the only one").await;
        let tries = AtomicUsize::new(0);
        proxy.decide(move |request| match about(request, "DeleteObject", "x") {
            true if tries.fetch_add(1, Ordering::Relaxed) == 0 => Action::LoseAnswer,
            true if !answered_later => Action::Close,
            _ => Action::Pass,
        });
        let moved = bucket.storage.move_within(&path("x"), &x.token, &path("y")).await;
        assert!(moved.is_ok(), "{moved:?}");
        assert_eq!((read(&bucket, "x").await, read(&bucket, "y").await), (None, Some(b"the only one".to_vec())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_never_loses_what_it_moves_at_seaweedfs() {
    a_move_never_loses_what_it_moves(servers::seaweed::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_never_loses_what_it_moves_at_juicefs() {
    a_move_never_loses_what_it_moves(servers::juicefs::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_refused_leaves_no_copy() {
    let (proxy, bucket) = bucket(servers::seaweed::shared()).await;
    let x = put(&bucket, "x", b"the only one").await;
    proxy.decide(|request| {
        if about(request, "DeleteObject", "x") { Action::s3_error(403, "AccessDenied") } else { Action::Pass }
    });
    let error = bucket.storage.move_within(&path("x"), &x.token, &path("y")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
    assert_eq!((read(&bucket, "x").await, read(&bucket, "y").await), (Some(b"the only one".to_vec()), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_not_repeated_without_looking() {
    let server = servers::juicefs::shared();
    let (proxy, bucket) = bucket(server).await;
    let x = put(&bucket, "x", b"one").await;
    let (tries, name) = (AtomicUsize::new(0), bucket.name.clone());
    proxy.decide(move |request| {
        if !about(request, "DeleteObject", "x") || tries.fetch_add(1, Ordering::Relaxed) > 0 {
            return Action::Pass;
        }
        meanwhile(server, |user| put_by(user, name.clone(), "x", b"another"));
        Action::Close
    });
    let error = bucket.storage.remove(&path("x"), &x.token, None).await.unwrap_err();
    assert_eq!((error.fault, read(&bucket, "x").await), (Fault::Refused, Some(b"another".to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_repeated_without_looking() {
    let server = servers::juicefs::shared();
    let (proxy, bucket) = bucket(server).await;
    let x = put(&bucket, "x", b"one").await;
    let (tries, name) = (AtomicUsize::new(0), bucket.name.clone());
    proxy.decide(move |request| {
        if !about(request, "CopyObject", "y") || tries.fetch_add(1, Ordering::Relaxed) > 0 {
            return Action::Pass;
        }
        meanwhile(server, |user| put_by(user, name.clone(), "y", b"another"));
        Action::Close
    });
    let error = bucket.storage.copy_within(known(&path("x"), &x.token, b"one"), &path("y")).await.unwrap_err();
    assert_eq!((error.fault, read(&bucket, "y").await), (Fault::Refused, Some(b"another".to_vec())));
}

/// What a server answers to a copy that it made.
fn copy_result(etag: &str) -> Action {
    let body = format!("<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>");
    Action::Answer(Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body })
}

/// The proxy plays a server that asks no condition of a copy's source, as Ceph and rclone do.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_not_set_on_what_somebody_else_wrote() {
    let server = servers::juicefs::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    let name = bucket.name.clone();
    proxy.decide(move |request| {
        let stale = request.header("x-amz-copy-source-if-match").is_some_and(|etag| etag.contains("00000000"));
        if stale {
            return copy_result("&quot;e&quot;");
        }
        if !about(request, "CopyObject", "x") {
            return Action::Pass;
        }
        let mut etag = String::new();
        meanwhile(server, |user| {
            let (name, etag) = (name.clone(), &mut etag);
            async move {
                let put = user.put_object().bucket(name).key(format!("{PREFIX}x"));
                let put = put.body(ByteStream::from_static(b"another")).send().await.unwrap();
                *etag = put.e_tag.unwrap().replace('"', "&quot;");
            }
        });
        copy_result(&etag)
    });
    let x = put(&bucket, "x", b"one").await;
    let meta = Meta { mtime: "2020-02-02T02:02:02Z".parse().ok(), mode: None };
    let error = bucket.storage.set_meta(&path("x"), &x.token, &meta).await.unwrap_err();
    assert_eq!((error.fault, read(&bucket, "x").await), (Fault::Refused, Some(b"another".to_vec())));
    assert!(matches!(bucket.storage.stat(&path("x")).await, Ok(Look::Entry(entry)) if !entry.token.same(&x.token)));
}

/// The proxy plays a server that asks no condition of a copy's source, which somebody changes just then.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_over_a_version_is_not_taken_away_again() {
    let server = servers::juicefs::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    let name = bucket.name.clone();
    proxy.decide(move |request| {
        if request.header("x-amz-copy-source-if-match").is_some_and(|etag| etag.contains("00000000")) {
            return copy_result("&quot;e&quot;");
        }
        if !about(request, "CopyObject", "y") {
            return Action::Pass;
        }
        let mut etag = String::new();
        meanwhile(server, |user| {
            let (name, etag) = (name.clone(), &mut etag);
            async move {
                put_by(user.clone(), name.clone(), "x", b"another").await;
                let put = user.put_object().bucket(name).key(format!("{PREFIX}y"));
                let put = put.body(ByteStream::from_static(b"another")).send().await.unwrap();
                *etag = put.e_tag.unwrap().replace('"', "&quot;");
            }
        });
        copy_result(&etag)
    });
    let (x, y) = (put(&bucket, "x", b"one").await, put(&bucket, "y", b"old").await);
    let (storage, from, content) =
        (&*bucket.storage, path("x"), Content::of(Bytes::from_static(b"one"), Meta::default()));
    let offer = Offer { at: storage, path: &from, token: &x.token, content: &content, may_read: true };
    let taken = storage.take(&path("y"), offer, &Guard::Unchanged(y.token), None, &|_| ()).await;
    assert_eq!(taken.unwrap_err().fault, Fault::Refused);
    assert_eq!(read(&bucket, "y").await, Some(b"another".to_vec()));
}

/// What a captive portal or a proxy without a server answers to anything.
fn said_to_be_done(body: &str) -> Action {
    Action::Answer(Answer {
        status: 200,
        headers: vec![("content-type", "text/html".to_owned())],
        body: body.to_owned(),
    })
}

async fn what_is_only_said_to_be_done_is_not_believed(server: &'static servers::S3) {
    let (proxy, bucket) = bucket(server).await;
    let (x, storage, trash) = (put(&bucket, "x", b"old").await, &bucket.storage, path(".wl-trash/t/x"));
    // Somebody's, under the name that the old version is to be kept under.
    put_by(user(server.endpoint()), bucket.name.clone(), trash.as_str(), b"was").await;
    let replace = async |bytes, trash| {
        let guard = Guard::Unchanged(x.token.clone());
        storage.replace(&path("x"), Content::of(bytes, Meta::default()), &guard, trash).await
    };
    let passes = |what: &str, fault: Fault| assert!(fault.passes(), "{what}: {fault:?}");
    let (small, large) = (Bytes::from_static(b"new"), Bytes::from(vec![7; 17 << 20]));

    proxy.decide(|request| match s3_operation(request) {
        "PutObject" if request.path.ends_with("/x") => said_to_be_done("<html>Please log in</html>"),
        "CompleteMultipartUpload" => said_to_be_done("<CompleteMultipartUploadResult/>"),
        _ => Action::Pass,
    });
    passes("put", replace(small.clone(), None).await.unwrap_err().fault);
    passes("completed", replace(large, None).await.unwrap_err().fault);

    proxy.decide(|request| match s3_operation(request) {
        "CopyObject" => said_to_be_done("<CopyObjectResult/>"),
        _ => Action::Pass,
    });
    passes("kept", replace(small.clone(), Some(&trash)).await.unwrap_err().fault);
    passes("copied", storage.copy_within(known(&path("x"), &x.token, b"old"), &path("y")).await.unwrap_err().fault);
    let meta = Meta { mtime: "2020-02-02T02:02:02Z".parse().ok(), mode: None };
    passes("dated", storage.set_meta(&path("x"), &x.token, &meta).await.unwrap_err().fault);
    assert_eq!((read(&bucket, "x").await, read(&bucket, "y").await), (Some(b"old".to_vec()), None));

    proxy.decide(|_| Action::Pass);
    replace(small, Some(&trash)).await.unwrap();
    assert_eq!(read(&bucket, "x").await, Some(b"new".to_vec()));
    assert_eq!(read(&bucket, trash.as_str()).await, Some(b"old".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_said_to_be_done_is_not_believed_of_seaweedfs() {
    what_is_only_said_to_be_done_is_not_believed(servers::seaweed::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_said_to_be_done_is_not_believed_of_juicefs() {
    what_is_only_said_to_be_done_is_not_believed(servers::juicefs::shared()).await;
}

/// The proxy plays a server that does what it is asked and does not name what it made.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_without_naming_it_is_found() {
    for server in [servers::seaweed::shared(), servers::juicefs::shared()] {
        let (proxy, bucket) = bucket(server).await;
        let (x, name) = (put(&bucket, "x", b"old").await, bucket.name.clone());
        let hash = Hash::of(b"new").to_string();
        proxy.decide(move |request| {
            if !about(request, "PutObject", "x") {
                return Action::Pass;
            }
            let (name, hash) = (name.clone(), hash.clone());
            meanwhile(server, |user| async move {
                let put = user.put_object().bucket(name).key(format!("{PREFIX}x")).metadata("sha256", &hash);
                let put = put.checksum_sha256(STANDARD.encode(Hash::of(b"new").0));
                put.body(ByteStream::from_static(b"new")).send().await.unwrap();
            });
            said_to_be_done("")
        });
        let content = Content::of(Bytes::from_static(b"new"), Meta::default());
        let written = bucket.storage.replace(&path("x"), content, &Guard::Unchanged(x.token), None).await.unwrap();
        let Ok(Look::Entry(there)) = bucket.storage.stat(&path("x")).await else { panic!("x is there") };
        assert!(there.token.same(&written.entry.token));
    }
}

/// Each time by a storage that knows nothing yet, as after a while in which nothing was done.
async fn a_directory_that_is_emptied_stays(server: &servers::S3) {
    let bucket = Bucket::behind(server, server.endpoint());
    let empty = async |storage: &S3, files: &[&str]| {
        for file in files {
            let Ok(Look::Entry(entry)) = storage.stat(&path(file)).await else { panic!("{file} is there") };
            storage.remove(&path(file), &entry.token, None).await.unwrap();
        }
    };
    let stays = async |storage: &S3, dir: &str| {
        let looked = storage.stat(&path(dir)).await;
        assert!(matches!(&looked, Ok(Look::Entry(entry)) if entry.is_dir()), "{dir}: {looked:?}");
    };
    for file in ["d/1", "d/2", "a/b/1", "a/b/2", "e/1", "e/2"] {
        bucket.user_write(&path(file), b"x").await;
    }
    let fresh = || storage(server.endpoint(), &bucket.name);

    let (emptied, below, again) = (fresh(), fresh(), fresh());
    empty(&emptied, &["d/1", "d/2"]).await;
    stays(&emptied, "d").await;

    empty(&below, &["a/b/1", "a/b/2"]).await;
    below.remove_dir(&path("a/b")).await.unwrap();
    stays(&below, "a").await;

    empty(&again, &["e/1", "e/2"]).await;
    again.remove_dir(&path("e")).await.unwrap();
    again.make_dir(&path("e"), &Meta::default()).await.unwrap();
    stays(&again, "e").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_emptied_stays_at_seaweedfs() {
    a_directory_that_is_emptied_stays(servers::seaweed::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_emptied_stays_at_juicefs() {
    a_directory_that_is_emptied_stays(servers::juicefs::shared()).await;
}

/// The directory holds the file under its new name: it needs no marker.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_file_of_a_directory_is_renamed_without_a_marker() {
    let (_proxy, bucket) = bucket(servers::seaweed::shared()).await;
    let entry = put(&bucket, "a/x", b"x").await;
    bucket.storage.move_within(&path("a/x"), &entry.token, &path("a/y")).await.unwrap();
    assert_eq!(bucket.keys(&format!("{PREFIX}a/")).await, [format!("{PREFIX}a/y")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_a_change_that_fails_again_and_again_is_kept_once() {
    let (proxy, bucket) = bucket(servers::seaweed::shared()).await;
    let x = put(&bucket, "x", b"old").await;
    let trash = format!("{PREFIX}.wl-trash/");
    let replace = async |at: &str| {
        let (guard, content) =
            (Guard::Unchanged(x.token.clone()), Content::of(Bytes::from_static(b"new"), Meta::default()));
        bucket.storage.replace(&path("x"), content, &guard, Some(&path(at))).await.map(drop)
    };
    let failing = |answer: fn() -> Action| {
        proxy.decide(move |request| if about(request, "PutObject", "x") { answer() } else { Action::Pass });
    };
    failing(|| Action::s3_error(400, "QuotaExceeded"));
    assert_eq!(replace(".wl-trash/1/x").await.unwrap_err().fault, Fault::Full);
    assert!(bucket.keys(&trash).await.is_empty(), "nothing took effect");

    failing(|| said_to_be_done("<html>Please log in</html>"));
    for at in [".wl-trash/2/x", ".wl-trash/3/x"] {
        assert!(replace(at).await.unwrap_err().fault.passes());
        assert_eq!(bucket.keys(&trash).await, [format!("{PREFIX}{at}")]);
    }
    proxy.decide(|_| Action::Pass);
    replace(".wl-trash/4/x").await.unwrap();
    assert_eq!(bucket.keys(&trash).await, [format!("{PREFIX}.wl-trash/4/x")]);
    assert_eq!(read(&bucket, ".wl-trash/4/x").await, Some(b"old".to_vec()));
}
