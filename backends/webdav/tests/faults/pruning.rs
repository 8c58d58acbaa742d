//! Where directories' entity tags change with everything below them, only what changed is asked for.

use std::collections::BTreeMap;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wl_core::backend::{Hint, WatchBy};

use super::*;

/// A watched storage behind a proxy.
struct Watched {
    server: Dav,
    proxy: Http,
    hints: UnboundedReceiver<Hint>,
}

const EVERY: Duration = Duration::from_millis(200);

impl Watched {
    /// With directories `d0` to `d9` of three files and a directory with one more file each.
    async fn start() -> Self {
        let server = servers::sabre::start_like_nextcloud();
        for number in 0..10 {
            for name in ["a", "b", "c", "e/x"] {
                server.user_write(format!("d{number}/{name}"), b"one");
            }
        }
        let proxy = Http::start(server.address());
        let mut more = login();
        more["watcher-interval"] = EVERY.as_secs_f64().into();
        let storage = storage(&format!("http://{}/dav/", proxy.address()), &more);
        let mut stream = storage.watch().await.unwrap();
        let (send, hints) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(hint) = stream.next().await {
                if send.send(hint).is_err() {
                    return;
                }
            }
        });
        let facts = storage.facts();
        assert_eq!((facts.watcher, facts.scan_every_s), (WatchBy::Scan, None));
        let watched = Self { server, proxy, hints };
        watched.rests().await;
        watched
    }

    /// Waits until everything is known and a look costs but one request.
    async fn rests(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.proxy.take();
        loop {
            tokio::time::sleep(4 * EVERY).await;
            let asked = self.proxy.take();
            if asked.len() < 8 && asked.iter().all(|request| request.header("depth") == Some("0")) {
                return;
            }
            assert!(Instant::now() < deadline, "{asked:?}");
        }
    }

    /// The next hint, and how many requests each directory was asked for its children by until then.
    async fn next(&mut self) -> (Hint, BTreeMap<String, usize>) {
        let hint = tokio::time::timeout(Duration::from_secs(20), self.hints.recv()).await.unwrap().unwrap();
        let mut asked = BTreeMap::new();
        for request in self.proxy.take().into_iter().filter(|request| request.header("depth") == Some("1")) {
            *asked.entry(request.path).or_default() += 1;
        }
        (hint, asked)
    }
}

fn asked(paths: &[&str]) -> BTreeMap<String, usize> {
    paths.iter().map(|path| (format!("/dav/{path}"), 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_way_to_a_change_is_asked_for() {
    let mut watched = Watched::start().await;
    watched.server.user_write("d7/e/x", b"two");
    let way = asked(&["", "d7/", "d7/e/"]);
    assert_eq!(watched.next().await, (Hint::Look(vec![path("d7/e/x")]), way.clone()));
    watched.server.user_write("d7/e/new", b"x");
    assert_eq!(watched.next().await, (Hint::Look(vec![path("d7/e/new")]), way.clone()));
    std::fs::remove_file(watched.server.root().join("d7/e/x")).unwrap();
    assert_eq!(watched.next().await, (Hint::Gone(vec![path("d7/e/x")]), way));
    watched.server.user_write("d3/made/x", b"x");
    assert_eq!(watched.next().await.0, Hint::LookBelow(vec![path("d3/made")]));
    watched.rests().await;
    std::fs::remove_dir_all(watched.server.root().join("d4")).unwrap();
    assert_eq!(watched.next().await, (Hint::Gone(vec![path("d4")]), asked(&[""])));
    watched.rests().await;
    watched.server.user_write("d3/made/x", b"two");
    assert_eq!(watched.next().await.0, Hint::Look(vec![path("d3/made/x")]));
}

/// A change that comes while the change before it is looked at, in what was looked at already or not yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_a_look_is_not_missed() {
    for before in ["/dav/d1/", "/dav/d8/"] {
        let mut watched = Watched::start().await;
        let root = watched.server.root().to_owned();
        let mut done = false;
        watched.proxy.decide(move |request| {
            if !done && request.path == before && request.header("depth") == Some("1") {
                done = true;
                for name in ["d1/e/x", "d8/e/x"] {
                    std::fs::write(root.join(name), b"three").unwrap();
                }
            }
            Action::Pass
        });
        for name in ["d1/a", "d8/a"] {
            watched.server.user_write(name, b"two");
        }
        let mut missing: Vec<_> = ["d1/a", "d1/e/x", "d8/a", "d8/e/x"].map(path).into();
        while !missing.is_empty() {
            match watched.next().await.0 {
                Hint::Look(paths) => missing.retain(|path| !paths.contains(path)),
                hint => panic!("{hint:?}"),
            }
        }
    }
}

/// What could not be looked at may have changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_fails_is_said_to_be_everything() {
    let mut watched = Watched::start().await;
    watched.server.user_write("d2/a", b"two");
    watched.proxy.decide(|request| if request.path == "/dav/d2/" { Action::status(502) } else { Action::Pass });
    assert_eq!(watched.next().await.0, Hint::Everything);
    watched.proxy.decide(|_| Action::Pass);
    watched.rests().await;
    watched.server.user_write("d2/a", b"three");
    loop {
        match watched.next().await.0 {
            Hint::Look(paths) if paths == [path("d2/a")] => break,
            hint => assert_eq!(hint, Hint::Everything),
        }
    }
}

/// Whose tags change only with what is directly in a directory, or who may not be written to, is listed.
#[tokio::test(flavor = "multi_thread")]
async fn other_servers_are_listed() {
    for (server, read_only) in [
        (servers::apache::start(), false),
        (servers::lighttpd::start(), false),
        (servers::nginx::start(), false),
        (servers::sabre::start(), false),
        (servers::sabre::start_like_nextcloud(), true),
    ] {
        let proxy = Http::start(server.address());
        let mut more = login();
        more["read-only"] = read_only.into();
        let storage = storage(&format!("http://{}/dav/", proxy.address()), &more);
        let refused = storage.watch().await.err().map(|error| error.fault);
        assert_eq!(refused, Some(Fault::Unsupported), "{server:?}");
        assert!(storage.facts().scan_every_s.is_some(), "{server:?}");
        assert!(!read_only || proxy.count(|request| request.method != "PROPFIND") == 0);
        assert_eq!(std::fs::read_dir(server.root()).unwrap().count(), 0, "{server:?}");
    }
}
