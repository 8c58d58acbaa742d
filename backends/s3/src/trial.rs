//! Trying what a server honours, under temporary names, with everything put away afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::future::join_all;
use wl_core::entry::Hash;
use wl_core::error::{Error, Result};
use wl_core::path::PART_PREFIX;

use crate::page::{From, page};
use crate::probe::Traits;
use crate::resume::TRIAL;
use crate::token::Version;
use crate::{Place, client, error, meta};

/// The ETag of nothing.
const STALE: &str = "00000000000000000000000000000000";

/// What a write expects, in the server's spelling.
#[derive(Debug, Clone, Copy)]
pub(crate) enum If<'a> {
    Nothing,
    Absent,
    Match(&'a str),
}

/// How the server took a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took {
    Done,
    /// For its condition.
    Refused,
    /// Because it knows no such thing.
    Unknown,
}

/// What an object is at the moment.
#[derive(Debug, PartialEq, Eq)]
struct Now {
    etag: String,
    checksum: Option<String>,
}

/// One trial, with the keys it used.
pub(crate) struct Trial<'a> {
    place: &'a Place,
    client: Client,
    base: String,
    used: Mutex<Used>,
}

/// What has to be put away.
#[derive(Default)]
struct Used {
    keys: Vec<String>,
    uploads: Vec<(String, String)>,
}

/// Tries everything that one request after another shows.
pub(crate) async fn traits(place: &Place) -> Result<Traits> {
    let trial = Trial::new(place, client::trying).await?;
    let traits = trial.all().await;
    trial.put_away().await;
    if let Ok(traits) = &traits {
        tracing::debug!(?traits, server = place.config.server_and_bucket(), "what the server honours");
    }
    traits
}

/// Tries only whether checksums are verified.
pub(crate) async fn checksums(place: &Place) -> Result<bool> {
    let trial = Trial::new(place, client::trying).await?;
    let verified = trial.verifies_checksums().await;
    trial.put_away().await;
    verified
}

impl<'a> Trial<'a> {
    /// A trial whose requests go through a client made of the place's own.
    pub async fn new(place: &'a Place, client: fn(&Client) -> Client) -> Result<Self> {
        let base = format!("{}{PART_PREFIX}{TRIAL}{}", place.config.keys.prefix(), uuid::Uuid::new_v4().simple());
        Ok(Self { place, client: client(place.client().await?), base, used: Mutex::default() })
    }

    /// Nothing here is dropped half-way when something else fails: what is put must be known when it is put away.
    async fn all(&self) -> Result<Traits> {
        let (create, copies, backslash, changes) = tokio::join!(
            Box::pin(self.creates_only()),
            Box::pin(self.checksums_and_copies()),
            Box::pin(self.keeps_backslash()),
            Box::pin(self.changes_only()),
        );
        let (copies, changes) = (copies?, changes?);
        Ok(Traits {
            create: create?,
            replace: changes.replace,
            delete: changes.delete,
            copy_replace: changes.copy_replace,
            complete_create: changes.complete_create,
            complete_replace: changes.complete_replace,
            unquoted: changes.unquoted,
            backslash: backslash?,
            ..copies
        })
    }

    async fn checksums_and_copies(&self) -> Result<Traits> {
        let checksums = self.verifies_checksums().await?;
        Ok(Traits { checksums, ..self.copies().await? })
    }

    /// Everything about conditions that name a version; the other traits of the answer say nothing.
    async fn changes_only(&self) -> Result<Traits> {
        let (replace, unquoted) = self.replaces_only().await?;
        let (delete, complete, copy_replace) = tokio::join!(
            self.deletes_only(unquoted),
            self.completes_only(unquoted),
            Box::pin(self.copies_over(unquoted)),
        );
        let (complete_create, complete_replace) = complete?;
        let copy_replace = copy_replace?;
        Ok(Traits {
            replace,
            unquoted,
            delete: delete?,
            copy_replace,
            complete_create,
            complete_replace,
            ..Traits::default()
        })
    }

    /// A right checksum is told back, a wrong one refused; some store the wrong body although they refuse it.
    async fn verifies_checksums(&self) -> Result<bool> {
        let key = self.key("sum");
        let put = |body: &'static [u8], of: &'static [u8]| {
            let put = self.client.put_object().bucket(self.place.bucket()).key(&key);
            put.body(ByteStream::from_static(body)).checksum_sha256(meta::checksum(&Hash::of(of))).send()
        };
        let right = put(b"one", b"one").await;
        if self.took(right)? != Took::Done {
            return Ok(false);
        }
        let before = self.now(&key).await?;
        let told = before.as_ref().and_then(|now| now.checksum.as_deref()) == Some(&meta::checksum(&Hash::of(b"one")));
        let refused = match put(b"two", b"one").await {
            Ok(_) => false,
            Err(error) if (400..500).contains(&error::status(&error)) => true,
            Err(error) => return Err(self.place.error(&error)),
        };
        Ok(told && refused && self.now(&key).await? == before)
    }

    async fn keeps_backslash(&self) -> Result<bool> {
        let key = self.key("back\\slash");
        let put = self.put(&key, b"one", If::Nothing).await?;
        let listed = page(self.place, &self.base, true, &From::Start, None).await?;
        Ok(put == Took::Done && listed.objects.iter().any(|object| object.key == key))
    }

    async fn creates_only(&self) -> Result<bool> {
        let key = self.key("create");
        let made = self.put(&key, b"one", If::Absent).await?;
        self.put(&key, b"one", If::Nothing).await?;
        let kept = self.is_kept(&key, self.put(&key, b"two", If::Absent)).await?;
        Ok(made == Took::Done && kept)
    }

    /// Whether a stale version is refused and the current one is not; and whether its ETag goes without quotes.
    async fn replaces_only(&self) -> Result<(bool, bool)> {
        let key = self.key("replace");
        self.put(&key, b"one", If::Nothing).await?;
        for unquoted in [false, true] {
            let stale = spelled(STALE, unquoted);
            if !self.is_kept(&key, self.put(&key, b"two", If::Match(&stale))).await? {
                return Ok((false, false));
            }
            let current = self.etag(&key).await?;
            if self.put(&key, b"three", If::Match(&spelled(&current, unquoted))).await? == Took::Done {
                return Ok((true, unquoted));
            }
        }
        Ok((false, false))
    }

    async fn deletes_only(&self, unquoted: bool) -> Result<bool> {
        let key = self.key("delete");
        self.put(&key, b"one", If::Nothing).await?;
        let stale = spelled(STALE, unquoted);
        if !self.is_kept(&key, self.delete(&key, &stale)).await? {
            return Ok(false);
        }
        let current = spelled(&self.etag(&key).await?, unquoted);
        Ok(self.delete(&key, &current).await? == Took::Done && self.now(&key).await?.is_none())
    }

    /// Everything about copies; the other traits of the answer say nothing.
    async fn copies(&self) -> Result<Traits> {
        let mut traits = Traits::default();
        let (source, target) = (self.key("copied"), self.key("copy"));
        self.put(&source, b"one", If::Nothing).await?;
        traits.copy = self.copy(&source, &target, None, If::Nothing).await? == Took::Done;
        if !traits.copy {
            return Ok(traits);
        }
        let stale = spelled(STALE, false);
        traits.copy_source = self.copy(&source, &target, Some(&stale), If::Nothing).await? == Took::Refused;
        let created = self.copy(&source, &self.key("copied-too"), None, If::Absent).await? == Took::Done;
        traits.copy_create = created && self.copy(&source, &target, None, If::Absent).await? == Took::Refused;
        Ok(traits)
    }

    /// Whether a copy replaces only the version that is expected under its key.
    async fn copies_over(&self, unquoted: bool) -> Result<bool> {
        let (source, target) = (self.key("over-from"), self.key("over"));
        self.put(&source, b"one", If::Nothing).await?;
        self.put(&target, b"two", If::Nothing).await?;
        let stale = spelled(STALE, unquoted);
        if !self.is_kept(&target, self.copy(&source, &target, None, If::Match(&stale))).await? {
            return Ok(false);
        }
        let current = spelled(&self.etag(&target).await?, unquoted);
        Ok(self.copy(&source, &target, None, If::Match(&current)).await? == Took::Done)
    }

    /// Whether an upload is completed only where nothing is, and only over the version that is there.
    async fn completes_only(&self, unquoted: bool) -> Result<(bool, bool)> {
        let key = self.key("complete");
        self.put(&key, b"one", If::Nothing).await?;
        let Some(upload) = self.upload(&key).await? else { return Ok((false, false)) };
        let create = self.is_kept(&key, self.complete(&key, &upload, If::Absent)).await?;
        // What was refused can be tried again; what was not is gone.
        let upload = if create { Some(upload) } else { self.upload(&key).await? };
        let Some(upload) = upload else { return Ok((create, false)) };
        let stale = spelled(STALE, unquoted);
        if !self.is_kept(&key, self.complete(&key, &upload, If::Match(&stale))).await? {
            return Ok((create, false));
        }
        let current = spelled(&self.etag(&key).await?, unquoted);
        let replaced = self.complete(&key, &upload, If::Match(&current)).await?;
        Ok((create, replaced == Took::Done))
    }

    /// Whether a write is refused and really changed nothing.
    async fn is_kept(&self, key: &str, write: impl Future<Output = Result<Took>>) -> Result<bool> {
        let before = self.now(key).await?;
        Ok(write.await? == Took::Refused && before.is_some() && self.now(key).await? == before)
    }

    pub async fn put(&self, key: &str, body: &'static [u8], condition: If<'_>) -> Result<Took> {
        let put = self.client.put_object().bucket(self.place.bucket()).key(key).body(ByteStream::from_static(body));
        let put = match condition {
            If::Nothing => put,
            If::Absent => put.if_none_match("*"),
            If::Match(etag) => put.if_match(etag),
        };
        self.took(Box::pin(put.send()).await)
    }

    pub async fn delete(&self, key: &str, etag: &str) -> Result<Took> {
        let delete = self.client.delete_object().bucket(self.place.bucket()).key(key).if_match(etag);
        self.took(Box::pin(delete.send()).await)
    }

    async fn copy(&self, from: &str, to: &str, source: Option<&str>, condition: If<'_>) -> Result<Took> {
        let source_key = percent_encoding::utf8_percent_encode(from, percent_encoding::NON_ALPHANUMERIC);
        let copy = self.client.copy_object().bucket(self.place.bucket()).key(to);
        let copy = copy.copy_source(format!("{}/{source_key}", self.place.bucket()));
        let copy = copy.set_copy_source_if_match(source.map(str::to_owned));
        let copy = match condition {
            If::Nothing => copy,
            If::Absent => copy.if_none_match("*"),
            If::Match(etag) => copy.if_match(etag),
        };
        self.took(Box::pin(copy.customize().config_override(client::patient()).send()).await)
    }

    /// An upload of one part that only has to be completed; none where the server knows no uploads.
    pub async fn upload(&self, key: &str) -> Result<Option<(String, String)>> {
        let begin = self.client.create_multipart_upload().bucket(self.place.bucket()).key(key);
        let created = Box::pin(begin.send()).await;
        let id = match created {
            Ok(made) => made.upload_id,
            Err(error) if error::status(&error) == 501 => None,
            Err(error) => return Err(self.place.error(&error)),
        };
        let Some(id) = id else { return Ok(None) };
        self.used().uploads.push((key.to_owned(), id.clone()));
        let part = self.client.upload_part().bucket(self.place.bucket()).key(key).upload_id(&id).part_number(1);
        let part = Box::pin(part.body(ByteStream::from_static(b"part")).send()).await;
        match part {
            Ok(part) => Ok(Some((id, part.e_tag.unwrap_or_default()))),
            Err(error) => Err(self.place.error(&error)),
        }
    }

    pub async fn complete(&self, key: &str, upload: &(String, String), condition: If<'_>) -> Result<Took> {
        let part = CompletedPart::builder().part_number(1).e_tag(&upload.1).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = self.client.complete_multipart_upload().bucket(self.place.bucket()).key(key);
        let complete = complete.upload_id(&upload.0).multipart_upload(parts);
        let complete = match condition {
            If::Nothing => complete,
            If::Absent => complete.if_none_match("*"),
            If::Match(etag) => complete.if_match(etag),
        };
        match Box::pin(complete.send()).await {
            // A refused upload may be gone: then it cannot be tried again, and that is all there is to say.
            Err(error) if error::code(&error) == "NoSuchUpload" => Ok(Took::Unknown),
            answer => self.took(answer),
        }
    }

    async fn now(&self, key: &str) -> Result<Option<Now>> {
        let head = self.client.head_object().bucket(self.place.bucket()).key(key).checksum_mode(ChecksumMode::Enabled);
        match Box::pin(head.send()).await {
            Ok(head) => {
                let version = Version::new(head.e_tag(), 0);
                let etag = version.map_or_else(String::new, |version| version.etag);
                Ok(Some(Now { etag, checksum: head.checksum_sha256 }))
            }
            Err(error) if error::status(&error) == 404 => Ok(None),
            Err(error) => Err(self.place.error(&error)),
        }
    }

    pub async fn etag(&self, key: &str) -> Result<String> {
        Ok(self.now(key).await?.map_or_else(String::new, |now| now.etag))
    }

    /// A refusal or a shrug is an answer; everything else is a failure of the trial.
    fn took<T, E>(&self, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<Took>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match answer {
            Ok(_) => Ok(Took::Done),
            Err(error) => match error::status(&error) {
                404 if error::code(&error) == "NoSuchBucket" => Err(self.place.error(&error)),
                404 | 409 | 412 => Ok(Took::Refused),
                400 | 405 | 501 => Ok(Took::Unknown),
                _ => Err(self.place.error(&error)),
            },
        }
    }

    /// A key of this trial's.
    pub fn key(&self, name: &str) -> String {
        let key = format!("{}-{name}", self.base);
        let mut used = self.used();
        if !used.keys.contains(&key) {
            used.keys.push(key.clone());
        }
        key
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what was put. What cannot be deleted now is met again by a listing, and swept.
    pub async fn put_away(&self) {
        let Used { keys, uploads } = std::mem::take(&mut *self.used());
        let bucket = self.place.bucket();
        // Most were completed, and are gone.
        join_all(
            uploads
                .iter()
                .map(|(key, id)| self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send()),
        )
        .await;
        let deleted = keys.iter().map(|key| self.client.delete_object().bucket(bucket).key(key).send());
        for failed in join_all(deleted).await.into_iter().filter_map(Result::err) {
            let error: Error = self.place.error(&failed);
            tracing::debug!(%error, "what was put for a trial could not be deleted");
        }
    }
}

/// An ETag as a server wants it.
pub(crate) fn spelled(etag: &str, unquoted: bool) -> String {
    if unquoted { etag.to_owned() } else { format!("\"{etag}\"") }
}
