//! Writers that race: against each other, against readers, against programs that know nothing of wl.

mod kit;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kit::{content, path, storage};
use wl_core::backend::{Backend as _, Guard};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_wins() {
    let s = storage();
    let mut token = s.create("f", "start").await.unwrap().entry.token;
    for round in 0..200 {
        let guard = Guard::Unchanged(token.clone());
        let name = path("f");
        let (a, b) = tokio::join!(
            s.local.replace(&name, content(format!("a{round}")), &guard, None),
            s.local.replace(&name, content(format!("b{round}")), &guard, None),
        );
        let (winner, text) = match (&a, &b) {
            (Ok(written), Err(_)) => (written, format!("a{round}")),
            (Err(_), Ok(written)) => (written, format!("b{round}")),
            _ => panic!("round {round}: {a:?} {b:?}"),
        };
        assert_eq!(s.text("f"), Some(text));
        token = winner.entry.token.clone();
        assert!(token.same(&s.token("f").await));
    }
    assert!(s.is_tidy());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creators_one_wins() {
    let s = storage();
    for round in 0..100 {
        let name = format!("f{round}");
        let (a, b) = tokio::join!(s.create(&name, "a"), s.create(&name, "b"));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        assert_eq!(s.text(&name).as_deref(), Some(if a.is_ok() { "a" } else { "b" }));
    }
}

/// A program that writes into the file in place, whenever it likes: its bytes are current, or in the trash.
#[tokio::test(flavor = "multi_thread")]
async fn no_rewrite_in_place_is_lost() {
    let s = storage();
    s.put("f", "start");
    let trash = path(".wl-trash/f");
    for round in 0..200 {
        let (guard, at) = (Guard::Unchanged(s.token("f").await), s.at("f"));
        let user = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(round * 7));
            fs::write(at, format!("user {round}")).unwrap();
        });
        let wl = s.local.replace(&path("f"), content(format!("wl {round}")), &guard, Some(&trash)).await;
        user.join().unwrap();
        let contents = s.contents();
        assert!(contents.contains(&format!("user {round}")), "{wl:?} {contents:?}");
        assert!(s.is_tidy());
        let _ = fs::remove_dir_all(s.at(".wl-trash"));
    }
}

/// A program that saves by exchanging and keeps what it displaced: nothing but wl could lose a version.
#[tokio::test(flavor = "multi_thread")]
async fn no_version_that_was_moved_in_is_lost() {
    let s = storage();
    let (stop, at) = (Arc::new(AtomicBool::new(false)), s.dir.path().to_owned());
    let stopped = stop.clone();
    let user = std::thread::spawn(move || {
        let mut saved = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let text = format!("user {}", saved.len());
            fs::write(at.join("f.tmp"), &text).unwrap();
            let dir = fs::File::open(&at).unwrap();
            // Exchanged, what was there is the user's again, and he keeps it.
            let exchanged =
                rustix::fs::renameat_with(&dir, "f.tmp", &dir, "f", rustix::fs::RenameFlags::EXCHANGE).is_ok();
            if exchanged {
                fs::rename(at.join("f.tmp"), at.join(format!("kept{}", saved.len()))).unwrap();
            } else {
                let free = rustix::fs::renameat_with(&dir, "f.tmp", &dir, "f", rustix::fs::RenameFlags::NOREPLACE);
                if free.is_err() {
                    continue;
                }
            }
            saved.push(text);
            std::thread::sleep(Duration::from_micros(saved.len() as u64 * 7919 % 5000));
        }
        saved
    });
    let deadline = Instant::now() + Duration::from_secs(2);
    let (mut written, mut refused) = (vec![], 0);
    while Instant::now() < deadline && (written.len() < 300 || refused < 30) {
        let text = format!("wl {} {refused}", written.len());
        let trash = path(&format!(".wl-trash/{}/f", written.len()));
        let look = s.local.stat(&path("f")).await.unwrap();
        let wl_core::backend::Look::Entry(entry) = look else { continue };
        let done = if written.len() % 3 == 2 {
            s.local.remove(&path("f"), &entry.token, Some(&trash)).await
        } else {
            let guard = Guard::Unchanged(entry.token);
            s.local.replace(&path("f"), content(text.clone()), &guard, Some(&trash)).await.map(drop)
        };
        match done {
            Ok(()) => written.push(text),
            Err(_) => refused += 1,
        }
    }
    stop.store(true, Ordering::Relaxed);
    let saved = user.join().unwrap();
    let contents = s.contents();
    let lost: Vec<_> = saved.iter().filter(|text| !contents.contains(text)).collect();
    assert!(lost.is_empty(), "{lost:?} of {}, {} written, {refused} refused", saved.len(), written.len());
    assert!(!written.is_empty() && refused > 0, "the test proves nothing: {} {refused}", written.len());
    assert!(s.is_tidy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_one_content_or_the_other() {
    let s = storage();
    let (ones, twos) = (vec![1_u8; 700 << 10], vec![2_u8; 500 << 10]);
    let mut token = s.create("f", ones.clone()).await.unwrap().entry.token;
    let stop = Arc::new(AtomicBool::new(false));
    let (at, stopped, whole) = (s.at("f"), stop.clone(), [ones.clone(), twos.clone()]);
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while !stopped.load(Ordering::Relaxed) {
            let seen = fs::read(&at).unwrap();
            assert!(whole.contains(&seen), "a part of {} bytes", seen.len());
            reads += 1;
        }
        reads
    });
    for round in 0..60 {
        let next = if round % 2 == 0 { &twos } else { &ones };
        let guard = Guard::Unchanged(token);
        token = s.local.replace(&path("f"), content(next.clone()), &guard, None).await.unwrap().entry.token;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_writes_share_their_syncs() {
    let s = storage();
    let begun = Instant::now();
    let writes = (0..2000).map(|at| {
        let s = &s;
        async move { s.create(&format!("f{at}"), format!("{at}")).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    let took = begun.elapsed();
    println!("2000 writes: {took:?}");
    assert_eq!(s.contents().len(), 2000);
    assert!(s.is_tidy());
    // One by one they would sync four thousand times.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_called_off_leaves_nothing() {
    let s = storage();
    for at in 0..50 {
        let write = s.create("f", vec![1; 2 << 20]);
        let _ = tokio::time::timeout(Duration::from_micros(at * 100), write).await;
        kit::eventually("the part file is gone", || s.is_tidy()).await;
        if s.at("f").exists() {
            fs::remove_file(s.at("f")).unwrap();
        }
    }
}
