//! Somebody who works with the files of a storage and knows what they replace.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A user of one directory.
pub struct User {
    root: PathBuf,
}

impl User {
    /// Who works in that directory.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A file's content; none if there is none.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(path)).ok()
    }

    /// Puts a content in a file's place at once, and says what it replaced.
    pub fn put(&self, path: &str, content: &[u8]) -> Option<Vec<u8>> {
        let (beside, place) = (self.beside(), self.root.join(path));
        fs::write(&beside, content).unwrap();
        // A server of another user has to be able to replace it.
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o666)).unwrap();
        self.make_dirs(Path::new(path).parent().unwrap());
        loop {
            if renameat_with(CWD, &beside, CWD, &place, RenameFlags::NOREPLACE).is_ok() {
                return None;
            }
            if renameat_with(CWD, &beside, CWD, &place, RenameFlags::EXCHANGE).is_ok() {
                let replaced = fs::read(&beside).unwrap();
                fs::remove_file(&beside).unwrap();
                return Some(replaced);
            }
            // A directory that was empty for a moment may have been taken away.
            self.make_dirs(Path::new(path).parent().unwrap());
        }
    }

    /// Deletes a file, and says what was in it; none if there was none.
    pub fn delete(&self, path: &str) -> Option<Vec<u8>> {
        let beside = self.beside();
        fs::rename(self.root.join(path), &beside).ok()?;
        let deleted = fs::read(&beside).unwrap();
        fs::remove_file(&beside).unwrap();
        Some(deleted)
    }

    /// Gives a file another name, if there is one and that name is free.
    pub fn rename(&self, from: &str, to: &str) {
        // What is gone cannot be renamed, which is no matter.
        let _ = renameat_with(CWD, self.root.join(from), CWD, self.root.join(to), RenameFlags::NOREPLACE);
    }

    /// A name of nobody else's, on the same file system and outside of the storage.
    fn beside(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.root.with_file_name(format!("beside-{}-{number}", std::process::id()))
    }

    fn make_dirs(&self, dir: &Path) {
        let mut path = self.root.clone();
        for name in dir {
            path.push(name);
            if fs::create_dir(&path).is_ok() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
    }
}
