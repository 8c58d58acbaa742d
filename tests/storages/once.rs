//! One-shot syncs with a remote storage.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use crate::on_each;
use crate::remote::Remote;
use crate::trio::Trio;

on_each!(
    everything_travels,
    only_what_changed_travels,
    a_move_is_no_transfer,
    exchanged_names_are_no_transfer,
    a_conflict_changes_nothing,
    what_was_deleted_is_kept,
    times_travel,
    a_large_file_travels
);

/// Content of any size without a pattern that could hide a mistake in offsets.
pub fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

fn everything_travels(remote: &Remote) {
    let trio = Trio::new(remote);
    for name in ["plain", "with space", "100%", "a#b?c&d+e", "ünïcode ☃", "quote'\"s", "d/deep/er/file", "d-", "d0"]
    {
        trio.write(&format!("a/{name}"), name);
    }
    trio.write("a/nothing", "");
    trio.write("a/piece", noise(300_000, 1));
    fs::create_dir_all(trio.home.path("a/empty/in empty")).unwrap();
    let [up, down] = trio.through();
    assert_eq!((&up["copied"], &down["copied"]), (&11.into(), &11.into()), "{up} {down}");
    trio.assert_equal();
    for container in ["up", "down"] {
        trio.home.ok(&["container", "verify", container]);
        let doctor = trio.home.json(&["doctor", container]);
        assert!(doctor["storages"].as_array().unwrap().iter().all(|storage| storage["reachable"] == true), "{doctor}");
    }
}

fn only_what_changed_travels(remote: &Remote) {
    let trio = Trio::new(remote);
    for number in 0..30 {
        trio.write(&format!("a/d{}/f{number}", number % 3), format!("content {number}"));
    }
    trio.through();
    let [up, down] = trio.through();
    for done in [up, down] {
        assert_eq!((&done["copied"], &done["bytes"], &done["adopted"]), (&0.into(), &0.into(), &0.into()), "{done}");
    }
    trio.write("a/d0/f0", "edited");
    trio.write("a/d1/new", "new");
    fs::remove_file(trio.home.path("a/d2/f2")).unwrap();
    trio.write("b/d1/f1", "edited here");
    trio.sync("down", 0);
    let up = trio.sync("up", 0);
    assert_eq!((&up["copied"], &up["deleted"]), (&3.into(), &1.into()), "{up}");
    trio.sync("down", 0);
    trio.assert_equal();
    assert_eq!(trio.read("b/d0/f0").as_deref(), Some("edited"));
    assert_eq!(trio.read("a/d1/f1").as_deref(), Some("edited here"));
}

fn a_move_is_no_transfer(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/old/name", noise(200_000, 2));
    trio.write("a/stays", "here");
    trio.through();
    fs::create_dir(trio.home.path("a/new")).unwrap();
    fs::rename(trio.home.path("a/old/name"), trio.home.path("a/new/name")).unwrap();
    fs::remove_dir(trio.home.path("a/old")).unwrap();
    for done in trio.through() {
        assert_eq!((&done["moved"], &done["bytes"]), (&1.into(), &0.into()), "{done}");
    }
    trio.assert_equal();
}

fn exchanged_names_are_no_transfer(remote: &Remote) {
    let trio = Trio::new(remote);
    for (seed, name) in (5..).zip(["one", "two", "over", "d/under"]) {
        trio.write(&format!("a/{name}"), noise(100_000 * seed as usize, seed));
    }
    trio.through();
    let rename = |from: &str, to: &str| fs::rename(trio.home.path(from), trio.home.path(to)).unwrap();
    rename("a/one", "a/aside");
    rename("a/two", "a/one");
    rename("a/aside", "a/two");
    rename("a/over", "a/d/under");
    // Some servers of WebDAV replace safely only with what is sent to them.
    let always_inside = remote.lines[0] != "type: webdav";
    for done in trio.through() {
        assert!(done["bytes"] == 0 || !always_inside, "{done}");
        assert_eq!(done["deleted"], 0, "{done}");
    }
    trio.assert_equal();
}

fn a_conflict_changes_nothing(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/f", "base");
    trio.write("a/g", "base");
    trio.through();
    trio.write("a/f", "from a");
    // Of another size: two versions of one size and second look alike to whoever comes later, where times are whole seconds.
    trio.write("b/f", "from b, too");
    trio.write("b/g", "travels all the same");
    trio.sync("up", 0);
    let done = trio.sync("down", 3);
    assert_eq!(done["conflicts"][0]["path"], "f", "{done}");
    assert_eq!(trio.read("b/f").as_deref(), Some("from b, too"));
    assert_eq!(trio.conflicts("down").len(), 1);
    trio.sync("up", 0);
    assert_eq!(trio.read("a/f").as_deref(), Some("from a"));
    assert_eq!(trio.read("a/g").as_deref(), Some("travels all the same"));
    // The remote's version is also kept, under a name of its own.
    trio.home.ok(&["container", "resolve", "down", "f", "--keep", "both"]);
    trio.sync("up", 0);
    trio.assert_equal();
    let both = ["a/f", "a/f (conflict bbbbbbbb)"].map(|path| trio.read(path));
    assert_eq!(both, ["from b, too", "from a"].map(|text| Some(text.to_owned())));
}

fn what_was_deleted_is_kept(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/edit", "first");
    trio.write("a/gone", "wanted later");
    trio.through();
    trio.write("a/edit", "second");
    fs::remove_file(trio.home.path("a/gone")).unwrap();
    trio.sync("up", 0);
    let kept = trio.home.json(&["container", "trash", "up", "list"]);
    let mut words: Vec<_> = kept["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["path"].as_str().unwrap(), entry["reason"].as_str().unwrap()))
        .collect();
    words.sort();
    assert_eq!(words, ["edit overwritten", "gone deleted"], "{kept}");
    trio.home.ok(&["container", "trash", "up", "restore", "gone"]);
    trio.sync("up", 0);
    trio.sync("down", 0);
    assert_eq!(trio.read("b/gone").as_deref(), Some("wanted later"));
    trio.assert_equal();
    trio.home.ok(&["container", "trash", "up", "empty"]);
    assert_eq!(trio.home.json(&["container", "trash", "up", "list"])["entries"].as_array().unwrap().len(), 0);
}

fn times_travel(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/f", "1");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(trio.home.path("a/f")).unwrap().set_modified(at).unwrap();
    trio.through();
    let mtime = fs::metadata(trio.home.path("b/f")).unwrap().mtime();
    let kept = trio.home.json(&["doctor", "up"])["storages"][1]["capabilities"]["mtime"] == true;
    assert_eq!(mtime == 1_000_000_000, kept, "the time is {mtime}");
}

fn a_large_file_travels(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/large", noise(40 << 20, 3));
    trio.through();
    trio.assert_equal();
    trio.write("a/large", noise((40 << 20) + 1, 4));
    trio.through();
    trio.assert_equal();
}
