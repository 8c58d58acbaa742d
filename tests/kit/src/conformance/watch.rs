//! The native watcher: it may say too much, never too little.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use wl_core::backend::{Guard, Hint, WatchBy};
use wl_core::error::Fault;
use wl_core::path::RelPath;

use super::{Bench, content, create, does_not_apply, entry, path};

/// How long a hint may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// The hints, and those that came by so far.
struct Watched {
    hints: BoxStream<'static, Hint>,
    seen: Vec<Hint>,
}

async fn watched(bench: &dyn Bench) -> Option<Watched> {
    let backend = bench.backend().await;
    let hints = match backend.watch().await {
        Ok(hints) => hints,
        Err(error) => {
            let facts = backend.facts();
            assert_eq!((error.fault, facts.watcher), (Fault::Unsupported, WatchBy::Scan), "{error}");
            assert!(facts.scan_every_s.is_some());
            does_not_apply("it can only be scanned, and says so");
            return None;
        }
    };
    let facts = backend.facts();
    assert!(facts.watcher == WatchBy::Native || facts.scan_every_s.is_none(), "its watcher is not listened to");
    Some(Watched { hints, seen: Vec::new() })
}

impl Watched {
    /// Waits until the hints so far cover a path.
    async fn covers(&mut self, path: &RelPath) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.seen.iter().any(|hint| covers(hint, path)) {
            match tokio::time::timeout_at(deadline, self.hints.next()).await {
                Ok(Some(hint)) => self.seen.push(hint),
                Ok(None) => panic!("the watcher ended before it told of {path}: {:?}", self.seen),
                Err(elapsed) => panic!("the watcher stayed silent about {path}: {elapsed}: {:?}", self.seen),
            }
        }
    }
}

fn covers(hint: &Hint, path: &RelPath) -> bool {
    match hint {
        Hint::Look(paths) => paths.contains(path),
        Hint::LookBelow(dirs) => dirs.iter().any(|dir| path.is_at_or_below(dir)),
        // A vanished directory takes with it what is below.
        Hint::Gone(paths) => paths.iter().any(|gone| path.is_at_or_below(gone)),
        Hint::Everything | Hint::Degraded(_) => true,
    }
}

pub async fn notices_a_write(bench: &dyn Bench) {
    bench.user_write(&path("old"), b"one").await;
    let Some(mut watched) = watched(bench).await else { return };
    bench.user_write(&path("new"), b"x").await;
    watched.covers(&path("new")).await;
    watched.seen.clear();
    bench.user_write(&path("old"), b"two").await;
    watched.covers(&path("old")).await;
}

pub async fn notices_a_delete(bench: &dyn Bench) {
    bench.user_write(&path("d/x"), b"x").await;
    bench.user_write(&path("e/f/x"), b"x").await;
    let Some(mut watched) = watched(bench).await else { return };
    bench.user_delete(&path("d/x")).await;
    watched.covers(&path("d/x")).await;
    bench.user_delete(&path("e")).await;
    watched.covers(&path("e/f/x")).await;
    watched.covers(&path("e")).await;
}

pub async fn notices_a_rename(bench: &dyn Bench) {
    bench.user_write(&path("d/x"), b"x").await;
    bench.user_write(&path("e/f/x"), b"x").await;
    let Some(mut watched) = watched(bench).await else { return };
    bench.user_rename(&path("d/x"), &path("d/y")).await;
    watched.covers(&path("d/x")).await;
    watched.covers(&path("d/y")).await;
    bench.user_rename(&path("e"), &path("g")).await;
    watched.covers(&path("e/f/x")).await;
    watched.covers(&path("g/f/x")).await;
    // The renamed directory is watched under its new name.
    watched.seen.clear();
    bench.user_write(&path("g/f/later"), b"x").await;
    watched.covers(&path("g/f/later")).await;
}

pub async fn notices_a_tree_made_at_once(bench: &dyn Bench) {
    let Some(mut watched) = watched(bench).await else { return };
    for round in 0..10 {
        let at = path(&format!("r{round}/a/b/c/file"));
        bench.user_write(&at, b"x").await;
        watched.covers(&at).await;
    }
    for round in 0..10 {
        let at = path(&format!("r{round}/a/b/c/later"));
        bench.user_write(&at, b"x").await;
        watched.covers(&at).await;
    }
}

pub async fn notices_changes_in_directories_there_were(bench: &dyn Bench) {
    bench.user_write(&path("a/b/c/d/file"), b"x").await;
    let Some(mut watched) = watched(bench).await else { return };
    bench.user_write(&path("a/b/c/d/other"), b"x").await;
    watched.covers(&path("a/b/c/d/other")).await;
    bench.user_mkdir(&path("a/b/empty")).await;
    watched.covers(&path("a/b/empty")).await;
}

pub async fn tells_nothing_of_its_own_part_files_and_trash(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let Some(mut watched) = watched(bench).await else { return };
    create(&backend, &path("x"), b"one").await;
    let there = entry(&backend, &path("x")).await;
    let trash = backend.facts().trash.then(|| path(".wl-trash/1/x"));
    let guard = Guard::Unchanged(there.token);
    let replaced = backend.replace(&path("x"), content(b"two"), &guard, trash.as_ref()).await;
    assert!(replaced.is_ok(), "{replaced:?}");
    bench.user_write(&path("marker"), b"x").await;
    watched.covers(&path("marker")).await;
    for hint in &watched.seen {
        let (Hint::Look(paths) | Hint::LookBelow(paths) | Hint::Gone(paths)) = hint else { continue };
        assert!(!paths.iter().any(RelPath::is_ours), "{hint:?}");
    }
}
