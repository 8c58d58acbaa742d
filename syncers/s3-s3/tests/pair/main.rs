//! Two buckets come to the same end as with the generic syncer, on servers that honour conditions and that do not, and what
//! the server vouches for does not pass through this program.

#[path = "../../../../backends/s3/tests/support/mod.rs"]
mod support;
mod vouched;

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use bytes::Bytes;
use jiff::Timestamp;
use support::{Bucket, PREFIX};
use vouched::Vouched;
use wl_core::backend::{Backend, Content, Guard};
use wl_core::entry::{Hash, Meta};
use wl_core::job::{Options, Which};
use wl_core::path::RelPath;
use wl_syncer_s3_s3::S3S3;
use wl_test_kit::conformance::Bench;
use wl_test_kit::pairs::{self, World};
use wl_test_kit::proxy::{Action, Http, Request, Tcp, s3_operation};
use wl_test_kit::servers;

const TYPES: [&str; 2] = ["s3", "s3"];

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn boxed(buckets: [Bucket; 2]) -> [Box<dyn Bench>; 2] {
    buckets.map(|bucket| Box::new(bucket) as Box<dyn Bench>)
}

fn two_vouched() -> [Box<dyn Bench>; 2] {
    [Bucket::on_seaweed(), Bucket::on_seaweed()].map(|bucket| Box::new(Vouched(bucket)) as Box<dyn Bench>)
}

wl_test_kit::pairs_scenarios!(TYPES, S3S3::default(), two_vouched();
    a_first_contact, edits_and_deletions, no_deletion_is_lost_in_a_copy, the_source_changes_before,
    the_source_changes_meanwhile, the_source_vanishes_meanwhile, the_target_changes_meanwhile);

mod without_checksums {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, S3S3::default(), boxed([Bucket::on_seaweed(), Bucket::on_seaweed()]);
        the_source_changes_meanwhile);
}

mod without_conditions {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, S3S3::default(), boxed([Bucket::on_juicefs(), Bucket::on_juicefs()]);
        edits_and_deletions, the_target_changes_before);
}

/// Puts contents with a time into a bucket, through wl.
async fn seed(from: &dyn Backend, files: &[(&str, usize)]) {
    let time: Timestamp = "2020-02-02T02:02:02.020202Z".parse().unwrap();
    for (seed, (name, size)) in (0..).zip(files) {
        let content = Content::of(Bytes::from(pairs::noise(*size, seed)), Meta { mtime: Some(time), mode: None });
        from.replace(&path(name), content, &Guard::Absent, None).await.unwrap();
    }
}

/// What is asked of a user's object; nothing of wl's own objects and of the markers of directories.
fn operation(request: &Request) -> &str {
    if request.path.contains(".wl-part-") || request.path.ends_with('/') { "" } else { s3_operation(request) }
}

fn moves_content(request: &Request) -> bool {
    matches!(operation(request), "GetObject" | "PutObject" | "UploadPart")
}

fn copies(request: &Request) -> bool {
    matches!(operation(request), "CopyObject" | "UploadPartCopy")
}

/// Two buckets that wl reaches through one proxy of each kind.
struct Watched {
    bytes: Tcp,
    requests: Http,
    world: World,
    buckets: [String; 2],
}

impl Watched {
    async fn new(server: &servers::S3) -> Self {
        let bytes = Tcp::start(server.address());
        let requests = Http::start(&bytes.address());
        let endpoint = format!("http://{}", requests.address());
        let buckets = [(); 2].map(|()| Bucket::behind(server, &endpoint));
        let names = [&buckets[0], &buckets[1]].map(|bucket| bucket.name.clone());
        Self { bytes, requests, world: World::new(TYPES, boxed(buckets)).await, buckets: names }
    }

    fn carried(&self) -> u64 {
        self.bytes.up() + self.bytes.down()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_what_is_vouched_for_passes_through() {
    let server = servers::seaweed::shared();
    let watched = Watched::new(server).await;
    let world = &watched.world;
    let source = world.user(Which::Source).backend().await;
    let files = [("a", 3 << 20), ("d/b", 16 << 20), ("d/c", 1), ("e/empty", 0)];
    seed(&*source, &files).await;
    watched.requests.take();
    let before = watched.carried();
    let (summary, monitor) = world.once(&S3S3::default()).await;
    let (all, moved) = ((3 << 20) + (16 << 20) + 1, watched.carried() - before);
    assert_eq!((summary.copied, summary.bytes, monitor.status().transferred_bytes), (4, all, all));
    let asked = watched.requests.take();
    assert!(!asked.iter().any(moves_content), "{asked:?}");
    assert!(moved < 200 << 10, "{moved} bytes for {} requests", asked.len());
    // What wl knows of a content travels.
    let user = support::user(server.endpoint());
    for (seed, (name, size)) in (0..).zip(files) {
        let head = user.head_object().bucket(&watched.buckets[1]).key(format!("{PREFIX}{name}")).send().await.unwrap();
        let metadata = head.metadata().unwrap();
        assert_eq!(metadata["sha256"], Hash::of(&pairs::noise(size, seed)).to_string(), "{name}");
        assert_eq!(metadata["mtime"], "2020-02-02T02:02:02.020202Z", "{name}");
    }
    // Nor does it the other way round, over what was there.
    let user = world.user(Which::Target);
    user.user_rename(&path("d/b"), &path("d/moved")).await;
    watched.requests.take();
    world.once(&S3S3::default()).await;
    let asked = watched.requests.take();
    assert!(!asked.iter().any(moves_content), "{asked:?}");
}

/// What is dressed as wl dresses it is copied as it is, and looked at once. What is not is dressed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_object_costs_two_requests() {
    let server = servers::seaweed::shared();
    let watched = Watched::new(server).await;
    let options = Options { transfers: Some(1), ..Options::default() };
    let world = watched.world.with(TYPES, options).await;
    // The largest goes first.
    seed(&*world.user(Which::Source).backend().await, &[("a", 400), ("b", 300), ("c", 200)]).await;
    let user = support::user(server.endpoint());
    let foreign = user.put_object().bucket(&watched.buckets[0]).key(format!("{PREFIX}d"));
    let foreign = foreign.checksum_algorithm(ChecksumAlgorithm::Sha256).body(ByteStream::from_static(b"foreign"));
    foreign.send().await.unwrap();
    watched.requests.take();
    let (summary, _) = world.once(&S3S3::default()).await;
    assert_eq!((summary.copied, summary.problems.len()), (4, 0));
    let asked = watched.requests.take();
    let of = |name: &str, what: &str| {
        let key = format!("{}/{PREFIX}{name}", watched.buckets[1]).replace(' ', "%20");
        asked.iter().filter(|request| request.path.contains(&key) && operation(request) == what).count()
    };
    for (name, copies, looks) in [("b", 1, 1), ("c", 1, 1), ("d", 2, 2)] {
        assert_eq!((of(name, "CopyObject"), of(name, "HeadObject")), (copies, looks), "{name}: {asked:?}");
    }
    assert!(!asked.iter().any(moves_content), "{asked:?}");
    let heads = asked.iter().filter(|request| operation(request) == "HeadObject").count();
    assert_eq!(heads, 2 + 1 + 1 + 3, "{asked:?}");
    let there = user.head_object().bucket(&watched.buckets[1]).key(format!("{PREFIX}d")).send().await.unwrap();
    let metadata = there.metadata().unwrap();
    assert_eq!(metadata["sha256"], Hash::of(b"foreign").to_string());
    assert!(metadata.contains_key("mtime"), "{metadata:?}");
}

/// Where only the completion of an upload is conditional a large content is copied in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_parts() {
    let server = servers::moto::start();
    let watched = Watched::new(&server).await;
    let source = watched.world.user(Which::Source).backend().await;
    seed(&*source, &[("f", pairs::LARGE)]).await;
    watched.requests.take();
    let (summary, _) = watched.world.once(&S3S3::default()).await;
    assert_eq!(summary.copied, 1);
    let asked = watched.requests.take();
    assert_eq!(asked.iter().filter(|request| operation(request) == "UploadPartCopy").count(), 3, "{asked:?}");
    assert!(!asked.iter().any(|request| operation(request) == "UploadPart"), "{asked:?}");
    // The same parts make the same ETag: the copy need not be read.
    let bucket = &watched.buckets[1];
    let read = |request: &Request| operation(request) == "GetObject" && request.path.contains(bucket);
    assert!(!asked.iter().any(read), "{asked:?}");
    let there = watched.world.user(Which::Target).user_read(&path("f")).await;
    assert!(there == Some(pairs::noise(pairs::LARGE, 0)));
}

/// What cannot be copied is read and written, and it is no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_server_to_another() {
    let server = servers::seaweed::shared();
    let other = Http::start(server.address());
    let buckets = [Bucket::on_seaweed(), Bucket::behind(server, &format!("http://{}", other.address()))];
    let world = World::new(TYPES, boxed(buckets)).await;
    seed(&*world.user(Which::Source).backend().await, &[("f", 3 << 20)]).await;
    let (summary, _) = world.once(&S3S3::default()).await;
    assert_eq!((summary.copied, summary.problems.len()), (1, 0));
    assert_eq!(other.count(copies), 0);
    assert_eq!(other.count(moves_content), 1);
}

/// Credentials that may not read the source: asked once, then read and written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_copy_reads_and_writes() {
    let watched = Watched::new(servers::seaweed::shared()).await;
    let options = Options { transfers: Some(1), ..Options::default() };
    let world = watched.world.with(TYPES, options).await;
    let files = [("a", 100), ("b", 1 << 20), ("c", 5)];
    seed(&*world.user(Which::Source).backend().await, &files).await;
    watched.requests.decide(
        |request| {
            if copies(request) { Action::s3_error(403, "AccessDenied") } else { Action::Pass }
        },
    );
    watched.requests.take();
    let (summary, _) = world.once(&S3S3::default()).await;
    assert_eq!((summary.copied, summary.problems.len()), (3, 0));
    assert_eq!(watched.requests.count(copies), 1);
    for (seed, (name, size)) in (0..).zip(files) {
        let there = world.user(Which::Target).user_read(&path(name)).await;
        assert!(there == Some(pairs::noise(size, seed)), "{name}");
    }
}

/// The answer to a copy is lost, or a copy fails for a while: it is there in the end, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_answer_is_lost() {
    for spoil in [Action::LoseAnswer, Action::Close, Action::status(503)] {
        let watched = Watched::new(servers::seaweed::shared()).await;
        seed(&*watched.world.user(Which::Source).backend().await, &[("f", 1 << 20)]).await;
        let (asked, action) = (AtomicUsize::new(0), spoil.clone());
        watched.requests.decide(move |request| {
            if copies(request) && asked.fetch_add(1, Ordering::Relaxed) == 0 { action.clone() } else { Action::Pass }
        });
        let (summary, _) = watched.world.once(&S3S3::default()).await;
        assert_eq!((summary.copied, summary.conflicts.len(), summary.problems.len()), (1, 0, 0), "{spoil:?}");
        let asked = watched.requests.take();
        assert!(!asked.iter().any(|request| operation(request) == "GetObject"), "{spoil:?}");
    }
}
