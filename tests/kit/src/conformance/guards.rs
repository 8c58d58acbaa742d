//! What happens where the expectation does not hold: a refusal, and nothing changed.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;
use jiff::Timestamp;
use wl_core::backend::{Backend, Guard, Reading};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::Result;

use crate::known;

use super::{
    Bench, content, create, does_not_apply, entry, holds, no_part_is_left, noise, path, reading, refused,
    refused_or_missing,
};

pub async fn creates_only_where_nothing_is(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("file"), b"mine").await;
    bench.user_write(&path("empty"), b"").await;
    bench.user_write(&path("dir/x"), b"mine").await;
    bench.user_mkdir(&path("bare")).await;
    for taken in ["file", "empty", "dir", "bare"] {
        refused(backend.replace(&path(taken), content(b"theirs"), &Guard::Absent, None).await, taken);
    }
    holds(bench, &path("file"), b"mine").await;
    holds(bench, &path("empty"), b"").await;
    holds(bench, &path("dir/x"), b"mine").await;
    assert!(entry(&backend, &path("bare")).await.is_dir());
}

pub async fn replaces_only_what_is_there(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("x"), b"there").await;
    let guard = Guard::Unchanged(entry(&backend, &path("x")).await.token);
    refused(backend.replace(&path("y"), content(b"new"), &guard, None).await, "where nothing is");
    assert!(!bench.user_exists(&path("y")).await);
    bench.user_delete(&path("x")).await;
    refused(backend.replace(&path("x"), content(b"new"), &guard, None).await, "where nothing is any more");
    assert!(!bench.user_exists(&path("x")).await);
    bench.user_write(&path("x/below"), b"mine").await;
    refused(backend.replace(&path("x"), content(b"new"), &guard, None).await, "where a directory is");
    holds(bench, &path("x/below"), b"mine").await;
}

/// A file of which a version is known that is not there any more.
async fn stale(bench: &dyn Bench) -> (Arc<dyn Backend>, Token) {
    let backend = bench.backend().await;
    bench.user_write(&path("d/x"), b"old").await;
    let token = entry(&backend, &path("d/x")).await.token;
    bench.user_write(&path("d/x"), b"newer").await;
    (backend, token)
}

pub async fn a_stale_version_is_not_replaced(bench: &dyn Bench) {
    let (backend, token) = stale(bench).await;
    for bytes in [&b"theirs"[..], b"", &noise(6 << 20, 1)] {
        let guard = Guard::Unchanged(token.clone());
        refused(backend.replace(&path("d/x"), content(bytes), &guard, None).await, "replace");
        holds(bench, &path("d/x"), b"newer").await;
    }
    no_part_is_left(bench, "d").await;
}

pub async fn a_stale_version_is_not_removed(bench: &dyn Bench) {
    let (backend, token) = stale(bench).await;
    refused(backend.remove(&path("d/x"), &token, None).await, "remove");
    holds(bench, &path("d/x"), b"newer").await;
    refused_or_missing(backend.remove(&path("d/y"), &token, None).await, "remove of nothing");
    bench.user_delete(&path("d/x")).await;
    bench.user_write(&path("d/x/below"), b"mine").await;
    refused(backend.remove(&path("d/x"), &token, None).await, "remove of a directory");
    holds(bench, &path("d/x/below"), b"mine").await;
}

pub async fn a_stale_version_is_not_moved_or_copied(bench: &dyn Bench) {
    let (backend, token) = stale(bench).await;
    let facts = backend.facts();
    if facts.server_move {
        refused(backend.move_within(&path("d/x"), &token, &path("d/y")).await, "move");
    } else {
        does_not_apply("it cannot move");
    }
    if facts.server_copy {
        refused(backend.copy_within(known(&path("d/x"), &token, b"old"), &path("d/y")).await, "copy");
    } else {
        does_not_apply("it cannot copy");
    }
    holds(bench, &path("d/x"), b"newer").await;
    assert!(!bench.user_exists(&path("d/y")).await);
}

pub async fn a_stale_version_gets_no_other_mtime(bench: &dyn Bench) {
    let (backend, token) = stale(bench).await;
    let facts = backend.facts();
    if !facts.mtime && !facts.mode {
        return does_not_apply("it keeps neither modification times nor modes");
    }
    let before = entry(&backend, &path("d/x")).await;
    let meta = Meta { mtime: Some(Timestamp::UNIX_EPOCH), mode: Some(0o600) };
    refused(backend.set_meta(&path("d/x"), &token, &meta).await, "set_meta");
    assert_eq!(entry(&backend, &path("d/x")).await.meta, before.meta);
}

pub async fn who_writes_during_a_replace_wins(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for size in [10, 8 << 20] {
        bench.user_write(&path("x"), b"old").await;
        let guard = Guard::Unchanged(entry(&backend, &path("x")).await.token);
        let mine = noise(1000, 2);
        let result = disturbed(&backend, &guard, size, bench.user_write(&path("x"), &mine)).await;
        refused(result, "a user wrote meanwhile");
        holds(bench, &path("x"), &mine).await;
    }
}

pub async fn who_creates_during_a_create_wins(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for size in [10, 8 << 20] {
        bench.user_delete(&path("x")).await;
        let result = disturbed(&backend, &Guard::Absent, size, bench.user_write(&path("x"), b"mine")).await;
        refused(result, "a user created it meanwhile");
        holds(bench, &path("x"), b"mine").await;
    }
}

pub async fn who_deletes_during_a_replace_wins(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for size in [10, 8 << 20] {
        create(&backend, &path("x"), b"old").await;
        let guard = Guard::Unchanged(entry(&backend, &path("x")).await.token);
        refused(disturbed(&backend, &guard, size, bench.user_delete(&path("x"))).await, "a user deleted it meanwhile");
        assert!(!bench.user_exists(&path("x")).await);
    }
}

/// Replaces `x` while half of the content is read and then, before the other half, something else happens.
async fn disturbed(
    backend: &Arc<dyn Backend>,
    guard: &Guard,
    size: usize,
    meanwhile: impl Future<Output = ()> + Send,
) -> Result<()> {
    let bytes = Bytes::from(noise(size, 3));
    let (half, hash) = (size / 2, Hash::of(&bytes));
    let (asked, mut waiting) = tokio::sync::mpsc::channel::<tokio::sync::oneshot::Sender<()>>(1);
    let open = move |from: u64| -> BoxFuture<'static, Result<Reading>> {
        let (bytes, asked) = (bytes.clone(), asked.clone());
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
        let second = async move {
            let (done, wait) = tokio::sync::oneshot::channel();
            // Only the first reader is made to wait: a second attempt finds nobody to ask.
            if asked.try_send(done).is_ok() {
                let _ = wait.await;
            }
            Ok(bytes.slice(half.max(from)..))
        };
        let first = Bytes::from(noise(size, 3)).slice(from.min(half)..half);
        Box::pin(ready(Ok(reading(stream::once(ready(Ok(first))).chain(stream::once(second)).boxed()))))
    };
    let content = wl_core::backend::Content::new(size as u64, Some(hash), open);
    let at = path("x");
    let replacing = backend.replace(&at, content, guard, None);
    let meddling = async {
        if let Some(done) = waiting.recv().await {
            meanwhile.await;
            waiting.close();
            let _ = done.send(());
        }
    };
    let (result, ()) = tokio::join!(replacing, meddling);
    result.map(drop)
}
