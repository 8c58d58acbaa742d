//! Large content, what is left of uploads that were cut off, and what stands around a file that comes or goes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use support::{Bucket, PREFIX};
use wl_core::backend::{Backend, Content, Guard, Look, Reading};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench as _;
use wl_test_kit::proxy::{Action, Http, Request, s3_operation};
use wl_test_kit::servers;

/// Three parts, the last one small.
const LARGE: usize = (16 << 20) + 12_345;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

/// Bytes without a pattern, of which no part is like another.
fn noise(size: usize, seed: u32) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()
    });
    words.take(size.div_ceil(4)).flatten().take(size).collect::<Vec<u8>>().into()
}

fn content(bytes: &Bytes) -> Content {
    Content::of(bytes.clone(), meta())
}

fn meta() -> Meta {
    Meta { mtime: "2020-02-02T02:02:02.5Z".parse().ok(), mode: None }
}

/// A content whose reading fails after so many bytes.
fn failing(bytes: &Bytes, after: usize, fault: Fault) -> Content {
    let (head, hash) = (bytes.slice(..after), Hash::of(bytes));
    Content::new(bytes.len() as u64, Some(hash), move |_| {
        let pieces: Vec<Result<Bytes>> = vec![Ok(head.clone()), Err(Error::new(fault, "the other side failed"))];
        Box::pin(async { Ok(Reading { meta: meta(), body: stream::iter(pieces).boxed() }) })
    })
}

async fn entry(storage: &dyn Backend, at: &str) -> Entry {
    match storage.stat(&path(at)).await {
        Ok(Look::Entry(entry)) => entry,
        other => panic!("{at}: {other:?}"),
    }
}

async fn read(storage: &dyn Backend, at: &str, entry: &Entry) -> Result<Vec<u8>> {
    let reading = storage.read(&path(at), &entry.token, 0).await?;
    Ok(reading.body.try_collect::<Vec<_>>().await?.concat())
}

/// A bucket behind a proxy that counts.
fn counted(server: &servers::S3) -> (Http, Bucket) {
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    (proxy, bucket)
}

fn asked(proxy: &Http, operation: &str) -> usize {
    proxy.count(|request| s3_operation(request) == operation)
}

/// Everything that costs money: the keys, and the uploads under way.
async fn left(bucket: &Bucket) -> (Vec<String>, usize) {
    let uploads = bucket.user.list_multipart_uploads().bucket(&bucket.name).send().await.unwrap();
    (bucket.keys("").await, uploads.uploads().len())
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

async fn carries_large_content(server: &servers::S3) {
    let (proxy, bucket) = counted(server);
    // What is tried later would be counted.
    bucket.storage.probe().await.unwrap();
    let storage = &bucket.storage;
    let bytes = noise(LARGE, 1);
    let written = storage.replace(&path("x"), content(&bytes), &Guard::Absent, None).await.unwrap();
    assert_eq!((written.hash, written.entry.size), (Hash::of(&bytes), LARGE as u64));
    assert!(bucket.user_read(&path("x")).await.is_some_and(|there| there == bytes));
    let there = entry(&**storage, "x").await;
    assert!(there.token.same(&written.entry.token), "{there:?} {written:?}");
    assert_eq!(there.meta.mtime, "2020-02-02T02:02:02.5Z".parse().ok());
    assert!(read(&**storage, "x", &there).await.is_ok_and(|read| read == bytes));
    assert_eq!(left(&bucket).await, (vec![key("x")], 0));
    assert_eq!(storage.hash(&path("x"), &there.token).await, Ok(Hash::of(&bytes)));

    let (other, trash) = (noise(LARGE + 1, 2), path(".wl-trash/1/x"));
    let guard = Guard::Unchanged(there.token.clone());
    let written = storage.replace(&path("x"), content(&other), &guard, Some(&trash)).await.unwrap();
    assert!(bucket.user_read(&trash).await.is_some_and(|kept| kept == bytes));
    let stale = storage.replace(&path("x"), content(&bytes), &guard, Some(&path(".wl-trash/2/x"))).await;
    assert_eq!(stale.unwrap_err().fault, Fault::Refused);
    assert_eq!(left(&bucket).await, (vec![key(".wl-trash/1/x"), key("x")], 0));

    let meta = Meta { mtime: "1999-01-01T00:00:00Z".parse().ok(), mode: None };
    let set = storage.set_meta(&path("x"), &written.entry.token, &meta).await.unwrap();
    assert_eq!(set.meta.mtime, meta.mtime);
    assert_eq!(storage.hash(&path("x"), &set.token).await, Ok(Hash::of(&other)));
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn carries_large_content_to_seaweedfs() {
    carries_large_content(servers::seaweed::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn carries_large_content_to_juicefs() {
    carries_large_content(servers::juicefs::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_announced_leaves_nothing() {
    let bucket = Bucket::on_seaweed();
    bucket.storage.probe().await.unwrap();
    let bytes = noise(LARGE, 3);
    let announced = |size: usize, hash| {
        let mut content = content(&bytes);
        (content.size, content.hash) = (size as u64, Some(hash));
        content
    };
    let lie = announced(LARGE, Hash::of(b"another"));
    let (longer, shorter) = (announced(LARGE - 1, Hash::of(&bytes)), announced(LARGE + 1, Hash::of(&bytes)));
    for wrong in [lie, longer, shorter, failing(&bytes, LARGE / 2, Fault::Refused)] {
        let error = bucket.storage.replace(&path("x"), wrong, &Guard::Absent, None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Refused, "{error}");
        assert_eq!(left(&bucket).await, (vec![], 0));
    }
}

async fn an_upload_that_was_cut_off_is_gone_on_with(server: &servers::S3) {
    let (proxy, bucket) = counted(server);
    // What is tried later would be counted.
    bucket.storage.probe().await.unwrap();
    let bytes = noise(5 * (8 << 20) + 7, 4);
    bucket.storage.replace(&path("first"), content(&noise(1, 1)), &Guard::Absent, None).await.unwrap();
    let cut_off = failing(&bytes, 4 * (8 << 20) + 100, Fault::Offline);
    let error = bucket.storage.replace(&path("d/x"), cut_off, &Guard::Absent, None).await.unwrap_err();
    assert_eq!(error.fault, Fault::Offline);
    let (keys, uploads) = left(&bucket).await;
    assert!(keys.len() == 2 && keys[0].starts_with(&key("d/.wl-part-up-")) && uploads == 1, "{keys:?} {uploads}");
    let listed = bucket.storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(bucket.storage.sweep().await, Ok(0), "who tried in this pass will try again");

    proxy.take();
    let written = bucket.storage.replace(&path("d/x"), content(&bytes), &Guard::Absent, None).await.unwrap();
    assert_eq!(written.hash, Hash::of(&bytes));
    let sent = asked(&proxy, "UploadPart");
    assert_eq!((sent, asked(&proxy, "CreateMultipartUpload")), (2, 0), "four of six parts were there");
    assert!(bucket.user_read(&path("d/x")).await.is_some_and(|there| there == bytes));
    assert_eq!(left(&bucket).await, (vec![key("d/x"), key("first")], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_is_gone_on_with_at_seaweedfs() {
    an_upload_that_was_cut_off_is_gone_on_with(servers::seaweed::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_is_gone_on_with_at_juicefs() {
    an_upload_that_was_cut_off_is_gone_on_with(servers::juicefs::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_wants_any_more_is_called_off() {
    let bucket = Bucket::on_seaweed();
    bucket.storage.probe().await.unwrap();
    let (bytes, other) = (noise(LARGE, 5), noise(LARGE, 6));
    let look_around = async || drop(bucket.storage.list(&RelPath::root(), None).collect::<Vec<_>>().await);
    let cut_off = failing(&bytes, LARGE / 2 + 100, Fault::Offline);
    assert!(bucket.storage.replace(&path("x"), cut_off.clone(), &Guard::Absent, None).await.is_err());
    look_around().await;
    assert_eq!(bucket.storage.sweep().await, Ok(0));
    look_around().await;
    assert_eq!(bucket.storage.sweep().await, Ok(0), "somebody may have had to wait");
    look_around().await;
    assert_eq!(bucket.storage.sweep().await, Ok(1), "nobody tried since the last sweep but one");
    assert_eq!(left(&bucket).await, (vec![], 0));

    assert!(bucket.storage.replace(&path("x"), cut_off, &Guard::Absent, None).await.is_err());
    assert_eq!(left(&bucket).await.1, 1);
    bucket.storage.replace(&path("x"), content(&other), &Guard::Absent, None).await.unwrap();
    assert_eq!(left(&bucket).await, (vec![key("x")], 0), "another content goes there");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_no_failures() {
    for operation in ["PutObject", "CompleteMultipartUpload", "UploadPart"] {
        let (proxy, bucket) = counted(servers::seaweed::shared());
        bucket.storage.probe().await.unwrap();
        let count = AtomicUsize::new(0);
        proxy.decide(move |request: &Request| {
            let record = request.path.contains(".wl-part-");
            let lose = s3_operation(request) == operation && !record && count.fetch_add(1, Ordering::Relaxed) == 0;
            if lose { Action::LoseAnswer } else { Action::Pass }
        });
        let bytes = noise(if operation == "PutObject" { 1000 } else { LARGE }, 7);
        let written = bucket.storage.replace(&path("x"), content(&bytes), &Guard::Absent, None).await;
        assert_eq!(written.map(|written| written.hash), Ok(Hash::of(&bytes)), "{operation}");
        assert!(bucket.user_read(&path("x")).await.is_some_and(|there| there == bytes), "{operation}");
        assert_eq!(left(&bucket).await, (vec![key("x")], 0), "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_never_mix() {
    for server in [servers::seaweed::shared(), servers::juicefs::shared()] {
        let bucket = Bucket::behind(server, server.endpoint());
        let (before, after) = (noise(64 << 20, 8), noise(64 << 20, 9));
        bucket.put(&key("x"), &before, &[]).await;
        let there = entry(&*bucket.storage, "x").await;
        let mut body = bucket.storage.read(&path("x"), &there.token, 0).await.unwrap().body;
        let first = body.try_next().await.unwrap().unwrap();
        bucket.put(&key("x"), &after, &[]).await;
        match body.try_collect::<Vec<_>>().await {
            Err(error) => assert_eq!(error.fault, Fault::Refused, "{error}"),
            Ok(rest) => assert!([&first[..], &rest.concat()].concat() == before, "a mixture was read"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_gone_on_with() {
    let (proxy, bucket) = counted(servers::seaweed::shared());
    let bytes = noise(30 << 20, 10);
    bucket.put(&key("x"), &bytes, &[]).await;
    let there = entry(&*bucket.storage, "x").await;
    let asked = AtomicUsize::new(0);
    proxy.decide(move |request: &Request| {
        let breaks = s3_operation(request) == "GetObject" && asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if breaks { Action::Truncate(3 << 20) } else { Action::Pass }
    });
    assert!(read(&*bucket.storage, "x", &there).await.is_ok_and(|read| read == bytes));
}

#[tokio::test]
async fn a_stale_hash_is_not_believed() {
    let bucket = Bucket::on_seaweed();
    let bytes = noise(1000, 11);
    bucket.storage.replace(&path("x"), content(&bytes), &Guard::Absent, None).await.unwrap();
    let head = bucket.user.head_object().bucket(&bucket.name).key(key("x")).send().await.unwrap();
    let metadata: Vec<_> = head.metadata().unwrap().iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    assert!(metadata.contains(&("sha256", &Hash::of(&bytes).to_string())), "{metadata:?}");
    bucket.put(&key("x"), b"another", &metadata).await;
    let there = entry(&*bucket.storage, "x").await;
    assert_eq!(bucket.storage.hash(&path("x"), &there.token).await, Ok(Hash::of(b"another")));
}

async fn markers_stand_where_nothing_else_does(server: &servers::S3) {
    let bucket = Bucket::behind(server, server.endpoint());
    let storage: Arc<dyn Backend> = bucket.storage.clone();
    let meta = Meta::default();
    storage.make_dir(&path("a"), &meta).await.unwrap();
    storage.make_dir(&path("a/b"), &meta).await.unwrap();
    storage.make_dir(&path("empty"), &meta).await.unwrap();
    let x = storage.replace(&path("a/b/x"), content(&noise(10, 12)), &Guard::Absent, None).await.unwrap();
    let y = storage.replace(&path("a/b/y"), content(&noise(10, 13)), &Guard::Absent, None).await.unwrap();
    let keys = bucket.keys("").await;
    println!("{keys:?}");
    let wanted = ["a/b/x", "a/b/y", "empty/"].map(key);
    // A server whose directories are real ones lists them all.
    assert!(wanted.iter().all(|key| keys.contains(key)), "{keys:?}");
    if !keys.contains(&key("a/")) {
        assert_eq!(keys, wanted);
    }
    storage.remove(&path("a/b/x"), &x.entry.token, None).await.unwrap();
    storage.remove(&path("a/b/y"), &y.entry.token, None).await.unwrap();
    assert!(entry(&*storage, "a/b").await.is_dir(), "its last file was deleted, and not the directory");
    storage.remove_dir(&path("a/b")).await.unwrap();
    assert!(entry(&*storage, "a").await.is_dir());
    storage.remove_dir(&path("a")).await.unwrap();
    assert_eq!(bucket.keys("").await, [key("empty/")]);
    let written = storage.replace(&path("a"), content(&noise(10, 14)), &Guard::Absent, None).await;
    assert!(written.is_ok(), "a file may take the name of a directory that is gone: {written:?}");
}

#[tokio::test]
async fn markers_stand_where_nothing_else_does_at_seaweedfs() {
    markers_stand_where_nothing_else_does(servers::seaweed::shared()).await;
}

#[tokio::test]
async fn markers_stand_where_nothing_else_does_at_juicefs() {
    markers_stand_where_nothing_else_does(servers::juicefs::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_copy_asks_little_more_than_it_puts() {
    let (proxy, bucket) = counted(servers::seaweed::shared());
    bucket.storage.probe().await.unwrap();
    proxy.take();
    let files = (0..200).map(|number| {
        let storage = bucket.storage.clone();
        async move {
            let at = path(&format!("d{}/f{number}", number % 10));
            storage.replace(&at, content(&noise(100, number)), &Guard::Absent, None).await.unwrap();
        }
    });
    stream::iter(files).buffer_unordered(16).collect::<()>().await;
    let (all, puts) = (proxy.requests().len(), asked(&proxy, "PutObject"));
    assert_eq!(puts, 200);
    assert!(all < 210, "{all} requests for 200 files");
}
