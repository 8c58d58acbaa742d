//! `sync`: which storages, how, and how it ends.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::home::pair::{A, B};
use crate::home::{Home, Pair, Ran, wait_until};

#[test]
fn two_storages_are_synced_without_a_manifest_first() {
    let home = Home::new();
    for dir in ["laptop", "stick"] {
        fs::create_dir(home.path(dir)).unwrap();
    }
    fs::write(home.path("laptop/f"), "1").unwrap();
    let ran = home.ok(&["sync", "laptop", "stick", "--one-shot"]);
    ran.says(&["laptop"]);
    assert!(home.path("stick/f").exists());
    // Found again, in either order and however it is written.
    fs::write(home.path("stick/g"), "1").unwrap();
    home.ok(&["sync", &home.text("stick"), "./laptop/", "--one-shot"]).says(&["`laptop`"]);
    assert!(home.path("laptop/g").exists());
    let list = home.json(&["container", "list"]);
    assert_eq!(list["containers"].as_array().unwrap().len(), 1);
    assert_eq!(list["containers"][0]["name"], "laptop");
    // Another pair of that name gets a name of its own.
    fs::create_dir_all(home.path("other/laptop")).unwrap();
    home.ok(&["sync", "other/laptop", "backup", "--one-shot"]);
    assert_eq!(home.json(&["container", "list"])["containers"].as_array().unwrap().len(), 2);
    home.expect(2, &["sync", "laptop", "laptop"]).says(&["same place"]);
    home.expect(2, &["sync", "laptop", "laptop/below"]).says(&["inside"]);
}

#[test]
fn several_who_sync_one_pair_at_once_share_one_container() {
    let home = Home::new();
    for dir in ["laptop", "stick"] {
        fs::create_dir(home.path(dir)).unwrap();
    }
    let begin = |number: usize| {
        let pair = if number.is_multiple_of(2) { ["laptop", "stick"] } else { ["stick", "laptop"] };
        let mut command = home.command(&["sync", pair[0], pair[1], "--wait"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    for child in (0..6).map(begin).collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(home.json(&["container", "list"])["containers"].as_array().unwrap().len(), 1);
    assert_eq!(home.jobs().len(), 1);
}

/// A container that is found again is synced as its manifest says; whoever asks for something else is told so.
#[test]
fn what_is_asked_for_of_a_storage_holds_or_nothing_happens() {
    let home = Home::new();
    for dir in ["laptop", "stick"] {
        fs::create_dir(home.path(dir)).unwrap();
    }
    home.ok(&["sync", "laptop", "stick", "--one-shot"]);
    fs::write(home.path("laptop/f"), "1").unwrap();
    for asked in ["stick?read-only=true", "stick?bandwidth-limit=1MiB", "stick?watcher-interval=5"] {
        let ran = home.expect(2, &["sync", "laptop", asked, "--one-shot"]);
        ran.says(&["`laptop`", asked.split(['?', '=']).nth(1).unwrap(), "wl container edit laptop"]);
    }
    assert!(!home.path("stick/f").exists());
    home.ok(&["sync", "laptop", "stick?read-only=false", "--one-shot"]);
    assert!(home.path("stick/f").exists());
}

/// Whichever of them sees the end first clears the job; the others hear of it all the same.
#[test]
fn everyone_who_waits_for_a_one_shot_job_hears_how_it_ended() {
    let pair = Pair::with("", "", "bandwidth-limit: 1MiB");
    pair.write("a/big", vec![1_u8; 4_000_000]);
    let begin = || {
        let mut command = pair.home.command(&["container", "sync", "c", "--one-shot"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let first = begin();
    wait_until(|| !pair.home.jobs().is_empty());
    for waiter in [first, begin(), begin()] {
        let output = waiter.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 file copied"));
    }
    assert!(pair.has("b/big") && pair.home.jobs().is_empty());
}

#[test]
fn a_daemon_that_was_stopped_has_ended_and_one_without_a_socket_is_told_of() {
    use rustix::process::{Signal, kill_process};
    let home = Home::new();
    home.ok(&["daemon", "start"]);
    let process = home.daemon().unwrap();
    home.ok(&["daemon", "stop"]);
    // Its files are closed; the system may still be tidying up.
    crate::home::wait_for(std::time::Duration::from_millis(200), || crate::home::is_gone(process));
    home.ok(&["daemon", "start"]);
    let process = home.daemon().unwrap();
    fs::remove_file(home.socket()).unwrap();
    for args in [["daemon", "stop"], ["status", "--json"]] {
        home.expect(1, &args).says(&["socket", "was removed", &format!("kill {process}")]);
    }
    kill_process(process, Signal::TERM).unwrap();
    wait_until(|| crate::home::is_gone(process));
    home.ok(&["status"]);
}

/// The disk of a storage is not there when the daemon starts, and comes then.
#[test]
fn what_happens_on_a_disk_that_was_mounted_late_is_noticed() {
    use wl_test_kit::mounted::Mounted;
    let pair = Pair::new();
    let disk = pair.home.path("disk");
    fs::create_dir(&disk).unwrap();
    let Some(mounted) = Mounted::again(&disk, &pair.a("")) else { return };
    pair.write("a/f", "1");
    pair.keep(&[]);
    pair.home.ok(&["daemon", "stop"]);
    drop(mounted);
    pair.home.ok(&["daemon", "start"]);
    pair.wait_job(|job| job["state"] == "ERROR");
    let mounted = Mounted::again(&disk, &pair.a("")).unwrap();
    pair.wait_job(|job| job["state"] == "SYNCED");
    pair.write("a/g", "1");
    wait_until(|| pair.has("b/g"));
    pair.home.ok(&["container", "stop-sync", "c"]);
    drop(mounted);
}

#[test]
fn wrong_use_is_two() {
    let pair = Pair::new();
    for args in [
        &["container", "sync", "nope"][..],
        &["container", "sync"],
        &["container", "sync", "c", "--no-wait"],
        &["container", "sync", "c", "--source-storage", "s3"],
        &["container", "sync", "c", "--source-storage", "aaaa", "--target-storage", "aaaa"],
        &["container", "sync", "c", "--target-storage", "local"],
        &["container", "resolve", "c", "f"],
        &["container", "resolve", "c", "f", "--keep", "zzz"],
        &["container", "bogus"],
        &["bogus"],
        &[],
        &["container", "trash", "c"],
        &["completions", "noshell"],
    ] {
        let ran = pair.home.wl(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(pair.home.wl(&["--help"]).code, 0);
}

#[test]
fn storages_are_chosen_by_id_and_the_target_is_remembered() {
    let pair = Pair::new();
    let third = pair.home.text("third");
    fs::create_dir(&third).unwrap();
    pair.home.ok(&["container", "add-storage", "c", &third]);
    let show = pair.home.json(&["container", "show", "c"]);
    let id = show["backends"]["storage"][2]["backend-id"].as_str().unwrap().to_owned();
    pair.write("a/f", "1");
    // The first other one by default.
    pair.sync(0, &[]);
    assert!(pair.has("b/f") && !pair.has("third/f"));
    pair.sync(0, &["--target-storage", &id[..13]]);
    assert!(pair.has("third/f"));
    pair.write("a/g", "1");
    pair.sync(0, &[]);
    assert!(pair.has("third/g") && !pair.has("b/g"), "the last target chosen");
    pair.sync(0, &["--source-storage", B, "--target-storage", A]);
    assert!(pair.has("b/g"));
    assert!(fs::read_to_string(pair.home.path("base/config.yaml")).unwrap().contains("default-remote-for-container"));
}

#[test]
fn continuous_returns_once_it_runs_and_is_told_apart() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.home.ok(&["container", "sync", "c"]);
    assert_eq!(pair.job()["mode"], "continuous");
    wait_until(|| pair.has("b/f"));
    // Asked again in the same way nothing changes; in another way it is refused.
    pair.home.ok(&["container", "sync", "c", "--wait"]);
    assert_eq!(pair.home.jobs().len(), 1);
    let ran = pair.home.expect(1, &["container", "sync", "c", "--one-shot"]);
    ran.says(&["stop-sync"]);
    pair.home.expect(1, &["container", "sync", "c", "--unidirectional"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
}

#[test]
fn a_job_runs_anew_with_what_its_manifest_says_now() {
    let pair = Pair::new();
    pair.keep(&[]);
    pair.home.ok(&["container", "sync", "c"]).says(&["being synced already"]);
    pair.write_manifest("exclude: ['*.tmp']", "", "");
    pair.home.ok(&["container", "sync", "c", "--wait"]).says(&["anew"]);
    pair.write("a/x.tmp", "1");
    pair.write("a/f", "1");
    wait_until(|| pair.has("b/f"));
    assert!(!pair.has("b/x.tmp"));
    // A daemon that took the job up again runs it with what it was started with.
    pair.write_manifest("exclude: ['*.tmp']\nmax-delete: 10", "", "read-only: true");
    pair.home.ok(&["daemon", "stop"]);
    pair.home.ok(&["daemon", "start"]);
    pair.home.ok(&["container", "sync", "c", "--wait"]).says(&["anew"]);
    pair.home.ok(&["container", "sync", "c", "--wait"]).says(&["being synced already"]);
    pair.write("a/g", "1");
    pair.wait_job(|job| job["problems"][0]["kind"] == "read-only");
    pair.home.ok(&["container", "stop-sync", "c"]);
}

#[test]
fn a_one_shot_job_that_runs_with_what_was_said_before_is_left_alone() {
    let pair = Pair::with("", "", "bandwidth-limit: 100KiB");
    pair.write("a/big", vec![1_u8; 5_000_000]);
    pair.home.ok(&["container", "sync", "c", "--one-shot", "--no-wait"]);
    pair.write_manifest("", "", "bandwidth-limit: 200KiB");
    let ran = pair.home.expect(1, &["container", "sync", "c", "--one-shot", "--no-wait"]);
    ran.says(&["another target", "stop-sync"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
}

/// Not even something that is taken away again.
#[test]
fn a_dry_run_writes_nothing() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    let times = || ["a", "b"].map(|root| fs::metadata(pair.home.path(root)).unwrap().modified().unwrap());
    let before = times();
    let planned = pair.home.ok(&["container", "sync", "c", "--dry-run"]);
    assert!(planned.stdout.contains('f'), "{}", planned.stdout);
    assert_eq!(times(), before);
}

#[test]
fn no_name_steers_a_terminal() {
    let pair = Pair::new();
    let name = "red\u{1b}[31m\u{9b}2J\nline";
    fs::write(pair.a(name), "1").unwrap();
    let plan = pair.home.ok(&["container", "sync", "c", "--dry-run"]);
    fs::write(pair.b(name), "2").unwrap();
    let once = pair.home.expect(3, &["container", "sync", "c", "--one-shot"]);
    let listed = pair.home.expect(3, &["container", "list-conflicts", "c"]);
    let history = pair.home.ok(&["container", "history", "c"]);
    let wrong = pair.home.wl(&["container", "resolve", "c", "x\u{1b}[31m", "--keep", A]);
    for ran in [plan, once, listed, history] {
        let text = ran.stdout + &ran.stderr;
        assert!(text.contains("red\\u{1b}[31m\\u{9b}2J\\nline") && !text.contains(['\u{1b}', '\u{9b}']), "{text}");
    }
    assert!(!wrong.stderr.contains('\u{1b}') && !wrong.stderr.starts_with('\n'), "{}", wrong.stderr);
}

#[test]
fn records_are_told_without_the_secrets_of_storages() {
    let home = Home::new();
    home.ok(&["container", "create", "c", "a", "webdav+http://me@127.0.0.1:9/?password=env:WL_TEST_UNSET"]);
    home.ok(&["container", "list-conflicts", "c"]);
    home.ok(&["container", "history", "c"]);
    home.expect(1, &["container", "list-conflicts", "c", "--force-scan"]).says(&["WL_TEST_UNSET"]);
}

#[test]
fn the_exit_code_tells_how_it_ended() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.sync(0, &[]);
    std::os::unix::fs::symlink("f", pair.a("link")).unwrap();
    pair.sync(0, &[]);
    fs::write(pair.a(std::ffi::OsStr::from_bytes(b"\xff")), "1").unwrap();
    pair.sync(4, &[]);
    pair.write("a/clash", "1");
    pair.write("b/clash", "2");
    pair.sync(3, &[]);
    pair.home.expect(5, &["container", "verify", "c"]);
    fs::rename(pair.b(""), pair.home.path("aside")).unwrap();
    pair.home.expect(1, &["container", "sync", "c", "--one-shot"]);
    assert!(pair.home.jobs().is_empty(), "a one-shot job that was waited for is cleared");
}

#[test]
fn pause_and_resume_need_a_job() {
    let pair = Pair::new();
    for command in ["pause", "resume"] {
        pair.home.expect(1, &["container", command, "c"]).says(&["not being synced"]);
    }
    pair.keep(&[]);
    pair.home.expect(1, &["container", "resume", "c"]).says(&["not paused"]);
    pair.home.ok(&["container", "pause", "c"]);
    pair.home.expect(1, &["container", "sync", "c"]).says(&["resume"]);
    pair.home.ok(&["container", "resume", "c"]);
}

#[test]
fn two_storages_whose_container_may_be_one_that_cannot_be_read_get_no_second_one() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    let (a, b) = (pair.home.text("a"), pair.home.text("b"));
    let manifests = pair.home.path("base/containers");
    fs::write(manifests.join("bad.container.yaml"), "surprise: 1").unwrap();
    pair.home.ok(&["sync", &a, &b, "--one-shot"]).says(&["container `c`"]);
    let other = pair.home.text("other");
    for options in [&["--one-shot"][..], &["--dry-run"]] {
        let ran = pair.home.expect(2, &[&["sync", &a, &other][..], options].concat());
        ran.says(&["`bad`", "cannot be read", "wl container edit bad"]);
    }
    assert_eq!(fs::read_dir(manifests).unwrap().count(), 2);
}

#[test]
fn interrupting_a_waited_one_shot_stops_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let pair = Pair::with("", "", "bandwidth-limit: 100KiB");
    pair.write("a/big", vec![1_u8; 5_000_000]);
    let mut command = pair.home.command(&["container", "sync", "c", "--one-shot"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until(|| pair.home.jobs().first().is_some_and(|job| job["current"][0] == "big"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    wait_until(|| pair.home.jobs().is_empty());
    assert!(!pair.has("b/big") && !crate::home::tree::has_parts(&pair.b("")));
}

#[test]
fn interrupting_again_does_not_wait_for_the_stop() {
    use rustix::process::{Pid, Signal, kill_process};
    let pair = Pair::with("", "", "bandwidth-limit: 100KiB");
    pair.write("a/big", vec![1_u8; 5_000_000]);
    let mut command = pair.home.command(&["container", "sync", "c", "--one-shot"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until(|| pair.home.jobs().first().is_some_and(|job| job["current"][0] == "big"));
    let daemon = pair.home.daemon().unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    // Signals of one kind that come at once are one.
    wait_until(|| {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        child.try_wait().unwrap().is_some()
    });
    kill_process(daemon, Signal::CONT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn no_colour_and_no_bars_where_nobody_looks() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    let ran: Ran = pair.home.wl(&["container", "sync", "c", "--one-shot"]);
    assert!(!(ran.stdout + &ran.stderr).contains('\u{1b}'));
}

#[test]
fn a_job_that_cannot_begin_anew_goes_on() {
    let home = Home::new();
    let secret = home.path("secret");
    fs::write(&secret, "x").unwrap();
    let storage = format!("webdav+http://me@127.0.0.1:9/?password=file:{}", secret.display());
    home.ok(&["container", "create", "c", "a", &storage]);
    home.ok(&["container", "sync", "c"]);
    wait_until(|| home.jobs().iter().any(|job| job["error"].is_string()));
    fs::remove_file(&secret).unwrap();
    home.expect(1, &["container", "sync", "c"]).says(&["was left as it is", "secret"]);
    assert_eq!(home.jobs().len(), 1);
    fs::write(&secret, "x").unwrap();
    home.ok(&["container", "sync", "c"]);
    home.ok(&["container", "stop-sync", "c"]);
}
