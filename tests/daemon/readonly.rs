//! Storages that are only read.

use std::fs;

use crate::home::pair::B;
use crate::home::{Pair, tree};

#[test]
fn nothing_is_ever_written_to_one_and_what_would_be_is_listed() {
    let pair = Pair::new();
    for name in ["edit", "delete", "from-b"] {
        pair.write(&format!("a/{name}"), "base");
    }
    pair.sync(0, &[]);
    pair.write_manifest("", "", "read-only: true");
    pair.write("a/edit", "edited");
    pair.remove("a/delete");
    fs::create_dir(pair.a("new-dir")).unwrap();
    pair.write("b/from-b", "travels");
    let before = tree::exact(&pair.b(""));
    let done = pair.sync(4, &[]);
    assert_eq!(tree::exact(&pair.b("")), before);
    assert_eq!(pair.read("a/from-b"), "travels");
    let problems = done["problems"].as_array().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["delete", "edit", "new-dir"], "{problems:?}");
    assert!(problems.iter().all(|problem| problem["kind"] == "read-only" && problem["storage"] == B));
    assert_eq!((pair.read("a/edit"), pair.has("a/delete")), ("edited".into(), false), "nothing is undone");
    // Writable again, it is all carried out.
    pair.write_manifest("", "", "");
    pair.sync(0, &[]);
    assert_eq!(tree(&pair.a("")), tree(&pair.b("")));
}

#[test]
fn a_missing_read_only_root_is_not_made() {
    let pair = Pair::with("", "", "read-only: true");
    pair.write("a/f", "1");
    fs::remove_dir(pair.b("")).unwrap();
    let ran = pair.home.expect(1, &["container", "sync", "c", "--one-shot"]);
    ran.says(&["/b"]);
    assert!(!pair.has("b"));
}
