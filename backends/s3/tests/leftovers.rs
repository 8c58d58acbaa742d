//! What uploads leave that were cut off, and who may go on with it or call it off.

mod support;

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use support::{Bucket, PREFIX};
use wl_core::backend::{Backend, Content, Guard, Look, Reading};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench as _;
use wl_test_kit::proxy::{Action, Answer, Http, s3_operation};
use wl_test_kit::servers;

/// Three parts, the last one small.
const LARGE: usize = (16 << 20) + 12_345;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn bytes() -> Bytes {
    (0..=LARGE / 4).flat_map(|number| (number * 2_654_435_761).to_le_bytes()).take(LARGE).collect::<Vec<_>>().into()
}

fn failing(bytes: &Bytes, after: usize, fault: Fault) -> Content {
    let (head, hash) = (bytes.slice(..after), Hash::of(bytes));
    Content::new(bytes.len() as u64, Some(hash), move |_| {
        let pieces: Vec<Result<Bytes>> = vec![Ok(head.clone()), Err(Error::new(fault, "the other side failed"))];
        Box::pin(async { Ok(Reading { meta: Meta::default(), body: stream::iter(pieces).boxed() }) })
    })
}

async fn put(storage: &Arc<impl Backend>, content: Content) -> Result<()> {
    storage.replace(&path("x"), content, &Guard::Absent, None).await.map(drop)
}

/// A bucket in which an upload to `x` was cut off, with a part.
async fn cut_off(bytes: &Bytes) -> Bucket {
    let bucket = Bucket::on_seaweed();
    bucket.storage.probe().await.unwrap();
    let error = put(&bucket.storage, failing(bytes, LARGE / 2 + 1_000_000, Fault::Offline)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Offline);
    assert_eq!(uploads(&bucket).await, 1);
    bucket
}

async fn uploads(bucket: &Bucket) -> usize {
    bucket.user.list_multipart_uploads().bucket(&bucket.name).send().await.unwrap().uploads().len()
}

/// A full pass in which nobody comes to upload.
async fn pass(bucket: &Bucket) -> usize {
    drop(bucket.storage.list(&RelPath::root(), None).collect::<Vec<_>>().await);
    bucket.storage.sweep().await.unwrap()
}

/// Changes what the one record says.
async fn rewrite(bucket: &Bucket, change: impl FnOnce(&mut Value)) {
    let keys = bucket.keys(&format!("{PREFIX}.wl-part-up-")).await;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let at = path(key.strip_prefix(PREFIX).unwrap());
    let mut record = serde_json::from_slice(&bucket.user_read(&at).await.unwrap()).unwrap();
    change(&mut record);
    bucket.put(key, record.to_string().as_bytes(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_machine_may_be_at_is_not_called_off() {
    let bytes = bytes();
    let bucket = cut_off(&bytes).await;
    rewrite(&bucket, |record| record["writer"]["machine"] = json!("another")).await;
    let error = put(&bucket.storage, failing(&bytes, LARGE / 2, Fault::Refused)).await.unwrap_err();
    assert_eq!((error.fault, uploads(&bucket).await), (Fault::Refused, 1));
    for _ in 0..3 {
        assert_eq!(pass(&bucket).await, 0);
    }
    let content = Content::of(bytes.clone(), Meta::default());
    put(&bucket.storage, content).await.unwrap();
    assert!(bucket.user_read(&path("x")).await.is_some_and(|there| there == bytes));
    assert_eq!((bucket.keys("").await, uploads(&bucket).await), (vec![format!("{PREFIX}x")], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_stays_is_read_once() {
    let bucket = cut_off(&bytes()).await;
    rewrite(&bucket, |record| record["writer"]["machine"] = json!("another")).await;
    let proxy = Http::start(servers::seaweed::shared().address());
    let storage = support::storage(&format!("http://{}", proxy.address()), &bucket.name);
    let reads = async || {
        drop(storage.list(&RelPath::root(), None).collect::<Vec<_>>().await);
        storage.sweep().await.unwrap();
        proxy.take().iter().filter(|request| s3_operation(request) == "GetObject").count()
    };
    assert_eq!([reads().await, reads().await, reads().await], [1, 0, 0]);
    rewrite(&bucket, |record| record["writer"]["pid"] = json!(1)).await;
    assert_eq!([reads().await, reads().await], [1, 0], "it is another version");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_source_finds_the_upload_again() {
    let bytes = bytes();
    let bucket = cut_off(&bytes).await;
    for _ in 0..3 {
        let offline = Content::new(LARGE as u64, None, |_| {
            Box::pin(async { Err(Error::new(Fault::Offline, "the other side is away")) })
        });
        assert_eq!(put(&bucket.storage, offline).await.unwrap_err().fault, Fault::Offline);
        assert_eq!((pass(&bucket).await, uploads(&bucket).await), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_not_trusted() {
    let bytes = bytes();
    for part in [0, 1, LARGE as u64, u64::MAX] {
        let bucket = cut_off(&bytes).await;
        rewrite(&bucket, |record| record["part"] = json!(part)).await;
        put(&bucket.storage, Content::of(bytes.clone(), Meta::default())).await.unwrap();
        assert!(bucket.user_read(&path("x")).await.is_some_and(|there| there == bytes), "{part}");
    }
}

#[tokio::test]
async fn what_others_make_is_left_for_a_day() {
    let bucket = Bucket::on_seaweed();
    bucket.user_write(&path(".wl-part-1234"), b"half of it").await;
    assert_eq!(pass(&bucket).await, 0);
    assert_eq!(bucket.user_read(&path(".wl-part-1234")).await, Some(b"half of it".to_vec()));
}

/// An upload to `y` that somebody has begun, with a part if that is wanted, in a bucket behind a proxy.
async fn begun(part: Option<&'static [u8]>) -> (Http, Bucket, String) {
    let server = servers::seaweed::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    bucket.storage.probe().await.unwrap();
    let key = format!("{PREFIX}y");
    let begun = bucket.user.create_multipart_upload().bucket(&bucket.name).key(&key).send().await.unwrap();
    let upload = begun.upload_id().unwrap().to_owned();
    if let Some(bytes) = part {
        let part = bucket.user.upload_part().bucket(&bucket.name).key(&key).upload_id(&upload).part_number(1);
        part.body(ByteStream::from_static(bytes)).send().await.unwrap();
    }
    (proxy, bucket, upload)
}

/// From now on the upload seems to have begun long ago.
fn is_old(proxy: &Http, upload: &str) {
    let text = old(&format!("{PREFIX}y"), upload);
    proxy.decide(
        move |request| if s3_operation(request) == "ListMultipartUploads" { text.clone() } else { Action::Pass },
    );
}

async fn leave_record(bucket: &Bucket) {
    let record = support::dead_record("y", "").to_string();
    bucket.put(&format!("{PREFIX}.wl-part-up-left"), record.as_bytes(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_upload_is_not_called_off() {
    let (proxy, bucket, upload) = begun(None).await;
    is_old(&proxy, &upload);
    put(&bucket.storage, Content::of(bytes(), Meta::default())).await.unwrap();
    for _ in 0..3 {
        assert_eq!((pass(&bucket).await, uploads(&bucket).await), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_beginning_was_written_down_is_called_off_after_a_day() {
    let (proxy, bucket, upload) = begun(None).await;
    leave_record(&bucket).await;
    assert_eq!((pass(&bucket).await, uploads(&bucket).await), (0, 1), "it is young");
    is_old(&proxy, &upload);
    assert_eq!((pass(&bucket).await, uploads(&bucket).await), (1, 0));
    assert!(bucket.keys(PREFIX).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_still_gets_parts_is_not_called_off() {
    let (proxy, bucket, upload) = begun(Some(b"part")).await;
    leave_record(&bucket).await;
    is_old(&proxy, &upload);
    assert_eq!((pass(&bucket).await, uploads(&bucket).await), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_written_down_before_it_begins() {
    let server = servers::seaweed::shared();
    let proxy = Http::start(server.address());
    let bucket = Bucket::behind(server, &format!("http://{}", proxy.address()));
    bucket.storage.probe().await.unwrap();
    let records = async || bucket.keys(&format!("{PREFIX}.wl-part-up-")).await.len();
    for status in [403, 501] {
        proxy.decide(move |request| match s3_operation(request) {
            "CreateMultipartUpload" => Action::s3_error(status, "Refused"),
            _ => Action::Pass,
        });
        put(&bucket.storage, Content::of(bytes(), Meta::default())).await.unwrap_err();
        assert_eq!(records().await, 0, "{status}");
    }
    proxy.decide(|request| match s3_operation(request) {
        "CreateMultipartUpload" => Action::Close,
        _ => Action::Pass,
    });
    put(&bucket.storage, Content::of(bytes(), Meta::default())).await.unwrap_err();
    assert_eq!(records().await, 1, "nobody knows whether it began");
}

/// What an upload was begun with cannot be changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_gone_on_with_only_if_the_time_is_the_same() {
    let bytes = bytes();
    let bucket = cut_off(&bytes).await;
    let mtime = "2020-02-02T02:02:02Z".parse().ok();
    let content = Content::of(bytes, Meta { mtime, mode: None });
    let written = bucket.storage.replace(&path("x"), content, &Guard::Absent, None).await.unwrap();
    let Ok(Look::Entry(there)) = bucket.storage.stat(&path("x")).await else { panic!("x is there") };
    assert_eq!((there.meta.mtime, &written.entry), (mtime, &there));
    assert_eq!(uploads(&bucket).await, 0, "the first one was called off");
}

/// An answer to ListMultipartUploads: one that was begun long ago.
fn old(key: &str, upload: &str) -> Action {
    let body = format!(
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>{key}</Key><UploadId>{upload}</UploadId>\
         <Initiated>2020-02-02T02:02:02.000Z</Initiated></Upload></ListMultipartUploadsResult>"
    );
    Action::Answer(Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body })
}
