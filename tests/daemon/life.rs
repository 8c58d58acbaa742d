//! The daemon's own life: one a place, quick to end, and what it takes up again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::{Pair, Ran, is_gone, tree, wait_for, wait_until};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_second_daemon_is_refused() {
    let pair = Pair::new();
    pair.home.ok(&["daemon", "start"]);
    let first = pair.home.daemon().unwrap();
    let ran = pair.home.expect(1, &["daemon", "run"]);
    ran.says(&["already", &first.as_raw_pid().to_string()]);
    // Even at another socket: it is the state that must have one daemon.
    let elsewhere = pair.home.text("other.sock");
    pair.home.expect(1, &["daemon", "run", "--socket-path", &elsewhere]).says(&["already"]);
    assert_eq!(pair.home.daemon(), Some(first));
    assert_eq!(pair.home.ok(&["daemon", "start", "--json"]).json()["started"], false);
}

#[test]
fn many_commands_at_once_start_one_daemon() {
    let pair = Pair::new();
    let start =
        || pair.home.command(&["daemon", "start"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..6).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(pair.home.daemon().is_some());
}

#[test]
fn a_stale_socket_is_taken_over() {
    let pair = Pair::new();
    drop(UnixListener::bind(pair.home.socket()).unwrap());
    pair.home.ok(&["daemon", "start"]);
    pair.home.kill_daemon();
    assert!(pair.home.socket().exists());
    pair.home.ok(&["daemon", "start"]);
    pair.home.ok(&["status"]);
}

#[test]
fn what_it_keeps_is_for_its_owner_alone() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.sync(0, &[]);
    assert_eq!(mode(pair.home.socket()), 0o600);
    assert_eq!(mode(pair.home.path("base/state")), 0o700);
    for entry in fs::read_dir(pair.home.path("base/state")).unwrap().flatten() {
        assert_eq!(mode(entry.path()) & 0o077, 0, "{}", entry.path().display());
    }
    assert_eq!(mode(pair.home.path("wl-sync.log")) & 0o077, 0, "the log");
}

#[test]
fn sigterm_ends_it_quickly_and_cleanly() {
    let pair = Pair::new();
    for number in 0..300 {
        pair.write(&format!("a/{number}"), vec![1_u8; 100_000]);
    }
    pair.home.ok(&["container", "sync", "c"]);
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = pair.home.daemon().unwrap();
        let begun = Instant::now();
        kill_process(daemon, signal).unwrap();
        wait_for(Duration::from_secs(5), || is_gone(daemon));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(!pair.home.socket().exists(), "the socket goes with it");
        assert!(!tree::has_parts(&pair.b("")));
        pair.home.ok(&["daemon", "start"]);
    }
    wait_until(|| pair.is_equal());
    assert_eq!(tree(&pair.b("")).len(), 300);
}

#[test]
fn a_continuous_job_outlives_the_daemon() {
    let pair = Pair::with("exclude: ['*.tmp']", "", "");
    pair.write("a/f", "1");
    pair.keep(&["--unidirectional"]);
    for way in ["stop", "kill"] {
        if way == "stop" {
            pair.home.ok(&["daemon", "stop"]);
        } else {
            pair.home.kill_daemon();
        }
        wait_until(|| pair.home.daemon().is_none());
        pair.write(&format!("a/while-{way}"), "1");
        pair.write("a/not.tmp", "1");
        pair.write("b/stays", "1");
        pair.home.ok(&["daemon", "start"]);
        wait_until(|| pair.has(&format!("b/while-{way}")));
        let job = pair.wait_job(|job| job["state"] == "SYNCED");
        assert_eq!((&job["mode"], &job["unidirectional"]), (&"continuous".into(), &true.into()));
        assert!(!pair.has("b/not.tmp") && !pair.has("a/stays"), "it is kept as it was asked for");
    }
    pair.home.ok(&["container", "stop-sync", "c"]);
    pair.home.ok(&["daemon", "stop"]);
    pair.home.ok(&["daemon", "start"]);
    assert!(pair.home.jobs().is_empty(), "what was stopped is forgotten");
}

#[test]
fn a_one_shot_job_that_was_cut_off_is_reported_as_such() {
    let pair = Pair::with("", "", "bandwidth-limit: 100KiB");
    pair.write("a/big", vec![1_u8; 5_000_000]);
    pair.home.ok(&["container", "sync", "c", "--one-shot", "--no-wait"]);
    pair.wait_job(|job| job["state"] == "ONE_SHOT" && job["current"][0] == "big");
    pair.home.kill_daemon();
    pair.home.ok(&["daemon", "start"]);
    let job = pair.job();
    assert_eq!(job["mode"], "one-shot");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("cut off")), "{job}");
    assert!(!pair.has("b/big"));
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
}

#[test]
fn a_one_shot_job_not_waited_for_stays_until_it_is_stopped() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.home.ok(&["container", "sync", "c", "--one-shot", "--no-wait"]);
    pair.wait_job(|job| job["state"] == "SYNCED" && job["mode"] == "one-shot");
    pair.home.ok(&["daemon", "stop"]);
    pair.home.ok(&["daemon", "start"]);
    assert_eq!(pair.job()["state"], "SYNCED");
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
}

#[test]
fn both_names_run_it_in_the_foreground() {
    let pair = Pair::new();
    let mut by_its_name = std::process::Command::new(env!("CARGO_BIN_EXE_wl-sync-daemon"));
    by_its_name.env_clear().env("HOME", pair.home.path("home"));
    by_its_name.arg("-b").arg(pair.home.base()).args(["-l", "-"]);
    for mut command in [pair.home.command(&["daemon", "run", "-l", "-"]), by_its_name] {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(|| pair.home.daemon().is_some());
        assert_eq!(pair.home.daemon(), Some(Pid::from_child(&child)), "it stays in the foreground");
        pair.home.ok(&["status"]);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        assert!(String::from_utf8_lossy(&output.stderr).contains("listening"), "the log goes to stderr");
    }
}

#[test]
fn places_come_from_flag_environment_and_config_in_this_order() {
    let pair = Pair::new();
    fs::write(pair.home.path("base/config.yaml"), "sync-socket-path: from-config.sock\nlog-path: from-config.log\n")
        .unwrap();
    let mut start = pair.home.command(&["daemon", "start"]);
    assert_eq!(Ran::of(start.env_remove("WL_SYNC_LOG_PATH")).code, 0);
    assert!(pair.home.path("base/from-config.sock").exists() && pair.home.path("base/from-config.log").exists());
    pair.home.ok(&["daemon", "stop"]);
    let (socket, log) = (pair.home.text("flag.sock"), pair.home.text("flag.log"));
    pair.home.ok(&["daemon", "start", "-s", &socket, "-l", &log]);
    assert!(pair.home.path("flag.sock").exists() && pair.home.path("flag.log").exists());
    pair.home.ok(&["daemon", "stop", "-s", &socket]);
}

#[test]
fn without_a_base_dir_everything_is_where_the_desktop_wants_it() {
    let pair = Pair::new();
    let (a, b) = (pair.home.text("a"), pair.home.text("b"));
    pair.write("a/f", "1");
    let mut sync = pair.home.bare(&["sync", &a, &b, "--one-shot"]);
    assert_eq!(Ran::of(sync.env_remove("WL_SYNC_LOG_PATH")).code, 0);
    for place in [
        "home/.config/wildland/containers/a.container.yaml",
        "home/.local/state/wildland",
        "home/.local/share/wildland/wl-sync.log",
        "run/wlsync.sock",
    ] {
        assert!(pair.home.path(place).exists(), "{place}");
    }
    assert_eq!(Ran::of(&mut pair.home.bare(&["daemon", "stop"])).code, 0);
}
