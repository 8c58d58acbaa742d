//! A directory as a storage, and short words for what the tests do with it.
#![allow(dead_code)] // every test file uses some of it

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use tempfile::TempDir;
use wl_backend_local::Local;
use wl_core::backend::{Backend as _, Content, Guard, Listed, Look, Written};
use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Fault, Result};
use wl_core::path::RelPath;

pub struct Storage {
    pub dir: TempDir,
    pub local: Arc<Local>,
}

pub fn storage() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::new(dir.path()).unwrap();
    Storage { dir, local }
}

pub fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

pub fn content(bytes: impl Into<Bytes>) -> Content {
    Content::of(bytes.into(), Meta::default())
}

pub fn fault<T: std::fmt::Debug>(outcome: Result<T>) -> Fault {
    outcome.unwrap_err().fault
}

impl Storage {
    pub fn at(&self, text: &str) -> PathBuf {
        self.dir.path().join(text)
    }

    pub fn put(&self, text: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(text).parent().unwrap()).unwrap();
        fs::write(self.at(text), bytes).unwrap();
    }

    pub fn text(&self, text: &str) -> Option<String> {
        fs::read_to_string(self.at(text)).ok()
    }

    pub async fn entry(&self, text: &str) -> Entry {
        match self.local.stat(&path(text)).await.unwrap() {
            Look::Entry(entry) => entry,
            look => panic!("{text}: {look:?}"),
        }
    }

    pub async fn token(&self, text: &str) -> Token {
        self.entry(text).await.token
    }

    pub async fn create(&self, text: &str, bytes: impl Into<Bytes>) -> Result<Written> {
        self.local.replace(&path(text), content(bytes), &Guard::Absent, None).await
    }

    pub async fn items(&self, under: &str) -> Vec<Listed> {
        self.local.list(&path(under), None).map(futures::stream::iter).flatten().collect().await
    }

    /// The listing, one word an item: `d/` a directory, `!d` blocked, `?d` nameless.
    pub async fn names(&self, under: &str) -> Vec<String> {
        let word = |item| match item {
            Listed::Entry(path, entry) if entry.is_dir() => format!("{path}/"),
            Listed::Entry(path, _) => path.to_string(),
            Listed::Blocked(path, why) => format!("!{path} {}", why.message),
            Listed::Nameless(name, _) => format!("?{name}"),
            Listed::Cut(path, _) => format!("cut {path}"),
        };
        self.items(under).await.into_iter().map(word).collect()
    }

    /// Every regular file below the root by its content, the trash included.
    pub fn contents(&self) -> Vec<String> {
        fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => walk(&entry.path(), found),
                    kind if kind.is_file() => found.extend(fs::read_to_string(entry.path())),
                    _ => {}
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), &mut found);
        found.sort();
        found
    }

    /// Whether no part file is left anywhere.
    pub fn is_tidy(&self) -> bool {
        fn walk(dir: &std::path::Path) -> bool {
            fs::read_dir(dir).unwrap().flatten().all(|entry| {
                !entry.file_name().to_string_lossy().starts_with(".wl-part-")
                    && (!entry.file_type().unwrap().is_dir() || walk(&entry.path()))
            })
        }
        walk(self.dir.path())
    }
}

/// Waits until it holds, for a while.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
