//! A bucket of its own on a real server, and its user's access to it that goes past wl.

#![allow(dead_code, reason = "each test file uses what it needs of this")]

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;
use jiff::Timestamp;
use serde_json::{Value, json};
use wl_backend_s3::S3;
use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};
use wl_test_kit::conformance::Bench;
use wl_test_kit::servers;

/// Where wl's storage begins in the bucket.
pub const PREFIX: &str = "pre fix/";

pub struct Bucket {
    pub user: Client,
    pub name: String,
    pub storage: Arc<S3>,
    /// How many files the case of many files makes.
    many: usize,
    /// What the server cannot hold.
    cannot_hold: fn(&str) -> bool,
}

impl Bucket {
    pub fn on_seaweed() -> Self {
        Self { many: 3_000, cannot_hold: |name| name.contains('\\'), ..Self::on(servers::seaweed::shared()) }
    }

    pub fn on_juicefs() -> Self {
        Self { many: 1_200, ..Self::on(servers::juicefs::shared()) }
    }

    fn on(server: &servers::S3) -> Self {
        Self::behind(server, server.endpoint())
    }

    /// A bucket that wl reaches under another endpoint than its user.
    pub fn behind(server: &servers::S3, endpoint: &str) -> Self {
        let name = server.fresh_bucket();
        let storage = storage(endpoint, &name);
        Self { user: user(server.endpoint()), name, storage, many: 0, cannot_hold: |_| false }
    }

    fn key(path: &RelPath) -> String {
        format!("{PREFIX}{path}")
    }

    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self.user.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys.sort();
        keys
    }

    pub async fn put(&self, key: &str, bytes: &[u8], metadata: &[(&str, &str)]) {
        let metadata: HashMap<_, _> =
            metadata.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let put = self.user.put_object().bucket(&self.name).key(key).set_metadata(Some(metadata));
        put.body(ByteStream::from(bytes.to_vec())).send().await.unwrap();
    }

    pub async fn delete(&self, key: &str) {
        self.user.delete_object().bucket(&self.name).key(key).send().await.unwrap();
    }

    async fn copy(&self, from: &str, to: &str, metadata: Option<(&str, &str)>) {
        let source = percent_encoding::utf8_percent_encode(from, percent_encoding::NON_ALPHANUMERIC);
        let copy = self.user.copy_object().bucket(&self.name).key(to).copy_source(format!("{}/{source}", self.name));
        let copy = match metadata {
            Some((key, text)) => copy.metadata(key, text).metadata_directive(MetadataDirective::Replace),
            None => copy,
        };
        copy.send().await.unwrap();
    }
}

/// The storage under test.
pub fn storage(endpoint: &str, bucket: &str) -> Arc<S3> {
    opened(endpoint, bucket, false)
}

/// The same, where the manifest says that nothing is to be written.
pub fn read_only(endpoint: &str, bucket: &str) -> Arc<S3> {
    opened(endpoint, bucket, true)
}

fn opened(endpoint: &str, bucket: &str, read_only: bool) -> Arc<S3> {
    let params = json!({
        "type": "s3",
        "backend-id": "test",
        "s3-url": format!("s3://{bucket}/{PREFIX}"),
        "endpoint-url": endpoint,
        "read-only": read_only,
        "credentials": { "access-key": servers::S3::ACCESS_KEY, "secret-key": servers::S3::SECRET_KEY },
    });
    S3::new(&Storage::from_params(params).unwrap()).unwrap()
}

/// The record of an upload to a path, of a process that is no more; of one that it had not begun yet where it is empty.
pub fn dead_record(path: &str, upload: &str) -> Value {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    json!({
        "key": format!("{PREFIX}{path}"), "upload": upload, "size": 1, "part": 1, "sha256": null,
        "writer": { "machine": format!("{} {}", boot.trim(), namespace.display()), "pid": u32::MAX, "started": 1 },
        "begun": "2020-02-02T02:02:02Z",
    })
}

/// A client that knows nothing of wl.
pub fn user(endpoint: &str) -> Client {
    let credentials = Credentials::new(servers::S3::ACCESS_KEY, servers::S3::SECRET_KEY, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(servers::S3::REGION))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(config.build())
}

#[async_trait]
impl Bench for Bucket {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.storage.clone()
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        self.put(&Self::key(path), bytes, &[]).await;
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        let got = self.user.get_object().bucket(&self.name).key(Self::key(path)).send().await.ok()?;
        Some(got.body.collect().await.unwrap().to_vec())
    }

    async fn user_delete(&self, path: &RelPath) {
        self.delete(&Self::key(path)).await;
        for key in self.keys(&format!("{}/", Self::key(path))).await {
            self.delete(&key).await;
        }
    }

    async fn user_mkdir(&self, path: &RelPath) {
        self.put(&format!("{}/", Self::key(path)), b"", &[]).await;
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        let head = self.user.head_object().bucket(&self.name).key(Self::key(path)).send().await;
        head.is_ok() || !self.keys(&format!("{}/", Self::key(path))).await.is_empty()
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        let (from, to) = (Self::key(from), Self::key(to));
        for key in self.keys(&from).await {
            let Some(below) = key.strip_prefix(&from).filter(|below| below.is_empty() || below.starts_with('/')) else {
                continue;
            };
            self.copy(&key, &format!("{to}{below}"), None).await;
            self.delete(&key).await;
        }
    }

    async fn user_set_mtime(&self, path: &RelPath, mtime: Timestamp) -> bool {
        let key = Self::key(path);
        self.copy(&key, &key, Some(("mtime", &mtime.to_string()))).await;
        true
    }

    async fn remove_root(&self) -> bool {
        for _ in 0..50 {
            for key in self.keys("").await {
                self.delete(&key).await;
            }
            // The storage that tries out its server may just have written into it.
            let refused = match self.user.delete_bucket().bucket(&self.name).send().await {
                Ok(_) => return true,
                Err(error) => error.into_service_error(),
            };
            assert_eq!(refused.code(), Some("BucketNotEmpty"), "{refused:?}");
        }
        panic!("the bucket {} does not get empty", self.name)
    }

    /// What tells of an upload that is over, of a process that is no more.
    async fn leave_part(&self, dir: &RelPath) -> RelPath {
        let record = dead_record("x", "none");
        let part = dir.join(&format!("{PART_PREFIX}up-left")).unwrap();
        self.put(&Self::key(&part), record.to_string().as_bytes(), &[]).await;
        part
    }

    fn cannot_hold(&self, name: &str) -> bool {
        (self.cannot_hold)(name)
    }

    fn many(&self) -> usize {
        self.many
    }
}
