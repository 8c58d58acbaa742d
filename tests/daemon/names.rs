//! Names and kinds that are out of the ordinary.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::home::pair::{A, B};
use crate::home::{Pair, tree};

#[test]
fn any_name_that_is_utf8_travels() {
    let pair = Pair::new();
    let long = "x".repeat(255);
    let names = [
        "with space",
        " leading",
        "trailing ",
        "new\nline",
        "tab\there",
        "\u{1b}[31mred",
        "ünïcödé",
        "日本語/ファイル",
        "🦀",
        "e\u{301}",
        "\u{e9}",
        "-dash",
        "--help",
        "a'b\"c",
        "$HOME",
        "`x`",
        "*",
        "?",
        "[a]",
        "a\\b",
        "CON",
        "a:b",
        "~",
        "~user",
        "#x",
        "%41",
        ".hidden",
        "..two",
        "...",
        "UPPER",
        "upper",
        &long,
    ];
    for (number, name) in names.iter().enumerate() {
        let side = if number % 2 == 0 { "a" } else { "b" };
        pair.write(&format!("{side}/{name}"), *name);
    }
    let done = pair.sync(0, &[]);
    assert_eq!(done["copied"], names.len());
    pair.assert_equal();
    for name in names {
        assert_eq!(pair.read(&format!("b/{name}")), name);
    }
    // Every one of them can be spoken of, one line an action.
    for name in names {
        pair.remove(&format!("a/{name}"));
    }
    let ran = pair.home.ok(&["container", "sync", "c", "--dry-run"]);
    assert_eq!(ran.stdout.lines().count(), names.len(), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "a name drives no terminal");
}

#[test]
fn special_files_are_left_alone_and_listed() {
    let pair = Pair::new();
    pair.write("a/real", "1");
    pair.write("a/dir/f", "1");
    std::os::unix::fs::symlink("real", pair.a("link")).unwrap();
    std::os::unix::fs::symlink("/etc", pair.a("out")).unwrap();
    std::os::unix::fs::symlink("nowhere", pair.a("dir/dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(pair.b("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(pair.b("socket")).unwrap();
    let done = pair.sync(0, &[]);
    let mut found: Vec<_> = done["problems"].as_array().unwrap().iter().collect();
    found.sort_by_key(|problem| problem["path"].to_string());
    let told: Vec<_> = found.iter().map(|p| (p["path"].as_str().unwrap(), p["storage"].as_str().unwrap())).collect();
    assert_eq!(told, [("dir/dangling", A), ("fifo", B), ("link", A), ("out", A), ("socket", B)]);
    assert!(found.iter().all(|problem| problem["kind"] == "skipped"));
    assert_eq!(tree(&pair.b("")).into_keys().collect::<Vec<_>>(), ["dir", "dir/f", "fifo", "real", "socket"]);
    // Gone, they are listed no more.
    fs::remove_file(pair.a("link")).unwrap();
    assert_eq!(pair.sync(0, &[])["problems"].as_array().unwrap().len(), 4);
}

#[test]
fn nothing_is_read_or_written_through_a_link() {
    let pair = Pair::new();
    pair.write("outside/secret", "theirs");
    pair.write("a/d/f", "mine");
    pair.sync(0, &[]);
    fs::remove_dir_all(pair.b("d")).unwrap();
    std::os::unix::fs::symlink(pair.home.path("outside"), pair.b("d")).unwrap();
    pair.write("a/d/secret", "mine");
    pair.write("a/d/g", "mine");
    pair.home.wl(&["container", "sync", "c", "--one-shot"]);
    assert_eq!(tree(&pair.home.path("outside")).into_keys().collect::<Vec<_>>(), ["secret"]);
    assert_eq!(pair.read("outside/secret"), "theirs");
    assert_eq!((pair.read("a/d/f"), pair.read("a/d/secret")), ("mine".into(), "mine".into()));
}

#[test]
fn a_file_that_became_a_link_is_no_deletion() {
    let pair = Pair::new();
    pair.write("a/f", "kept");
    pair.write("a/g", "1");
    pair.sync(0, &[]);
    pair.remove("a/f");
    std::os::unix::fs::symlink("g", pair.a("f")).unwrap();
    pair.sync(0, &[]);
    assert_eq!(pair.read("b/f"), "kept");
    assert!(pair.a("f").is_symlink());
}

#[test]
fn names_that_are_not_utf8_are_problems_and_the_rest_goes_on() {
    let pair = Pair::new();
    let odd = OsStr::from_bytes(b"caf\xe9");
    fs::write(pair.a(odd), "1").unwrap();
    fs::create_dir(pair.b(OsStr::from_bytes(b"\xff\xfe"))).unwrap();
    fs::write(pair.b(OsStr::from_bytes(b"\xff\xfe")).join("below"), "1").unwrap();
    pair.write("a/fine", "1");
    let done = pair.sync(4, &[]);
    let kinds: Vec<_> = done["problems"].as_array().unwrap().iter().map(|p| p["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["name", "name"], "{done}");
    assert_eq!(pair.read("b/fine"), "1");
    assert_eq!(fs::read(pair.a(odd)).unwrap(), b"1");
    assert!(pair.b(OsStr::from_bytes(b"\xff\xfe")).join("below").exists());
    assert_eq!(tree(&pair.b("")).len(), 3);
}

#[test]
fn what_wl_calls_its_own_is_never_synced() {
    let pair = Pair::new();
    pair.write("a/.wl-part-mine", "1");
    pair.write("a/d/.wl-trash/x", "1");
    pair.write("a/f", "1");
    pair.home.wl(&["container", "sync", "c", "--one-shot"]);
    assert_eq!(pair.read("b/f"), "1");
    assert!(!pair.has("b/.wl-part-mine"));
    assert_eq!(pair.read("a/.wl-part-mine"), "1", "no crash left it: it is the user's");
}

#[test]
fn a_directory_that_only_seems_to_be_empty_is_told() {
    let pair = Pair::new();
    pair.write("a/d/f", "1");
    pair.write("a/stays", "1");
    pair.sync(0, &[]);
    pair.write("b/d/.wl-part-of a user's", "kept");
    fs::remove_dir_all(pair.a("d")).unwrap();
    for _ in 0..2 {
        let done = pair.sync(0, &[]);
        let problem = &done["problems"][0];
        assert_eq!((&problem["path"], &problem["kind"]), (&"d".into(), &"skipped".into()), "{done}");
        assert!(problem["message"].as_str().unwrap().contains(".wl-part-"), "{done}");
        assert_eq!(pair.read("b/d/.wl-part-of a user's"), "kept");
        assert!(!pair.has("a/d") && !pair.has("b/d/f"));
    }
    pair.remove("b/d/.wl-part-of a user's");
    let done = pair.sync(0, &[]);
    assert!(!pair.has("b/d") && done["problems"].as_array().unwrap().is_empty(), "{done}");
}
