//! Listing, looking, hashing and reading.

mod kit;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use futures::StreamExt as _;
use kit::{Storage, fault, path, storage};
use wl_backend_local::Local;
use wl_core::backend::{Backend as _, Look};
use wl_core::entry::{Hash, Kind, Token};
use wl_core::error::{Error, Fault};
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;
use wl_test_kit::mounted::Mounted;

#[tokio::test]
async fn what_is_unmounted_below_the_root_is_unknown_and_not_deleted() {
    let s = storage();
    for at in ["d/disk", "e"] {
        fs::create_dir_all(s.at(at)).unwrap();
    }
    let Some(disk) = Mounted::in_memory(&s.at("d/disk"), 64) else { return };
    s.put("d/disk/in/f", "x");
    let all = ["d/", "d/disk/", "d/disk/in/", "d/disk/in/f", "e/"];
    assert_eq!(s.names("").await, all);
    drop(disk);
    let is_blocked = async |name: &str| {
        let look = s.local.stat(&path(name)).await.unwrap();
        matches!(look, Look::Blocked(why) if why.kind == ProblemKind::Offline)
    };
    for name in ["d/disk", "d/disk/in", "d/disk/in/f", "d/disk/other"] {
        assert!(is_blocked(name).await, "{name}");
    }
    assert!(!is_blocked("d").await && !is_blocked("e").await);
    let names = s.names("").await;
    assert!(names[1].starts_with("!d/disk what was mounted here is not"), "{names:?}");
    assert_eq!((&*names[0], &*names[2], names.len()), ("d/", "e/", 3));
    assert_eq!(s.names("d/disk/in").await.len(), 1, "neither is what was below it");

    let Some(_disk) = Mounted::in_memory(&s.at("d/disk"), 64) else { return };
    s.put("d/disk/in/f", "x");
    assert_eq!(s.names("").await, all);
    assert!(!is_blocked("d/disk/in/f").await);
}

async fn read(s: &Storage, name: &str, token: &Token, from: u64) -> Result<Vec<u8>, Error> {
    let mut body = s.local.read(&path(name), token, from).await?.body;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn lists_in_order_and_hides_what_is_ours() {
    let s = storage();
    for name in ["a/x", "a-b", "a.txt", "a0", "b/c/d", "é", ".wl-trash/old", "b/.wl-trash/kept", "b/.wl-part-1-1", "A"]
    {
        s.put(name, name);
    }
    fs::create_dir(s.at("empty")).unwrap();
    let all = ["A", "a-b", "a.txt", "a/", "a/x", "a0", "b/", "b/.wl-trash/", "b/.wl-trash/kept", "b/c/", "b/c/d"];
    assert_eq!(s.names("").await, [&all[..], &["empty/", "é"]].concat());
    assert_eq!(s.names("b/c").await, ["b/c/d"]);
    assert_eq!(s.names(".wl-trash").await, [".wl-trash/old"]);
    assert!(s.names("none").await.is_empty() && s.names("A").await.is_empty());
}

#[tokio::test]
async fn an_entry_says_size_time_and_mode() {
    let s = storage();
    s.put("f", "four");
    fs::set_permissions(s.at("f"), fs::Permissions::from_mode(0o4751)).unwrap();
    let entry = s.entry("f").await;
    assert_eq!((entry.kind, entry.size, entry.meta.mode), (Kind::File, 4, Some(0o751)));
    let modified = fs::metadata(s.at("f")).unwrap().modified().unwrap();
    assert_eq!(entry.meta.mtime, jiff::Timestamp::try_from(modified).ok());
    assert!(s.entry("").await.is_dir());
    assert_eq!(s.local.stat(&path("f/below")).await, Ok(Look::Absent));
    assert_eq!(s.local.stat(&path("none/x")).await, Ok(Look::Absent));
}

#[tokio::test]
async fn what_cannot_be_synced_is_said() {
    let s = storage();
    s.put("dir/file", "x");
    symlink("dir", s.at("link")).unwrap();
    symlink("/nowhere", s.at("dangling")).unwrap();
    let _socket = UnixListener::bind(s.at("sock")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        s.at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::write(s.dir.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"bad\xff")), "x")
        .unwrap();
    let expected =
        ["?bad\\xff", "!dangling symbolic link", "dir/", "dir/file", "!link symbolic link", "!pipe named pipe"];
    assert_eq!(s.names("").await, [&expected[..], &["!sock socket"]].concat());
    for (name, message) in
        [("link", "symbolic link"), ("link/file", "lies below a symbolic link"), ("pipe", "named pipe")]
    {
        let Ok(Look::Blocked(why)) = s.local.stat(&path(name)).await else { panic!("{name}") };
        assert_eq!((why.kind, &*why.message), (ProblemKind::Skipped, message));
    }
    assert_eq!(s.names("link").await, ["!link lies below a symbolic link"]);
}

#[tokio::test]
async fn pruned_directories_are_not_entered() {
    let s = storage();
    s.put("keep/x", "");
    s.put("drop/x", "");
    let prune = Arc::new(|path: &RelPath, kind: Kind| kind == Kind::Dir && path.as_str() == "drop");
    let items: Vec<_> =
        s.local.list(&RelPath::root(), Some(prune)).map(futures::stream::iter).flatten().collect().await;
    assert_eq!(items.len(), 2);
}

#[tokio::test]
async fn an_unreadable_directory_blocks_only_itself() {
    let s = storage();
    s.put("locked/secret", "x");
    s.put("open/file", "x");
    fs::set_permissions(s.at("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(s.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let names = as_nobody(|| async { s.names("").await });
    assert_eq!(names[0], "locked/");
    assert!(names[1].starts_with("!locked permission denied: give"), "{names:?}");
    assert_eq!(names[2..], ["open/", "open/file"]);
}

/// Runs in threads without root's rights to read everything, where the tests run as root.
fn as_nobody<T: Send, F: Future<Output = T>>(test: impl FnOnce() -> F + Send) -> T {
    let run = move || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(65534)).unwrap();
        }
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test())
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[tokio::test]
async fn a_dropped_listing_ends_its_walk() {
    let s = storage();
    for at in 0..3000 {
        s.put(&format!("d{}/f{at}", at % 30), "");
    }
    let mut listing = s.local.list(&RelPath::root(), None);
    assert!(listing.next().await.is_some());
    drop(listing);
    kit::eventually("the walker closes its directories", || {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        !open.into_iter().any(|to| to.starts_with(s.dir.path()))
    })
    .await;
}

#[tokio::test]
async fn a_rewrite_of_the_same_size_and_time_changes_the_token() {
    let s = storage();
    s.put("f", "one");
    for text in ["two", "six", "ten"] {
        let before = s.token("f").await;
        let modified = fs::metadata(s.at("f")).unwrap().modified().unwrap();
        s.put("f", text);
        fs::File::options().write(true).open(s.at("f")).unwrap().set_modified(modified).unwrap();
        let after = s.token("f").await;
        assert!(!before.same(&after) || before.is_racy());
        assert_eq!(s.entry("f").await.meta.mtime, jiff::Timestamp::try_from(modified).ok());
    }
}

#[tokio::test]
async fn hashes_and_reads_one_version_only() {
    let s = storage();
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(|at| at.to_le_bytes()[..1].to_vec()).collect();
    for (name, bytes) in [("empty", &b""[..]), ("small", b"some bytes"), ("large", &large)] {
        s.put(name, bytes);
        let token = s.token(name).await;
        assert_eq!(s.local.hash(&path(name), &token).await, Ok(Hash::of(bytes)), "{name}");
        for from in [0, bytes.len() / 2, bytes.len()] {
            assert!(read(&s, name, &token, from as u64).await.unwrap() == bytes[from..], "{name} {from}");
        }
        s.put(name, [bytes, b"more"].concat());
        assert_eq!(fault(s.local.hash(&path(name), &token).await), Fault::Refused);
        assert_eq!(fault(read(&s, name, &token, 0).await), Fault::Refused);
        fs::remove_file(s.at(name)).unwrap();
        assert_eq!(fault(s.local.hash(&path(name), &token).await), Fault::Refused);
    }
}

#[tokio::test]
async fn a_file_that_changes_under_its_reader_is_no_mixture() {
    let s = storage();
    s.put("f", vec![1; 6 << 20]);
    let token = s.token("f").await;
    let mut body = s.local.read(&path("f"), &token, 0).await.unwrap().body;
    body.next().await.unwrap().unwrap();
    s.put("f", vec![2; 6 << 20]);
    let mut last = Ok(bytes::Bytes::new());
    while let Some(piece) = body.next().await {
        last = piece;
    }
    assert_eq!(fault(last), Fault::Refused);
}

#[tokio::test]
async fn thousands_of_hashes_at_once() {
    let s = storage();
    for at in 0..2000 {
        s.put(&format!("f{at}"), format!("{at}"));
    }
    let hashes = (0..2000).map(|at| {
        let s = &s;
        async move {
            let name = format!("f{at}");
            let token = s.token(&name).await;
            assert_eq!(s.local.hash(&path(&name), &token).await, Ok(Hash::of(format!("{at}").as_bytes())));
        }
    });
    futures::future::join_all(hashes).await;
}

#[tokio::test]
async fn the_root_is_looked_for_each_time() {
    let parent = tempfile::tempdir().unwrap();
    let at = parent.path().join("root");
    let local = Local::new(&at).unwrap();
    assert_eq!(fault(local.root().await), Fault::Missing);
    assert_eq!(fault(local.stat(&path("x")).await), Fault::Missing);
    assert_eq!(local.can_make_root().await, Ok(()));
    assert_eq!(fault(local.root().await), Fault::Missing, "it was not made");
    local.make_root().await.unwrap();
    local.make_root().await.unwrap();
    let first = local.root().await.unwrap();
    assert_eq!(local.root().await.as_ref(), Ok(&first));
    fs::rename(&at, parent.path().join("away")).unwrap();
    fs::create_dir(&at).unwrap();
    assert_ne!(local.root().await.unwrap(), first);
    fs::write(at.join("x"), "").unwrap();
    assert!(matches!(local.stat(&path("x")).await, Ok(Look::Entry(_))));
    fs::remove_dir_all(&at).unwrap();
    fs::write(&at, "a file").unwrap();
    assert_eq!(fault(local.root().await), Fault::Malformed);
    let orphan = Local::new(&parent.path().join("no/parent")).unwrap();
    assert_eq!(fault(orphan.make_root().await), Fault::Missing);
    assert_eq!(orphan.can_make_root().await, orphan.make_root().await);
}
