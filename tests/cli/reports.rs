//! What the reports say: section 9's shapes, exactly.

use serde_json::Value;

use crate::home::pair::{A, B};
use crate::home::{Pair, shape, tree};

const SIDE: &str = "backend_id:text type:text location:text";
const CONFLICT: &str = "path:text kind:text since:time";
const PROBLEM: &str = "path:text storage:text kind:text message:text";
const HISTORY: &str = "at:time action:text path:text from:text? to:text? hash:hash? bytes:number";

/// A pair with a conflict, a problem, and something done.
fn eventful() -> Pair {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.write("a/moved", "content");
    pair.sync(0, &[]);
    pair.write("a/clash", "1");
    pair.write("b/clash", "2");
    std::os::unix::fs::symlink("f", pair.a("link")).unwrap();
    std::fs::rename(pair.a("moved"), pair.a("elsewhere")).unwrap();
    pair
}

fn each(list: &Value, fields: &str) {
    let list = list.as_array().unwrap();
    assert!(!list.is_empty());
    for one in list {
        shape(one, fields);
    }
}

#[test]
fn status_is_as_written_down() {
    let pair = eventful();
    pair.home.wl(&["container", "sync", "c", "--wait"]);
    let status = pair.home.json_of(3, &["status"]);
    shape(&status, "jobs:list");
    // `paused` is the one field beyond the contract's.
    let job = &status["jobs"][0];
    shape(
        job,
        "job_id:text container:text state:text mode:text unidirectional:bool paused:bool syncer:text source:object \
         target:object files:number bytes:number transferred_files:number transferred_bytes:number pending:number \
         rate_bytes_per_s:number eta_s:number? current:list conflicts:list problems:list error:text?",
    );
    shape(&job["source"], SIDE);
    shape(&job["target"], SIDE);
    each(&job["conflicts"], CONFLICT);
    each(&job["problems"], PROBLEM);
    assert_eq!((&job["state"], &job["mode"]), (&"SYNCED".into(), &"continuous".into()));
    assert_eq!(job["job_id"], crate::home::pair::JOB);
    let text = pair.home.expect(3, &["status", "--container", "c"]).stdout;
    for word in ["c", "SYNCED", "<->", &pair.home.text("a"), &pair.home.text("b"), "clash", "link"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    pair.home.expect(2, &["status", "--container", "nope"]);
    pair.home.expect(2, &["status", "--watch", "--json"]);
}

#[test]
fn a_one_shot_tells_what_it_did() {
    let pair = eventful();
    let done = pair.sync(3, &[]);
    shape(
        &done,
        "state:text copied:number deleted:number moved:number adopted:number bytes:number seconds:number conflicts:list \
         problems:list",
    );
    each(&done["conflicts"], CONFLICT);
    each(&done["problems"], PROBLEM);
    assert_eq!((&done["state"], &done["moved"]), (&"SYNCED".into(), &1.into()));
}

#[test]
fn a_plan_has_an_action_a_line() {
    let pair = eventful();
    let plan = pair.home.json_of(3, &["container", "sync", "c", "--dry-run"]);
    shape(&plan, "actions:list");
    each(&plan["actions"], "action:text path:text from:text? to:text? bytes:number reason:text");
    let text = pair.home.expect(3, &["container", "sync", "c", "--dry-run"]).stdout;
    assert_eq!(text.lines().count(), plan["actions"].as_array().unwrap().len(), "{text}");
}

#[test]
fn conflicts_are_as_written_down() {
    let pair = eventful();
    pair.sync(3, &[]);
    for scan in [&[][..], &["--force-scan"]] {
        let found = pair.home.json_of(3, &[&["container", "list-conflicts", "c"], scan].concat());
        shape(&found, "conflicts:list");
        each(&found["conflicts"], "path:text kind:text storages:list hashes:list since:time");
        let one = &found["conflicts"][0];
        assert_eq!(one["storages"], serde_json::json!([A, B]));
        assert_eq!(one["hashes"][0].as_str().unwrap().len(), 64);
    }
}

#[test]
fn verify_lists_what_differs() {
    let pair = eventful();
    pair.sync(3, &[]);
    let found = pair.home.json_of(5, &["container", "verify", "c"]);
    // `problems` is the one field beyond the contract's.
    shape(&found, "checked:number differences:list problems:list");
    each(&found["differences"], "path:text source:hash? target:hash?");
    // What no token shows is found all the same: same size, same time.
    let at = std::fs::metadata(pair.b("f")).unwrap().modified().unwrap();
    pair.write("b/f", "2");
    std::fs::File::options().write(true).open(pair.b("f")).unwrap().set_modified(at).unwrap();
    pair.remove("b/elsewhere");
    let found = pair.home.json_of(5, &["container", "verify", "c"]);
    let paths: Vec<_> = found["differences"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert_eq!(paths, ["clash", "elsewhere", "f"]);
    assert_eq!(found["differences"][1]["target"], Value::Null);
}

/// No listing tells of a directory that is left out as one.
#[test]
fn explain_names_the_pattern_that_leaves_a_directory_out() {
    let pair = Pair::new();
    pair.write("a/.wlignore", "build/");
    pair.write("a/build/x", "1");
    pair.write("a/nm/build", "1");
    pair.sync(0, &[]);
    for (path, left_out) in [("build", true), ("build/x", true), ("nm/build", false)] {
        let told = pair.home.json(&["container", "explain", "c", path]);
        assert_eq!(told["excluded_by"].is_string(), left_out, "{told}");
        assert_eq!(told["verdict"] == "excluded", left_out, "{told}");
    }
    let long = "d/".repeat(10_000) + "f";
    pair.home.expect(1, &["container", "explain", "c", &long]).says(&["longer than any storage holds"]);
}

#[test]
fn explain_and_history_are_as_written_down() {
    let pair = eventful();
    pair.sync(3, &[]);
    let told = pair.home.json(&["container", "explain", "c", "clash"]);
    shape(
        &told,
        "path:text storages:list base:object source:object target:object excluded_by:text? verdict:text reason:text \
         history:list",
    );
    assert_eq!(told["verdict"], "conflict");
    each(&told["history"], HISTORY);
    let all = pair.home.json(&["container", "history", "c"]);
    shape(&all, "entries:list");
    each(&all["entries"], HISTORY);
    let of_one = pair.home.json(&["container", "history", "c", "f"]);
    assert_eq!(of_one["entries"].as_array().unwrap().len(), 1);
    assert_eq!(of_one["entries"][0]["action"], "copied");
    let moved = all["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "moved").unwrap();
    assert_eq!((&moved["from"], &moved["to"]), (&"moved".into(), &"elsewhere".into()));
    pair.home.expect(2, &["container", "explain", "c", "../out"]);
}

#[test]
fn doctor_tries_every_storage() {
    let pair = eventful();
    let before = tree(&pair.b(""));
    let told = pair.home.json(&["doctor", "c"]);
    shape(&told, "storages:list syncers:list");
    each(&told["storages"], "backend_id:text type:text location:text reachable:bool capabilities:object problems:list");
    each(&told["syncers"], "source:text target:text syncer:text");
    let can = &told["storages"][0]["capabilities"];
    for (key, value) in [("hash", "read"), ("token", "strong"), ("watcher", "native")] {
        assert_eq!(can[key], value, "{key}");
    }
    for key in ["replace", "create", "delete"] {
        assert!(can[key] == "atomic" || can[key] == "checked", "{key}");
    }
    for key in ["server_copy", "trash", "mtime"] {
        assert!(can[key].is_boolean(), "{key}");
    }
    assert_eq!(tree(&pair.b("")), before, "it leaves nothing behind");
    std::fs::remove_dir_all(pair.b("")).unwrap();
    let told = pair.home.json_of(1, &["doctor", "c"]);
    assert_eq!(told["storages"][1]["reachable"], false);
}

#[test]
fn diff_shows_both_versions() {
    let pair = eventful();
    pair.sync(3, &[]);
    let ran = pair.home.ok(&["container", "diff", "c", "clash"]);
    assert!(ran.stdout.contains("-1") && ran.stdout.contains("+2"), "{}", ran.stdout);
    pair.write("a/clash", b"\x00\xff\x01");
    let ran = pair.home.ok(&["container", "diff", "c", "clash"]);
    assert!(!ran.stdout.contains('\u{0}'), "nothing binary on a terminal");
}

#[test]
fn with_json_there_is_one_document_and_nothing_else() {
    let pair = eventful();
    for args in [
        &["container", "list"][..],
        &["container", "show", "c"],
        &["container", "sync", "c"],
        &["status"],
        &["container", "pause", "c"],
        &["container", "resume", "c"],
        &["container", "list-conflicts", "c"],
        &["container", "history", "c"],
        &["container", "trash", "c", "list"],
        &["container", "trash", "c", "empty"],
        &["container", "diff", "c", "f"],
        &["container", "stop-sync", "c"],
        &["doctor", "c"],
        &["daemon", "start"],
        &["daemon", "stop"],
        &["container", "delete", "c"],
    ] {
        pair.home.wl(&[args, &["--json"]].concat()).json();
    }
}

#[test]
fn what_a_job_that_is_done_left_open_is_shown() {
    let pair = Pair::new();
    pair.write("a/f", "base");
    pair.sync(0, &[]);
    pair.write("a/f", "one");
    pair.write("b/f", "other");
    std::os::unix::fs::symlink("/", pair.a("link")).unwrap();
    pair.sync(3, &[]);
    let status = ["status", "--container", "c"];
    let ran = pair.home.expect(3, &status);
    assert!(["conflict: f", "skipped: link"].iter().all(|told| ran.stdout.contains(told)), "{}", ran.stdout);
    let found = pair.home.json_of(3, &status);
    let open = &found["recorded"][0];
    assert_eq!((found["jobs"].as_array().unwrap().len(), &open["conflicts"][0]["path"]), (0, &"f".into()), "{found}");
    assert_eq!((&open["problems"][0]["path"], &open["source"]["backend_id"]), (&"link".into(), &A.into()), "{found}");
    let ran = pair.home.expect(3, &["container", "list-conflicts", "c"]);
    assert!(ran.stdout.contains("skipped: link"), "{}", ran.stdout);
    pair.home.ok(&["container", "resolve", "c", "f", "--keep", A]);
    pair.remove("a/link");
    pair.sync(0, &[]);
    assert_eq!(pair.home.json(&status), serde_json::json!({ "jobs": [] }));
}

#[test]
fn a_scan_says_what_it_could_not_look_at() {
    use std::os::unix::ffi::OsStrExt as _;
    let pair = Pair::new();
    pair.write("a/f", "1");
    std::fs::write(pair.a(std::ffi::OsStr::from_bytes(b"odd-\xff")), "1").unwrap();
    let ran = pair.home.expect(4, &["container", "list-conflicts", "c", "--force-scan"]);
    assert!(ran.stdout.contains("odd-"), "{}", ran.stdout);
}

#[test]
fn a_state_that_was_set_aside_is_told_until_it_is_moved_away() {
    let pair = Pair::new();
    pair.keep(&[]);
    pair.home.ok(&["daemon", "stop"]);
    let state = pair.home.path("base/state");
    std::fs::write(state.join("state.db"), "garbage").unwrap();
    pair.home.ok(&["daemon", "start"]);
    let aside = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("corrupt")).collect();
    let name = aside[0].to_str().unwrap();
    pair.home.ok(&["status"]).says(&[name, "start them again", "first contact"]);
    assert_eq!(pair.home.json(&["status"])["jobs"].as_array().unwrap().len(), 0);
    for path in &aside {
        std::fs::remove_file(path).unwrap();
    }
    assert!(!pair.home.ok(&["status"]).stderr.contains("set aside"));
}
