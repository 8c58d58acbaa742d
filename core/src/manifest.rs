//! Containers: their manifests and storages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;

/// A manifest, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file it is kept in.
    pub file: PathBuf,
    /// The container's name: the file's, without `.container.yaml`.
    pub name: String,
    /// A hex fingerprint, where the manifest comes from Wildland.
    pub owner: Option<String>,
    /// The container's uuid, from its paths.
    pub uuid: String,
    /// A title.
    pub title: Option<String>,
    /// Paths, the `/.uuid/…` one first.
    pub paths: Vec<String>,
    /// The storages, in the manifest's order.
    pub storages: Vec<Storage>,
    /// Patterns in gitignore syntax.
    pub exclude: Vec<String>,
    /// Percent.
    pub max_delete: u8,
    /// Days.
    pub keep_deleted: u32,
}

/// One storage of a container: its parameters, as the manifest or the socket has them, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    params: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// Reads a manifest and checks it; an error names file, line and key.
    pub fn load(file: &Path) -> Result<Self> {
        let _ = file;
        todo!()
    }

    /// `owner|uuid`, with `local` where there is no owner.
    pub fn job_id(&self) -> String {
        todo!()
    }
}

impl Storage {
    /// Checks parameters against the schema.
    pub fn from_params(params: serde_json::Value) -> Result<Self> {
        let _ = params;
        todo!()
    }

    /// Reads what the command line calls a STORAGE: a path or a URL. A fresh backend-id.
    pub fn from_argument(text: &str) -> Result<Self> {
        let _ = text;
        todo!()
    }

    /// The parameters.
    pub fn params(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.params
    }

    /// `local`, `s3`, `sftp` or `webdav`.
    pub fn storage_type(&self) -> &str {
        todo!()
    }

    /// The backend-id.
    pub fn backend_id(&self) -> &str {
        todo!()
    }

    /// Where it is, for people, without secrets.
    pub fn location(&self) -> String {
        todo!()
    }

    /// Type and place in a normal form: two storages at one place have the same.
    pub fn place(&self) -> String {
        todo!()
    }

    /// Whether it is only read.
    pub fn read_only(&self) -> bool {
        todo!()
    }

    /// How often to scan it, where it is to be scanned.
    pub fn watcher_interval(&self) -> Option<Duration> {
        todo!()
    }

    /// Bytes a second.
    pub fn bandwidth_limit(&self) -> Option<u64> {
        todo!()
    }
}
