//! The root, what dead writers left, and the probe.

use std::time::Duration;

use wl_core::backend::{Backend, Guard, Listed};
use wl_core::error::Fault;
use wl_core::path::RelPath;

use super::{Bench, content, create, does_not_apply, holds, listed, path};

pub async fn the_root_stays_the_same(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let before = backend.root().await;
    assert!(before.is_ok(), "{before:?}");
    create(&backend, &path("x"), b"x").await;
    bench.user_delete(&path("x")).await;
    assert_eq!(backend.make_root().await, Ok(()), "of a root that exists");
    assert_eq!(backend.root().await, before);
}

pub async fn another_root_is_another(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let before = backend.root().await;
    if !bench.replace_root().await {
        return does_not_apply("its root cannot be replaced");
    }
    let after = backend.root().await;
    assert!(after.is_ok() && after != before, "{before:?} {after:?}");
}

pub async fn a_missing_root_is_missing(bench: &dyn Bench) {
    let backend = bench.backend().await;
    create(&backend, &path("x"), b"x").await;
    if !goes(bench, &*backend).await {
        return does_not_apply("its root cannot be removed");
    }
    assert_eq!(backend.root().await.map_err(|error| error.fault), Err(Fault::Missing));
    let items = listed(&backend, &RelPath::root()).await;
    let unknown = |item: &Listed| matches!(item, Listed::Blocked(at, _) | Listed::Cut(at, _) if at.is_root());
    assert!(items.iter().any(unknown), "a missing root is not an empty one: {items:?}");
    // What is gone may be a disk that comes back: nothing is put in its place.
    let written = backend.replace(&path("y"), content(b"y"), &Guard::Absent, None).await;
    assert!(written.is_err(), "{written:?}");
    let made = backend.make_dir(&path("d"), &wl_core::entry::Meta::default()).await;
    assert!(made.is_err(), "{made:?}");
    assert_eq!(backend.root().await.map_err(|error| error.fault), Err(Fault::Missing));
}

/// Removes the root; once more where a storage that tries out its server just wrote into it, or deleted from it what the
/// server was about to delete with it.
async fn goes(bench: &dyn Bench, backend: &dyn Backend) -> bool {
    for _ in 0..50 {
        if !bench.remove_root().await {
            return false;
        }
        if backend.root().await.is_err_and(|error| error.fault == Fault::Missing) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

pub async fn makes_a_missing_root(bench: &dyn Bench) {
    let backend = bench.backend().await;
    if !goes(bench, &*backend).await {
        return does_not_apply("its root cannot be removed");
    }
    let can = backend.can_make_root().await;
    assert_eq!(backend.root().await.map_err(|error| error.fault), Err(Fault::Missing), "to ask makes none");
    match backend.make_root().await {
        Ok(()) => {
            assert_eq!(can, Ok(()));
            assert!(backend.root().await.is_ok());
            create(&backend, &path("x"), b"x").await;
            holds(bench, &path("x"), b"x").await;
        }
        Err(error) => println!("does not make a root: {error}"),
    }
}

pub async fn sweeps_what_dead_writers_left(bench: &dyn Bench) {
    let backend = bench.backend().await;
    create(&backend, &path("kept"), b"x").await;
    bench.user_mkdir(&path("d")).await;
    let parts = [bench.leave_part(&path("d")).await, bench.leave_part(&RelPath::root()).await];
    listed(&backend, &RelPath::root()).await;
    let swept = backend.sweep().await;
    assert!(swept.is_ok(), "{swept:?}");
    for part in &parts {
        assert!(!bench.user_exists(part).await, "{part} was not swept");
    }
    holds(bench, &path("kept"), b"x").await;
    assert!(bench.user_exists(&path("d")).await);
}

pub async fn its_probe_leaves_nothing(bench: &dyn Bench) {
    let backend = bench.backend().await;
    create(&backend, &path("x"), b"x").await;
    let probed = backend.probe().await;
    assert!(probed.is_ok(), "{probed:?}");
    assert_eq!(super::names(&backend, "").await, ["x"]);
    holds(bench, &path("x"), b"x").await;
}
