//! A real OpenSSH server with a storage on it.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench;
use wl_test_kit::servers::sshd::{Mode, Sshd};

/// A server, a storage on it, and the directory that is the storage's root.
pub struct Server {
    // Lives as long as this.
    #[allow(dead_code)] // not every test asks it anything
    pub sshd: Sshd,
    pub storage: Arc<dyn Backend>,
    pub root: PathBuf,
    mode: Mode,
}

impl Server {
    /// Starts one with an empty root.
    pub async fn fresh(mode: Mode) -> Self {
        let sshd = Sshd::start(mode);
        let root = sshd.root().join("root");
        fs::create_dir(&root).unwrap();
        let storage = open(&sshd, sshd.port(), &sshd.known_hosts());
        // What a storage says of itself before it met its server is a guess.
        storage.root().await.unwrap();
        Self { sshd, storage, root, mode }
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn make_parent(&self, path: &RelPath) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
    }
}

/// The storage on a server that is reached through a port.
pub fn open(sshd: &Sshd, port: u16, known_hosts: &Path) -> Arc<dyn Backend> {
    let params = json!({
        "object": "storage",
        "type": "sftp",
        "backend-id": "3cba7968-da34-4b8c-8dc7-83d8860a8933",
        "host": "127.0.0.1",
        "port": port,
        "ssh-user": sshd.user(),
        "ssh-identity": sshd.identity(),
        "known-hosts": known_hosts,
        "path": sshd.remote_root().join("root"),
    });
    wl_backend_sftp::open(&Storage::from_params(params).unwrap()).unwrap()
}

#[async_trait]
impl Bench for Server {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.storage.clone()
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        self.make_parent(path);
        fs::write(self.at(path), bytes).unwrap();
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        fs::read(self.at(path)).ok()
    }

    async fn user_delete(&self, path: &RelPath) {
        let at = self.at(path);
        if at.is_dir() {
            fs::remove_dir_all(at).unwrap();
        } else if at.exists() {
            fs::remove_file(at).unwrap();
        }
    }

    async fn user_mkdir(&self, path: &RelPath) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    // Version 3 of SFTP tells neither an inode nor the time of a change of anything but the content: of two contents of
    // one size, whose writer sets the same date, it knows no difference, as `Vouch::Weak` says.
    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        let file = File::options().write(true).open(self.at(path)).unwrap();
        file.set_times(FileTimes::new().set_modified(mtime.into())).unwrap();
        false
    }

    async fn user_special(&self, path: &RelPath) -> bool {
        self.make_parent(path);
        symlink("/etc/passwd", self.at(path)).unwrap();
        true
    }

    async fn make_unreadable(&self, dir: &RelPath) -> bool {
        fs::set_permissions(self.at(dir), fs::Permissions::from_mode(0o000)).unwrap();
        // A privileged user reads it all the same.
        let denied = fs::read_dir(self.at(dir)).is_err();
        if !denied {
            fs::set_permissions(self.at(dir), fs::Permissions::from_mode(0o755)).unwrap();
        }
        denied
    }

    async fn leave_part(&self, dir: &RelPath) -> RelPath {
        // Of a writer of long ago: one without a date may live.
        let part = dir.join(".wl-part-u1600000000-0123456789ab-0").unwrap();
        self.user_write(&part, b"half of it").await;
        self.user_set_mtime(&part, Timestamp::UNIX_EPOCH).await;
        part
    }

    async fn remove_root(&self) -> bool {
        // Away at once: the storage may be writing there, which no deletion from inside outruns.
        let away = self.root.with_extension("gone");
        fs::rename(&self.root, &away).unwrap();
        fs::remove_dir_all(&away).unwrap();
        true
    }

    // Without commands the protocol tells nothing of a directory that another does not have.
    async fn replace_root(&self) -> bool {
        if self.mode != Mode::Exec {
            return false;
        }
        fs::rename(&self.root, self.root.with_extension("away")).unwrap();
        fs::create_dir(&self.root).unwrap();
        true
    }
}
