//! The commands that only touch manifests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use wl_test_kit::mounted::Mounted;

use crate::home::pair::B;
use crate::home::{Home, Pair, Ran, shape};

fn show(home: &Home, name: &str) -> Value {
    home.json(&["container", "show", name])
}

fn storages(home: &Home, name: &str) -> Vec<Value> {
    show(home, name)["backends"]["storage"].as_array().unwrap().clone()
}

#[test]
fn a_container_is_made_of_paths_and_urls() {
    let home = Home::new();
    fs::create_dir(home.path("photos")).unwrap();
    home.ok(&[
        "container",
        "create",
        "c",
        "photos",
        "s3://bucket/pre%20fix?endpoint=http://127.0.0.1:9000&region=R",
        "sftp://me@example.org:2222/srv/photos?ssh-identity=~/.ssh/k&watcher-interval=5",
        "sftp://example.org/~/photos",
        "webdav+https://me@dav.example.org/files?password=env:DAV",
    ]);
    let made = storages(&home, "c");
    assert_eq!((&made[0]["type"], &made[0]["location"]), (&"local".into(), &home.text("photos").into()));
    assert_eq!((&made[1]["s3-url"], &made[1]["region"]), (&"s3://bucket/pre fix/".into(), &"R".into()));
    assert_eq!(made[1]["endpoint-url"], "http://127.0.0.1:9000");
    assert_eq!((&made[2]["host"], &made[2]["port"]), (&"example.org".into(), &2222.into()));
    assert_eq!((&made[2]["path"], &made[2]["ssh-user"]), (&"/srv/photos".into(), &"me".into()));
    assert_eq!(made[2]["watcher-interval"], 5);
    assert_eq!(made[3]["path"], "~/photos");
    assert_eq!(made[4]["credentials"]["login"], "me");
    assert_eq!(made[4]["url"], "https://dav.example.org/files/");
    let ids: std::collections::BTreeSet<_> = made.iter().map(|one| one["backend-id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "a fresh backend-id each");
    let file = home.path("base/containers/c.container.yaml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(home.daemon().is_none(), "a manifest needs no daemon");
}

#[test]
fn what_is_no_storage_is_refused_and_nothing_is_written() {
    let home = Home::new();
    for (storage, words) in [
        ("nope://x", &["nope://"][..]),
        ("s3://b/p?secret-key=hunter2", &["secret-key", "env:NAME"]),
        ("webdav+https://h/?password=hunter2", &["password", "env:NAME"]),
        ("s3://b?surprise=1", &["surprise"]),
        ("sftp://h:99999/x", &["99999"]),
    ] {
        let ran = home.expect(2, &["container", "create", "c", storage]);
        ran.says(words);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    for name in ["a/b", "..", "", "a\nb"] {
        home.expect(2, &["container", "create", name, "x"]);
    }
    home.expect(2, &["container", "create", "c", "x", "x/below"]).says(&["inside"]);
    home.expect(2, &["container", "create", "c", "x", "./x"]).says(&["same place"]);
    assert_eq!(home.json(&["container", "list"])["containers"], serde_json::json!([]));
}

#[test]
fn a_secret_is_masked_when_shown() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "webdav+http://me@h/x?password=env:DAV_PASSWORD"]);
    let file = home.path("base/containers/c.container.yaml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("env: DAV_PASSWORD", "file: /x")
        .replace("password:\n          file: /x", "password: hunter2");
    fs::write(&file, text).unwrap();
    for args in
        [&["container", "show", "c"][..], &["container", "show", "c", "--json"], &["container", "list", "--json"]]
    {
        let ran = home.ok(args);
        assert!(!(ran.stdout + &ran.stderr).contains("hunter2"));
    }
}

#[test]
fn storages_come_and_go_and_files_stay() {
    let home = Home::new();
    for dir in ["a", "b"] {
        fs::create_dir(home.path(dir)).unwrap();
        fs::write(home.path(dir).join("f"), dir).unwrap();
    }
    home.ok(&["container", "create", "c", "a"]);
    home.ok(&["container", "add-storage", "c", "b"]);
    home.expect(2, &["container", "add-storage", "c", "b"]).says(&["same place"]);
    let id = storages(&home, "c")[1]["backend-id"].as_str().unwrap().to_owned();
    home.expect(2, &["container", "remove-storage", "c", "local"]).says(&["several"]);
    home.expect(2, &["container", "remove-storage", "c", "zzz"]).says(&["zzz"]);
    home.ok(&["container", "remove-storage", "c", &id[..8]]);
    assert_eq!(storages(&home, "c").len(), 1);
    home.ok(&["container", "delete", "c"]);
    home.expect(2, &["container", "show", "c"]).says(&["no container `c`"]);
    home.expect(2, &["container", "delete", "c"]);
    assert_eq!(fs::read_to_string(home.path("b/f")).unwrap(), "b");
}

#[test]
fn changes_made_at_once_are_all_kept() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a", "b"]);
    let gone = storages(&home, "c")[1]["backend-id"].as_str().unwrap().to_owned();
    let begin = |args: &[&str]| home.command(args).stderr(std::process::Stdio::null()).spawn().unwrap();
    let names: Vec<_> = (0..6).map(|number| format!("storage-{number}")).collect();
    let mut children: Vec<_> = names.iter().map(|name| begin(&["container", "add-storage", "c", name])).collect();
    children.push(begin(&["container", "remove-storage", "c", &gone]));
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let mut kept: Vec<_> =
        storages(&home, "c").iter().map(|one| one["location"].as_str().unwrap().to_owned()).collect();
    kept.sort();
    let mut expected: Vec<_> = names.iter().map(|name| home.text(name)).collect();
    expected.insert(0, home.text("a"));
    assert_eq!(kept, expected);
}

#[test]
fn a_manifest_that_is_a_link_stays_one() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a"]);
    let (file, real) = (home.path("base/containers/c.container.yaml"), home.path("mine.yaml"));
    fs::rename(&file, &real).unwrap();
    std::os::unix::fs::symlink(&real, &file).unwrap();
    home.ok(&["container", "add-storage", "c", "b"]);
    let mut edit = home.command(&["container", "edit", "c"]);
    let ran = Ran::of(edit.env("EDITOR", "sh -c 'echo title: mine >> \"$0\"'"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(file.is_symlink());
    let text = fs::read_to_string(&real).unwrap();
    assert!(text.contains(&home.text("b")) && text.contains("title: mine"), "{text}");
}

/// `wl` begun by a line of shell.
fn after(home: &Home, line: &str, args: &[&str]) -> Ran {
    let wl = home.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{line} && exec \"$@\"")).arg("sh").arg(wl.get_program()).args(wl.get_args());
    shell.env_remove("XDG_RUNTIME_DIR").env("HOME", home.path("home")).current_dir(home.path(""));
    Ran::of(&mut shell)
}

#[test]
fn a_new_manifest_is_its_owners_whatever_the_umask() {
    let home = Home::new();
    home.ok(&["container", "create", "first", "a"]);
    for umask in ["0277", "0777", "0000"] {
        let ran = after(&home, &format!("umask {umask}"), &["container", "create", umask, "a"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let file = home.path(format!("base/containers/{umask}.container.yaml"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600, "{umask}");
    }
}

#[test]
fn a_directory_that_was_deleted_is_missed_only_by_who_names_nothing_else() {
    let home = Home::new();
    let gone = "mkdir gone && cd gone && rmdir ../gone";
    let (a, b) = (home.text("a"), home.text("b"));
    let ran = after(&home, gone, &["container", "create", "c", &a, &b]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = after(&home, gone, &["container", "add-storage", "c", "x"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.says(&["`x` is no storage", "current directory"]);
}

#[test]
fn a_base_dir_without_room_is_told_of() {
    let home = Home::new();
    let Some(_mounted) = Mounted::in_memory(&home.base(), 64) else { return };
    assert!(fs::write(home.path("base/fill"), vec![1; 128 << 10]).is_err());
    home.expect(1, &["daemon", "start"]).says(&["cannot be started", "No space left", "base/state"]);
}

#[test]
fn a_second_container_of_the_name_is_refused() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a"]);
    let before = show(&home, "c");
    home.expect(2, &["container", "create", "c", "b"]).says(&["exists already"]);
    assert_eq!(show(&home, "c"), before);
}

#[test]
fn the_list_tells_of_every_manifest_even_a_broken_one() {
    let home = Home::new();
    home.ok(&["container", "create", "good", "a", "b"]);
    fs::write(home.path("base/containers/bad.container.yaml"), "object: [\n").unwrap();
    let ran = home.wl(&["container", "list", "--json"]);
    let list = ran.json();
    shape(&list, "containers:list errors:list");
    shape(&list["containers"][0], "name:text title:text? storages:list file:text");
    shape(&list["containers"][0]["storages"][0], "backend_id:text type:text location:text");
    assert!(list["errors"][0].to_string().contains("bad.container.yaml"), "{list}");
}

#[test]
fn an_edit_that_is_wrong_changes_nothing() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a"]);
    let file = home.path("base/containers/c.container.yaml");
    let before = fs::read_to_string(&file).unwrap();
    let edit = |script: &str| {
        let editor = home.path("editor");
        fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
        Ran::of(home.command(&["container", "edit", "c"]).env("EDITOR", &editor))
    };
    let ran = edit("echo 'surprise: 1' >> \"$1\"");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.says(&["surprise", "your text is in", "c.edited.yaml"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let kept = home.path("base/c.edited.yaml");
    assert_eq!(fs::read_to_string(&kept).unwrap(), format!("{before}surprise: 1\n"));
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(edit("false").code, 1);
    assert_eq!(edit("echo 'max-delete: 10' >> \"$1\"").code, 0);
    assert_eq!(show(&home, "c")["max-delete"], 10);
}

#[test]
fn who_interrupts_the_editor_does_not_end_the_command() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a"]);
    let editor = home.path("editor");
    fs::write(&editor, "#!/bin/sh\ntrap '' INT QUIT\nkill -INT 0\nkill -QUIT 0\necho 'title: mine' >> \"$1\"\n")
        .unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mut edit = home.command(&["container", "edit", "c"]);
    let ran = Ran::of(edit.env("EDITOR", &editor).process_group(0));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(show(&home, "c")["title"], "mine");
}

#[test]
fn what_a_daemon_that_does_not_run_would_resume_is_being_synced() {
    let pair = Pair::new();
    pair.keep(&[]);
    pair.home.kill_daemon();
    pair.home.expect(1, &["container", "remove-storage", "c", B]).says(&["being synced", "stop-sync"]);
    pair.home.kill_daemon();
    pair.home.expect(1, &["container", "delete", "c"]).says(&["being synced", "stop-sync"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
    pair.home.ok(&["daemon", "stop"]);
    pair.home.ok(&["container", "remove-storage", "c", B]);
    pair.home.ok(&["container", "delete", "c"]);
}

#[test]
fn a_copied_manifest_is_refused_until_it_has_a_uuid_of_its_own() {
    let pair = Pair::new();
    pair.keep(&[]);
    let [c, d] = ["c", "d"].map(|name| pair.home.path(format!("base/containers/{name}.container.yaml")));
    fs::copy(&c, &d).unwrap();
    for args in [
        &["container", "stop-sync", "d"][..],
        &["container", "pause", "d"],
        &["container", "sync", "d"],
        &["container", "remove-storage", "d", B],
    ] {
        pair.home.expect(2, args).says(&["c.container.yaml", "d.container.yaml", "same uuid", "wl container edit"]);
    }
    assert_eq!(pair.job()["state"], "SYNCED");
    // What runs under the name of one can be held and stopped all the same.
    pair.home.ok(&["container", "pause", "c"]);
    pair.home.ok(&["container", "resume", "c"]);
    pair.wait_job(|job| job["state"] == "SYNCED");
    pair.home.ok(&["container", "show", "d"]);
    pair.home.expect(1, &["container", "delete", "c"]).says(&["being synced"]);
    pair.home.ok(&["container", "delete", "d"]);
    fs::copy(&c, &d).unwrap();
    // Even if it is the running one that gets the new uuid, its job stays its own.
    let text = fs::read_to_string(&c).unwrap();
    fs::write(&c, text.replace("11e69833", "22e69833")).unwrap();
    let ran = pair.home.ok(&["container", "stop-sync", "d"]);
    assert!(ran.stdout.contains("was not being synced"), "{}", ran.stdout);
    assert_eq!(pair.home.jobs().len(), 1);
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
}

#[test]
fn a_job_whose_manifest_is_gone_can_be_held_and_stopped() {
    let pair = Pair::new();
    pair.keep(&[]);
    fs::remove_file(pair.home.path("base/containers/c.container.yaml")).unwrap();
    pair.home.ok(&["container", "pause", "c"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
    pair.home.expect(2, &["container", "stop-sync", "c"]).says(&["no container `c`"]);
}

#[test]
fn what_cannot_be_written_is_no_wrong_use() {
    let home = Home::new();
    fs::write(home.path("base/containers"), "").unwrap();
    home.expect(1, &["container", "create", "c", "a"]).says(&["cannot write"]);
    fs::write(home.path("base/state"), "").unwrap();
    home.expect(1, &["daemon", "start"]).says(&["base/state", "--base-dir"]);
    let long = home.text(&"x".repeat(120));
    home.expect(1, &["status", "--socket-path", &long]).says(&["too long", "at most 107", "--socket-path"]);
}

#[test]
fn a_changed_manifest_keeps_header_mode_and_comments() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a", "b"]);
    let file = home.path("base/containers/c.container.yaml");
    let before = format!("signature: x\n---\n# mine\n{}", fs::read_to_string(&file).unwrap());
    fs::write(&file, &before).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    home.ok(&["container", "add-storage", "c", "third"]);
    let id = storages(&home, "c")[2]["backend-id"].as_str().unwrap().to_owned();
    assert!(fs::read_to_string(&file).unwrap().starts_with(&before));
    home.ok(&["container", "remove-storage", "c", &id]);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn one_directory_under_two_names_is_no_second_storage() {
    let home = Home::new();
    for dir in ["photos/2026/may", "photos/2025", "twin", "holds/it", "part"] {
        fs::create_dir_all(home.path(dir)).unwrap();
    }
    std::os::unix::fs::symlink(home.path("photos"), home.path("link")).unwrap();
    let refused = |one: &str, other: &str, words: &[&str]| {
        home.expect(2, &["container", "create", "c", one, other]).says(words);
    };
    refused("photos", "link", &["same place"]);
    refused("photos", "link/2026", &["inside the other"]);
    refused("holds/../photos", "photos/", &["same place"]);
    let mounted = ["twin", "holds/it"].map(|at| Mounted::again(&home.path("photos"), &home.path(at)));
    if mounted.iter().all(Option::is_some) {
        for other in ["twin", "twin/2026", "holds", "link"] {
            refused("photos", other, &["inside the other"]);
            refused(other, "photos", &["inside the other"]);
        }
        refused("photos/2026", "twin", &["one directory under two names", "mounted"]);
        refused("twin", "holds", &["one directory under two names"]);
    }
    drop(mounted);
    if let Some(part) = Mounted::again(&home.path("photos/2026"), &home.path("part")) {
        for (one, other) in [("photos", "part"), ("photos", "part/new"), ("photos/2026", "part/may"), ("link", "part")]
        {
            refused(one, other, &["one is inside the other", "mounted"]);
            refused(other, one, &["one is inside the other", "mounted"]);
        }
        home.ok(&["container", "create", "apart", "part", "photos/2025"]);
        drop(part);
    }
    home.ok(&["container", "create", "c", "photos", "holds"]);
}
