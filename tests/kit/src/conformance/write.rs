//! Safe replace and safe delete where the expectation holds.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use wl_core::backend::{Backend, Content, Guard};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use super::{Bench, content, create, does_not_apply, entry, holds, no_part_is_left, noise, path, reading, refused};

pub async fn creates_files_of_any_size(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for size in [0, 1, 65_535, 65_536, 65_537, (5 << 20) + 3, (9 << 20) + 1] {
        let (at, bytes) = (path(&format!("f{size}")), noise(size, 7));
        let written = create(&backend, &at, &bytes).await;
        assert_eq!((written.hash, written.entry.size), (Hash::of(&bytes), size as u64), "{size}");
        holds(bench, &at, &bytes).await;
        assert!(entry(&backend, &at).await.token.same(&written.entry.token), "{size}");
    }
}

pub async fn replaces_a_known_version(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("d/x"), &noise(100_000, 1)).await;
    for (size, seed) in [(100_000, 2), (7, 3), (0, 4), (6 << 20, 5), (7, 6)] {
        let (there, bytes) = (entry(&backend, &path("d/x")).await, noise(size, seed));
        let guard = Guard::Unchanged(there.token);
        let written = backend.replace(&path("d/x"), content(&bytes), &guard, None).await;
        let written = written.unwrap_or_else(|error| panic!("{size}: {error}"));
        assert_eq!(written.hash, Hash::of(&bytes));
        holds(bench, &path("d/x"), &bytes).await;
    }
    no_part_is_left(bench, "d").await;
}

pub async fn proves_a_hash_that_was_not_known(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let bytes = noise(300_000, 8);
    let unknown = announced(&bytes, bytes.len() as u64, None);
    let written = backend.replace(&path("x"), unknown, &Guard::Absent, None).await;
    assert_eq!(written.map(|written| written.hash), Ok(Hash::of(&bytes)));
    holds(bench, &path("x"), &bytes).await;
}

pub async fn a_wrong_hash_changes_nothing(bench: &dyn Bench) {
    for size in [10, 200_000] {
        let bytes = noise(size, 9);
        let lie = announced(&bytes, size as u64, Some(Hash::of(b"another")));
        assert_eq!(changes_nothing(bench, lie).await, Fault::Refused);
    }
}

pub async fn a_wrong_size_changes_nothing(bench: &dyn Bench) {
    let bytes = noise(100_000, 10);
    for size in [99_999, 100_001, 0] {
        changes_nothing(bench, announced(&bytes, size, None)).await;
        changes_nothing(bench, announced(&bytes, size, Some(Hash::of(&bytes)))).await;
    }
}

pub async fn a_failing_body_changes_nothing(bench: &dyn Bench) {
    for fault in [Fault::Refused, Fault::Offline, Fault::Stopped] {
        for size in [6, 8 << 20] {
            let half = Bytes::from(noise(size / 2, 11));
            let failing = Content::new(size as u64, None, move |_| {
                let pieces = [Ok(half.clone()), Err(Error::new(fault, "the other side failed"))];
                Box::pin(async move { Ok(reading(stream::iter(pieces).boxed())) })
            });
            assert_eq!(changes_nothing(bench, failing).await, fault, "the body's own fault is passed on");
        }
    }
    let unopened = Content::new(3, None, |_| Box::pin(async { Err(Error::stopped()) }));
    assert_eq!(changes_nothing(bench, unopened).await, Fault::Stopped);
}

/// Tries a content that cannot be written, where nothing is and where a file is; the fault it ended with.
async fn changes_nothing(bench: &dyn Bench, content: Content) -> Fault {
    let backend = bench.backend().await;
    bench.user_write(&path("d/x"), b"what was there").await;
    let there = entry(&backend, &path("d/x")).await;
    let fresh = backend.replace(&path("d/y"), content.clone(), &Guard::Absent, None).await;
    let over = backend.replace(&path("d/x"), content, &Guard::Unchanged(there.token.clone()), None).await;
    assert!(!bench.user_exists(&path("d/y")).await, "{fresh:?}");
    holds(bench, &path("d/x"), b"what was there").await;
    assert!(entry(&backend, &path("d/x")).await.token.same(&there.token));
    no_part_is_left(bench, "d").await;
    match (fresh, over) {
        (Err(fresh), Err(over)) if fresh.fault == over.fault => over.fault,
        other => panic!("the same failure twice was expected: {other:?}"),
    }
}

/// These bytes in several pieces, announced as something they may not be.
fn announced(bytes: &[u8], size: u64, hash: Option<Hash>) -> Content {
    let pieces: Vec<Bytes> = bytes.chunks(30_000).map(Bytes::copy_from_slice).collect();
    Content::new(size, hash, move |from| {
        let pieces = pieces.clone();
        Box::pin(async move {
            let mut skip = usize::try_from(from).unwrap_or(usize::MAX);
            let rest = pieces.into_iter().map(move |piece| {
                let cut = skip.min(piece.len());
                skip -= cut;
                Ok(piece.slice(cut..))
            });
            Ok(reading(stream::iter(rest).boxed()))
        })
    })
}

pub async fn keeps_mtime_and_mode(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let meta = Meta { mtime: Some(time("2021-03-04T05:06:07.891011Z")), mode: Some(0o750) };
    let written = backend.replace(&path("x"), Content::of(Bytes::from("x"), meta), &Guard::Absent, None).await;
    assert!(written.is_ok(), "{written:?}");
    meta_is(&backend, &path("x"), meta).await;
    let old = Meta { mtime: Some(time("1999-12-31T23:59:59Z")), mode: Some(0o600) };
    let guard = Guard::Unchanged(entry(&backend, &path("x")).await.token);
    let written = backend.replace(&path("x"), Content::of(Bytes::from("y"), old), &guard, None).await;
    assert!(written.is_ok(), "{written:?}");
    meta_is(&backend, &path("x"), old).await;
}

pub async fn sets_mtime_and_mode(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let facts = backend.facts();
    if !facts.mtime && !facts.mode {
        return does_not_apply("it keeps neither modification times nor modes");
    }
    let there = create(&backend, &path("x"), b"content").await.entry;
    let meta = Meta { mtime: Some(time("2001-02-03T04:05:06Z")), mode: Some(0o640) };
    let set = backend.set_meta(&path("x"), &there.token, &meta).await;
    let now = entry(&backend, &path("x")).await;
    assert!(set.as_ref().is_ok_and(|set| set.token.same(&now.token)), "{set:?} {now:?}");
    meta_is(&backend, &path("x"), meta).await;
    holds(bench, &path("x"), b"content").await;
}

async fn meta_is(backend: &Arc<dyn Backend>, path: &RelPath, meta: Meta) {
    let (facts, there) = (backend.facts(), entry(backend, path).await.meta);
    if facts.mtime {
        let apart = there.mtime.zip(meta.mtime).map(|(a, b)| (a.as_nanosecond() - b.as_nanosecond()).unsigned_abs());
        assert!(apart.is_some_and(|ns| ns < u128::from(facts.mtime_resolution_ns).max(1)), "{there:?} {meta:?}");
    } else {
        does_not_apply("it keeps no modification times");
    }
    if facts.mode {
        assert_eq!(there.mode, meta.mode);
    } else {
        does_not_apply("it keeps no modes");
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub async fn keeps_what_it_replaced(bench: &dyn Bench) {
    let trash = path(".wl-trash/2020/d/x");
    kept(bench, &trash, |backend, at, token| async move {
        backend
            .replace(&at, content(b"new"), &Guard::Unchanged(token), Some(&path(".wl-trash/2020/d/x")))
            .await
            .map(drop)
    })
    .await;
    if bench.backend().await.facts().trash {
        holds(bench, &path("d/x"), b"new").await;
    }
}

pub async fn keeps_what_it_removed(bench: &dyn Bench) {
    let trash = path(".wl-trash/2020/d/x");
    kept(bench, &trash, |backend, at, token| async move {
        backend.remove(&at, &token, Some(&path(".wl-trash/2020/d/x"))).await
    })
    .await;
    if bench.backend().await.facts().trash {
        assert!(!bench.user_exists(&path("d/x")).await);
    }
}

/// Takes a file away in some way that is to keep it, refused first and then not.
async fn kept<F: Future<Output = Result<()>>>(
    bench: &dyn Bench,
    trash: &RelPath,
    take: impl Fn(Arc<dyn Backend>, RelPath, wl_core::entry::Token) -> F,
) {
    let backend = bench.backend().await;
    if !backend.facts().trash {
        return does_not_apply("it cannot keep what it overwrites or deletes");
    }
    bench.user_write(&path("d/x"), b"stale").await;
    let stale = entry(&backend, &path("d/x")).await;
    let old = noise(300_000, 12);
    bench.user_write(&path("d/x"), &old).await;
    let there = entry(&backend, &path("d/x")).await;
    refused(take(backend.clone(), path("d/x"), stale.token).await, "a stale version");
    assert!(!bench.user_exists(trash).await, "what was refused left something in the trash");
    holds(bench, &path("d/x"), &old).await;
    take(backend.clone(), path("d/x"), there.token).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(bench.user_read(trash).await == Some(old), "what was taken away is not in the trash");
    no_part_is_left(bench, "d").await;
}
