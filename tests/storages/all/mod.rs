//! One container on storages of all four types, kept equal by one command.

mod random;
mod user;

use std::path::PathBuf;

use serde_json::Value;

use crate::home::tree::tree;
use crate::home::{Home, wait_until};
use crate::manifest::{self, IDS};
use crate::remote::Remote;
use user::User;

/// The container `all` of the directory `a`, a bucket, an SFTP and a WebDAV server; and the container `far` of the directory
/// `b` and the same bucket, which is how somebody else works in the bucket.
struct Four {
    home: Home,
    _s3: Remote,
    sftp: Remote,
    webdav: Remote,
}

impl Four {
    /// Everything empty.
    fn new() -> Self {
        let (s3, sftp, webdav) = (Remote::s3(), Remote::sftp(), Remote::apache());
        let home = Home::new();
        let (a, b) = (manifest::local(&home, "a"), manifest::local(&home, "b"));
        manifest::write(&home, "all", &[&a, &s3.lines, &sftp.lines, &webdav.lines]);
        manifest::write(&home, "far", &[&b, &s3.lines]);
        Self { home, _s3: s3, sftp, webdav }
    }

    /// Keeps everything equal from now on.
    #[track_caller]
    fn keep(&self) {
        self.home.ok(&["container", "sync", "all", "--all", "--wait"]);
        self.home.ok(&["container", "sync", "far", "--wait"]);
    }

    /// Where users work: in `a`, in the bucket by way of `b`, and past the other two servers.
    fn roots(&self) -> [PathBuf; 4] {
        let behind = |remote: &Remote| remote.behind().unwrap().to_owned();
        [self.home.path("a"), self.home.path("b"), behind(&self.sftp), behind(&self.webdav)]
    }

    fn users(&self) -> [User; 4] {
        self.roots().map(User::new)
    }

    fn are_equal(&self) -> bool {
        let trees = self.roots().map(|root| tree(&root));
        trees.iter().all(|other| *other == trees[0])
    }

    /// What has been done to files, from the newest on.
    fn history(&self) -> Vec<Value> {
        self.home.json(&["container", "history", "all"])["entries"].as_array().unwrap().clone()
    }

    /// The conflicts of every job.
    fn conflicts(&self) -> Vec<Value> {
        let jobs = self.home.jobs();
        jobs.iter().flat_map(|job| job["conflicts"].as_array().unwrap().clone()).collect()
    }
}

#[test]
fn an_edit_reaches_every_storage_and_none_twice() {
    let four = Four::new();
    let users = four.users();
    for (user, name) in users.iter().zip(["from a", "from b", "from sftp", "from webdav"]) {
        user.put(&format!("d/{name}"), name.as_bytes());
    }
    four.keep();
    wait_until(|| four.are_equal() && users[0].read("d/from webdav").is_some());
    let jobs = four.home.jobs();
    assert_eq!(jobs.iter().filter(|job| job["container"] == "all").count(), 3, "{jobs:?}");
    for (index, user) in users.iter().enumerate() {
        user.put("d/from a", format!("edited by {index}").as_bytes());
        wait_until(|| {
            users.iter().all(|user| user.read("d/from a") == Some(format!("edited by {index}").into_bytes()))
        });
    }
    wait_until(|| four.home.jobs().iter().all(|job| job["state"] == "SYNCED"));
    let done = four.history();
    // Looked at again several times: nothing travels back.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(four.history(), done);
    // One copy a storage: of the files, three from `a` and two from each other one by way of `a`; of each edit likewise.
    assert_eq!(done.iter().filter(|entry| entry["action"] == "copied").count(), 4 * 3 + 4 * 3, "{done:#?}");
    assert_eq!(four.conflicts(), Vec::<Value>::new());
    four.home.ok(&["container", "verify", "all", "--source-storage", IDS[0], "--target-storage", IDS[3]]);
}

#[test]
fn a_conflict_between_two_of_them_is_one() {
    let four = Four::new();
    let [a, b, sftp, webdav] = four.users();
    a.put("f", b"base");
    four.keep();
    wait_until(|| four.are_equal());
    four.home.ok(&["container", "pause", "all"]);
    sftp.put("f", b"from sftp");
    webdav.put("f", b"from webdav");
    four.home.ok(&["container", "resume", "all"]);
    wait_until(|| four.conflicts().len() == 1 && b.read("f") != Some(b"base".to_vec()));
    assert_eq!(sftp.read("f").unwrap(), b"from sftp");
    assert_eq!(webdav.read("f").unwrap(), b"from webdav");
    assert_eq!(four.conflicts().len(), 1, "{:?}", four.conflicts());
    // The storage whose version is to stay is named; the others follow.
    four.home.ok(&["container", "resolve", "all", "f", "--keep", "webdav"]);
    wait_until(|| four.are_equal() && four.conflicts().is_empty());
    assert_eq!(a.read("f").unwrap(), b"from webdav");
}
