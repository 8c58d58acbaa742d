//! A directory as its user reaches it, past wl.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tempfile::TempDir;
use wl_core::backend::Backend;
use wl_core::path::RelPath;

use crate::conformance::Bench;

/// A directory, which goes away with this.
pub struct Directory {
    storage: Arc<dyn Backend>,
    root: PathBuf,
    // Holds the root, and what took its place.
    _around: TempDir,
}

impl Directory {
    /// An empty one below another, which `open` makes a storage of.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn below(dir: &Path, open: impl FnOnce(&Path) -> Arc<dyn Backend>) -> Self {
        let around = tempfile::tempdir_in(dir).unwrap_or_else(|why| panic!("{why}"));
        let root = around.path().join("root");
        must(fs::create_dir(&root));
        Self { storage: open(&root), root, _around: around }
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn make_parent(&self, path: &RelPath) {
        must(self.at(path).parent().map_or(Ok(()), fs::create_dir_all));
    }
}

#[async_trait]
impl Bench for Directory {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.storage.clone()
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        self.make_parent(path);
        must(fs::write(self.at(path), bytes));
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        fs::read(self.at(path)).ok()
    }

    async fn user_delete(&self, path: &RelPath) {
        let at = self.at(path);
        if at.is_dir() {
            must(fs::remove_dir_all(at));
        } else if at.exists() {
            must(fs::remove_file(at));
        }
    }

    async fn user_mkdir(&self, path: &RelPath) {
        must(fs::create_dir_all(self.at(path)));
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        must(fs::rename(self.at(from), self.at(to)));
    }

    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        let file = must(File::options().write(true).open(self.at(path)));
        must(file.set_times(FileTimes::new().set_modified(mtime.into())));
        true
    }

    async fn user_special(&self, path: &RelPath) -> bool {
        self.make_parent(path);
        must(symlink("/etc/passwd", self.at(path)));
        true
    }

    async fn make_unreadable(&self, dir: &RelPath) -> bool {
        must(fs::set_permissions(self.at(dir), fs::Permissions::from_mode(0o000)));
        // A privileged user reads it all the same.
        let denied = fs::read_dir(self.at(dir)).is_err();
        if !denied {
            must(fs::set_permissions(self.at(dir), fs::Permissions::from_mode(0o755)));
        }
        denied
    }

    async fn remove_root(&self) -> bool {
        // At once: removed bit by bit, it is there for a while with half of its files.
        let gone = self.root.with_extension("gone");
        must(fs::rename(&self.root, &gone));
        must(fs::remove_dir_all(&gone));
        true
    }

    async fn replace_root(&self) -> bool {
        must(fs::rename(&self.root, self.root.with_extension("away")));
        must(fs::create_dir(&self.root));
        true
    }
}

fn must<T>(done: std::io::Result<T>) -> T {
    done.unwrap_or_else(|why| panic!("{why}"))
}
