//! Hashes that nobody remembers: what was written with a proof is not read again, and nothing else is believed.

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Tagging};
use bytes::Bytes;
use support::{Bucket, PREFIX, read_only, storage};
use wl_core::backend::{Backend, Content, Guard, Look};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::path::RelPath;
use wl_test_kit::proxy::{Action, Http, s3_operation};
use wl_test_kit::servers;

/// Three parts, the last one small.
const LARGE: usize = (16 << 20) + 12_345;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn large(seed: u32) -> Bytes {
    (0..=u32::try_from(LARGE / 4).unwrap())
        .flat_map(|number| (number.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes())
        .take(LARGE)
        .collect::<Vec<_>>()
        .into()
}

async fn put(storage: &Arc<impl Backend>, at: &str, bytes: &Bytes) {
    let content = Content::of(bytes.clone(), Meta::default());
    storage.replace(&path(at), content, &Guard::Absent, None).await.unwrap();
}

async fn token(storage: &Arc<impl Backend>, at: &str) -> Token {
    match storage.stat(&path(at)).await {
        Ok(Look::Entry(entry)) => entry.token,
        other => panic!("{at}: {other:?}"),
    }
}

async fn hash(storage: &Arc<impl Backend>, at: &str) -> Hash {
    storage.hash(&path(at), &token(storage, at).await).await.unwrap()
}

/// A proxy before the same server: to wl, which remembers what it found out by the endpoint, another server.
fn met_again() -> (Http, String) {
    let proxy = Http::start(servers::seaweed::shared().address());
    let endpoint = format!("http://{}", proxy.address());
    (proxy, endpoint)
}

fn asked(proxy: &Http) -> Vec<String> {
    proxy.take().iter().map(|request| s3_operation(request).to_owned()).collect()
}

fn count(asked: &[String], operation: &str) -> usize {
    asked.iter().filter(|asked| *asked == operation).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wl_wrote_is_not_read_by_a_later_process() {
    let bucket = Bucket::on_seaweed();
    // Nothing is tried in the background later.
    bucket.storage.probe().await.unwrap();
    let (small, large) = (Bytes::from_static(b"small"), large(1));
    for name in ["a", "b", "c"] {
        put(&bucket.storage, name, &small).await;
    }
    put(&bucket.storage, "large", &large).await;
    let (proxy, endpoint) = met_again();
    let later = storage(&endpoint, &bucket.name);
    let all = ["a", "b", "c", "large"].map(|name| hash(&later, name));
    assert_eq!(futures::future::join_all(all).await, [&small, &small, &small, &large].map(|bytes| Hash::of(bytes)));
    let asked = asked(&proxy);
    assert_eq!((count(&asked, "GetObject"), count(&asked, "GetObjectTagging")), (0, 1), "{asked:?}");
    let puts = count(&asked, "PutObject");
    assert_eq!(puts, 2, "what the server does with checksums is tried once: {asked:?}");
    assert!(bucket.keys(&format!("{PREFIX}.wl-")).await.is_empty(), "nothing is left of that");
}

#[tokio::test]
async fn what_may_not_be_written_to_is_read() {
    let bucket = Bucket::on_seaweed();
    put(&bucket.storage, "x", &Bytes::from_static(b"content")).await;
    let (proxy, endpoint) = met_again();
    assert_eq!(hash(&read_only(&endpoint, &bucket.name), "x").await, Hash::of(b"content"));
    let asked_first = asked(&proxy);
    let reads = ["HeadObject", "GetObject", "ListObjectsV2"];
    assert!(asked_first.iter().all(|asked| reads.contains(&asked.as_str())), "{asked_first:?}");

    // The same where only the server says so; and it is not asked again for each file.
    proxy.decide(|request| if request.method == "PUT" { Action::s3_error(403, "AccessDenied") } else { Action::Pass });
    let storage = storage(&endpoint, &bucket.name);
    for _ in 0..3 {
        assert_eq!(hash(&storage, "x").await, Hash::of(b"content"));
    }
    let asked = asked(&proxy);
    assert_eq!((count(&asked, "PutObject"), count(&asked, "GetObject")), (1, 3), "{asked:?}");
}

/// What somebody else uploads in parts who copies everything that lies beside the object.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_onto_another_content_in_parts_is_not_believed() {
    let bucket = Bucket::on_seaweed();
    put(&bucket.storage, "x", &large(1)).await;
    let (user, name, key) = (&bucket.user, &bucket.name, format!("{PREFIX}x"));
    let metadata: HashMap<_, _> =
        user.head_object().bucket(name).key(&key).send().await.unwrap().metadata().unwrap().clone();
    assert_eq!(metadata.get("sha256"), Some(&Hash::of(&large(1)).to_string()));
    let tags = user.get_object_tagging().bucket(name).key(&key).send().await.unwrap().tag_set;
    assert_eq!(tags.len(), 1, "{tags:?}");

    let begun =
        user.create_multipart_upload().bucket(name).key(&key).set_metadata(Some(metadata)).send().await.unwrap();
    let (id, other) = (begun.upload_id().unwrap(), large(2));
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(other.chunks(8 << 20)) {
        let body = ByteStream::from(other.slice_ref(part));
        let sent = user.upload_part().bucket(name).key(&key).upload_id(id).part_number(number).body(body).send().await;
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.unwrap().e_tag).build());
    }
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    user.complete_multipart_upload().bucket(name).key(&key).upload_id(id).multipart_upload(whole).send().await.unwrap();
    let tags = Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
    user.put_object_tagging().bucket(name).key(&key).tagging(tags).send().await.unwrap();
    assert_eq!(hash(&bucket.storage, "x").await, Hash::of(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_use_tags_reads() {
    let (proxy, endpoint) = met_again();
    let bucket = Bucket::behind(servers::seaweed::shared(), &endpoint);
    proxy.decide(
        |request| if request.query.contains("tagging") { Action::s3_error(403, "AccessDenied") } else { Action::Pass },
    );
    for name in ["x", "y"] {
        put(&bucket.storage, name, &large(3)).await;
    }
    assert_eq!(count(&asked(&proxy), "PutObjectTagging"), 1);
    assert_eq!(hash(&bucket.storage, "x").await, Hash::of(&large(3)));
}
