//! A directory passes the suite that every backend passes.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tempfile::TempDir;
use wl_backend_local::Local;
use wl_core::backend::Backend;
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench;

struct Directory {
    storage: Arc<Local>,
    root: PathBuf,
    // Holds the root, and what took its place.
    _around: TempDir,
}

impl Directory {
    fn fresh() -> Self {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { storage: Local::new(&root).unwrap(), root, _around: around }
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn make_parent(&self, path: &RelPath) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
    }
}

#[async_trait]
impl Bench for Directory {
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

    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        let file = File::options().write(true).open(self.at(path)).unwrap();
        file.set_times(FileTimes::new().set_modified(mtime.into())).unwrap();
        true
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

    async fn remove_root(&self) -> bool {
        fs::remove_dir_all(&self.root).unwrap();
        true
    }

    async fn replace_root(&self) -> bool {
        fs::rename(&self.root, self.root.with_extension("away")).unwrap();
        fs::create_dir(&self.root).unwrap();
        true
    }
}

wl_test_kit::conformance!(Directory::fresh());
