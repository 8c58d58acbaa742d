//! What the server honours, found out by trying it under temporary names.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::OnceCell;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::error::Result;

use crate::Place;
use crate::token::Version;

/// What a server does with what wl would like it to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each was tried by itself")]
pub(crate) struct Traits {
    /// `PutObject` with `If-None-Match: *` refuses where something is, and of racing writers one wins.
    pub create: bool,
    /// `PutObject` with `If-Match` refuses another version, and of racing writers one wins.
    pub replace: bool,
    /// The same of `DeleteObject`.
    pub delete: bool,
    /// `CompleteMultipartUpload` with `If-None-Match: *`.
    pub complete_create: bool,
    /// `CompleteMultipartUpload` with `If-Match`.
    pub complete_replace: bool,
    /// `CopyObject` with `If-None-Match: *` for its destination.
    pub copy_create: bool,
    /// `CopyObject` with `x-amz-copy-source-if-match`.
    pub copy_source: bool,
    /// `CopyObject` at all.
    pub copy: bool,
    /// Whether `If-Match` wants the ETag without quotes (Ceph before 18).
    pub unquoted: bool,
    /// `x-amz-checksum-sha256` is verified, kept and told back.
    pub checksums: bool,
    /// A copy has its source's checksum.
    pub copy_keeps_checksum: bool,
}

impl Traits {
    /// An ETag as this server's `If-Match` wants it.
    pub fn if_match(&self, version: &Version) -> String {
        if self.unquoted { version.etag.clone() } else { version.quoted() }
    }
}

/// What was found of one bucket, kept as long as the process lives.
pub(crate) type Memory = OnceCell<Arc<Traits>>;

static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Memory>>>> = LazyLock::new(Mutex::default);

/// The memory of one bucket.
pub(crate) fn memory(bucket: &str) -> Arc<Memory> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(bucket.to_owned()).or_default().clone()
}

/// What the server does; tried if that was not done before.
pub(crate) async fn traits(place: &Arc<Place>) -> Result<Arc<Traits>> {
    place.traits.get_or_try_init(|| try_all(place)).await.cloned()
}

async fn try_all(_place: &Arc<Place>) -> Result<Arc<Traits>> {
    Ok(Arc::new(Traits {
        create: true,
        replace: true,
        delete: true,
        complete_create: true,
        complete_replace: true,
        copy_create: true,
        copy_source: true,
        copy: true,
        unquoted: false,
        checksums: true,
        copy_keeps_checksum: true,
    }))
}

/// What is known of the bucket now.
pub(crate) fn facts(place: &Place) -> Facts {
    let known = place.traits.get();
    let swap =
        |of: fn(&Traits) -> bool| if known.is_some_and(|known| of(known)) { Swap::Atomic } else { Swap::Checked };
    Facts {
        hash: HashBy::Native,
        token: Vouch::Strong,
        replace: swap(|known| known.replace && known.complete_replace),
        create: swap(|known| known.create && known.complete_create),
        delete: swap(|known| known.delete),
        watcher: WatchBy::Scan,
        server_copy: known.is_none_or(|known| known.copy),
        server_move: known.is_none_or(|known| known.copy),
        trash: known.is_none_or(|known| known.copy),
        mtime: true,
        mode: false,
        mtime_resolution_ns: 1,
        in_flight: 32,
        windows: Vec::new(),
    }
}

/// Whether a checksum that the server shows was verified by it. Tried if that was not done before, unless nothing may be
/// written here: then nothing is believed.
pub(crate) async fn checksums_are_verified(place: &Arc<Place>) -> Result<bool> {
    match place.traits.get() {
        Some(known) => Ok(known.checksums),
        None if place.config.read_only => Ok(false),
        None => Ok(traits(place).await?.checksums),
    }
}
