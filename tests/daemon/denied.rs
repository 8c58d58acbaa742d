//! What cannot be listed or read is unknown, never absent. Run as somebody to whom permissions apply.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::home::{Home, Pair, tree, wait_until};

const NOBODY: u32 = 65534;

/// A pair that belongs to an unprivileged user, under whom its daemon runs.
fn unprivileged() -> Pair {
    if !rustix::process::getuid().is_root() {
        return Pair::new();
    }
    let pair = Pair::in_home(Home::of_user(NOBODY), "", "", "");
    pair.home.give("a");
    pair.home.give("b");
    pair
}

/// Writes a file that belongs to the pair's user.
fn write(pair: &Pair, path: &str, content: &str) {
    pair.write(path, content);
    if rustix::process::getuid().is_root() {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.skip(1).for_each(|end| pair.home.give(&path[..end]));
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn nothing_below_an_unreadable_directory_is_deleted_and_the_rest_goes_on() {
    for [closed, other] in [["a", "b"], ["b", "a"]] {
        let pair = unprivileged();
        for name in ["closed/x", "closed/deep/y", "open/z", "closed-not/w"] {
            write(&pair, &format!("a/{name}"), "1");
        }
        pair.sync(0, &[]);
        let dir = pair.home.path(format!("{closed}/closed"));
        chmod(&dir, 0o000);
        write(&pair, &format!("{closed}/open/new"), "1");
        write(&pair, &format!("{other}/closed/x"), "edited meanwhile");
        let done = pair.sync(4, &[]);
        chmod(&dir, 0o755);
        let listed: Vec<_> = done["problems"].as_array().unwrap().iter().collect();
        assert!(listed.iter().any(|p| p["path"] == "closed" && p["kind"] == "unreadable"), "{done}");
        assert!(pair.has(&format!("{other}/closed/deep/y")) && pair.has(&format!("{other}/open/new")));
        assert_eq!(pair.read(&format!("{other}/closed/x")), "edited meanwhile");
        // Readable again, everything is carried over.
        let done = pair.sync(0, &[]);
        assert_eq!(done["problems"], serde_json::json!([]));
        assert_eq!(pair.read(&format!("{closed}/closed/x")), "edited meanwhile");
        assert_eq!(tree(&pair.a("")), tree(&pair.b("")));
    }
}

#[test]
fn an_unreadable_file_is_a_problem_and_no_deletion() {
    let pair = unprivileged();
    write(&pair, "a/f", "1");
    write(&pair, "a/g", "1");
    pair.sync(0, &[]);
    write(&pair, "a/f", "edited");
    write(&pair, "a/new", "1");
    chmod(&pair.a("f"), 0o000);
    chmod(&pair.a("new"), 0o000);
    write(&pair, "a/g", "edited");
    let done = pair.sync(4, &[]);
    let kinds: Vec<_> = done["problems"].as_array().unwrap().iter().map(|p| (&p["path"], &p["kind"])).collect();
    assert_eq!(kinds.len(), 2, "{done}");
    assert!(kinds.iter().all(|(_, kind)| **kind == "unreadable" || **kind == "denied"), "{kinds:?}");
    assert_eq!((pair.read("b/f"), pair.read("b/g")), ("1".into(), "edited".into()));
    assert!(!pair.has("b/new"));
    chmod(&pair.a("f"), 0o644);
    chmod(&pair.a("new"), 0o644);
    pair.sync(0, &[]);
    pair.assert_equal();
}

#[test]
fn a_directory_that_cannot_be_written_is_a_problem() {
    let pair = unprivileged();
    write(&pair, "a/d/f", "1");
    pair.sync(0, &[]);
    chmod(&pair.b("d"), 0o555);
    write(&pair, "a/d/new", "1");
    write(&pair, "a/else", "1");
    let done = pair.sync(4, &[]);
    chmod(&pair.b("d"), 0o755);
    assert_eq!(done["problems"][0]["kind"], "denied", "{done}");
    assert!(pair.has("b/else"));
    pair.sync(0, &[]);
    pair.assert_equal();
}

#[test]
fn a_running_job_goes_on_when_it_may_read_again() {
    let pair = unprivileged();
    write(&pair, "a/d/f", "1");
    pair.keep(&[]);
    chmod(&pair.a("d"), 0o000);
    write(&pair, "a/else", "1");
    wait_until(|| pair.has("b/else"));
    assert!(pair.has("b/d/f"));
    chmod(&pair.a("d"), 0o755);
    write(&pair, "a/d/g", "1");
    wait_until(|| pair.has("b/d/g"));
    pair.wait_job(|job| job["problems"].as_array().unwrap().is_empty());
}

#[test]
fn a_root_that_cannot_be_listed_is_no_deletion() {
    let pair = unprivileged();
    write(&pair, "a/f", "1");
    pair.sync(0, &[]);
    chmod(&pair.a(""), 0o000);
    let ran = pair.home.wl(&["container", "sync", "c", "--one-shot", "--json"]);
    chmod(&pair.a(""), 0o755);
    assert!(ran.code == 1 || ran.code == 4, "{} {}", ran.code, ran.stderr);
    assert!(pair.has("b/f"));
    pair.sync(0, &[]);
    pair.assert_equal();
}
