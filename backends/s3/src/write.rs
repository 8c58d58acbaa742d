//! Safe replace: one conditional PUT whose checksum the server verifies.
//!
//! Where a server ignores a condition, the object is looked at directly before and after (`Facts::windows` names the time
//! between). Where it keeps no SHA-256 checksum, what it holds is read back and hashed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Entry, Hash, Kind, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::object::{Seen, Target};
use crate::probe::{self, Traits};
use crate::token::{Version, hex};
use crate::{Place, budget, client, copy, error, meta, multipart, parts, read};

/// How often what has no condition is tried, and the first pause between.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Replaces what `guard` expects.
pub(crate) async fn replace(
    place: &Arc<Place>,
    path: &RelPath,
    content: Content,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let traits = probe::traits(place).await?;
    let target = Target::new(place, path, guard)?;
    let written = if content.size > parts::LARGE {
        Box::pin(multipart::replace(&target, &traits, &content, trash)).await?
    } else {
        replace_small(&target, &traits, &content, trash).await?
    };
    target.is_there().await;
    Ok(written)
}

async fn replace_small(
    target: &Target<'_>,
    traits: &Traits,
    content: &Content,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let _share = budget::for_writing(content.size).await?;
    let whole = Whole::gather(target.path, content).await?;
    target.check_nothing_below().await?;
    let kept = copy::keep(target, traits, trash).await?;
    let written = match whole.put(target, traits).await {
        // It may have taken effect although the answer says otherwise, or none came.
        Err(error) => whole.written_after_all(target, traits).await.ok_or(error),
        written => written,
    };
    match (written, kept) {
        (Err(error), Some(kept)) => {
            kept.change_failed(target, &error).await;
            Err(error)
        }
        (written, _) => written,
    }
}

/// A content in memory.
struct Whole {
    bytes: Bytes,
    hash: Hash,
    mtime: Option<Timestamp>,
}

impl Whole {
    /// Reads a content that is announced to be small.
    async fn gather(path: &RelPath, content: &Content) -> Result<Self> {
        let other =
            |what: &str| Error::new(Fault::Refused, format!("the content {what}: it changed meanwhile")).at(path);
        let mut reading = content.read(0).await?;
        let mut bytes = BytesMut::with_capacity(usize::try_from(content.size).unwrap_or(0));
        let mut sha256 = Sha256::new();
        while let Some(piece) = reading.body.try_next().await? {
            if (bytes.len() + piece.len()) as u64 > content.size {
                return Err(other("is longer than announced"));
            }
            sha256.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        let hash = Hash(sha256.finalize().into());
        if (bytes.len() as u64) < content.size {
            return Err(other("is shorter than announced"));
        }
        if content.hash.is_some_and(|announced| announced != hash) {
            return Err(other("has another sha256 than announced"));
        }
        Ok(Self { bytes: bytes.freeze(), hash, mtime: reading.meta.mtime })
    }

    async fn put(&self, target: &Target<'_>, traits: &Traits) -> Result<Written> {
        let version = match &target.expected {
            None if traits.create => self.put_conditionally(target, traits, traits.one_creates).await?,
            Some(_) if traits.replace => self.put_conditionally(target, traits, traits.one_replaces).await?,
            _ => self.put_between_looks(target, traits).await?,
        };
        if !traits.checksums {
            read_back(target, &version, self.hash).await?;
        }
        Ok(self.written(&version))
    }

    /// RACE: where a server looks and then acts, what somebody else puts in the same instant may be replaced, or replace this:
    /// the second is seen by looking again, and `Facts::windows` tells of the first.
    async fn put_conditionally(&self, target: &Target<'_>, traits: &Traits, one_wins: bool) -> Result<Version> {
        let version = self.send(target, traits, Sending::Conditional).await?;
        if one_wins {
            return Ok(version);
        }
        target.place.traits.looks_again();
        let now = Seen::at(target.place, &target.key).await?.map(|seen| seen.version);
        if now.as_ref() == Some(&version) { Ok(version) } else { Err(target.changed()) }
    }

    /// RACE: what somebody else puts between the look and the PUT is replaced, and not kept unless it is what was expected;
    /// `Facts::windows` says so.
    async fn put_between_looks(&self, target: &Target<'_>, traits: &Traits) -> Result<Version> {
        let mut tries = Tries::default();
        loop {
            target.check().await?;
            match self.send(target, traits, Sending::Once).await {
                Ok(version) => {
                    let now = Seen::at(target.place, &target.key).await?.map(|seen| seen.version);
                    return if now.as_ref() == Some(&version) { Ok(version) } else { Err(target.changed()) };
                }
                Err(error) if tries.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, target: &Target<'_>, traits: &Traits, how: Sending) -> Result<Version> {
        let place = target.place;
        let md5 = Md5::digest(&self.bytes);
        let mut dress = dress(self.hash, self.mtime);
        if !traits.checksums && traits.create && traits.replace {
            // The ETag of what is put at once is its MD5, unless the server encrypts: then it is not believed. Nor is it
            // where writers are not kept apart: such a server may hold one's ETag with another's bytes.
            dress.insert(meta::BOUND.to_owned(), hex(&md5));
        }
        let mut request = place
            .client()
            .await?
            .put_object()
            .bucket(place.bucket())
            .key(&target.key)
            .set_metadata(Some(dress))
            .checksum_sha256(meta::checksum(&self.hash))
            .body(ByteStream::from(self.bytes.clone()));
        if !traits.checksums {
            request = request.content_md5(STANDARD.encode(md5));
        }
        let mut config = client::patient();
        match (how, &target.expected) {
            // Whoever repeats an unconditional PUT must look first.
            (Sending::Once, _) => config = config.retry_config(RetryConfig::disabled()),
            (Sending::Conditional, None) => request = request.if_none_match("*"),
            (Sending::Conditional, Some(version)) => request = request.if_match(traits.if_match(version)),
        }
        // The checksum, which is signed, proves the body: it need not be signed as well.
        let sent = request.customize().disable_payload_signing().config_override(config).send().await;
        let answer = sent.map_err(|error| target.failed(place.error(&error), error::code(&error)))?;
        match Version::new(answer.e_tag(), self.bytes.len() as u64) {
            Some(version) => Ok(version),
            None => self.unnamed(target, traits).await,
        }
    }

    /// The version that was put, where the answer did not name it. Not only servers answer so: a proxy or a captive
    /// portal says 200 to anything, and what was there before is there still.
    async fn unnamed(&self, target: &Target<'_>, traits: &Traits) -> Result<Version> {
        let seen = Seen::at(target.place, &target.key).await.ok().flatten();
        let ours = seen.filter(|seen| self.is(seen, target, traits)).map(|seen| seen.version);
        ours.ok_or_else(|| error::unnamed(&target.place.config).at(target.path))
    }

    /// Whether this was put there: what the server shows proves that, or where it proves nothing, says so.
    fn is(&self, seen: &Seen, target: &Target<'_>, traits: &Traits) -> bool {
        let same = seen.hash(traits.checksums) == Some(self.hash) || !traits.checksums && seen.says(&self.hash);
        same && Some(&seen.version) != target.expected.as_ref()
    }

    /// Whether the content is there although a request for it failed: the answer was lost, or the request sent again met
    /// its own result.
    async fn written_after_all(&self, target: &Target<'_>, traits: &Traits) -> Option<Written> {
        let seen = Seen::at(target.place, &target.key).await.ok()??;
        if !self.is(&seen, target, traits)
            || !traits.checksums && read_back(target, &seen.version, self.hash).await.is_err()
        {
            return None;
        }
        Some(self.written(&seen.version))
    }

    fn written(&self, version: &Version) -> Written {
        Written { entry: entry(version, self.mtime), hash: self.hash }
    }
}

/// Tries at a request without a condition. Whoever sends one again must look first.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether one has failed already, and may have taken effect nevertheless.
    pub fn begun(&self) -> bool {
        self.0 > 0
    }

    /// Whether another one is due after this failure; waits until it is.
    pub async fn again(&mut self, error: &Error) -> bool {
        self.0 += 1;
        if !error.fault.passes() || self.0 >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(PAUSE * (1 << (self.0 - 1))).await;
        true
    }
}

/// Whether the server is trusted to look.
#[derive(Clone, Copy)]
enum Sending {
    /// With a condition, again where it fails for a while.
    Conditional,
    /// Without, and once.
    Once,
}

/// A file as it was just written.
pub(crate) fn entry(version: &Version, mtime: Option<Timestamp>) -> Entry {
    Entry { kind: Kind::File, size: version.size, meta: Meta { mtime, mode: None }, token: version.token() }
}

/// The metadata of a content.
pub(crate) fn dress(hash: Hash, mtime: Option<Timestamp>) -> HashMap<String, String> {
    let mut dress = HashMap::from([(meta::SHA256.to_owned(), hash.to_string())]);
    dress.extend(mtime.map(|mtime| (meta::MTIME.to_owned(), mtime.to_string())));
    dress
}

/// Reads what was written, from a server that proves nothing. What is not what was sent may be another writer's, whom a
/// server without conditions mixed up with this one: it stays, its ETag is believed no more, and it is looked at again as
/// what it is.
pub(crate) async fn read_back(target: &Target<'_>, version: &Version, hash: Hash) -> Result<()> {
    let reading = read::read(target.place, target.path, &version.token(), 0).await;
    let reading = reading.map_err(|error| if error.fault == Fault::Missing { target.changed() } else { error })?;
    let hasher = reading.body.try_fold(Sha256::new(), async |hasher, piece| Ok(hasher.chain_update(&piece)));
    if hash == Hash(hasher.await?.finalize().into()) {
        return Ok(());
    }
    target.place.mixed().insert((target.key.clone(), version.etag.clone()));
    let text = "the server holds other bytes than it was sent: somebody wrote at the same time, or it is broken";
    Err(Error::new(Fault::Refused, text).at(target.path))
}
