//! A daemon killed in the middle of a transfer.

use std::process::Stdio;

use crate::home::wait_until;
use crate::on_each;
use crate::once::noise;
use crate::remote::Remote;
use crate::trio::Trio;

on_each!(a_transfer_that_was_cut_off_is_completed);

fn a_transfer_that_was_cut_off_is_completed(remote: &Remote) {
    let trio = Trio::new(remote);
    trio.write("a/large", noise(96 << 20, 1));
    for number in 0..50 {
        trio.write(&format!("a/small/{number}"), format!("content {number}"));
    }
    for container in ["up", "down"] {
        let mut command = trio.home.command(&["container", "sync", container, "--one-shot"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Some of it has travelled, and not all.
        wait_until(|| {
            let jobs = trio.home.jobs();
            let bytes = jobs.first().and_then(|job| job["transferred_bytes"].as_u64());
            bytes.is_some_and(|bytes| bytes > 20 << 20) || child.try_wait().unwrap().is_some()
        });
        trio.home.kill_daemon();
        child.wait().unwrap();
        trio.sync(container, 0);
    }
    trio.assert_equal();
    assert_eq!((trio.conflicts("up").len(), trio.conflicts("down").len()), (0, 0));
}
