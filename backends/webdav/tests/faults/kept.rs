//! What is replaced is looked at right before, and what was kept of it stays as long as it may be all that is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use wl_test_kit::known;
use wl_test_kit::proxy::Request;

use super::versions::is_old;
use super::*;

/// Puts a new file in the place of one, as its users do.
fn put_in_place(at: &Path, bytes: &[u8]) {
    let beside = at.with_file_name(".wl-part-user");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, at).unwrap();
}

/// Whether it is the MOVE or COPY to that path.
fn is_to(request: &Request, method: &str, at: &str) -> bool {
    request.method == method && request.header("destination").is_some_and(|to| to.ends_with(&format!("/dav/{at}")))
}

/// Files under a temporary name: a trial, which may still be under way, has a directory.
fn parts_in(root: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file() && path.to_string_lossy().contains("/.wl-part-")).collect()
}

impl Bench {
    /// Replaces `x`, which is written past the server before, and keeps the old version; what comes of it.
    async fn replace_kept(&self, bytes: &[u8], trash: &str) -> Result<Entry, Fault> {
        let old = self.entry("x").await;
        let content = Content::of(Bytes::copy_from_slice(bytes), Meta::default());
        let guard = Guard::Unchanged(old.token);
        let written = self.storage.replace(&path("x"), content, &guard, Some(&path(trash))).await;
        written.map(|written| written.entry).map_err(|error| error.fault)
    }

    fn user_writes_old_x(&self) {
        self.server.user_write("x", b"old");
        is_old(&self.server.root().join("x"));
    }

    fn held(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.server.root().join(name)).ok()
    }
}

/// Where a server heeds nothing that goes with a MOVE, its wish for patience opens no window for other writers.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_the_server_asks_for_patience_is_not_overwritten() {
    let bench = Bench::on(servers::nginx::start()).await;
    bench.user_writes_old_x();
    let (at, mut busy) = (bench.server.root().join("x"), false);
    bench.proxy.decide(move |request| {
        if request.method == "LOCK" {
            return Action::status(405);
        }
        if is_to(request, "MOVE", "x") && !busy {
            busy = true;
            put_in_place(&at, b"somebody else's");
            return answers(503, "retry-after", "0");
        }
        Action::Pass
    });
    let replaced = bench.replace_kept(b"new", ".wl-trash/now/x").await;
    let windows = bench.storage.facts().windows.concat();
    assert!(windows.contains("neither conditions nor locks"), "{windows}");
    assert_eq!(replaced.err(), Some(Fault::Refused));
    assert_eq!(bench.held("x").as_deref(), Some(&b"somebody else's"[..]));
    assert_eq!(bench.proxy.count(|request| is_to(request, "MOVE", "x")), 1, "it is not sent again unseen");
}

/// The same where something is created that the server would overwrite.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_would_overwrite_is_looked_at_before_each_try() {
    let server = servers::lighttpd::start();
    let mut busy = false;
    let proxy = Http::with(server.address(), move |request| match request.header("destination") {
        // So says a server in its trial that does not heed `Overwrite: F`.
        Some(to) if request.method == "MOVE" && to.ends_with("/there") => Action::status(204),
        Some(to) if to.ends_with("/dav/x") && !busy => {
            busy = true;
            answers(503, "retry-after", "0")
        }
        _ => Action::Pass,
    });
    let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
    let content = Content::of(Bytes::from(vec![b'n'; 100_000]), Meta::default());
    storage.replace(&path("x"), content, &Guard::Absent, None).await.unwrap();
    let windows = storage.facts().windows.concat();
    assert!(windows.contains("overwrites although it is told not to"), "{windows}");
    let requests = proxy.requests();
    let about: Vec<_> = requests.iter().filter(|one| one.path == "/dav/x" || is_to(one, "MOVE", "x")).collect();
    let methods: Vec<_> = about.iter().map(|one| one.method.as_str()).collect();
    assert_eq!(methods[..4], ["PROPFIND", "MOVE", "PROPFIND", "MOVE"]);
}

/// A request that took effect, was answered with 503 all the same and is refused when it is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_kept_although_the_request_is_refused_when_repeated() {
    for size in [9 << 20, 10] {
        let bench = Bench::on(servers::apache::start()).await;
        bench.user_writes_old_x();
        let (at, mut busy) = (bench.server.root().join("x"), false);
        bench.proxy.decide(move |request| {
            let done = if request.method == "PUT" && request.path == "/dav/x" {
                vec![b'n'; size]
            } else if is_to(request, "MOVE", "x") {
                fs::read(at.with_file_name(request.path.rsplit('/').next().unwrap())).unwrap()
            } else {
                return Action::Pass;
            };
            if busy {
                return Action::Pass;
            }
            busy = true;
            put_in_place(&at, &done);
            answers(503, "retry-after", "0")
        });
        let new = vec![b'n'; size];
        let replaced = bench.replace_kept(&new, ".wl-trash/now/x").await;
        assert!(replaced.is_ok() || replaced == Err(Fault::Refused), "{size}: {replaced:?}");
        assert!(bench.held("x") == Some(new), "{size}");
        assert_eq!(bench.held(".wl-trash/now/x").as_deref(), Some(&b"old"[..]), "{size}");
    }
}

/// What is asked of a server and not answered may be done yet: until then the old version may be all that is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_stays_kept_until_it_is_known_what_became_of_the_request() {
    for size in [9 << 20, 10] {
        let bench = Bench::on(servers::apache::start()).await;
        bench.user_writes_old_x();
        bench.proxy.decide(|request| {
            let change = request.method == "PUT" && request.path == "/dav/x" || is_to(request, "MOVE", "x");
            if change { Action::Close } else { Action::Pass }
        });
        let new = vec![b'n'; size];
        assert_eq!(bench.replace_kept(&new, ".wl-trash/one/x").await.err(), Some(Fault::Offline), "{size}");
        assert_eq!(bench.held(".wl-trash/one/x").as_deref(), Some(&b"old"[..]), "{size}");
        bench.proxy.decide(|_| Action::Pass);
        bench.replace_kept(&new, ".wl-trash/two/x").await.unwrap();
        assert_eq!(bench.held(".wl-trash/one/x"), None, "{size}: it is kept once");
        assert_eq!(bench.held(".wl-trash/two/x").as_deref(), Some(&b"old"[..]), "{size}");
    }
}

/// A proxy waits for less time than it takes to copy much.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_answered_is_looked_for() {
    let bench = Bench::on(servers::apache::start()).await;
    for (time, action) in [("one", Action::LoseAnswer), ("two", Action::status(504))] {
        bench.user_writes_old_x();
        let root = bench.server.root().to_owned();
        bench.proxy.decide(move |request| {
            if request.method != "COPY" {
                return Action::Pass;
            }
            if time == "two" {
                fs::copy(root.join("x"), root.join(".wl-trash/two/x")).unwrap();
            }
            action.clone()
        });
        bench.replace_kept(b"new", &format!(".wl-trash/{time}/x")).await.unwrap();
        assert_eq!(bench.held(&format!(".wl-trash/{time}/x")).as_deref(), Some(&b"old"[..]), "{time}");
    }
    // What comes later yet is taken by the next try.
    bench.user_writes_old_x();
    bench.proxy.decide(|request| if request.method == "COPY" { Action::status(504) } else { Action::Pass });
    assert_eq!(bench.replace_kept(b"new", ".wl-trash/three/x").await.err(), Some(Fault::Offline));
    fs::copy(bench.server.root().join("x"), bench.server.root().join(".wl-trash/three/x")).unwrap();
    bench.replace_kept(b"new", ".wl-trash/four/x").await.unwrap();
    assert_eq!(bench.held(".wl-trash/three/x"), None);
    assert_eq!(bench.held(".wl-trash/four/x").as_deref(), Some(&b"old"[..]));
}

/// A copy takes as long as it takes, and a lock does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_kept_before_it_is_locked() {
    let bench = Bench::on(servers::nginx::start()).await;
    bench.user_writes_old_x();
    bench.replace_kept(b"new", ".wl-trash/one/x").await.unwrap();
    let windows = bench.storage.facts().windows.concat();
    assert!(windows.contains("a file is locked, looked at and replaced"), "{windows}");
    let requests = bench.proxy.take();
    let at = |wanted: &dyn Fn(&Request) -> bool| requests.iter().position(wanted).unwrap();
    let kept = at(&|request| is_to(request, "COPY", ".wl-trash/one/x"));
    let locked = at(&|request| request.method == "LOCK" && request.path == "/dav/x");
    let moved = at(&|request| is_to(request, "MOVE", "x"));
    let seen = requests[locked..moved].iter().any(|request| request.method == "PROPFIND" && request.path == "/dav/x");
    assert!(kept < locked && seen, "kept {kept}, locked {locked}, moved {moved}");

    // Whoever holds it keeps it: nothing is replaced, and nothing left in the trash.
    bench.user_writes_old_x();
    bench.proxy.decide(|request| match request.method.as_str() {
        "LOCK" => Action::status(423),
        _ => Action::Pass,
    });
    assert_eq!(bench.replace_kept(b"new", ".wl-trash/two/x").await.err(), Some(Fault::Busy));
    assert_eq!((bench.held("x"), bench.held(".wl-trash/two/x")), (Some(b"old".to_vec()), None));

    // Nor is what somebody wrote before it was locked.
    let at = bench.server.root().join("x");
    bench.proxy.decide(move |request| {
        if request.method == "LOCK" {
            put_in_place(&at, b"somebody else's");
        }
        Action::Pass
    });
    assert_eq!(bench.replace_kept(b"new", ".wl-trash/three/x").await.err(), Some(Fault::Refused));
    assert_eq!(bench.held("x").as_deref(), Some(&b"somebody else's"[..]));
}

/// A user may remove the trash at any time.
#[tokio::test(flavor = "multi_thread")]
async fn a_trash_that_was_removed_is_made_again() {
    for server in
        [servers::apache::start(), servers::lighttpd::start(), servers::nginx::start(), servers::sabre::start()]
    {
        let bench = Bench::on(server).await;
        let remove_trash = || fs::remove_dir_all(bench.server.root().join(".wl-trash")).unwrap();
        for time in ["one", "two"] {
            bench.user_writes_old_x();
            let trash = format!(".wl-trash/{time}/x");
            let replaced = bench.replace_kept(b"new", &trash).await;
            assert!(replaced.is_ok(), "{time} {:?}: {replaced:?}", bench.server);
            assert_eq!(bench.held(&trash).as_deref(), Some(&b"old"[..]));
            remove_trash();
        }
        let token = bench.entry("x").await.token;
        let removed = bench.storage.remove(&path("x"), &token, Some(&path(".wl-trash/three/x"))).await;
        assert_eq!(removed, Ok(()), "{:?}", bench.server);
        assert_eq!((bench.held("x"), bench.held(".wl-trash/three/x")), (None, Some(b"new".to_vec())));
    }
}

/// So may the directory that parts lie in, where a server lists nothing that begins with a dot: the next try makes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_parts_that_was_removed_is_made_again() {
    let bench = Bench::on(servers::nginx::start()).await;
    let bytes = vec![b'n'; 100_000];
    bench.write("before", &bytes, &Guard::Absent).await.unwrap();
    fs::remove_dir_all(bench.server.root().join(".wl-part-all")).unwrap();
    // nginx answers 500, as to whatever it has no place for.
    let first = bench.write("after", &bytes, &Guard::Absent).await;
    assert!(first.is_ok() || first == Err(Fault::Broken), "{first:?}");
    bench.write("again", &bytes, &Guard::Absent).await.unwrap();
    assert!(bench.held("again") == Some(bytes));
}

/// That a server says it has copied a file proves nothing of what is there then.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_inside_the_storage_is_proven() {
    for server in [servers::apache::start(), servers::lighttpd::start()] {
        let bench = Bench::on(server).await;
        bench.user_writes_old_x();
        let copy = async |to: &str, holding: &[u8]| {
            let token = bench.entry("x").await.token;
            let copied = bench.storage.copy_within(known(&path("x"), &token, holding), &path(to)).await;
            copied.map_err(|error| error.fault)
        };
        let (root, mut copied, mut cut) = (bench.server.root().to_owned(), false, false);
        bench.proxy.decide(move |request| {
            if copied && !cut {
                cut = true;
                put_in_place(&parts_in(&root)[0], b"o");
            }
            copied |= request.method == "COPY";
            Action::Pass
        });
        assert!(copy("cut", b"old").await.is_err(), "{:?}", bench.server);
        assert!(bench.held("cut").is_none() && parts_in(bench.server.root()).is_empty(), "{:?}", bench.server);

        let (at, mut moved, mut raced) = (bench.server.root().join("raced"), false, false);
        bench.proxy.decide(move |request| {
            if moved && !raced && request.path == "/dav/raced" {
                raced = true;
                put_in_place(&at, b"somebody else's");
            }
            moved |= request.method == "MOVE";
            Action::Pass
        });
        assert_eq!(copy("raced", b"old").await, Err(Fault::Refused), "{:?}", bench.server);
        assert_eq!(bench.held("raced").as_deref(), Some(&b"somebody else's"[..]));

        // Its sha256 is known: the copy alone is read.
        let read = Arc::new(AtomicBool::new(false));
        bench.proxy.decide({
            let read = read.clone();
            move |request| {
                read.fetch_or(request.method == "GET" && request.path == "/dav/x", Ordering::Relaxed);
                Action::Pass
            }
        });
        copy("whole", b"old").await.unwrap();
        assert!(!read.load(Ordering::Relaxed), "{:?}", bench.server);
        assert_eq!(bench.held("whole").as_deref(), Some(&b"old"[..]));
        assert_eq!(copy("other", b"odd").await, Err(Fault::Broken), "{:?}", bench.server);
        assert!(bench.held("other").is_none() && parts_in(bench.server.root()).is_empty(), "{:?}", bench.server);
    }
}
