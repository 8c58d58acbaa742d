//! What proves a part when it arrives.

use aws_sdk_s3::types::Part;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};

use crate::meta;
use crate::token::hex;

/// A part's sum, as the server verifies it.
pub(super) enum Sum {
    /// Kept with the part.
    Sha256(Hash),
    /// In base64: what servers verify that keep no checksums.
    Md5(String),
}

impl Sum {
    /// What the server keeps of it.
    pub fn sha256(&self) -> Option<Hash> {
        match self {
            Self::Sha256(hash) => Some(*hash),
            Self::Md5(_) => None,
        }
    }
}

/// Sums a part up, beside whoever reads the next one: MD5 takes longer than reading.
pub(super) async fn summed(bytes: Bytes, checksums: bool) -> Result<(Sum, Bytes)> {
    let sum = move || {
        let sum =
            if checksums { Sum::Sha256(Hash::of(&bytes)) } else { Sum::Md5(STANDARD.encode(Md5::digest(&bytes))) };
        (sum, bytes)
    };
    tokio::task::spawn_blocking(sum).await.map_err(|error| Error::new(Fault::Broken, error.to_string()))
}

/// Whether a part that the server has is this content: its checksum tells, or the MD5 that is its ETag.
pub(super) fn is_that(part: &Part, bytes: &Bytes) -> bool {
    let same = match part.checksum_sha256() {
        Some(checksum) => checksum == meta::checksum(&Hash::of(bytes)),
        None => part.e_tag().is_some_and(|etag| etag.trim_matches('"') == hex(&Md5::digest(bytes))),
    };
    same && part.size().and_then(|size| u64::try_from(size).ok()) == Some(bytes.len() as u64)
}
