//! Large content: parts uploaded several at a time, each proven by its checksum, taking effect at once when the last is
//! there.
//!
//! The content is read in order, and hashed as it is read: what the parts hold is what was announced, or nothing takes
//! effect. A failure that may pass leaves the parts for the next try ([`resume`]); any other calls the upload off.

mod cutter;
mod sum;

use std::collections::BTreeMap;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Part};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use wl_core::backend::{Body, Content, Reading, Written};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use self::cutter::Cutter;
use self::sum::{Sum, is_that, summed};
use crate::budget::{self, Share};
use crate::object::{Seen, Target};
use crate::parts::{self, Layout};
use crate::probe::Traits;
use crate::resume::{self, Claim, Record};
use crate::token::Version;
use crate::write::{dress, read_back};
use crate::{client, copy, error, meta, tags};

/// Replaces what is expected under the target's key.
pub(crate) async fn replace(
    target: &Target<'_>,
    traits: &Traits,
    content: &Content,
    trash: Option<&RelPath>,
) -> Result<Written> {
    // Whatever fails from here on, somebody wants it.
    resume::wanted(target);
    // Nothing is sent for nothing.
    target.check().await?;
    target.check_nothing_below().await?;
    let hash = content.sha256().await?;
    let reading = content.read(0).await?;
    let mtime = reading.meta.mtime;
    let claim = match resume::find(target, content.size, hash, mtime).await? {
        Some(claim) => claim,
        None => begin(target, traits, content.size, hash, mtime).await?,
    };
    let upload = Upload { target, traits, claim, hash };
    match Box::pin(upload.run(reading, trash)).await {
        Ok(written) => {
            if let Err(error) = resume::forget(target.place, &upload.claim.at).await {
                tracing::debug!(path = %target.path, "the record of an upload stays until it is swept: {error}");
            }
            Ok(written)
        }
        Err(error) => {
            // Whoever began it elsewhere may be at it yet.
            if !error.fault.passes() && !upload.claim.foreign {
                upload.call_off().await;
            }
            Err(error)
        }
    }
}

async fn begin(target: &Target<'_>, traits: &Traits, size: u64, hash: Hash, mtime: Option<Timestamp>) -> Result<Claim> {
    let place = target.place;
    let mut request = place.client().await?.create_multipart_upload().bucket(place.bucket()).key(&target.key);
    request = request.set_metadata(Some(dress(hash, mtime)));
    if traits.checksums {
        request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
    }
    let record = Record::new(&target.key, Layout::of(size), Some(hash), mtime);
    resume::begin(place, &target.key, record, request).await.map_err(|error| error.at(target.path))
}

/// An upload under way.
struct Upload<'a> {
    target: &'a Target<'a>,
    traits: &'a Traits,
    claim: Claim,
    hash: Hash,
}

/// What the parts became.
struct Whole {
    seen: Seen,
    /// Whether the server has shown a checksum for it, and not only metadata.
    proven: bool,
}

/// A part that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    /// Without quotes.
    etag: String,
    /// Where the server keeps it.
    sha256: Option<Hash>,
}

/// All parts by their numbers.
type Parts = BTreeMap<u64, Done>;

impl Upload<'_> {
    async fn run(&self, reading: Reading, trash: Option<&RelPath>) -> Result<Written> {
        let parts = self.send_all(reading.body).await?;
        self.target.check_nothing_below().await?;
        let kept = copy::keep(self.target, self.traits, trash).await?;
        let whole = match self.complete(&parts).await {
            // It may have taken effect although the answer says otherwise, or none came.
            Err(error) => self.completed_after_all(&parts).await.ok_or(error),
            completed => completed,
        };
        let proven = match whole {
            Ok(Whole { seen, proven: true }) => Ok(seen),
            Ok(Whole { seen, .. }) => read_back(self.target, &seen.version, self.hash).await.map(|()| seen),
            Err(error) => Err(error),
        };
        match (proven, kept) {
            (Err(error), kept) => {
                if let Some(kept) = kept {
                    kept.change_failed(self.target, &error).await;
                }
                Err(error)
            }
            (Ok(seen), _) => {
                // An ETag is not believed where writers are not kept apart: it may be shown with another one's bytes.
                if self.traits.checksums || self.traits.create && self.traits.replace {
                    tags::bind(self.target.place, &self.target.key, &seen, self.hash).await;
                }
                Ok(Written { entry: seen.entry(), hash: self.hash })
            }
        }
    }

    async fn call_off(&self) {
        if let Err(error) = resume::call_off(self.target.place, &self.claim.at, &self.claim.record).await {
            let path = self.target.path;
            tracing::warn!(%path, "an upload could not be called off; its record stays until that is done: {error}");
        }
    }

    /// Sends what the server does not have yet.
    async fn send_all(&self, body: Body) -> Result<Parts> {
        let there = self.parts_there().await?;
        let (mut parts, mut sending) = (Parts::new(), JoinSet::new());
        let read = self.read_all(body, &there, &mut parts, &mut sending).await;
        // Where reading failed, the next try finds what was under way.
        let goes_on = read.as_ref().map_or_else(|error| error.fault.passes(), |()| true);
        while let Some(sent) = if goes_on { sending.join_next().await } else { None } {
            match sent.map_err(|error| Error::new(Fault::Broken, error.to_string())) {
                Ok(Ok(part)) => parts.extend([part]),
                Ok(Err(error)) | Err(error) if read.is_ok() => return Err(error),
                _ => {}
            }
        }
        read.map(|()| parts)
    }

    /// Reads the content to its end, and gives each part that is missing to a sender.
    async fn read_all(
        &self,
        body: Body,
        there: &BTreeMap<u64, Part>,
        parts: &mut Parts,
        sending: &mut JoinSet<Result<(u64, Done)>>,
    ) -> Result<()> {
        let Record { size, part, .. } = self.claim.record;
        let layout = Layout { size, part };
        let mut cutter = Cutter::new(body, self.target.path);
        for number in 1..=layout.count() {
            let range = layout.range(number);
            let share = budget::for_writing(range.end - range.start).await?;
            let bytes = cutter.next(range.end - range.start).await?;
            match there.get(&number).filter(|part| is_that(part, &bytes)) {
                Some(part) => {
                    let etag = part.e_tag().unwrap_or_default().trim_matches('"').to_owned();
                    parts.insert(number, Done { etag, sha256: self.traits.checksums.then(|| Hash::of(&bytes)) });
                }
                None => drop(sending.spawn(self.sender(number, bytes, share).await?)),
            }
            while let Some(sent) = sending.try_join_next() {
                parts.extend([sent.map_err(|error| Error::new(Fault::Broken, error.to_string()))??]);
            }
        }
        cutter.end(self.hash).await
    }

    /// The parts that an earlier try has left.
    async fn parts_there(&self) -> Result<BTreeMap<u64, Part>> {
        let (place, record) = (self.target.place, &self.claim.record);
        if !self.claim.resumed {
            return Ok(BTreeMap::new());
        }
        let request = place.client().await?.list_parts().bucket(place.bucket()).key(&record.key);
        let mut pages = request.upload_id(&record.upload).into_paginator().send();
        let mut there = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(place.error(&error), error::code(&error)))?;
            for part in page.parts.unwrap_or_default() {
                there.extend(
                    part.part_number().and_then(|number| u64::try_from(number).ok()).map(|number| (number, part)),
                );
            }
        }
        tracing::info!(path = %self.target.path, parts = there.len(), "an upload is gone on with");
        Ok(there)
    }

    /// Sends one part; holds its memory until it is sent.
    async fn sender(
        &self,
        number: u64,
        bytes: Bytes,
        share: Share,
    ) -> Result<impl Future<Output = Result<(u64, Done)>> + Send + 'static> {
        let (place, record) = (self.target.place.clone(), &self.claim.record);
        let request = place
            .client()
            .await?
            .upload_part()
            .bucket(place.bucket())
            .key(&record.key)
            .upload_id(&record.upload)
            .part_number(part_number(number));
        let (path, checksums) = (self.target.path.clone(), self.traits.checksums);
        Ok(async move {
            let _share = share;
            let (sum, bytes) = summed(bytes, checksums).await?;
            let request = match &sum {
                Sum::Sha256(hash) => request.checksum_sha256(meta::checksum(hash)),
                Sum::Md5(md5) => request.content_md5(md5),
            };
            let sending = request.body(ByteStream::from(bytes)).customize().disable_payload_signing();
            let sent = sending.config_override(client::patient()).send().await;
            let answer = sent.map_err(|error| lost(place.error(&error), error::code(&error)).at(&path))?;
            let etag = answer.e_tag().unwrap_or_default().trim_matches('"').to_owned();
            Ok((number, Done { etag, sha256: sum.sha256() }))
        })
    }

    async fn complete(&self, parts: &Parts) -> Result<Whole> {
        let (target, place, traits) = (self.target, self.target.place, self.traits);
        let conditional = if target.expected.is_none() { traits.complete_create } else { traits.complete_replace };
        let list = parts.iter().map(|(number, part)| {
            CompletedPart::builder()
                .part_number(part_number(*number))
                .e_tag(format!("\"{}\"", part.etag))
                .set_checksum_sha256(part.sha256.as_ref().map(meta::checksum))
                .build()
        });
        let whole = CompletedMultipartUpload::builder().set_parts(Some(list.collect())).build();
        let request = place.client().await?.complete_multipart_upload().bucket(place.bucket()).key(&target.key);
        let mut request = request.upload_id(&self.claim.record.upload).multipart_upload(whole);
        let mut config = client::patient();
        match &target.expected {
            None if conditional => request = request.if_none_match("*"),
            Some(version) if conditional => request = request.if_match(traits.if_match(version)),
            _ => {
                // RACE: what somebody else puts between this look and the completion is replaced, and kept only if it is
                // what was expected; `Facts::windows` says so.
                target.check().await?;
                config = config.retry_config(RetryConfig::disabled());
            }
        }
        let sent = request.customize().config_override(config).send().await;
        let answer = sent.map_err(|error| self.failed(place.error(&error), error::code(&error)))?;
        // A proxy or a captive portal says 200 to anything: whether these parts took effect is looked at.
        let answered = Version::new(answer.e_tag(), self.claim.record.size);
        let answered = answered.ok_or_else(|| error::unnamed(&place.config).at(target.path))?;
        let seen = Seen::at(place, &target.key)
            .await
            .map_err(|error| error.at(target.path))?
            .ok_or_else(|| target.changed())?;
        if answered != seen.version {
            return Err(target.changed());
        }
        self.ours(seen, parts).ok_or_else(|| target.changed())
    }

    /// What is there, if it is what these parts make: its composite checksum proves that, and what it was dressed with says
    /// so.
    fn ours(&self, seen: Seen, parts: &Parts) -> Option<Whole> {
        let sha256s: Vec<Hash> = parts.values().filter_map(|part| part.sha256).collect();
        let checksum = seen.head.checksum_sha256().filter(|_| self.traits.checksums);
        let ours = match checksum {
            Some(checksum) if checksum.contains('-') => checksum == parts::composite(&sha256s),
            Some(checksum) => checksum == meta::checksum(&self.hash),
            None => seen.says(&self.hash),
        };
        let proven = checksum.is_some();
        let same = ours && seen.version.size == self.claim.record.size;
        same.then_some(Whole { seen, proven })
    }

    async fn completed_after_all(&self, parts: &Parts) -> Option<Whole> {
        let seen = Seen::at(self.target.place, &self.target.key).await.ok()??;
        if Some(&seen.version) == self.target.expected.as_ref() { None } else { self.ours(seen, parts) }
    }

    fn failed(&self, error: Error, code: &str) -> Error {
        match code {
            "NoSuchUpload" => lost(error, code).at(self.target.path),
            _ => self.target.failed(error, code),
        }
    }
}

/// An upload that somebody has called off is begun again: that passes.
fn lost(error: Error, code: &str) -> Error {
    match code {
        "NoSuchUpload" => Error::new(Fault::Refused, "the upload was called off by somebody else, and begins again"),
        _ => error,
    }
}

fn part_number(number: u64) -> i32 {
    // INVARIANT: a layout has 10,000 parts at most.
    i32::try_from(number).unwrap_or(i32::MAX)
}
