//! At a round trip of 50 ms neither many small files nor a large one waits for one answer after the other.

mod kit;

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use wl_core::backend::{Backend, Content, Guard, Listed};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::path::RelPath;
use wl_test_kit::proxy::Tcp;
use wl_test_kit::servers::sshd::Mode;

const ROUND_TRIP: Duration = Duration::from_millis(50);
const FILES: usize = 1000;
const LARGE: usize = 64 << 20;

/// Far above what was measured on two loaded cores, far below what one request after the other would take: three and
/// a half minutes, and one and a half.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_commands() {
    far_away(Mode::Exec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_commands() {
    far_away(Mode::SftpOnly).await;
}

async fn far_away(mode: Mode) {
    let server = kit::Server::fresh(mode).await;
    let line = Tcp::with_round_trip(&server.sshd.address(), ROUND_TRIP);
    let storage = kit::open(&server.sshd, line.port(), &server.sshd.known_hosts_at(line.port()));
    storage.probe().await.unwrap();
    let at_once = storage.facts().in_flight;

    let dirs = stream::iter(0..20).map(|dir| make_dir(&*storage, dir));
    dirs.buffer_unordered(at_once).collect::<Vec<()>>().await;
    let begun = Instant::now();
    let up = stream::iter(0..FILES).map(|number| create(&*storage, path(&small(number)), content(4096, number)));
    let written: Vec<Entry> = up.buffered(at_once).collect().await;
    tell("1,000 small files up", begun);

    let begun = Instant::now();
    let listed = storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
    assert_eq!(listed.iter().filter(|item| matches!(item, Listed::Entry(..))).count(), FILES + 20);
    tell("listed", begun);

    let begun = Instant::now();
    let down = stream::iter(written.iter().enumerate()).map(|(number, entry)| {
        let storage = &storage;
        async move { storage.hash(&path(&small(number)), &entry.token).await.unwrap() == Hash::of(&bytes(4096, number)) }
    });
    assert!(down.buffer_unordered(at_once).all(|same| async move { same }).await);
    tell("hashed", begun);

    let begun = Instant::now();
    let down = stream::iter(written.iter().enumerate()).map(|(number, entry)| {
        let storage = &storage;
        async move { read(&**storage, &small(number), entry).await == bytes(4096, number) }
    });
    assert!(down.buffer_unordered(at_once).all(|same| async move { same }).await);
    tell("down", begun);

    let large = content(LARGE, 7);
    let begun = Instant::now();
    let entry = create(&*storage, path("large"), large).await;
    tell("64 MiB up", begun);
    assert_eq!(Hash::of(&fs::read(server.root.join("large")).unwrap()), Hash::of(&bytes(LARGE, 7)));
    let begun = Instant::now();
    let down = read(&*storage, "large", &entry).await;
    tell("64 MiB down", begun);
    assert!(down == bytes(LARGE, 7));
}

fn tell(what: &str, since: Instant) {
    let took = since.elapsed();
    println!("{what}: {:.1} s", took.as_secs_f64());
    assert!(took < PATIENCE, "{what} took {took:?}");
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn small(number: usize) -> String {
    format!("d{:02}/{number:04}", number % 20)
}

fn bytes(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|at| at.wrapping_mul(31).wrapping_add(at >> 8).wrapping_add(seed).to_le_bytes()[0]).collect()
}

fn content(size: usize, seed: usize) -> Content {
    let mtime = "2020-02-02T02:02:02Z".parse().ok();
    Content::of(Bytes::from(bytes(size, seed)), Meta { mtime, mode: Some(0o644) })
}

async fn make_dir(storage: &dyn Backend, dir: usize) {
    storage.make_dir(&path(&format!("d{dir:02}")), &Meta::default()).await.unwrap();
}

async fn create(storage: &dyn Backend, path: RelPath, content: Content) -> Entry {
    storage.replace(&path, content, &Guard::Absent, None).await.unwrap().entry
}

async fn read(storage: &dyn Backend, name: &str, entry: &Entry) -> Vec<u8> {
    let body = storage.read(&path(name), &entry.token, 0).await.unwrap().body;
    body.try_collect::<Vec<_>>().await.unwrap().concat()
}
