//! What a sync overwrote or deleted is kept, and can be had back.

use std::fs;

use crate::home::pair::B;
use crate::home::{Pair, shape};

fn entries(pair: &Pair) -> Vec<serde_json::Value> {
    pair.home.json(&["container", "trash", "c", "list"])["entries"].as_array().unwrap().clone()
}

fn filled(container: &str) -> Pair {
    let pair = Pair::with(container, "", "");
    pair.write("a/edit", "old");
    pair.write("a/d/delete", "deleted");
    pair.write("a/stays", "1");
    pair.sync(0, &[]);
    pair.write("a/edit", "new");
    fs::remove_dir_all(pair.a("d")).unwrap();
    pair.sync(0, &[]);
    pair
}

#[test]
fn it_keeps_both_with_their_reasons() {
    let pair = filled("");
    let mut found = entries(&pair);
    found.sort_by_key(|entry| entry["path"].to_string());
    for entry in &found {
        shape(entry, "path:text storage:text at:time hash:hash bytes:number reason:text");
        assert_eq!(entry["storage"], B);
    }
    let told: Vec<_> = found.iter().map(|e| (e["path"].as_str().unwrap(), e["reason"].as_str().unwrap())).collect();
    assert_eq!(told, [("d/delete", "deleted"), ("edit", "overwritten")]);
    assert_eq!(found[1]["bytes"], 3);
    assert!(pair.b(".wl-trash").is_dir() && !pair.has("a/.wl-trash"), "kept where it was, and not synced");
    let ran = pair.home.ok(&["container", "trash", "c", "list"]);
    assert!(ran.stdout.contains("d/delete") && ran.stdout.contains("overwritten"), "{}", ran.stdout);
}

#[test]
fn a_kept_version_is_restored_and_travels() {
    let pair = filled("");
    pair.home.ok(&["container", "trash", "c", "restore", "d/delete"]);
    pair.sync(0, &[]);
    assert_eq!((pair.read("a/d/delete"), pair.read("b/d/delete")), ("deleted".into(), "deleted".into()));
    let at = entries(&pair).iter().find(|entry| entry["path"] == "edit").unwrap()["at"].clone();
    pair.home.ok(&["container", "trash", "c", "restore", "edit", "--at", at.as_str().unwrap()]);
    pair.sync(0, &[]);
    assert_eq!((pair.read("a/edit"), pair.read("b/edit")), ("old".into(), "old".into()));
    assert!(entries(&pair).iter().any(|entry| entry["path"] == "edit"), "restoring loses no version either");
}

#[test]
fn what_is_not_there_cannot_be_restored() {
    let pair = filled("");
    pair.home.expect(1, &["container", "trash", "c", "restore", "never"]).says(&["never", "trash"]);
    pair.home.expect(2, &["container", "trash", "c", "restore", "edit", "--at", "yesterday"]).says(&["yesterday"]);
    pair.home.expect(1, &["container", "trash", "c", "restore", "edit", "--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(pair.read("b/edit"), "new");
}

#[test]
fn it_can_be_emptied() {
    let pair = filled("");
    pair.home.ok(&["container", "trash", "c", "empty"]);
    assert!(entries(&pair).is_empty());
    assert_eq!((pair.read("a/edit"), pair.read("b/edit")), ("new".into(), "new".into()));
}

#[test]
fn a_trash_that_cannot_be_looked_at_is_not_called_empty() {
    let pair = filled("");
    fs::rename(pair.b(""), pair.home.path("away")).unwrap();
    let ran = pair.home.expect(4, &["container", "trash", "c", "list", "--json"]);
    let list = ran.json();
    assert_eq!((list["entries"].as_array().unwrap().len(), &list["problems"][0]["storage"]), (0, &B.into()));
    pair.home.expect(1, &["container", "trash", "c", "restore", "edit"]).says(&["could be looked at", "--at"]);
    pair.home.expect(4, &["container", "trash", "c", "empty"]);
    fs::rename(pair.home.path("away"), pair.b("")).unwrap();
    assert_eq!(entries(&pair).len(), 2, "it is there as before");
}

#[test]
fn it_is_swept_when_due() {
    let pair = filled("keep-deleted: 30");
    // As if it had been filled forty days ago.
    let dir = fs::read_dir(pair.b(".wl-trash")).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap();
    let name = dir.file_name().into_string().unwrap();
    let reason = name.rsplit_once('-').unwrap().1;
    let old = pair.b(".wl-trash").join(format!("20200101T000000.000000Z-{reason}"));
    fs::rename(dir.path(), &old).unwrap();
    let before = entries(&pair).len();
    pair.write("a/again", "1");
    pair.sync(0, &[]);
    assert!(!old.exists(), "what is due is swept");
    assert_eq!(entries(&pair).len(), before - 1, "what is not due stays");
}

#[test]
fn many_versions_of_one_path_are_kept_apart() {
    let pair = Pair::new();
    for version in 0..4 {
        pair.write("a/f", format!("version {version}"));
        pair.sync(0, &[]);
    }
    let mut found = entries(&pair);
    assert_eq!(found.len(), 3);
    assert!(found.is_sorted_by_key(|entry| std::cmp::Reverse(entry["at"].to_string())), "newest first");
    let oldest = found.pop().unwrap();
    pair.home.ok(&["container", "trash", "c", "restore", "f", "--at", oldest["at"].as_str().unwrap()]);
    assert_eq!(pair.read("b/f"), "version 0");
}

#[test]
fn a_conflict_loses_nothing_whatever_is_kept() {
    let pair = Pair::new();
    pair.write("a/f", "mine");
    pair.write("b/f", "theirs");
    pair.sync(3, &[]);
    pair.home.ok(&["container", "resolve", "c", "f", "--keep", "aaaa"]);
    pair.sync(0, &[]);
    pair.home.ok(&["container", "trash", "c", "restore", "f"]);
    pair.sync(0, &[]);
    assert_eq!((pair.read("a/f"), pair.read("b/f")), ("theirs".into(), "theirs".into()));
}

#[test]
fn what_has_the_name_of_the_trash_is_told() {
    let pair = Pair::new();
    pair.write("a/edit", "old");
    pair.write("a/gone", "old");
    pair.write("a/stays", "1");
    pair.sync(0, &[]);
    pair.write("b/.wl-trash", "a user's");
    pair.write("a/edit", "new");
    pair.remove("a/gone");
    let done = pair.sync(4, &[]);
    let problems = done["problems"].as_array().unwrap();
    let told = |path: &str| {
        let problem = problems.iter().find(|problem| problem["path"] == path).unwrap();
        let message = problem["message"].as_str().unwrap();
        message.contains(".wl-trash") && message.contains("is a file") && message.contains("move it away")
    };
    assert!(told("edit") && told("gone"), "{done}");
    assert_eq!((pair.read("b/edit"), pair.read("b/gone")), ("old".into(), "old".into()));
    assert_eq!(pair.read("b/.wl-trash"), "a user's");
    fs::remove_file(pair.b(".wl-trash")).unwrap();
    pair.sync(0, &[]);
    assert!(pair.read("b/edit") == "new" && !pair.has("b/gone"));
}
