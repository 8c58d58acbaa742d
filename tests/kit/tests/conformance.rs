//! The memory storage passes the suite that every backend passes.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use wl_core::backend::Backend;
use wl_core::entry::Meta;
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench;
use wl_test_kit::memory::Memory;

struct InMemory(Arc<Memory>);

impl InMemory {
    fn fresh() -> Self {
        Self(Memory::new())
    }
}

#[async_trait]
impl Bench for InMemory {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend()
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        self.0.user_write(path, bytes.to_vec());
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        self.0.user_read(path).map(Into::into)
    }

    async fn user_delete(&self, path: &RelPath) {
        self.0.user_delete(path);
    }

    async fn user_mkdir(&self, path: &RelPath) {
        self.0.user_mkdir(path);
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.0.user_exists(path)
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        self.0.user_rename(from, to);
    }

    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        self.0.user_set_meta(path, Meta { mtime: Some(mtime), mode: None });
        true
    }

    async fn user_special(&self, path: &RelPath) -> bool {
        self.0.user_special(path);
        true
    }

    async fn make_unreadable(&self, dir: &RelPath) -> bool {
        self.0.set_unreadable(dir);
        true
    }

    async fn remove_root(&self) -> bool {
        self.0.remove_root();
        true
    }

    async fn replace_root(&self) -> bool {
        self.0.replace_root();
        true
    }
}

wl_test_kit::conformance!(InMemory::fresh());
