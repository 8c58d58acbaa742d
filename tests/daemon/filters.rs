//! Excluded paths: neither copied nor deleted.

use std::fs;

use crate::home::{Pair, tree};

fn names(pair: &Pair, side: &str) -> Vec<String> {
    tree(&pair.home.path(side)).into_keys().collect()
}

#[test]
fn the_containers_patterns_hold_on_both_sides() {
    let pair = Pair::with("exclude: ['*.tmp', '/build/', '!keep.tmp']", "", "");
    for name in ["a/x.tmp", "a/d/y.tmp", "a/build/out", "a/keep.tmp", "a/sub/build/in", "b/z.tmp", "b/fine"] {
        pair.write(name, name);
    }
    pair.sync(0, &[]);
    let b = ["fine", "keep.tmp", "d", "sub", "sub/build", "sub/build/in", "z.tmp"];
    let mut b = b.map(String::from).to_vec();
    b.sort();
    assert_eq!(names(&pair, "b"), b);
    assert!(!pair.has("a/z.tmp") && pair.has("a/fine"));
    pair.home.ok(&["container", "verify", "c"]);
}

#[test]
fn wlignore_on_either_side_holds_and_is_synced_itself() {
    let pair = Pair::new();
    pair.write("a/.wlignore", "*.log\n");
    pair.write("b/sub/.wlignore", "secret\n!deep.log\n");
    for name in ["a/x.log", "b/y.log", "a/sub/secret", "b/sub/secret", "a/sub/deep.log", "a/ok"] {
        pair.write(name, name);
    }
    pair.sync(0, &[]);
    // Only now both sides have both files.
    pair.sync(0, &[]);
    assert!(!pair.has("b/x.log") && !pair.has("a/y.log"));
    assert_eq!((pair.read("a/sub/secret"), pair.read("b/sub/secret")), ("a/sub/secret".into(), "b/sub/secret".into()));
    assert_eq!(pair.read("b/sub/deep.log"), "a/sub/deep.log");
    assert_eq!(pair.read("b/.wlignore"), "*.log\n");
    assert_eq!(pair.read("a/sub/.wlignore"), "secret\n!deep.log\n");
}

#[test]
fn what_becomes_excluded_is_neither_deleted_nor_followed() {
    let pair = Pair::new();
    pair.write("a/cache/x", "1");
    pair.write("a/other", "1");
    pair.sync(0, &[]);
    pair.write("a/.wlignore", "cache/\n");
    pair.sync(0, &[]);
    fs::remove_dir_all(pair.a("cache")).unwrap();
    pair.sync(0, &[]);
    assert_eq!(pair.read("b/cache/x"), "1", "what is excluded is not deleted");
}

#[test]
fn a_deleted_directory_stays_where_it_holds_something_excluded() {
    let pair = Pair::with("exclude: ['*.tmp']", "", "");
    pair.write("a/d/f", "1");
    pair.sync(0, &[]);
    pair.write("b/d/mine.tmp", "mine");
    fs::remove_dir_all(pair.a("d")).unwrap();
    pair.home.wl(&["container", "sync", "c", "--one-shot"]);
    assert_eq!(pair.read("b/d/mine.tmp"), "mine");
    assert!(!pair.has("b/d/f"));
}

#[test]
fn explain_names_the_pattern() {
    let pair = Pair::with("exclude: ['*.tmp']", "", "");
    pair.write("a/d/.wlignore", "notes\n");
    pair.write("a/d/notes", "1");
    pair.write("a/x.tmp", "1");
    pair.sync(0, &[]);
    let by = |path: &str| pair.home.json(&["container", "explain", "c", path])["excluded_by"].to_string();
    assert!(by("x.tmp").contains("*.tmp"), "{}", by("x.tmp"));
    assert!(by("d/notes").contains("notes") && by("d/notes").contains(".wlignore"), "{}", by("d/notes"));
    assert_eq!(by("d/.wlignore"), "null");
    let told = |path: &str| pair.home.json(&["container", "explain", "c", path]);
    assert_eq!(
        (&told("x.tmp")["source"]["kind"], &told("x.tmp")["target"]["kind"]),
        (&"file".into(), &"absent".into())
    );
    pair.write("a/.wl-trash/own", "1");
    assert_eq!(told(".wl-trash/own")["verdict"], "nothing");
    assert!(told("never").to_string().contains("neither side"), "{}", told("never"));
}

#[test]
fn a_running_job_follows_a_changed_wlignore() {
    let pair = Pair::new();
    pair.write("a/.wlignore", "*.log\n");
    pair.write("a/x.log", "1");
    pair.write("a/f", "1");
    pair.keep(&[]);
    assert!(!pair.has("b/x.log"));
    pair.write("a/.wlignore", "*.tmp\n");
    crate::home::wait_until(|| pair.has("b/x.log"));
}

#[test]
fn a_line_that_is_no_pattern_is_a_problem() {
    let pair = Pair::new();
    fs::write(pair.a(".wlignore"), b"*.tmp\na[b\ncaf\xe9\n").unwrap();
    pair.write("a/x.tmp", "1");
    let done = pair.sync(0, &[]);
    assert!(!pair.has("b/x.tmp"));
    let problem = &done["problems"][0];
    assert_eq!(problem["path"], ".wlignore");
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("line 2: the pattern 'a[b'") && message.contains("line 3"), "{message}");
}
