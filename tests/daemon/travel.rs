//! What travels with content: times, modes, and moves that cost nothing.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::home::tree::exact;
use crate::home::{Pair, wait_until};

fn set_mtime(path: &Path, seconds: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

fn mtime(path: &Path) -> (i64, i64) {
    let facts = fs::metadata(path).unwrap();
    (facts.mtime(), facts.mtime_nsec())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn modification_times_and_modes_travel() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.write("b/g", "1");
    set_mtime(&pair.a("f"), 1_000_000_000);
    set_mtime(&pair.b("g"), 2_000_000_000);
    set_mode(&pair.a("f"), 0o750);
    set_mode(&pair.b("g"), 0o400);
    pair.sync(0, &[]);
    assert_eq!(mtime(&pair.b("f")), mtime(&pair.a("f")));
    assert_eq!(mtime(&pair.b("f")).0, 1_000_000_000);
    assert_eq!(mtime(&pair.a("g")).0, 2_000_000_000);
    assert_eq!((mode(&pair.b("f")), mode(&pair.a("g"))), (0o750, 0o400));
}

#[test]
fn a_changed_time_or_mode_alone_travels_without_a_transfer() {
    let pair = Pair::new();
    pair.write("a/f", "content");
    pair.write("a/g", "content");
    pair.sync(0, &[]);
    set_mtime(&pair.a("f"), 1_000_000_000);
    set_mode(&pair.b("g"), 0o700);
    let done = pair.sync(0, &[]);
    assert_eq!(done["bytes"], 0, "{done}");
    assert_eq!(mtime(&pair.b("f")).0, 1_000_000_000);
    assert_eq!(mode(&pair.a("g")), 0o700);
}

#[test]
fn neither_alone_makes_a_conflict() {
    let pair = Pair::new();
    pair.write("a/f", "same");
    pair.write("b/f", "same");
    pair.write("a/g", "same");
    set_mtime(&pair.a("f"), 1_000_000_000);
    set_mtime(&pair.b("f"), 1_100_000_000);
    set_mode(&pair.a("f"), 0o600);
    set_mode(&pair.b("f"), 0o755);
    pair.sync(0, &[]);
    set_mtime(&pair.a("g"), 1_000_000_000);
    set_mtime(&pair.b("g"), 1_100_000_000);
    set_mode(&pair.a("g"), 0o600);
    set_mode(&pair.b("g"), 0o700);
    pair.sync(0, &[]);
    assert!(pair.conflicts().is_empty());
    let rest = (exact(&pair.a("")), exact(&pair.b("")));
    pair.sync(0, &[]);
    assert_eq!((exact(&pair.a("")), exact(&pair.b(""))), rest, "it comes to rest");
}

#[test]
fn setuid_does_not_travel() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    set_mode(&pair.a("f"), 0o4755);
    pair.sync(0, &[]);
    assert_eq!(mode(&pair.b("f")), 0o755);
}

#[test]
fn a_move_is_carried_out_as_one() {
    for [from, to] in [["a", "b"], ["b", "a"]] {
        let pair = Pair::new();
        let content = vec![7_u8; 300_000];
        pair.write("a/old/name", &content);
        pair.write("a/stays", "1");
        pair.sync(0, &[]);
        let inode = fs::metadata(pair.home.path(format!("{to}/old/name"))).unwrap().ino();
        fs::create_dir(pair.home.path(format!("{from}/new"))).unwrap();
        fs::rename(pair.home.path(format!("{from}/old/name")), pair.home.path(format!("{from}/new/other"))).unwrap();
        fs::remove_dir(pair.home.path(format!("{from}/old"))).unwrap();
        let done = pair.sync(0, &[]);
        assert_eq!((&done["moved"], &done["bytes"], &done["copied"]), (&1.into(), &0.into(), &0.into()), "{done}");
        assert_eq!(fs::metadata(pair.home.path(format!("{to}/new/other"))).unwrap().ino(), inode);
        assert!(!pair.has(&format!("{to}/old")));
        pair.assert_equal();
    }
}

#[test]
fn a_renamed_directory_transfers_nothing() {
    let pair = Pair::new();
    for number in 0..40 {
        pair.write(&format!("a/photos/{}/{number}.jpg", number % 4), format!("picture {number}"));
    }
    pair.sync(0, &[]);
    fs::rename(pair.a("photos"), pair.a("pictures")).unwrap();
    let done = pair.sync(0, &[]);
    assert_eq!((&done["moved"], &done["bytes"], &done["deleted"]), (&40.into(), &0.into(), &0.into()), "{done}");
    pair.assert_equal();
    let kept = pair.home.json(&["container", "trash", "c", "list"]);
    assert_eq!(kept["entries"].as_array().unwrap().len(), 0, "moving deletes nothing");
}

#[test]
fn names_may_be_swapped() {
    let pair = Pair::new();
    pair.write("a/one", "first");
    pair.write("a/two", "second");
    pair.sync(0, &[]);
    fs::rename(pair.a("one"), pair.a("x")).unwrap();
    fs::rename(pair.a("two"), pair.a("one")).unwrap();
    fs::rename(pair.a("x"), pair.a("two")).unwrap();
    pair.sync(0, &[]);
    assert_eq!((pair.read("b/one"), pair.read("b/two")), ("second".into(), "first".into()));
}

#[test]
fn a_move_against_an_edit_loses_neither() {
    let pair = Pair::new();
    pair.write("a/name", "base");
    pair.write("a/other", "1");
    pair.sync(0, &[]);
    fs::rename(pair.a("name"), pair.a("renamed")).unwrap();
    pair.write("b/name", "edited");
    pair.sync(3, &[]);
    assert_eq!((pair.read("b/name"), pair.read("b/renamed")), ("edited".into(), "base".into()));
    assert_eq!(pair.conflicts()[0]["kind"], "deleted-modified");
}

#[test]
fn a_running_job_moves_without_a_transfer() {
    let pair = Pair::new();
    pair.write("a/big", vec![3_u8; 400_000]);
    pair.keep(&[]);
    let before = pair.job()["transferred_bytes"].clone();
    // Both names must be watched: what goes into a directory made just now is seen a while later, in a batch of its own.
    fs::create_dir(pair.a("d")).unwrap();
    wait_until(|| pair.has("b/d"));
    fs::rename(pair.a("big"), pair.a("d/moved")).unwrap();
    wait_until(|| pair.has("b/d/moved") && !pair.has("b/big"));
    let job = pair.wait_job(|job| job["state"] == "SYNCED");
    assert_eq!(job["transferred_bytes"], before);
}

/// Names are exchanged, one file is moved onto another, and logs are rotated.
fn shuffle(pair: &Pair) {
    let rename = |from: &str, to: &str| fs::rename(pair.a(from), pair.a(to)).unwrap();
    rename("one", "aside");
    rename("two", "one");
    rename("aside", "two");
    rename("d/new", "old");
    rename("log.1", "log.2");
    rename("log", "log.1");
}

#[test]
fn what_moved_onto_something_is_not_transferred() {
    for continuous in [false, true] {
        let pair = Pair::new();
        for name in ["one", "two, which is longer", "d/new", "old", "log", "log.1, an older one"] {
            pair.write(&format!("a/{}", name.split(',').next().unwrap()), format!("{name}\n").repeat(20_000));
        }
        if continuous {
            pair.keep(&[]);
        } else {
            pair.sync(0, &[]);
        }
        let before = pair.home.jobs();
        if continuous {
            // All of it at once, as for a job that looks now and then.
            pair.home.ok(&["container", "pause", "c"]);
        }
        shuffle(&pair);
        if continuous {
            pair.home.ok(&["container", "resume", "c"]);
            wait_until(|| pair.is_equal() && pair.job()["state"] == "SYNCED");
            assert_eq!(pair.job()["transferred_bytes"], before[0]["transferred_bytes"], "{}", pair.job());
        } else {
            let plan = pair.plan(&[]);
            assert!(plan.iter().all(|action| action["bytes"] == 0), "{plan:?}");
            let done = pair.sync(0, &[]);
            assert_eq!(
                (&done["bytes"], &done["deleted"], &done["problems"]),
                (&0.into(), &0.into(), &Value::Array(Vec::new())),
                "{done}"
            );
        }
        pair.assert_equal();
        let kept = pair.home.json(&["container", "trash", "c", "list"]);
        let mut kept: Vec<_> = kept["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["path"].as_str().unwrap().to_owned())
            .collect();
        kept.sort();
        assert_eq!(
            kept,
            ["d/new", "log", "log.1", "old", "one", "two"],
            "what each overwrote, and old names of what did"
        );
    }
}
