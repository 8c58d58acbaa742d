//! Two remote storages, and nothing of this machine between them.

use crate::home::wait_until;
use crate::manifest;
use crate::once::noise;
use crate::remote::Remote;
use crate::trio::Trio;

#[test]
fn s3_and_sftp() {
    between(&Remote::s3(), &Remote::sftp());
}

#[test]
fn s3_and_webdav() {
    between(&Remote::s3(), &Remote::webdav());
}

#[test]
fn sftp_and_webdav() {
    between(&Remote::sftp(), &Remote::webdav());
}

/// `a` feeds the one, `b` is fed from the other.
fn between(one: &Remote, other: &Remote) {
    let trio = Trio::between(one, other);
    manifest::write(&trio.home, "middle", &[&one.lines, &other.lines]);
    trio.write("a/d/f", "first");
    trio.write("a/piece", noise(20 << 20, 1));
    trio.write("b/back", "travels back");
    for container in ["up", "down", "middle", "up", "down"] {
        trio.sync(container, 0);
    }
    trio.assert_equal();
    trio.home.ok(&["container", "verify", "middle"]);
    for container in ["up", "down", "middle"] {
        trio.home.ok(&["container", "sync", container, "--wait"]);
    }
    trio.write("a/d/f", "second");
    wait_until(|| trio.read("b/d/f").as_deref() == Some("second"));
    trio.write("b/back", "and again");
    wait_until(|| trio.read("a/back").as_deref() == Some("and again"));
    assert_eq!(trio.conflicts("middle").len(), 0);
}
