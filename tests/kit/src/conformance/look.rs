//! Looking at a path, its token, its hash and its content.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use wl_core::backend::Look;
use wl_core::entry::{Hash, Kind};
use wl_core::error::Fault;

use super::{Bench, create, does_not_apply, entry, listed, noise, path, read, refused, refused_or_missing};

pub async fn tells_kind_and_size(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("d/file"), b"12345").await;
    bench.user_mkdir(&path("d/empty")).await;
    let file = entry(&backend, &path("d/file")).await;
    assert_eq!((file.kind, file.size), (Kind::File, 5));
    assert_eq!(entry(&backend, &path("d")).await.kind, Kind::Dir);
    assert_eq!(entry(&backend, &path("d/empty")).await.kind, Kind::Dir);
    // Listing and looking tell the same version.
    for item in listed(&backend, &path("d")).await {
        if let wl_core::backend::Listed::Entry(at, listed) = item {
            let seen = entry(&backend, &at).await;
            assert!(seen.kind == listed.kind && seen.size == listed.size && seen.meta.mode == listed.meta.mode, "{at}");
            assert!(seen.is_dir() || seen.token.same(&listed.token), "{at}: {seen:?} {listed:?}");
        }
    }
}

pub async fn tells_what_is_absent(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("file"), b"x").await;
    bench.user_write(&path("dir2/x"), b"x").await;
    for absent in ["nothing", "no/where", "file/below", "dir", "fil"] {
        assert_eq!(backend.stat(&path(absent)).await, Ok(Look::Absent), "{absent}");
    }
    let part = bench.leave_part(&path("dir2")).await;
    assert_eq!(backend.stat(&part).await, Ok(Look::Absent));
}

pub async fn a_token_stays_while_nothing_changes(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let written = create(&backend, &path("x"), b"one").await;
    let (first, second) = (entry(&backend, &path("x")).await, entry(&backend, &path("x")).await);
    assert!(written.entry.token.same(&first.token) && first.token.same(&second.token), "{written:?} {first:?}");
    assert_eq!(read(&backend, &path("x"), &first, 0).await, Ok(b"one".to_vec()));
    assert!(entry(&backend, &path("x")).await.token.same(&first.token), "reading is no change");
}

pub async fn a_token_changes_with_the_content(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for round in 0..20u8 {
        bench.user_write(&path("x"), &[b'a', round]).await;
        let before = entry(&backend, &path("x")).await;
        bench.user_write(&path("x"), &[b'b', round]).await;
        let after = entry(&backend, &path("x")).await;
        // A token that vouches for nothing need not change: whoever sees it hashes again.
        assert!(before.token.is_racy() || !before.token.same(&after.token), "{before:?} {after:?}");
    }
}

pub async fn a_token_changes_though_size_and_mtime_do_not(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let old: Timestamp = "2020-02-02T02:02:02Z".parse().unwrap_or_default();
    bench.user_write(&path("x"), b"one").await;
    if !bench.user_set_mtime(&path("x"), old).await {
        return does_not_apply("a user cannot set a modification time here");
    }
    let before = entry(&backend, &path("x")).await;
    bench.user_write(&path("x"), b"two").await;
    bench.user_set_mtime(&path("x"), old).await;
    let after = entry(&backend, &path("x")).await;
    assert!(before.token.is_racy() || !before.token.same(&after.token), "{before:?} {after:?}");
}

pub async fn hashes_are_sha256(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for (name, size) in [("empty", 0), ("one", 1), ("odd", 65_537), ("big", 3 << 20)] {
        let bytes = noise(size, 3);
        bench.user_write(&path(name), &bytes).await;
        let there = entry(&backend, &path(name)).await;
        assert_eq!(backend.hash(&path(name), &there.token).await, Ok(Hash::of(&bytes)), "{name}");
    }
}

pub async fn reads_from_any_offset(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let bytes = noise(2_500_001, 4);
    bench.user_write(&path("x"), &bytes).await;
    let there = entry(&backend, &path("x")).await;
    for from in [0, 1, 65_536, 1_250_000, 2_500_000, 2_500_001] {
        let got = read(&backend, &path("x"), &there, from as u64).await;
        assert!(got.as_deref() == Ok(&bytes[from..]), "from {from}: {:?}", got.map(|got| got.len()));
    }
    let beyond = read(&backend, &path("x"), &there, 9_000_000).await;
    assert!(beyond.as_ref().is_ok_and(Vec::is_empty), "beyond the end: {:?}", beyond.map(|got| got.len()));
    bench.user_write(&path("empty"), b"").await;
    let empty = entry(&backend, &path("empty")).await;
    assert_eq!(read(&backend, &path("empty"), &empty, 0).await, Ok(Vec::new()));
}

pub async fn a_stale_version_is_not_read(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("x"), b"one").await;
    let stale = entry(&backend, &path("x")).await;
    bench.user_write(&path("x"), b"another").await;
    refused(backend.hash(&path("x"), &stale.token).await, "hash");
    refused(read(&backend, &path("x"), &stale, 0).await, "read");
    bench.user_delete(&path("x")).await;
    refused_or_missing(backend.hash(&path("x"), &stale.token).await, "hash of nothing");
    refused_or_missing(read(&backend, &path("x"), &stale, 0).await, "read of nothing");
}

pub async fn a_file_that_changes_is_not_read_as_a_mixture(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let size = 4 << 20;
    for after in [noise(size, 6), noise(size / 2, 6), noise(size + 4096, 6)] {
        let before = noise(size, 5);
        bench.user_write(&path("x"), &before).await;
        let there = entry(&backend, &path("x")).await;
        let mut body = backend.read(&path("x"), &there.token, 0).await.unwrap_or_else(|error| panic!("{error}")).body;
        let first = body.next().await.unwrap_or_else(|| panic!("nothing was read")).unwrap_or_default();
        bench.user_write(&path("x"), &after).await;
        match body.try_collect::<Vec<_>>().await {
            Err(error) => assert_eq!(error.fault, Fault::Refused, "{error}"),
            Ok(rest) => {
                assert!([&first[..], &rest.concat()].concat() == before, "a mixture was read");
                println!("the old version was read to its end");
            }
        }
    }
}
