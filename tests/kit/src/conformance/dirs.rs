//! Directories, and moving and copying inside the storage.

use wl_core::backend::{Guard, Known, Look};
use wl_core::entry::Meta;
use wl_core::error::{Error, Fault};

use crate::known;

use super::{Bench, content, create, does_not_apply, entry, holds, names, no_part_is_left, noise, path, refused};

pub async fn makes_a_directory_once(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let meta = Meta { mtime: None, mode: Some(0o755) };
    for _ in 0..2 {
        assert_eq!(backend.make_dir(&path("d"), &meta).await, Ok(()));
        assert_eq!(backend.make_dir(&path("d/e"), &Meta::default()).await, Ok(()));
    }
    assert_eq!(names(&backend, "").await, ["d/", "d/e/"]);
    create(&backend, &path("d/e/x"), b"x").await;
    assert_eq!(backend.make_dir(&path("d/e"), &meta).await, Ok(()), "of one that holds something");
    assert_eq!(names(&backend, "").await, ["d/", "d/e/", "d/e/x"]);
}

pub async fn makes_no_directory_over_a_file(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("x"), b"mine").await;
    refused(backend.make_dir(&path("x"), &Meta::default()).await, "a file is in the way");
    holds(bench, &path("x"), b"mine").await;
}

pub async fn removes_an_empty_directory(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_mkdir(&path("d/e")).await;
    assert_eq!(backend.remove_dir(&path("d/e")).await, Ok(()));
    assert_eq!(names(&backend, "").await, ["d/"], "its parent stays");
    assert_eq!(backend.remove_dir(&path("d")).await, Ok(()));
    assert_eq!(backend.stat(&path("d")).await, Ok(Look::Absent));
    let gone = backend.remove_dir(&path("d")).await;
    assert!(matches!(gone, Ok(()) | Err(Error { fault: Fault::Missing, .. })), "{gone:?}");
}

pub async fn removes_no_directory_that_holds_anything(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("d/x"), b"mine").await;
    bench.user_mkdir(&path("e/f")).await;
    bench.user_write(&path("file"), b"mine").await;
    refused(backend.remove_dir(&path("d")).await, "it holds a file");
    refused(backend.remove_dir(&path("e")).await, "it holds a directory");
    refused(backend.remove_dir(&path("file")).await, "it is a file");
    if bench.user_special(&path("g/s")).await {
        refused(backend.remove_dir(&path("g")).await, "it holds something that cannot be synced");
    }
    holds(bench, &path("d/x"), b"mine").await;
    holds(bench, &path("file"), b"mine").await;
    assert!(entry(&backend, &path("e/f")).await.is_dir());
}

pub async fn leftovers_do_not_keep_a_directory(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_mkdir(&path("d")).await;
    bench.leave_part(&path("d")).await;
    assert_eq!(backend.remove_dir(&path("d")).await, Ok(()));
    assert!(!bench.user_exists(&path("d")).await);
}

pub async fn moves_within(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_mkdir(&path("e")).await;
    let bytes = noise(100_000, 1);
    bench.user_write(&path("d/a b%20c"), &bytes).await;
    let there = entry(&backend, &path("d/a b%20c")).await;
    let moved = backend.move_within(&path("d/a b%20c"), &there.token, &path("e/y #1")).await;
    if !backend.facts().server_move {
        assert!(matches!(moved, Err(Error { fault: Fault::Unsupported, .. })), "{moved:?}");
        return does_not_apply("it cannot move, and says so");
    }
    let now = entry(&backend, &path("e/y #1")).await;
    assert!(moved.as_ref().is_ok_and(|moved| moved.token.same(&now.token)), "{moved:?} {now:?}");
    holds(bench, &path("e/y #1"), &bytes).await;
    assert!(!bench.user_exists(&path("d/a b%20c")).await);
    assert!(bench.user_exists(&path("d")).await, "the directory it was in stays");
}

pub async fn copies_within(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_mkdir(&path("e")).await;
    let bytes = noise(100_000, 1);
    bench.user_write(&path("d/a b%20c"), &bytes).await;
    let there = entry(&backend, &path("d/a b%20c")).await;
    let copied = backend.copy_within(known(&path("d/a b%20c"), &there.token, &bytes), &path("e/y #1")).await;
    if !backend.facts().server_copy {
        assert!(matches!(copied, Err(Error { fault: Fault::Unsupported, .. })), "{copied:?}");
        return does_not_apply("it cannot copy, and says so");
    }
    let now = entry(&backend, &path("e/y #1")).await;
    assert!(copied.as_ref().is_ok_and(|copied| copied.token.same(&now.token)), "{copied:?} {now:?}");
    holds(bench, &path("e/y #1"), &bytes).await;
    holds(bench, &path("d/a b%20c"), &bytes).await;
    // Two files, not two names of one.
    let guard = Guard::Unchanged(now.token);
    let replaced = backend.replace(&path("e/y #1"), content(b"new"), &guard, None).await;
    assert!(replaced.is_ok(), "{replaced:?}");
    holds(bench, &path("d/a b%20c"), &bytes).await;
}

pub async fn moves_and_copies_onto_nothing(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("x"), b"moved").await;
    bench.user_write(&path("file"), b"mine").await;
    bench.user_write(&path("dir/z"), b"mine").await;
    bench.user_mkdir(&path("bare")).await;
    let (facts, there) = (backend.facts(), entry(&backend, &path("x")).await);
    for taken in ["file", "dir", "bare"] {
        if facts.server_move {
            refused(backend.move_within(&path("x"), &there.token, &path(taken)).await, taken);
        }
        if facts.server_copy {
            refused(backend.copy_within(known(&path("x"), &there.token, b"moved"), &path(taken)).await, taken);
        }
    }
    holds(bench, &path("x"), b"moved").await;
    holds(bench, &path("file"), b"mine").await;
    holds(bench, &path("dir/z"), b"mine").await;
    assert_eq!(names(&backend, "").await, ["bare/", "dir/", "dir/z", "file", "x"]);
}

pub async fn replaces_within(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let bytes = noise(100_000, 3);
    let (from, to) = (path("d's/a b%20c"), path("y #1"));
    bench.user_mkdir(&path("d's")).await;
    let (there, old) = (create(&backend, &from, &bytes).await, create(&backend, &to, b"old").await);
    let known = Known { path: &from, token: &there.entry.token, size: bytes.len() as u64, hash: there.hash };
    let guard = Guard::Unchanged(old.entry.token.clone());
    for (known, guard, what) in [
        (known, &Guard::Absent, "something is there"),
        (known, &Guard::Unchanged(there.entry.token.clone()), "another version is there"),
        (Known { token: &old.entry.token, ..known }, &guard, "another version is to be taken"),
        (Known { hash: old.hash, ..known }, &guard, "it has another sha256"),
    ] {
        let replaced = backend.replace_within(&to, known, guard, None).await;
        let nothing = matches!(replaced, Ok(None) | Err(Error { fault: Fault::Refused | Fault::Missing, .. }));
        assert!(nothing, "{what}: {replaced:?}");
        holds(bench, &to, b"old").await;
    }
    let kept = path(".wl-trash/20260101T000000.000000Z-overwritten/y #1");
    let trash = backend.facts().trash.then_some(&kept);
    let Some(written) = backend.replace_within(&to, known, &guard, trash).await.expect("it is there and known") else {
        holds(bench, &to, b"old").await;
        return does_not_apply("it does not copy this one onto another, and says so");
    };
    let now = entry(&backend, &to).await;
    assert!(written.hash == there.hash && written.entry.token.same(&now.token), "{written:?} {now:?}");
    holds(bench, &to, &bytes).await;
    holds(bench, &from, &bytes).await;
    no_part_is_left(bench, "").await;
    if trash.is_none() {
        return;
    }
    // As when two files change names: the other one is taken from the trash.
    let token = entry(&backend, &kept).await.token;
    let known = Known { path: &kept, token: &token, size: 3, hash: old.hash };
    let guard = Guard::Unchanged(there.entry.token);
    if backend.replace_within(&from, known, &guard, None).await.expect("it is in the trash").is_some() {
        holds(bench, &from, b"old").await;
    }
}
