//! The reconciliation table, row by row, in both directions.

use std::fs;

use crate::home::{Pair, tree};

/// Both sides, the changed one first.
const WAYS: [[&str; 2]; 2] = [["a", "b"], ["b", "a"]];

/// A pair that agrees on these files.
fn agreed(files: &[&str]) -> Pair {
    let pair = Pair::new();
    for file in files {
        pair.write(&format!("a/{file}"), "base");
    }
    pair.sync(0, &[]);
    pair
}

#[test]
fn without_a_base_both_sides_become_the_union_and_nothing_is_deleted() {
    let pair = Pair::new();
    pair.write("a/only-a", "1");
    pair.write("a/dir/same", "same");
    pair.write("b/only-b", "2");
    pair.write("b/dir/same", "same");
    fs::create_dir(pair.a("empty-a")).unwrap();
    fs::create_dir_all(pair.b("deep/empty-b")).unwrap();
    let done = pair.sync(0, &[]);
    assert_eq!((&done["copied"], &done["adopted"], &done["deleted"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(pair.read("b/only-a") + &pair.read("a/only-b"), "12");
    assert!(pair.b("empty-a").is_dir() && pair.a("deep/empty-b").is_dir());
    pair.assert_equal();
    let again = pair.sync(0, &[]);
    for field in ["copied", "deleted", "moved", "adopted", "bytes"] {
        assert_eq!(again[field], 0, "{field}: {again}");
    }
}

#[test]
fn what_changed_on_one_side_is_carried_over() {
    for [from, to] in WAYS {
        let pair = agreed(&["keep", "edit", "delete", "both-delete", "same-edit"]);
        pair.write(&format!("{from}/edit"), "edited");
        pair.write(&format!("{from}/new"), "new");
        pair.remove(&format!("{from}/delete"));
        for side in [from, to] {
            pair.remove(&format!("{side}/both-delete"));
            pair.write(&format!("{side}/same-edit"), "the same edit");
            pair.write(&format!("{side}/same-new"), "the same file");
        }
        let done = pair.sync(0, &[]);
        assert_eq!((&done["copied"], &done["deleted"]), (&2.into(), &1.into()), "{from} {done}");
        let held: Vec<_> = tree(&pair.home.path(to)).into_keys().collect();
        assert_eq!(held, ["edit", "keep", "new", "same-edit", "same-new"]);
        assert_eq!(pair.read(&format!("{to}/edit")), "edited");
        pair.assert_equal();
    }
}

#[test]
fn what_both_forgot_may_come_back_from_either_side() {
    let pair = agreed(&["f"]);
    pair.remove("a/f");
    pair.remove("b/f");
    pair.sync(0, &[]);
    pair.write("b/f", "again");
    pair.sync(0, &[]);
    assert_eq!(pair.read("a/f"), "again");
}

#[test]
fn different_changes_are_a_conflict_and_nothing_is_touched() {
    let pair = agreed(&["edited", "gone-a", "gone-b", "fine"]);
    pair.write("a/edited", "from a");
    pair.write("b/edited", "from b");
    pair.remove("a/gone-a");
    pair.write("b/gone-a", "kept on b");
    pair.remove("b/gone-b");
    pair.write("a/gone-b", "kept on a");
    pair.write("a/new", "one");
    pair.write("b/new", "two");
    pair.write("a/fine", "goes on");
    let (a, b) = (tree(&pair.a("")), tree(&pair.b("")));
    let done = pair.sync(3, &[]);
    assert_eq!(done["state"], "SYNCED");
    assert_eq!(done["copied"], 1, "the rest goes on");
    let kinds: Vec<_> = pair.conflicts().iter().map(|c| (c["path"].clone(), c["kind"].clone())).collect();
    let expected =
        [("edited", "content"), ("gone-a", "deleted-modified"), ("gone-b", "deleted-modified"), ("new", "content")];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.into(), kind.into())));
    assert_eq!(tree(&pair.a("")), a);
    assert_eq!(pair.read("b/fine"), "goes on");
    assert_eq!(tree(&pair.b("")).into_keys().collect::<Vec<_>>(), b.into_keys().collect::<Vec<_>>());
    assert_eq!(pair.read("b/edited"), "from b");
}

#[test]
fn a_file_against_a_directory_is_a_conflict_and_siblings_go_on() {
    let pair = agreed(&["d/x", "d/sibling"]);
    pair.write("a/odd", "a file");
    pair.write("b/odd/below", "below");
    pair.remove("a/d/x");
    pair.write("a/d/x/inner", "1");
    pair.write("b/d/x", "edited");
    pair.write("a/d/sibling", "goes on");
    pair.sync(3, &[]);
    assert_eq!(pair.read("b/d/sibling"), "goes on");
    assert_eq!((pair.read("a/odd"), pair.read("b/odd/below")), ("a file".into(), "below".into()));
    assert_eq!((pair.read("a/d/x/inner"), pair.read("b/d/x")), ("1".into(), "edited".into()));
    let found = pair.conflicts();
    let paths: Vec<_> = found.iter().map(|c| c["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["d/x", "odd"], "{found:?}");
    assert!(found.iter().all(|conflict| conflict["kind"] == "kind"));
}

#[test]
fn a_changed_kind_against_an_unchanged_side_is_carried_over() {
    for [from, to] in WAYS {
        let pair = agreed(&["file", "dir/inner"]);
        pair.remove(&format!("{from}/file"));
        pair.write(&format!("{from}/file/inner"), "now a directory");
        fs::remove_dir_all(pair.home.path(format!("{from}/dir"))).unwrap();
        pair.write(&format!("{from}/dir"), "now a file");
        pair.sync(0, &[]);
        assert_eq!(pair.read(&format!("{to}/file/inner")), "now a directory");
        assert_eq!(pair.read(&format!("{to}/dir")), "now a file");
        pair.assert_equal();
    }
}

#[test]
fn a_deleted_directory_takes_only_what_is_unchanged() {
    for [from, to] in WAYS {
        let pair = agreed(&["d/unchanged", "d/deep/edited", "d/other/unchanged"]);
        fs::remove_dir_all(pair.home.path(format!("{from}/d"))).unwrap();
        pair.write(&format!("{to}/d/deep/edited"), "mine");
        pair.sync(3, &[]);
        let held: Vec<_> = tree(&pair.home.path(to)).into_keys().collect();
        assert_eq!(held, ["d", "d/deep", "d/deep/edited"], "{from}");
        assert_eq!(pair.read(&format!("{to}/d/deep/edited")), "mine");
        let found = pair.conflicts();
        assert_eq!((&found[0]["path"], &found[0]["kind"]), (&"d/deep/edited".into(), &"deleted-modified".into()));
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn directories_come_and_go_empty_or_not() {
    for [from, to] in WAYS {
        let pair = agreed(&["full/x"]);
        for dir in ["empty", "deep/er/est"] {
            fs::create_dir_all(pair.home.path(format!("{from}/{dir}"))).unwrap();
        }
        pair.sync(0, &[]);
        assert!(pair.home.path(format!("{to}/deep/er/est")).is_dir());
        pair.assert_equal();
        for dir in ["empty", "deep", "full"] {
            fs::remove_dir_all(pair.home.path(format!("{from}/{dir}"))).unwrap();
        }
        pair.sync(0, &[]);
        assert!(tree(&pair.home.path(to)).is_empty());
    }
}

#[test]
fn unidirectional_lets_only_the_sources_changes_travel() {
    let pair = agreed(&["edit-b", "gone-b", "edit-a", "gone-a", "both"]);
    pair.write("b/edit-b", "stays");
    pair.remove("b/gone-b");
    pair.write("b/new-b", "stays");
    pair.write("a/edit-a", "travels");
    pair.remove("a/gone-a");
    pair.write("a/new-a", "travels");
    let a = tree(&pair.a(""));
    pair.sync(0, &["--unidirectional"]);
    assert_eq!(tree(&pair.a("")), a, "nothing is written to the source");
    assert_eq!((pair.read("b/edit-b"), pair.read("b/new-b")), ("stays".into(), "stays".into()));
    assert!(!pair.has("b/gone-b") && !pair.has("b/gone-a"));
    assert_eq!((pair.read("b/edit-a"), pair.read("b/new-a")), ("travels".into(), "travels".into()));
    // Once the source changes the same path, it is a conflict.
    pair.write("a/edit-b", "now the source too");
    pair.write("a/gone-b", "and here");
    pair.write("a/new-b", "and there");
    pair.sync(3, &["--unidirectional"]);
    let paths: Vec<_> = pair.conflicts().iter().map(|conflict| conflict["path"].clone()).collect();
    assert_eq!(paths, ["edit-b", "gone-b", "new-b"]);
    assert_eq!((pair.read("b/edit-b"), pair.read("b/new-b")), ("stays".into(), "stays".into()));
    assert!(!pair.has("b/gone-b"));
}

#[test]
fn a_dry_run_changes_nothing_and_tells_everything() {
    use crate::home::tree::exact;
    let pair = agreed(&["edit", "delete", "clash", "move-me", "d/x"]);
    pair.write("a/edit", "edited!");
    pair.remove("b/delete");
    pair.write("a/clash", "1");
    pair.write("b/clash", "2");
    fs::rename(pair.a("move-me"), pair.a("moved")).unwrap();
    fs::create_dir(pair.b("made")).unwrap();
    fs::remove_dir_all(pair.a("d")).unwrap();
    std::os::unix::fs::symlink("x", pair.a("link")).unwrap();
    let before = (exact(&pair.a("")), exact(&pair.b("")));
    let plan = pair.plan(&[]);
    assert_eq!((exact(&pair.a("")), exact(&pair.b(""))), before);
    assert!(pair.conflicts().is_empty(), "a dry run records no conflict");
    assert!(pair.home.jobs().is_empty());
    let mut told: Vec<_> =
        plan.iter().map(|one| format!("{} {}", one["action"], one["path"]).replace('"', "")).collect();
    told.sort();
    let expected = [
        "conflict clash",
        "copy edit",
        "delete d/x",
        "delete delete",
        "mkdir made",
        "move moved",
        "rmdir d",
        "skip link",
    ];
    assert_eq!(told, expected, "{plan:?}");
    // It does then what it said.
    pair.sync(3, &[]);
    assert_eq!(pair.read("b/moved"), "base");
    assert!(!pair.has("a/delete") && pair.a("made").is_dir() && !pair.has("b/d"));
}

#[test]
fn a_dry_run_fails_as_the_run_would() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    let (a, b) = (pair.home.text("a"), pair.home.text("none/b"));
    for options in [&["--dry-run"][..], &["--one-shot"]] {
        let ran = pair.home.expect(1, &[&["sync", &a, &b], options].concat());
        ran.says(&["none/b is not there, nor can it be made", "the directory it is in exists: make that first"]);
    }
}

#[test]
fn a_dry_run_of_two_bare_storages_leaves_nothing_behind() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    fs::remove_dir_all(pair.home.path("base/containers")).unwrap();
    fs::remove_dir(pair.b("")).unwrap();
    let (a, b) = (pair.home.text("a"), pair.home.text("b"));
    let ran = pair.home.ok(&["sync", &a, &b, "--dry-run", "--json"]);
    assert_eq!(ran.json()["actions"][0]["action"], "copy");
    assert!(!pair.has("b"), "a root is not made for a dry run");
    assert_eq!(pair.home.json(&["container", "list"])["containers"].as_array().unwrap().len(), 0);
}
