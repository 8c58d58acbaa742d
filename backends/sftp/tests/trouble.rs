//! What goes wrong between here and a server, and on it.

mod kit;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use wl_core::backend::{Backend, Content, Guard, Listed, Look};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;
use wl_test_kit::proxy::Tcp;
use wl_test_kit::servers::sshd::{Mode, Sshd};

const MIB: usize = 1 << 20;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn bytes(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(size)
    .collect()
}

fn content(bytes: &[u8]) -> Content {
    let mtime = "2020-02-02T02:02:02Z".parse().ok();
    Content::of(Bytes::copy_from_slice(bytes), Meta { mtime, mode: None })
}

/// A content that comes in pieces of a mebibyte, each after `before` did something.
fn slow(bytes: Vec<u8>, before: impl Fn(usize) + Send + Sync + Clone + 'static) -> Content {
    let bytes = Bytes::from(bytes);
    let hash = Hash::of(&bytes);
    Content::new(bytes.len() as u64, Some(hash), move |from| {
        let (bytes, before) = (bytes.slice(usize::try_from(from).unwrap()..), before.clone());
        let pieces = stream::iter((0..bytes.len()).step_by(MIB)).then(move |at| {
            let (piece, before) = (bytes.slice(at..bytes.len().min(at + MIB)), before.clone());
            async move {
                before(usize::try_from(from).unwrap() + at);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(piece)
            }
        });
        let meta = Meta::default();
        Box::pin(async move { Ok(wl_core::backend::Reading { meta, body: pieces.boxed() }) })
    })
}

async fn create(storage: &dyn Backend, name: &str, bytes: &[u8]) -> Result<Entry> {
    Ok(storage.replace(&path(name), content(bytes), &Guard::Absent, None).await?.entry)
}

async fn read(storage: &dyn Backend, name: &str, entry: &Entry) -> Result<Vec<u8>> {
    let body = storage.read(&path(name), &entry.token, 0).await?.body;
    Ok(body.try_collect::<Vec<_>>().await?.concat())
}

/// All names below a directory, as its user sees them.
fn names(dir: &Path) -> Vec<String> {
    let output = Command::new("find").arg(dir).args(["-type", "f", "-printf", "%P\n"]).output().unwrap();
    let mut names: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Its connections are killed again and again while files are made, replaced, moved, read and removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_with_a_connection() {
    let server = kit::Server::fresh(Mode::Exec).await;
    let storage = server.storage.clone();
    let done = Arc::new(AtomicBool::new(false));
    let killer = async {
        while !done.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.sshd.kill_connections();
        }
    };
    let work = async {
        let files = stream::iter(0..600).map(|number| one_life(&*storage, number));
        files.buffer_unordered(32).collect::<Vec<()>>().await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(work, killer);
    for number in 0..600u32 {
        let expected = (number % 3 != 2).then(|| bytes(3000, 1));
        assert_eq!(fs::read(server.root.join(format!("{number}.moved"))).ok(), expected, "{number}");
    }
    // Whatever an attempt left that was cut off is cleared away.
    storage.list(&RelPath::root(), None).collect::<Vec<_>>().await;
    storage.sweep().await.unwrap();
    let left = names(&server.root);
    let known = |name: &str| name.strip_suffix(".moved").is_some() || name.starts_with(".wl-trash/");
    let odd: Vec<_> = left.iter().filter(|name| !known(name)).collect();
    assert_eq!(odd, [""; 0]);
    let kept: std::collections::BTreeSet<_> =
        left.iter().filter_map(|name| name.strip_prefix(".wl-trash/one/")).collect();
    assert!((0..600).all(|number| kept.contains(&*number.to_string())), "what was replaced was kept");
}

/// Every step until it succeeds, as a job would.
async fn one_life(storage: &dyn Backend, number: u32) {
    let (name, moved) = (path(&number.to_string()), path(&format!("{number}.moved")));
    let (short, long) = (bytes(2000, 0), bytes(3000, 1));
    let put = async |bytes, guard: &Guard, trash: Option<&RelPath>| {
        let write = async || Ok(storage.replace(&name, content(bytes), guard, trash).await?.entry);
        insist(write, async || holds(storage, &name, bytes).await).await
    };
    let never = async || None;
    let one = put(&short, &Guard::Absent, None).await;
    let (kept, removed) = (path(&format!(".wl-trash/one/{number}")), path(&format!(".wl-trash/two/{number}")));
    let two = put(&long, &Guard::Unchanged(one.token), Some(&kept)).await;
    assert_eq!(insist(async || storage.hash(&name, &two.token).await, never).await, Hash::of(&long));
    let there = async || holds(storage, &moved, &long).await;
    let there = insist(async || storage.move_within(&name, &two.token, &moved).await, there).await;
    if number % 3 == 2 {
        let is_gone = async || matches!(storage.stat(&moved).await, Ok(Look::Absent)).then_some(());
        insist(async || storage.remove(&moved, &there.token, Some(&removed)).await, is_gone).await;
    } else {
        let read = insist(async || read(storage, moved.as_str(), &there).await, async || None).await;
        assert!(read == long);
    }
}

/// The entry of a file, if it has that content.
async fn holds(storage: &dyn Backend, path: &RelPath, bytes: &[u8]) -> Option<Entry> {
    let Ok(Look::Entry(entry)) = storage.stat(path).await else { return None };
    (storage.hash(path, &entry.token).await.ok()? == Hash::of(bytes)).then_some(entry)
}

/// Tries again what failed for now. Who does that looks what is there before saying that somebody changed it: what failed may
/// have been done nevertheless.
async fn insist<T>(attempt: impl AsyncFn() -> Result<T>, done: impl AsyncFn() -> Option<T>) -> T {
    let mut last = None;
    for _ in 0..30 {
        match attempt().await {
            Ok(done) => return done,
            Err(error) if error.fault.passes() => last = Some(error),
            Err(error) => {
                assert!(last.is_some() && error.fault == Fault::Refused, "{error:?} after {last:?}");
                if let Some(done) = done().await {
                    return done;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it never succeeded: {last:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_goes_on_where_it_was_cut_off() {
    let server = kit::Server::fresh(Mode::SftpOnly).await;
    let line = Arc::new(Tcp::start(&server.sshd.address()));
    let storage = kit::open(&server.sshd, line.port(), &server.sshd.known_hosts_at(line.port()));
    let cut = {
        let line = line.clone();
        move |at: usize| {
            if at == 4 * MIB || at == 10 * MIB {
                line.cut_all();
            }
        }
    };
    let large = bytes(16 * MIB, 1);
    let written = storage.replace(&path("x"), slow(large.clone(), cut), &Guard::Absent, None).await.unwrap();
    assert_eq!(written.hash, Hash::of(&large));
    assert!(fs::read(server.root.join("x")).unwrap() == large);
    assert!(line.up() < 28 * MIB as u64, "{} bytes were sent for 16 MiB", line.up());
    assert_eq!(names(&server.root), ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_goes_on_where_it_was_cut_off() {
    let server = kit::Server::fresh(Mode::Exec).await;
    let line = Tcp::start(&server.sshd.address());
    let storage = kit::open(&server.sshd, line.port(), &server.sshd.known_hosts_at(line.port()));
    let large = bytes(16 * MIB, 2);
    let entry = create(&*storage, "x", &large).await.unwrap();
    let before = line.down();
    let mut body = storage.read(&path("x"), &entry.token, 0).await.unwrap().body;
    let (mut got, mut cuts) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        got.extend_from_slice(&piece.unwrap());
        if got.len() > (cuts + 1) * 5 * MIB {
            cuts += 1;
            line.cut_all();
        }
    }
    assert!(got == large && cuts == 3);
    let carried = line.down() - before;
    assert!(carried < 48 * MIB as u64, "{carried} bytes came for 16 MiB");
}

/// The process that wrote the first half is gone: another finds it, a while later, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_cut_off_is_gone_on_with_and_proven() {
    for damaged in [false, true] {
        let server = kit::Server::fresh(Mode::Exec).await;
        let large = bytes(30 * MIB, 3);
        let line = Tcp::start(&server.sshd.address());
        let known_hosts = server.sshd.known_hosts_at(line.port());
        let first = kit::open(&server.sshd, line.port(), &known_hosts);
        let writing = tokio::spawn({
            let content = two_thirds(&large);
            async move { first.replace(&path("x"), content, &Guard::Absent, None).await }
        });
        let part = loop {
            let mut parts = names(&server.root).into_iter().map(|name| server.root.join(name));
            let size = |part: &PathBuf| fs::metadata(part).is_ok_and(|found| found.len() == 20 * MIB as u64);
            if let Some(part) = parts.find(size) {
                break part;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        writing.abort();
        let _ = writing.await;
        line.cut_all();
        if damaged {
            let mut held = fs::read(&part).unwrap();
            held[1000] ^= 1;
            fs::write(&part, held).unwrap();
        }
        let ago = SystemTime::now() - Duration::from_mins(2);
        fs::File::options().write(true).open(&part).unwrap().set_modified(ago).unwrap();

        let before = line.up();
        let second = kit::open(&server.sshd, line.port(), &known_hosts);
        let written = second.replace(&path("x"), slow(large.clone(), |_| ()), &Guard::Absent, None).await.unwrap();
        assert_eq!(written.hash, Hash::of(&large));
        assert!(fs::read(server.root.join("x")).unwrap() == large);
        assert_eq!(names(&server.root), ["x"]);
        let sent = line.up() - before;
        // The last 8 MiB of what was there may have had holes.
        assert!(damaged || sent < 20 * MIB as u64, "{sent} bytes were sent for the last third");
    }
}

/// Cut off when the content has its name and the part has not lost its own: who went on with that part would write into
/// the user's file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_goes_on_with_a_part_that_has_become_a_file() {
    let server = kit::Server::fresh(Mode::SftpOnly).await;
    let line = Tcp::with_round_trip(&server.sshd.address(), Duration::from_millis(300));
    let (root, large, edited) = (&server.root, bytes(5 * MIB, 6), bytes(MIB, 7));
    let writing = tokio::spawn({
        let first = kit::open(&server.sshd, line.port(), &server.sshd.known_hosts_at(line.port()));
        let content = content(&large);
        async move { first.replace(&path("x"), content, &Guard::Absent, None).await }
    });
    let has_begun = async {
        while !root.join("x").exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), has_begun).await.expect("it takes its name");
    line.change(|conditions| conditions.stalled = true);
    writing.abort();
    let _ = writing.await;
    line.cut_all();
    let left = names(root);
    assert!(left.len() == 2 && left[1] == "x", "the cut came too late: {left:?}");
    fs::write(root.join("x"), &edited).unwrap();
    let ago = SystemTime::now() - Duration::from_hours(2);
    fs::File::options().write(true).open(root.join("x")).unwrap().set_modified(ago).unwrap();

    create(&*server.storage, "y", &large).await.unwrap();
    assert!(fs::read(root.join("x")).unwrap() == edited, "the user's file was written into");
    assert!(fs::read(root.join("y")).unwrap() == large);

    // Once it is old, only the part's name goes.
    fs::rename(root.join(&left[0]), root.join(".wl-part-u1600000000-0123456789ab-0")).unwrap();
    server.storage.list(&RelPath::root(), None).collect::<Vec<_>>().await;
    assert_eq!(server.storage.sweep().await, Ok(1));
    assert_eq!(names(root), ["x", "y"]);
    assert!(fs::read(root.join("x")).unwrap() == edited);
}

/// A content that never comes to its end.
fn two_thirds(bytes: &[u8]) -> Content {
    let (hash, beginning) = (Hash::of(bytes), Bytes::copy_from_slice(&bytes[..bytes.len() * 2 / 3]));
    Content::new(bytes.len() as u64, Some(hash), move |_| {
        let first = stream::once(std::future::ready(Ok(beginning.clone())));
        let body = first.chain(stream::pending()).boxed();
        Box::pin(std::future::ready(Ok(wl_core::backend::Reading { meta: Meta::default(), body })))
    })
}

/// A file system of its own for a directory, gone with the value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path, options: &str) -> Self {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status().unwrap();
        assert!(done.success(), "only root can mount: run this test as root");
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_says_so_and_keeps_what_it_has() {
    let server = kit::Server::fresh(Mode::SftpOnly).await;
    let root = server.root.clone();
    let _small = Mounted::tmpfs(&root, "size=1m");
    let storage = &*server.storage;
    let there = create(storage, "there", b"old").await.unwrap();
    for size in [2 * MIB, 8 * MIB] {
        let full = create(storage, "x", &bytes(size, 4)).await.unwrap_err();
        assert!(full.fault == Fault::Full && full.message.contains("no space"), "{full:?}");
        let guard = Guard::Unchanged(there.token.clone());
        let full = storage.replace(&path("there"), content(&bytes(size, 4)), &guard, None).await.unwrap_err();
        assert_eq!(full.fault, Fault::Full, "{full:?}");
    }
    // The server clears up what failed, but nobody waits for it.
    let begun = std::time::Instant::now();
    while let Err(full) = fs::write(root.join("fills"), bytes(MIB - 64 * 1024, 5)) {
        assert!(begun.elapsed() < Duration::from_secs(5), "{full}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let full = create(storage, "y", &bytes(200_000, 4)).await.unwrap_err();
    assert_eq!(full.fault, Fault::Full, "{full:?}");
    assert_eq!(names(&root), ["fills", "there"]);
    fs::remove_file(root.join("fills")).unwrap();
    create(storage, "y", &bytes(200_000, 4)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_says_so() {
    let server = kit::Server::fresh(Mode::Exec).await;
    let root = server.root.clone();
    let _mounted = Mounted::tmpfs(&root, "size=1m");
    fs::write(root.join("x"), "x").unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&root).status().unwrap().success());
    let storage = kit::open(&server.sshd, server.sshd.port(), &server.sshd.known_hosts());
    let Ok(Look::Entry(there)) = storage.stat(&path("x")).await else { panic!("it can be looked at") };
    assert_eq!(read(&*storage, "x", &there).await.unwrap(), b"x");
    let says = |error: Error| assert!(error.fault == Fault::Denied && error.message.contains("read-only"), "{error:?}");
    says(create(&*storage, "y", b"y").await.unwrap_err());
    says(storage.make_dir(&path("d"), &Meta::default()).await.unwrap_err());
    says(storage.remove(&path("x"), &there.token, None).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_may_not_is_denied() {
    for mode in [Mode::Exec, Mode::SftpOnly] {
        let sshd = Sshd::with_user(mode);
        let root = sshd.root().join("root");
        for dir in ["root", "root/open", "root/shut", "root/shut/deep"] {
            fs::create_dir(sshd.root().join(dir)).unwrap();
        }
        fs::write(root.join("theirs"), "x").unwrap();
        fs::write(root.join("shut/x"), "x").unwrap();
        assert!(Command::new("chmod").arg("700").arg(root.join("shut")).status().unwrap().success());
        assert!(Command::new("chmod").arg("600").arg(root.join("theirs")).status().unwrap().success());
        let storage = kit::open(&sshd, sshd.port(), &sshd.known_hosts());
        let denied = create(&*storage, "x", b"x").await.unwrap_err();
        assert_eq!(denied.fault, Fault::Denied, "{denied:?}");
        let Ok(Look::Entry(theirs)) = storage.stat(&path("theirs")).await else { panic!("it can be looked at") };
        assert_eq!(read(&*storage, "theirs", &theirs).await.unwrap_err().fault, Fault::Denied);
        assert_eq!(storage.hash(&path("theirs"), &theirs.token).await.unwrap_err().fault, Fault::Denied);
        let items = storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
        let shown = items.iter().map(|item| match item {
            Listed::Entry(path, _) => path.to_string(),
            Listed::Blocked(path, _) => format!("{path}!"),
            other => format!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), ["open", "shut", "shut!", "theirs"], "{mode:?}");
        assert!(matches!(storage.stat(&path("shut/x")).await, Ok(Look::Blocked(_))));
        let inside = storage.list(&path("shut"), None).collect::<Vec<_>>().await.concat();
        assert!(matches!(&inside[..], [Listed::Blocked(at, _)] if *at == path("shut")), "{inside:?}");
    }
}

/// A rewrite of as many bytes in the same second has the same token: the content tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_in_the_same_second_is_not_lost() {
    for mode in [Mode::Exec, Mode::SftpOnly] {
        let server = kit::Server::fresh(mode).await;
        let (storage, at) = (&*server.storage, server.root.join("x"));
        let ahead = SystemTime::now() + Duration::from_secs(1);
        let second = SystemTime::UNIX_EPOCH
            + Duration::from_secs(ahead.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        let write = |text: &str| {
            fs::write(&at, text).unwrap();
            fs::File::options().write(true).open(&at).unwrap().set_modified(second).unwrap();
        };
        write("known");
        let Ok(Look::Entry(known)) = storage.stat(&path("x")).await else { panic!("x is there") };
        assert!(known.token.is_racy());
        storage.hash(&path("x"), &known.token).await.unwrap();
        write("newer");
        let guard = Guard::Unchanged(known.token.clone());
        let changed = |what: &str, error: Error| assert_eq!(error.fault, Fault::Refused, "{mode:?} {what}: {error}");
        for size in [10, MIB] {
            let replaced = storage.replace(&path("x"), content(&bytes(size, 1)), &guard, None).await;
            changed("replace", replaced.unwrap_err());
        }
        changed("remove", storage.remove(&path("x"), &known.token, None).await.unwrap_err());
        let kept = path(".wl-trash/t/x");
        changed("to the trash", storage.remove(&path("x"), &known.token, Some(&kept)).await.unwrap_err());
        changed("move", storage.move_within(&path("x"), &known.token, &path("y")).await.unwrap_err());
        changed(
            "copy",
            storage.copy_within(wl_test_kit::known(&path("x"), &known.token, b"known"), &path("y")).await.unwrap_err(),
        );
        assert_eq!((names(&server.root), fs::read(&at).unwrap()), (vec!["x".to_owned()], b"newer".to_vec()));
        write("known");
        let moved = storage.move_within(&path("x"), &known.token, &path("y")).await.unwrap();
        storage.remove(&path("y"), &moved.token, None).await.unwrap();
        assert_eq!(names(&server.root), [""; 0]);
    }
}

/// Its files can come into the trash, which is on another file system, only as copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_mounted_below_is_replaced_and_removed_and_kept() {
    for mode in [Mode::Exec, Mode::SftpOnly] {
        let server = kit::Server::fresh(mode).await;
        let (storage, below) = (&*server.storage, server.root.join("mounted"));
        fs::create_dir(&below).unwrap();
        let _mounted = Mounted::tmpfs(&below, "size=1m");
        let there = create(storage, "mounted/x", b"old").await.unwrap();
        let kept = |name: &str| (path(&format!(".wl-trash/t/{name}")), server.root.join(".wl-trash/t").join(name));
        let (guard, (place, file)) = (Guard::Unchanged(there.token.clone()), kept("one"));
        let written = storage.replace(&path("mounted/x"), content(b"new"), &guard, Some(&place)).await.unwrap();
        assert_eq!((fs::read(below.join("x")).unwrap(), fs::read(file).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        let (place, file) = kept("two");
        storage.remove(&path("mounted/x"), &written.entry.token, Some(&place)).await.unwrap();
        assert_eq!(fs::read(file).unwrap(), b"new");
        assert_eq!(names(&server.root), [".wl-trash/t/one", ".wl-trash/t/two"]);
        assert_eq!(storage.facts().create, wl_core::backend::Swap::Atomic);
    }
}

/// As when the file system that belongs there is not mounted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_a_missing_root_nothing_is_absent() {
    let server = kit::Server::fresh(Mode::SftpOnly).await;
    assert!(matches!(server.storage.stat(&path("x")).await, Ok(Look::Absent)));
    let away = server.root.with_extension("away");
    fs::rename(&server.root, &away).unwrap();
    assert_eq!(server.storage.stat(&path("x")).await.unwrap_err().fault, Fault::Missing);
    assert_eq!(server.storage.can_make_root().await, Ok(()));
    let parent = server.root.parent().unwrap();
    fs::rename(parent, parent.with_extension("gone")).unwrap();
    assert_eq!(server.storage.can_make_root().await.unwrap_err().fault, Fault::Missing);
    assert_eq!(server.storage.can_make_root().await, server.storage.make_root().await);
    fs::rename(parent.with_extension("gone"), parent).unwrap();
    fs::rename(&away, &server.root).unwrap();
    assert!(matches!(server.storage.stat(&path("x")).await, Ok(Look::Absent)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_link_leads_out() {
    let server = kit::Server::fresh(Mode::Exec).await;
    let outside = server.sshd.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "theirs").unwrap();
    symlink(&outside, server.root.join("out")).unwrap();
    symlink(outside.join("secret"), server.root.join("file")).unwrap();
    fs::write(server.root.join("x"), "x").unwrap();
    let storage = &*server.storage;
    for blocked in ["out", "file", "out/secret"] {
        assert!(matches!(storage.stat(&path(blocked)).await, Ok(Look::Blocked(_))), "{blocked}");
    }
    let Ok(Look::Entry(x)) = storage.stat(&path("x")).await else { panic!("x is there") };
    let guard = Guard::Unchanged(x.token.clone());
    for at in ["out/new", "out/secret", "file"] {
        assert!(create(storage, at, b"ours").await.is_err(), "{at}");
        assert!(storage.replace(&path(at), content(b"ours"), &guard, None).await.is_err(), "{at}");
        assert!(storage.remove(&path(at), &x.token, None).await.is_err(), "{at}");
        assert!(storage.move_within(&path("x"), &x.token, &path(at)).await.is_err(), "{at}");
        assert!(storage.read(&path(at), &x.token, 0).await.is_err(), "{at}");
        assert!(storage.hash(&path(at), &x.token).await.is_err(), "{at}");
    }
    assert!(storage.make_dir(&path("out/d"), &Meta::default()).await.is_err());
    assert!(storage.remove_dir(&path("out")).await.is_err());
    let below = storage.list(&path("out"), None).collect::<Vec<_>>().await.concat();
    assert!(matches!(&below[..], [Listed::Blocked(..)]), "{below:?}");
    assert_eq!(
        (names(&outside), fs::read(outside.join("secret")).unwrap()),
        (vec!["secret".to_owned()], b"theirs".to_vec())
    );
}

/// Its user may clear it away at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_is_made_again_when_it_was_removed() {
    let server = kit::Server::fresh(Mode::SftpOnly).await;
    let (storage, trash) = (&*server.storage, server.root.join(".wl-trash"));
    let mut there = create(storage, "x", b"0").await.unwrap();
    for round in 1..4_u8 {
        let kept = path(&format!(".wl-trash/{round}/x"));
        let guard = Guard::Unchanged(there.token.clone());
        there = storage.replace(&path("x"), content(&[b'0' + round]), &guard, Some(&kept)).await.unwrap().entry;
        assert_eq!(fs::read(server.root.join(kept.as_str())).unwrap(), [b'0' + round - 1]);
        fs::remove_dir_all(&trash).unwrap();
    }
    storage.remove(&path("x"), &there.token, Some(&path(".wl-trash/4/x"))).await.unwrap();
    assert_eq!(
        (names(&server.root), fs::read(trash.join("4/x")).unwrap()),
        (vec![".wl-trash/4/x".to_owned()], b"3".to_vec())
    );
}

/// As where the other side has one that is longer than what the server's file system takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_server_cannot_hold_is_blocked() {
    for mode in [Mode::Exec, Mode::SftpOnly] {
        let server = kit::Server::fresh(mode).await;
        for name in ["x".repeat(256), format!("{}/y", "x".repeat(256))] {
            let look = server.storage.stat(&path(&name)).await;
            assert!(matches!(&look, Ok(Look::Blocked(why)) if why.kind == ProblemKind::Name), "{mode:?} {look:?}");
        }
    }
}

/// A tree with all that a listing can come across is the same by command and by SFTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_to_list_tell_the_same() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut told = Vec::new();
    for mode in [Mode::Exec, Mode::SftpOnly] {
        let server = kit::Server::fresh(mode).await;
        let at = |name: &[u8]| server.root.join(std::ffi::OsStr::from_bytes(name));
        for dir in [
            &b"a"[..],
            b"a/b",
            b"a-b",
            b"bad\xff",
            b"bad\xff/in",
            b".wl-trash",
            b".wl-trash/t",
            b"new\nline",
            b"empty",
            b".wl-part-dir",
        ] {
            fs::create_dir(at(dir)).unwrap();
        }
        for (number, file) in [
            &b"a/x"[..],
            b"a/b/y",
            b"a.txt",
            b"a0",
            b"a-b/z",
            b"bad\xff/in/f",
            b"a/\xfe",
            b".wl-trash/t/x",
            b".wl-part-1",
            b"a/.wl-part-2",
            b"new\nline/\x01\x7f",
            b"a/.wl-trash",
            b"'q\" $`!\\",
            b"-n",
        ]
        .into_iter()
        .enumerate()
        {
            fs::write(at(file), bytes(number * 100, 0)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_000 + number as u64 * 999);
            fs::File::options().write(true).open(at(file)).unwrap().set_modified(time).unwrap();
        }
        symlink("/etc", at(b"link")).unwrap();
        symlink("nowhere", at(b"a/dangling")).unwrap();
        assert!(Command::new("mkfifo").arg(at(b"a/pipe")).status().unwrap().success());
        let mut all = Vec::new();
        for under in ["", "a", "new\nline", ".wl-trash", "a0", "nowhere"] {
            let items = server.storage.list(&path(under), None).collect::<Vec<_>>().await.concat();
            // A directory's date and token say nothing.
            all.push(
                items
                    .into_iter()
                    .map(|item| match item {
                        Listed::Entry(path, entry) if entry.is_dir() => (format!("{path:?}/"), None),
                        Listed::Entry(path, entry) => (format!("{path:?}"), Some(entry)),
                        other => (format!("{other:?}"), None),
                    })
                    .collect::<Vec<_>>(),
            );
        }
        assert!(all[0].len() > 15, "{all:?}");
        told.push(all);
    }
    assert_eq!(told[0], told[1]);
}
