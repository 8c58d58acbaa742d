//! Racing writers and readers. A storage that only checks may let two writers both win; what then is there must still be
//! one of theirs, whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use wl_core::backend::{Backend, Guard, Look, Swap};
use wl_core::error::Fault;

use super::{Bench, content, create, entry, holds, noise, path, read};

const WRITERS: u8 = 4;

pub async fn one_of_racing_creators_wins(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let mut doubles = 0;
    for round in 0..bench.rounds() {
        let at = path(&format!("x{round}"));
        let writers = (0..WRITERS).map(|writer| write(&backend, &at, Guard::Absent, writer, 20_000));
        doubles += winners_of(bench, &at, join_all(writers).await, backend.facts().create).await;
    }
    tell(doubles, bench.rounds());
}

pub async fn one_of_racing_writers_wins(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let (at, mut doubles) = (path("x"), 0);
    bench.user_write(&at, b"first").await;
    for _ in 0..bench.rounds() {
        let guard = Guard::Unchanged(entry(&backend, &at).await.token);
        // Of different sizes, so that even a token of size and time tells them apart.
        let writers =
            (0..WRITERS).map(|writer| write(&backend, &at, guard.clone(), writer, 20_000 + usize::from(writer)));
        doubles += winners_of(bench, &at, join_all(writers).await, backend.facts().replace).await;
        bench.user_write(&at, b"the next round").await;
    }
    tell(doubles, bench.rounds());
}

pub async fn a_remover_and_a_writer_do_not_both_win(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let facts = backend.facts();
    let (at, mut doubles) = (path("x"), 0);
    for _ in 0..bench.rounds() {
        let token = create(&backend, &at, b"there").await.entry.token;
        let writing = write(&backend, &at, Guard::Unchanged(token.clone()), 1, 5000);
        let removing = tokio::spawn({
            let (backend, at) = (backend.clone(), at.clone());
            async move { backend.remove(&at, &token, None).await.is_ok() }
        });
        let (wrote, removed) = tokio::join!(writing, removing);
        let removed = removed.unwrap_or(false);
        assert!(wrote.is_ok() || removed, "neither won");
        let both = wrote.is_ok() && removed;
        assert!(!both || facts.replace == Swap::Checked || facts.delete == Swap::Checked, "both won");
        doubles += usize::from(both);
        match wrote {
            Ok(bytes) if !both => holds(bench, &at, &bytes).await,
            Err(_) => assert!(!bench.user_exists(&at).await),
            Ok(_) => {}
        }
        bench.user_delete(&at).await;
    }
    tell(doubles, bench.rounds());
}

/// What a writer wrote, if it won, or how it lost.
async fn write(
    backend: &Arc<dyn Backend>,
    at: &wl_core::path::RelPath,
    guard: Guard,
    seed: u8,
    size: usize,
) -> Result<Vec<u8>, Fault> {
    let (backend, at, bytes) = (backend.clone(), at.clone(), noise(size, seed));
    let task = tokio::spawn(async move {
        match backend.replace(&at, content(&bytes), &guard, None).await {
            Ok(_) => Ok(bytes),
            // Nextcloud locks a file while it is written: whoever comes then is told to come again.
            Err(error) if matches!(error.fault, Fault::Refused | Fault::Busy) => Err(error.fault),
            Err(error) => panic!("a writer that loses is refused: {error:?}"),
        }
    });
    task.await.unwrap_or_else(|error| panic!("{error}"))
}

/// Holds a round's results against the storage; 1 if more than one won.
async fn winners_of(
    bench: &dyn Bench,
    at: &wl_core::path::RelPath,
    results: Vec<Result<Vec<u8>, Fault>>,
    swap: Swap,
) -> usize {
    if results.iter().all(|result| *result == Err(Fault::Busy)) {
        // Each was in another's way (Nextcloud: all hold a shared lock, and none gets an exclusive one), and comes again.
        return 0;
    }
    let winners: Vec<_> = results.into_iter().flatten().collect();
    assert!(!winners.is_empty(), "nobody won");
    assert!(winners.len() == 1 || swap == Swap::Checked, "{} of {WRITERS} won", winners.len());
    let there = bench.user_read(at).await.unwrap_or_default();
    assert!(winners.contains(&there), "what is there is not what a winner wrote");
    holds(bench, at, &there).await;
    usize::from(winners.len() > 1)
}

fn tell(doubles: usize, rounds: usize) {
    println!("more than one won in {doubles} of {rounds} rounds");
}

pub async fn readers_see_the_old_or_the_new(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let (at, size) = (path("x"), 300_000);
    let versions: Vec<Vec<u8>> = (0..2).map(|seed| noise(size, seed)).collect();
    create(&backend, &at, &versions[0]).await;
    let done = AtomicBool::new(false);
    let writing = async {
        for round in 1..=bench.rounds() {
            loop {
                let guard = Guard::Unchanged(entry(&backend, &at).await.token);
                match backend.replace(&at, content(&versions[round % 2]), &guard, None).await {
                    Ok(_) => break,
                    // Nextcloud locks a file while it is read, too.
                    Err(error) if error.fault == Fault::Busy => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let reading = async {
        let mut seen = BTreeSet::new();
        while !done.load(Ordering::Relaxed) {
            let there = bench.user_read(&at).await;
            if there.is_none() && bench.leaves_gaps() {
                continue;
            }
            let which = versions.iter().position(|version| Some(version) == there.as_ref());
            seen.insert(which.unwrap_or_else(|| panic!("a part was read: {:?} bytes", there.map(|bytes| bytes.len()))));
            let version = match backend.stat(&at).await {
                Ok(Look::Entry(version)) => version,
                Ok(Look::Absent) if bench.leaves_gaps() => continue,
                other => panic!("{at}: an entry was expected: {other:?}"),
            };
            if let Ok(bytes) = read(&backend, &at, &version, 0).await {
                assert!(versions.contains(&bytes), "a mixture was read");
            }
            tokio::task::yield_now().await;
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    println!("readers saw {} of 2 versions", seen.len());
}
