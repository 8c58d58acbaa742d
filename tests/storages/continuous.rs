//! Continuous jobs with a remote storage between two directories.

use std::fs;

use crate::home::wait_until;
use crate::on_each;
use crate::remote::Remote;
use crate::trio::Trio;

on_each!(edits_reach_the_other_end, a_daemon_that_was_killed_goes_on);

fn edits_reach_the_other_end(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/d/f", "1");
    trio.write("b/g", "2");
    trio.keep();
    trio.wait_equal();
    trio.write("a/d/f", "edited in a");
    trio.write("b/new/h", "made in b");
    wait_until(|| trio.read("b/d/f").as_deref() == Some("edited in a"));
    wait_until(|| trio.read("a/new/h").as_deref() == Some("made in b"));
    fs::rename(trio.home.path("a/new"), trio.home.path("a/newer")).unwrap();
    fs::remove_file(trio.home.path("b/g")).unwrap();
    wait_until(|| trio.read("b/newer/h").is_some() && trio.read("a/g").is_none());
    trio.wait_equal();
    for container in ["up", "down"] {
        assert_eq!(trio.conflicts(container), Vec::<serde_json::Value>::new());
        trio.home.ok(&["container", "stop-sync", container]);
    }
}

fn a_daemon_that_was_killed_goes_on(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/f", "1");
    trio.keep();
    trio.wait_equal();
    for round in 0..3 {
        for number in 0..20 {
            trio.write(&format!("a/{round}/{number}"), format!("{round} {number}"));
        }
        trio.home.kill_daemon();
        trio.write("b/f", format!("edited {round}"));
        trio.home.ok(&["daemon", "start"]);
        wait_until(|| trio.read("a/f").as_deref() == Some(&format!("edited {round}")));
        trio.wait_equal();
    }
    assert_eq!((trio.conflicts("up").len(), trio.conflicts("down").len()), (0, 0));
}
