//! How a conflict is kept, and every way out of it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::home::pair::{A, B};
use crate::home::{Pair, tree};

/// A pair with a conflict on `f`, and a base for it.
fn clashing() -> Pair {
    let pair = Pair::new();
    pair.write("a/f.txt", "base");
    pair.sync(0, &[]);
    pair.write("a/f.txt", "from a");
    pair.write("b/f.txt", "from b");
    pair.sync(3, &[]);
    pair
}

/// A pair with a deleted-modified conflict: `gone` lacks the file.
fn deleted_on(gone: &str) -> Pair {
    let pair = Pair::new();
    pair.write("a/f.txt", "base");
    pair.write("a/other", "base");
    pair.sync(0, &[]);
    let other = if gone == "a" { "b" } else { "a" };
    pair.remove(&format!("{gone}/f.txt"));
    pair.write(&format!("{other}/f.txt"), "edited");
    pair.sync(3, &[]);
    pair
}

#[test]
fn it_stays_however_often_either_side_changes() {
    let pair = clashing();
    let since = pair.conflicts()[0]["since"].clone();
    for round in 0..3 {
        pair.write("a/f.txt", format!("a {round}"));
        pair.sync(3, &[]);
        pair.write("b/f.txt", format!("b {round}"));
        pair.sync(3, &[]);
        assert_eq!(pair.read("a/f.txt") + &pair.read("b/f.txt"), format!("a {round}b {round}"));
    }
    let found = pair.conflicts();
    assert_eq!((found.len(), &found[0]["since"]), (1, &since));
}

#[test]
fn it_ends_when_both_become_equal() {
    let pair = clashing();
    pair.write("a/f.txt", "from b");
    pair.sync(0, &[]);
    assert!(pair.conflicts().is_empty());
}

#[test]
fn it_ends_when_one_version_is_removed() {
    for (removed, kept) in [("a", "b"), ("b", "a")] {
        let pair = clashing();
        pair.remove(&format!("{removed}/f.txt"));
        pair.sync(0, &[]);
        assert_eq!(pair.read(&format!("{removed}/f.txt")), format!("from {kept}"));
        assert!(pair.conflicts().is_empty());
        pair.assert_equal();
    }
}

#[test]
fn a_deleted_modified_one_ends_when_the_survivor_is_removed_too() {
    for gone in ["a", "b"] {
        let pair = deleted_on(gone);
        let survivor = if gone == "a" { "b/f.txt" } else { "a/f.txt" };
        pair.remove(survivor);
        pair.sync(0, &[]);
        assert!(pair.conflicts().is_empty());
        assert!(!pair.has("a/f.txt") && !pair.has("b/f.txt"));
    }
}

#[test]
fn a_deleted_modified_one_ends_when_the_file_comes_back_equal() {
    let pair = deleted_on("a");
    pair.write("a/f.txt", "edited");
    pair.sync(0, &[]);
    assert!(pair.conflicts().is_empty());
}

#[test]
fn resolve_keeps_the_chosen_version() {
    for (keep, expected) in [(A, "from a"), (B, "from b"), ("aaaa", "from a")] {
        let pair = clashing();
        let done = pair.home.json(&["container", "resolve", "c", "f.txt", "--keep", keep]);
        assert_eq!(done["resolved"][0], "f.txt");
        assert_eq!((pair.read("a/f.txt"), pair.read("b/f.txt")), (expected.into(), expected.into()));
        assert!(pair.conflicts().is_empty());
        pair.sync(0, &[]);
        pair.assert_equal();
    }
}

#[test]
fn resolve_may_keep_an_absence() {
    let pair = deleted_on("a");
    pair.home.ok(&["container", "resolve", "c", "f.txt", "--keep", A]);
    assert!(!pair.has("b/f.txt"));
    let kept = pair.home.json(&["container", "trash", "c", "list"]);
    assert_eq!(kept["entries"][0]["path"], "f.txt", "what resolve deletes is kept: {kept}");
    let pair = deleted_on("a");
    pair.home.ok(&["container", "resolve", "c", "f.txt", "--keep", B]);
    assert_eq!(pair.read("a/f.txt"), "edited");
}

#[test]
fn resolve_keeps_both_under_two_names() {
    let pair = clashing();
    pair.home.ok(&["container", "resolve", "c", "f.txt", "--keep", "both"]);
    pair.sync(0, &[]);
    let (a, b) = (tree(&pair.a("")), tree(&pair.b("")));
    assert_eq!(a, b);
    assert_eq!(a.into_keys().collect::<Vec<_>>(), ["f (conflict bbbbbbbb).txt", "f.txt"]);
    assert_eq!(pair.read("a/f.txt"), "from a");
    assert_eq!(pair.read("b/f (conflict bbbbbbbb).txt"), "from b");
    assert!(pair.conflicts().is_empty());
}

#[test]
fn resolve_takes_more_paths_than_a_message_holds() {
    let pair = Pair::new();
    let deep = vec!["x".repeat(200); 17].join("/");
    let paths: Vec<_> = (0..320).map(|number| format!("{deep}/{number}")).collect();
    for path in &paths {
        pair.write(&format!("a/{path}"), "1");
        pair.write(&format!("b/{path}"), "2");
    }
    pair.sync(3, &[]);
    let asked: Vec<_> = paths.iter().map(String::as_str).collect();
    pair.home.ok(&[&["container", "resolve", "c", "--keep", A], asked.as_slice()].concat());
    assert!(pair.conflicts().is_empty() && pair.is_equal());
    assert_eq!(pair.read(&format!("b/{}", paths[319])), "1");
}

#[test]
fn resolve_refuses_what_changed_since() {
    for side in ["a", "b"] {
        let pair = clashing();
        pair.write(&format!("{side}/f.txt"), "changed since");
        let ran = pair.home.expect(1, &["container", "resolve", "c", "f.txt", "--keep", A]);
        ran.says(&["f.txt", "changed"]);
        assert_eq!(pair.read(&format!("{side}/f.txt")), "changed since");
        assert_eq!(pair.conflicts().len(), 1);
        // A pass records what is there now, and then it can be resolved.
        pair.sync(3, &[]);
        pair.home.ok(&["container", "resolve", "c", "f.txt", "--keep", A]);
        pair.assert_equal();
    }
}

/// Far shorter than the copy takes that is under way.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn what_the_user_decides_does_not_wait_for_a_long_copy() {
    let pair = Pair::with("", "", "bandwidth-limit: 20KiB");
    pair.write("a/kept", "old");
    pair.sync(0, &[]);
    pair.write("a/kept", "new");
    pair.write("a/f.txt", "from a");
    pair.write("b/f.txt", "from b");
    pair.sync(3, &[]);
    pair.write("a/big", vec![b'x'; 2 << 20]);
    pair.write("a/d/one", "1");
    pair.home.ok(&["container", "sync", "c"]);
    let copies_big = |job: &Value| job["current"].as_array().unwrap().contains(&json!("big"));
    pair.wait_job(copies_big);
    let begun = Instant::now();
    pair.home.ok(&["container", "resolve", "c", "f.txt", "--keep", B]);
    pair.home.ok(&["container", "trash", "c", "restore", "kept"]);
    pair.home.ok(&["container", "trash", "c", "empty"]);
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    assert_eq!((pair.read("a/f.txt"), pair.read("b/kept")), ("from b".into(), "old".into()));
    assert!(pair.conflicts().is_empty());
    assert!(copies_big(&pair.job()), "what was under way goes on");
    // The rest, and what was restored, follows with no limit.
    pair.home.ok(&["container", "stop-sync", "c"]);
    pair.write_manifest("", "", "");
    pair.sync(0, &[]);
    assert_eq!(pair.read("a/kept"), "old");
    pair.assert_equal();
}

#[test]
fn several_are_resolved_at_once_and_unknown_ones_are_named() {
    let pair = Pair::new();
    for name in ["one", "two", "three"] {
        pair.write(&format!("a/{name}"), "a");
        pair.write(&format!("b/{name}"), "b");
    }
    pair.sync(3, &[]);
    let ran = pair.home.expect(1, &["container", "resolve", "c", "one", "two", "nope", "--keep", B]);
    ran.says(&["nope", "no conflict"]);
    let open: Vec<_> = pair.conflicts().iter().map(|conflict| conflict["path"].clone()).collect();
    assert_eq!(open, ["three"]);
    assert_eq!(pair.read("a/one") + &pair.read("a/two") + &pair.read("a/three"), "bba");
}

#[test]
fn a_kind_conflict_is_resolved_for_either_kind() {
    for (keep, is_dir) in [(A, false), (B, true)] {
        let pair = Pair::new();
        pair.write("a/odd", "a file");
        pair.write("b/odd/x/y", "below");
        pair.sync(3, &[]);
        pair.home.ok(&["container", "resolve", "c", "odd", "--keep", keep]);
        pair.sync(0, &[]);
        assert_eq!(pair.a("odd").is_dir(), is_dir);
        pair.assert_equal();
        assert!(pair.conflicts().is_empty());
    }
}

#[test]
fn force_scan_finds_what_no_pass_has_seen() {
    let pair = Pair::new();
    pair.write("a/f", "base");
    pair.sync(0, &[]);
    pair.write("a/f", "1");
    pair.write("b/f", "2");
    assert!(pair.conflicts().is_empty());
    let found = pair.home.json_of(3, &["container", "list-conflicts", "c", "--force-scan"]);
    assert_eq!(found["conflicts"][0]["path"], "f");
    assert_eq!((pair.read("a/f"), pair.read("b/f")), ("1".into(), "2".into()));
}

#[test]
fn conflicts_outlive_the_job_and_the_daemon() {
    let pair = clashing();
    pair.home.ok(&["daemon", "stop"]);
    assert_eq!(pair.conflicts().len(), 1);
    pair.home.kill_daemon();
    assert_eq!(pair.conflicts().len(), 1);
}

#[test]
fn what_changed_below_a_directory_in_conflict_is_not_given_up() {
    for late in ["a/k/new", "a/k/in", "a/k/sub/deep"] {
        let pair = Pair::with("keep-deleted: 0", "", "");
        pair.write("a/k/in", "old");
        pair.write("b/k", "a file");
        pair.sync(3, &[]);
        pair.write(late, "written after it was recorded");
        pair.home.expect(1, &["container", "resolve", "c", "k", "--keep", "bbbb"]).says(&["changed since", "k"]);
        assert_eq!(pair.read(late), "written after it was recorded");
        pair.sync(3, &[]);
        pair.home.ok(&["container", "resolve", "c", "k", "--keep", "bbbb"]);
        assert_eq!(pair.read("a/k"), "a file");
    }
}

#[test]
fn a_directory_that_cannot_give_way_is_listed() {
    let pair = Pair::new();
    pair.write("a/s/x", "1");
    pair.sync(0, &[]);
    std::os::unix::fs::symlink("x", pair.a("s/link")).unwrap();
    fs::remove_dir_all(pair.b("s")).unwrap();
    pair.write("b/s", "a file now");
    let done = pair.sync(4, &[]);
    let mut paths: Vec<_> =
        done["problems"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["s", "s/link"], "{done}");
    assert_eq!((pair.read("a/s/x"), pair.read("b/s")), ("1".into(), "a file now".into()));
    fs::remove_file(pair.a("s/link")).unwrap();
    pair.sync(0, &[]);
    assert_eq!(pair.read("a/s"), "a file now");
}
