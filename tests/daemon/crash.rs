//! The daemon is killed at any moment under writing on both sides: nothing is lost, torn or left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::home::tree::has_parts;
use crate::home::{Pair, tree, wait_for};

const ROUNDS: u64 = 10;

/// A content that proves by itself that it is whole: its hash, then as many bytes as it likes.
fn content(random: &mut StdRng, of: &str) -> Vec<u8> {
    let mut body = format!("{of} {}\n", random.random::<u64>()).into_bytes();
    body.resize(random.random_range(100..120_000), b'.');
    let mut whole = format!("{:064x}", HexOf(&Sha256::digest(&body))).into_bytes();
    whole.extend(body);
    whole
}

struct HexOf<'a>(&'a [u8]);

impl std::fmt::LowerHex for HexOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn is_whole(content: &[u8]) -> bool {
    content
        .split_at_checked(64)
        .is_some_and(|(hash, body)| format!("{:064x}", HexOf(&Sha256::digest(body))).as_bytes() == hash)
}

/// What a user wrote last, by path; none where it was deleted.
type Wrote = BTreeMap<String, Option<Vec<u8>>>;

/// A user who writes, replaces, moves and deletes files of its own in one directory, always whole ones.
///
/// Of so many names: few are written again and again, many are hardly ever met twice.
fn user(
    side: &'static str,
    names: u32,
    root: PathBuf,
    wrote: Arc<Mutex<Wrote>>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut random = StdRng::seed_from_u64(u64::from(side.as_bytes()[0]));
        while !stop.load(Ordering::Relaxed) {
            let name = random.random_range(0..names);
            let path = format!("{side}/{}/{name}", name % 4);
            let file = root.join(&path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let mut wrote = wrote.lock().unwrap();
            if random.random_ratio(1, 6) && file.exists() {
                fs::remove_file(&file).unwrap();
                wrote.insert(path, None);
            } else {
                let new = content(&mut random, &path);
                let beside = root.join(format!("{side}/.new"));
                fs::write(&beside, &new).unwrap();
                fs::rename(&beside, &file).unwrap();
                wrote.insert(path, Some(new));
            }
            drop(wrote);
            thread::sleep(Duration::from_millis(random.random_range(0..20)));
        }
    })
}

/// Somebody who reads everything all the time and remembers what was not whole.
fn reader(roots: [PathBuf; 2], torn: Arc<Mutex<Vec<PathBuf>>>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    fn read(dir: &Path, torn: &Mutex<Vec<PathBuf>>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_own = name == ".new" || name == ".wl-trash" || name.to_string_lossy().starts_with(".wl-part-");
            if is_own {
                continue;
            }
            if path.is_dir() {
                read(&path, torn);
            } else if fs::read(&path).is_ok_and(|content| !is_whole(&content)) {
                torn.lock().unwrap().push(path);
            }
        }
    }
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for root in &roots {
                read(root, &torn);
            }
            thread::sleep(Duration::from_millis(5));
        }
    })
}

/// Waits until both sides are equal and nothing is left to do; says what differs if that does not come.
fn settles(pair: &Pair) {
    let begun = Instant::now();
    while !(pair.is_equal() && pair.job()["state"] == "SYNCED") {
        if begun.elapsed() > Duration::from_secs(40) {
            let (a, b) = (tree(&pair.a("")), tree(&pair.b("")));
            let differ = |path: &&String| a.get(*path) != b.get(*path);
            let paths: Vec<_> = a.keys().chain(b.keys()).filter(differ).collect();
            let explained =
                pair.home.wl(&["container", "explain", "c", paths.first().map_or("a", |path| path.as_str())]);
            panic!("it does not come to rest: {paths:?}\n{}\n{}", pair.job(), explained.stdout);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn killed_again_and_again_it_converges_and_loses_nothing() {
    survives(u32::MAX);
}

#[test]
fn killed_while_the_same_few_files_change_it_makes_no_conflict() {
    survives(80);
}

fn survives(names: u32) {
    let pair = Pair::with("exclude: ['.new']", "", "");
    let stop = Arc::new(AtomicBool::new(false));
    let (wrote_a, wrote_b) = (Arc::<Mutex<Wrote>>::default(), Arc::<Mutex<Wrote>>::default());
    let torn = Arc::<Mutex<Vec<PathBuf>>>::default();
    let threads = [
        user("a", names, pair.a(""), wrote_a.clone(), stop.clone()),
        user("b", names, pair.b(""), wrote_b.clone(), stop.clone()),
        reader([pair.a(""), pair.b("")], torn.clone(), stop.clone()),
    ];
    let mut random = StdRng::seed_from_u64(42);
    pair.home.ok(&["container", "sync", "c"]);
    for _ in 0..ROUNDS {
        thread::sleep(Duration::from_millis(random.random_range(0..400)));
        pair.home.kill_daemon();
        // The next command brings it back, and it takes the job up by itself.
        pair.home.ok(&["daemon", "start"]);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    settles(&pair);

    assert_eq!(*torn.lock().unwrap(), Vec::<PathBuf>::new(), "a reader saw a part of a file");
    assert_eq!(pair.conflicts(), Vec::<serde_json::Value>::new(), "a conflict that no user made");
    for wrote in [&wrote_a, &wrote_b] {
        for (path, last) in wrote.lock().unwrap().iter() {
            for root in [pair.a(""), pair.b("")] {
                assert_eq!(fs::read(root.join(path)).ok().as_ref(), last.as_ref(), "{path} below {}", root.display());
            }
        }
    }
    let job = pair.job();
    assert_eq!(job["problems"], serde_json::json!([]));
    assert!(!has_parts(&pair.a("")) && !has_parts(&pair.b("")), "parts of files were left behind");
    pair.assert_equal();
}

#[test]
fn a_lost_state_loses_no_file() {
    let pair = Pair::new();
    pair.write("a/same", "same");
    pair.write("a/edit", "base");
    pair.write("a/gone", "base");
    pair.sync(0, &[]);
    pair.home.ok(&["daemon", "stop"]);
    fs::remove_dir_all(pair.home.path("base/state")).unwrap();
    pair.write("a/edit", "edited");
    pair.remove("b/gone");
    pair.sync(3, &[]);
    assert_eq!((pair.read("a/edit"), pair.read("b/edit")), ("edited".into(), "base".into()));
    assert_eq!(pair.read("b/gone"), "base", "nothing is deleted without a base");
}

#[test]
fn parts_that_a_crash_left_are_swept() {
    let pair = Pair::new();
    for number in 0..60 {
        pair.write(&format!("a/{number}"), vec![5_u8; 200_000]);
    }
    pair.home.ok(&["container", "sync", "c", "--one-shot", "--no-wait"]);
    wait_for(Duration::from_secs(10), || has_parts(&pair.b("")) || pair.has("b/59"));
    pair.home.kill_daemon();
    pair.home.ok(&["container", "stop-sync", "c"]);
    pair.sync(0, &[]);
    assert!(!has_parts(&pair.b("")));
    pair.assert_equal();
}
