//! Copying on the server: moves, copies, the trash, and metadata, which only a copy can change.

mod parts;

use std::sync::Arc;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, MetadataDirective, StorageClass};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::meta::MTIME;
use crate::object::{Seen, Target};
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::write::Tries;
use crate::{Place, client, error, look, remove};

/// What CopyObject copies at most (Amazon S3 API reference, CopyObject: 5 GB).
pub(crate) const AT_ONCE: u64 = 5_000_000_000;

/// What other servers are asked to copy at once, though they may refuse: some only note down that there is one more name.
const MAYBE_AT_ONCE: u64 = 16 << 30;

/// What of `x-amz-copy-source` needs no encoding (RFC 3986 section 2.3, and the slash).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A version to be copied.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Where it lies: a bucket that the server of the copy's place has, too.
    pub place: &'a Arc<Place>,
    pub key: &'a str,
    pub version: &'a Version,
}

/// What a copy is to be.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// What it is dressed with, in place of what its source is dressed with.
    pub dress: Option<&'a HeadObjectOutput>,
    /// What it finds where it goes.
    pub onto: Onto<'a>,
    /// Whether it is copied in parts, though it could be copied at once.
    pub in_parts: bool,
    /// Who is told of bytes that were copied.
    pub passed: Option<&'a (dyn Fn(u64) + Send + Sync)>,
}

impl<'a> Wanted<'a> {
    /// A copy that is dressed as its source is, if nothing else is said.
    pub fn onto(onto: Onto<'a>) -> Self {
        Self { dress: None, onto, in_parts: false, passed: None }
    }
}

/// What a copy finds under its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onto<'a> {
    /// Nothing, or it is refused.
    Nothing,
    /// That version, or it is refused.
    This(&'a Version),
    /// The version that is copied, or it is refused.
    Itself,
    /// What does not count: the place is wl's own.
    Anything,
}

/// Moves that version to a path where nothing is.
pub(crate) async fn move_within(place: &Arc<Place>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    let entry = copy_within(place, from, token, None, to).await?;
    let Err(error) = remove::remove(place, from, token, None).await else { return Ok(entry) };
    // An earlier try of the deletion may have taken effect, and its answer have been lost; or it may still be on its way.
    // Then the copy is the only one there is. If it stays beside what it was copied from, it is one more file, and listed.
    match Seen::at(place, &place.key(from)?).await {
        Ok(None) => return Ok(entry),
        Ok(Some(seen)) if seen.entry().token.same(token) && !error.fault.passes() => {
            if let Err(stays) = remove::remove(place, to, &entry.token, None).await {
                tracing::warn!(path = %to, "a copy that was to be a move stays: {stays}");
            }
        }
        _ => tracing::warn!(path = %to, "a copy that was to be a move stays: what became of {from} is unknown"),
    }
    Err(error)
}

/// Copies that version, whose sha256 may be known, to a path where nothing is.
pub(crate) async fn copy_within(
    place: &Arc<Place>,
    from: &RelPath,
    token: &Token,
    hash: Option<Hash>,
    to: &RelPath,
) -> Result<Entry> {
    let traits = probe::traits(place).await?;
    if !traits.copy {
        return Err(Error::new(Fault::Unsupported, "the server cannot copy").at(from));
    }
    let target = Target::new(place, to, &Guard::Absent)?;
    let (key, version) = (place.key(from)?, Version::of(token)?);
    target.check_nothing_below().await?;
    let source = Source { place, key: &key, version: &version };
    let copied = copy(place, &traits, source, &target.key, Wanted::onto(Onto::Nothing))
        .await
        .map_err(|error| refused(error, from))?;
    let seen = Seen::at(place, &target.key).await?.filter(|seen| seen.version == copied);
    let entry = seen.ok_or_else(|| target.changed())?.entry();
    if let Err(error) = prove(source, hash, from, &copied, to).await {
        remove::discard(place, &target.key, &copied).await;
        return Err(error);
    }
    target.is_there().await;
    Ok(entry)
}

/// Whether a copy holds what was copied: it has the same ETag, or else what both hold has the same sha256.
async fn prove(source: Source<'_>, hash: Option<Hash>, from: &RelPath, copied: &Version, to: &RelPath) -> Result<()> {
    let place = source.place;
    let believed = !place.mixed().contains(&(source.key.to_owned(), source.version.etag.clone()));
    if believed && copied == source.version {
        return Ok(());
    }
    let (was, is) = (source.version.token(), copied.token());
    if copied.size == source.version.size {
        let expected = if let Some(hash) = hash { hash } else { look::hash(place, from, &was).await? };
        if look::hash(place, to, &is).await? == expected {
            return Ok(());
        }
    }
    Err(Error::new(Fault::Refused, "the server copied something else").at(from))
}

/// Sets the modification time of that version, which gives it another token.
pub(crate) async fn set_meta(place: &Arc<Place>, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
    let traits = probe::traits(place).await?;
    let target = Target::new(place, path, &Guard::Unchanged(token.clone()))?;
    let seen = Seen::at(place, &target.key).await?.ok_or_else(|| Error::missing(path))?;
    if Some(&seen.version) != target.expected.as_ref() {
        return Err(target.changed());
    }
    let Some(mtime) = meta.mtime else { return Ok(seen.entry()) };
    let mut dress = seen.head.clone();
    let metadata = dress.metadata.get_or_insert_default();
    metadata.retain(|key, _| !key.eq_ignore_ascii_case(MTIME));
    metadata.insert(MTIME.to_owned(), mtime.to_string());
    // RACE: where CopyObject has no condition for what it replaces, which is its source here, a version put between the two
    // inside the server is lost; `Facts::windows` says so.
    let source = Source { place, key: &target.key, version: &seen.version };
    let wanted = Wanted { dress: Some(&dress), ..Wanted::onto(Onto::Itself) };
    let copied = copy(place, &traits, source, &target.key, wanted).await.map_err(|error| refused(error, path))?;
    if !traits.copy_source && !traits.copy_replace {
        same_content(&target, &traits, &seen, &copied).await?;
    }
    let now = Seen::at(place, &target.key).await?.filter(|now| now.version == copied);
    Ok(now.ok_or_else(|| target.changed())?.entry())
}

/// Refuses what a server that asks no condition of its source has copied onto itself, unless it is the content that was
/// looked at: somebody else may have written another before. Then that one has got the time, and is looked at again.
async fn same_content(target: &Target<'_>, traits: &Traits, seen: &Seen, copied: &Version) -> Result<()> {
    if *copied == seen.version {
        return Ok(());
    }
    let was = seen.hash(traits.checksums).ok_or_else(|| target.changed())?;
    let is = look::hash(target.place, target.path, &copied.token()).await?;
    if was == is { Ok(()) } else { Err(target.changed()) }
}

/// What is not the version to be copied any more has changed.
fn refused(error: Error, path: &RelPath) -> Error {
    if error.fault == Fault::Missing { Error::changed(path) } else { error.at(path) }
}

/// Copies a version under another key, or its own. `Refused` if it is another version, or something is where nothing is
/// to be.
pub(crate) async fn copy(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
) -> Result<Version> {
    let size = from.version.size;
    let maybe = place.config.endpoint.is_some() && size <= MAYBE_AT_ONCE;
    let copied = if (size <= AT_ONCE || maybe) && !wanted.in_parts {
        match copy_at_once(place, traits, from, to, wanted).await {
            Err(error) if size > AT_ONCE && !error.fault.passes() && error.fault != Fault::Refused => {
                tracing::debug!(to, "the server does not copy it at once: {error}");
                Box::pin(parts::copy(place, traits, from, to, wanted)).await?
            }
            copied => copied?,
        }
    } else {
        Box::pin(parts::copy(place, traits, from, to, wanted)).await?
    };
    if !traits.copy_source && wanted.onto != Onto::Itself {
        // The server copies whatever is there: it is that version if it still is.
        let still = Seen::at(from.place, from.key).await?.is_some_and(|seen| seen.version == *from.version);
        if !still {
            // Over a known version it stays, as what it is: without it there would be nothing.
            if !matches!(wanted.onto, Onto::This(_)) {
                // What was copied may have another size than what was to be.
                let there = Seen::at(place, to).await?.filter(|seen| seen.version.etag == copied.etag);
                remove::discard(place, to, &there.map_or(copied, |seen| seen.version)).await;
            }
            return Err(Error::new(Fault::Refused, "it changed meanwhile"));
        }
    }
    Ok(copied)
}

async fn copy_at_once(
    place: &Arc<Place>,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
) -> Result<Version> {
    let conditional = match wanted.onto {
        Onto::Nothing => traits.copy_create,
        Onto::This(_) => traits.copy_replace,
        Onto::Itself => traits.copy_source || traits.copy_replace,
        Onto::Anything => true,
    };
    if conditional {
        return send(place, traits, from, to, wanted, client::patient()).await;
    }
    let mut tries = Tries::default();
    loop {
        // RACE: what somebody puts between the look and the copy is replaced; `Facts::windows` says so.
        look_at(place, from, to, wanted.onto).await?;
        let once = client::patient().retry_config(RetryConfig::disabled());
        match send(place, traits, from, to, wanted, once).await {
            Err(error) if tries.again(&error).await => {}
            sent => return sent,
        }
    }
}

/// Looks whether a copy finds what it is to find.
async fn look_at(place: &Place, from: Source<'_>, to: &str, onto: Onto<'_>) -> Result<()> {
    let expected = match onto {
        Onto::Nothing => None,
        Onto::This(version) => Some(version),
        Onto::Itself => Some(from.version),
        Onto::Anything => return Ok(()),
    };
    let seen = Seen::at(place, to).await?.map(|seen| seen.version);
    if seen.as_ref() == expected { Ok(()) } else { Err(Error::new(Fault::Refused, "it changed meanwhile")) }
}

async fn send(
    place: &Place,
    traits: &Traits,
    from: Source<'_>,
    to: &str,
    wanted: Wanted<'_>,
    config: Builder,
) -> Result<Version> {
    let mut request = place.client().await?.copy_object().bucket(place.bucket()).key(to);
    request = request.copy_source(from.named()).copy_source_if_match(from.version.quoted());
    if wanted.onto == Onto::Nothing && traits.copy_create {
        request = request.if_none_match("*");
    }
    let over = match wanted.onto {
        Onto::This(version) => Some(version),
        Onto::Itself => Some(from.version),
        Onto::Nothing | Onto::Anything => None,
    };
    if let Some(version) = over.filter(|_| traits.copy_replace) {
        request = request.if_match(traits.if_match(version));
    }
    if let Some(dress) = wanted.dress {
        request = request
            .metadata_directive(MetadataDirective::Replace)
            // What was uploaded in parts has one checksum of the whole from now on, where the server computes it.
            .set_checksum_algorithm(traits.checksums.then_some(ChecksumAlgorithm::Sha256))
            .set_metadata(dress.metadata.clone())
            .set_content_type(dress.content_type.clone())
            .set_content_encoding(dress.content_encoding.clone())
            .set_content_disposition(dress.content_disposition.clone())
            .set_content_language(dress.content_language.clone())
            .set_cache_control(dress.cache_control.clone())
            .set_storage_class(dress.storage_class.as_ref().map(|class| StorageClass::from(class.as_str())));
    }
    let sent = request.customize().config_override(config).send().await;
    let answer = sent.map_err(|error| place.error(&error))?;
    if let Some(passed) = wanted.passed {
        passed(from.version.size);
    }
    let etag = answer.copy_object_result().and_then(|result| result.e_tag());
    match Version::new(etag, from.version.size) {
        Some(version) => Ok(version),
        None => unnamed(place, traits, from, to, wanted).await,
    }
}

/// The version that a copy made, where the answer did not name it. Not only servers answer so: a proxy or a captive
/// portal says 200 to anything, and what was there before is there still.
async fn unnamed(place: &Place, traits: &Traits, from: Source<'_>, to: &str, wanted: Wanted<'_>) -> Result<Version> {
    let seen = Seen::at(place, to).await.ok().flatten().filter(|seen| {
        seen.version.size == from.version.size && wanted.dress.is_none_or(|dress| seen.is_dressed_as(dress))
    });
    let seen = seen.ok_or_else(|| error::unnamed(&place.config))?;
    let new = match wanted.onto {
        Onto::Itself => true,
        // Whoever wanted it proves what it holds.
        Onto::This(version) => seen.version != *version,
        // In the trash something may have been there; and where nothing was, somebody else may have put something,
        // which is not to be taken away again as a copy that went wrong.
        Onto::Nothing | Onto::Anything => {
            wanted.dress.is_some() || seen.version == *from.version || is_proven_by(traits, from, &seen).await
        }
    };
    if new { Ok(seen.version) } else { Err(error::unnamed(&place.config)) }
}

/// Whether the server shows the same sha256 for a copy and for what was copied.
async fn is_proven_by(traits: &Traits, from: Source<'_>, copy: &Seen) -> bool {
    let source = Seen::at(from.place, from.key).await.ok().flatten().filter(|seen| seen.version == *from.version);
    let hash = source.and_then(|source| source.hash(traits.checksums));
    hash.is_some() && hash == copy.hash(traits.checksums)
}

impl Source<'_> {
    /// As `x-amz-copy-source` has it.
    fn named(&self) -> String {
        utf8_percent_encode(&format!("{}/{}", self.place.bucket(), self.key), PLAIN).to_string()
    }
}

/// A version that was kept before it was replaced or deleted.
pub(crate) struct Kept<'a> {
    place: &'a Arc<Place>,
    key: String,
    version: Version,
}

/// Keeps what is about to be replaced or deleted, if that is wanted.
pub(crate) async fn keep<'a>(
    target: &Target<'a>,
    traits: &Traits,
    trash: Option<&RelPath>,
) -> Result<Option<Kept<'a>>> {
    let (Some(trash), Some(version)) = (trash, &target.expected) else { return Ok(None) };
    if !traits.copy {
        return Ok(None);
    }
    let place = target.place;
    let key = place.key(trash)?;
    let source = Source { place, key: &target.key, version };
    let kept = copy(place, traits, source, &key, Wanted::onto(Onto::Anything))
        .await
        .map_err(|error| refused(error, target.path))?;
    let earlier = place.unsettled().remove(&target.key).filter(|earlier| earlier.of == *version && earlier.key != key);
    if let Some(earlier) = earlier {
        remove::discard(place, &earlier.key, &earlier.version).await;
    }
    Ok(Some(Kept { place, key, version: kept }))
}

/// What was kept of a version for a change of which nobody knows whether it took effect: superfluous once that version is
/// kept again.
pub(crate) struct Unsettled {
    of: Version,
    key: String,
    version: Version,
}

/// So many are remembered; what more there are stays in the trash for its time.
const UNSETTLED: usize = 65_536;

impl Kept<'_> {
    /// The change that it was kept for failed. It goes again if what was kept is still in its place, and stays there; if
    /// that cannot be told, or something else is there, it may be the only one.
    pub async fn change_failed(self, target: &Target<'_>, error: &Error) {
        // What was not answered may take effect yet.
        if matches!(error.fault, Fault::Offline | Fault::Busy) {
            let mut unsettled = self.place.unsettled();
            if let Some(of) = target.expected.clone().filter(|_| unsettled.len() < UNSETTLED) {
                unsettled.insert(target.key.clone(), Unsettled { of, key: self.key, version: self.version });
            }
            return;
        }
        let there = Seen::at(self.place, &target.key).await;
        if there.is_ok_and(|there| there.is_some_and(|seen| Some(seen.version) == target.expected)) {
            remove::discard(self.place, &self.key, &self.version).await;
        }
    }
}
