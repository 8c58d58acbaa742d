//! A bucket whose users give what they put a checksum, as newer clients do.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use jiff::Timestamp;
use wl_core::backend::Backend;
use wl_core::path::RelPath;
use wl_test_kit::conformance::Bench;

use crate::support::{Bucket, PREFIX};

pub struct Vouched(pub Bucket);

#[async_trait]
impl Bench for Vouched {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend().await
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        let put = self.0.user.put_object().bucket(&self.0.name).key(format!("{PREFIX}{path}"));
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256).body(ByteStream::from(bytes.to_vec()));
        put.send().await.unwrap();
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        self.0.user_read(path).await
    }

    async fn user_delete(&self, path: &RelPath) {
        self.0.user_delete(path).await;
    }

    async fn user_mkdir(&self, path: &RelPath) {
        self.0.user_mkdir(path).await;
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.0.user_exists(path).await
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        self.0.user_rename(from, to).await;
    }

    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        self.0.user_set_mtime(path, mtime).await
    }
}
