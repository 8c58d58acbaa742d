//! Safe replace with a version that another bucket or prefix of the same server holds: the server copies, and no byte of it
//! passes through this program if its sha256 is vouched for.
//!
//! The guard is as strong as it is for a PUT of the same size, or this way is closed. What the copy holds is proven by what
//! the server shows for it: its checksum, or the same ETag as the source's whose sha256 is proven; else by reading the copy.
//!
//! A small object that wl put costs two requests: it is copied with all that it is dressed with, and the copy, looked at,
//! shows the same ETag, and the sha256.

use std::sync::atomic::Ordering;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::copy::{self, AT_ONCE, Onto, Source, Wanted};
use crate::meta::{BOUND, MTIME, SHA256};
use crate::object::{Seen, Target};
use crate::parts::LARGE;
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::write::{dress, read_back};
use crate::{S3, read, remove};

/// What became of a version that the server was to copy.
#[derive(Debug)]
pub enum Taken {
    /// It is there.
    Written(Written),
    /// Not this one: it is to be read and written. Nothing has changed.
    NotThis,
    /// The server does not copy between these two. Nothing has changed.
    Closed,
}

/// A version of a file of another bucket or prefix.
pub struct Offer<'a> {
    /// Where it is.
    pub at: &'a S3,
    /// Its path there.
    pub path: &'a RelPath,
    /// Which version of it.
    pub token: &'a Token,
    /// Its bytes: read for its sha256 alone, and only where the server does not vouch for that.
    pub content: &'a Content,
    /// Whether they may be read: a bandwidth limit would not hold for it.
    pub may_read: bool,
}

impl S3 {
    /// Replaces what `guard` expects with a version that another storage of this server holds, as `replace` does with a
    /// content. `passed` is told of bytes that were copied.
    pub async fn take(
        &self,
        path: &RelPath,
        offer: Offer<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
        passed: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Taken> {
        if offer.at.place.config.endpoint != self.place.config.endpoint {
            return Ok(Taken::Closed);
        }
        probe::can_hold(&self.place, path).await?;
        let traits = probe::traits(&self.place).await?;
        if !traits.copy {
            return Ok(Taken::Closed);
        }
        let target = Target::new(&self.place, path, guard)?;
        let version = Version::of(offer.token).map_err(|error| error.at(path))?;
        let Some(in_parts) = way(&traits, &target, version.size) else { return Ok(Taken::NotThis) };
        let place = &offer.at.place;
        let key = place.key(offer.path)?;
        let source = Source { place, key: &key, version: &version };
        if !in_parts
            && shows_itself(&traits, &target, source)
            && let Some(written) = take_as_it_is(&target, &traits, source, offer.content.hash).await?
        {
            passed(version.size);
            target.is_there().await;
            return Ok(Taken::Written(written));
        }
        // Whatever fails here fails for whoever reads it, too, and is told as the source's then.
        let Ok(Some((seen, read))) = look(&traits, source, &offer).await else { return Ok(Taken::NotThis) };
        if seen.version != version {
            return Ok(Taken::NotThis);
        }
        let Some(hash) = hash(&traits, &seen, source, &offer, read).await? else { return Ok(Taken::NotThis) };
        let shows = seen.is_dressed(&hash) && seen.hash(traits.checksums) == Some(hash);
        place.dressed.store(shows, Ordering::Relaxed);
        let dress = dressed(&traits, &seen, hash);
        let wanted = Wanted { dress: Some(&dress), in_parts, passed: Some(passed), onto: onto(&target) };
        let taken = take(&target, &traits, source, wanted, hash, trash).await?;
        if let Taken::Written(_) = &taken {
            target.is_there().await;
        }
        Ok(taken)
    }
}

/// Whether it is copied in parts; none where the guard would be weaker than that of a PUT.
fn way(traits: &Traits, target: &Target<'_>, size: u64) -> Option<bool> {
    let (put, copy, complete) = match target.expected {
        None => (traits.create, traits.copy_create, traits.complete_create),
        Some(_) => (traits.replace, traits.copy_replace, traits.complete_replace),
    };
    let usual = if size > LARGE { complete } else { put };
    let in_parts = size > AT_ONCE || size > LARGE && complete && !copy;
    let conditional = if in_parts { complete } else { copy };
    (conditional || !usual).then_some(in_parts)
}

/// Whether a copy that is dressed as its source is shows whatever has to be known of it: it probably does, and nothing is
/// lost if it does not.
fn shows_itself(traits: &Traits, target: &Target<'_>, source: Source<'_>) -> bool {
    let vouched = source.place.dressed.load(Ordering::Relaxed) && !is_mixed(source);
    let same_etag = source.version.size <= LARGE && !source.version.etag.contains('-');
    // What shows nothing is removed again: only where that cannot take what somebody else has put there meanwhile.
    target.expected.is_none() && traits.copy_source && traits.delete && vouched && same_etag
}

/// Copies a version, where nothing is, with all that its source is dressed with, and looks at it once: that proves it, and
/// tells its sha256. None if it does not, and nothing has changed, or whoever copies once more will find out what has.
async fn take_as_it_is(
    target: &Target<'_>,
    traits: &Traits,
    source: Source<'_>,
    known: Option<Hash>,
) -> Result<Option<Written>> {
    target.check_nothing_below().await?;
    let Ok(copied) = copy::copy(target.place, traits, source, &target.key, Wanted::onto(Onto::Nothing)).await else {
        return Ok(None);
    };
    let seen = Seen::at(target.place, &target.key).await?.filter(|seen| seen.version == copied);
    let seen = seen.ok_or_else(|| target.changed())?;
    let hash =
        seen.hash(traits.checksums).filter(|hash| seen.is_dressed(hash) && known.is_none_or(|known| known == *hash));
    if let Some(hash) = hash
        && copied == *source.version
    {
        return Ok(Some(Written { entry: seen.entry(), hash }));
    }
    source.place.dressed.store(false, Ordering::Relaxed);
    remove::discard(target.place, &target.key, &copied).await;
    Ok(None)
}

/// Looks at what is to be copied; and reads it, for its sha256, where nothing could vouch for that.
async fn look(traits: &Traits, source: Source<'_>, offer: &Offer<'_>) -> Result<Option<(Seen, Option<Hash>)>> {
    // Such a server is given nothing that binds a sha256 to a content.
    let vouches = traits.checksums || traits.create && traits.replace;
    let (size, known) = (source.version.size, offer.content.hash.is_some());
    if vouches || known || !offer.may_read || size == 0 || size > LARGE {
        return Ok(Seen::at(source.place, source.key).await?.map(|seen| (seen, None)));
    }
    let (seen, hash) = read::whole(source.place, offer.path, source.version).await?;
    Ok(Some((seen, Some(hash))))
}

fn onto<'a>(target: &'a Target<'_>) -> Onto<'a> {
    target.expected.as_ref().map_or(Onto::Nothing, Onto::This)
}

/// The sha256 of the version that is to be copied: what the server vouches for, or what is known already, or found by
/// reading it once if that costs less than to send it too.
async fn hash(
    traits: &Traits,
    seen: &Seen,
    source: Source<'_>,
    offer: &Offer<'_>,
    read: Option<Hash>,
) -> Result<Option<Hash>> {
    let vouched = read.or_else(|| seen.hash(traits.checksums).filter(|_| !is_mixed(source)));
    match (vouched, offer.content.hash) {
        (Some(vouched), Some(known)) if vouched != known => {
            let text = "the content does not have the sha256 it should have: it changed meanwhile";
            Err(Error::new(Fault::Refused, text).at(offer.path))
        }
        (None, None) if source.version.size > LARGE && offer.may_read => offer.content.sha256().await.map(Some),
        // What is taken inside a bucket may come from the trash, whose versions nobody has read: only what the server vouches
        // for counts there.
        (vouched, known) => Ok(vouched.or(known.filter(|_| offer.may_read))),
    }
}

fn is_mixed(source: Source<'_>) -> bool {
    source.place.mixed().contains(&(source.key.to_owned(), source.version.etag.clone()))
}

/// What the copy is dressed with: all that its source is dressed with, and what is known of the content.
fn dressed(traits: &Traits, seen: &Seen, hash: Hash) -> HeadObjectOutput {
    let mut head = seen.head.clone();
    let metadata = head.metadata.get_or_insert_default();
    metadata.retain(|key, _| ![SHA256, MTIME, BOUND].iter().any(|ours| key.eq_ignore_ascii_case(ours)));
    metadata.extend(dress(hash, seen.entry().meta.mtime));
    // Believed only where the copy is shown with the same ETag: then it holds what the source held. Not where writers are
    // not kept apart: such a server may hold one's ETag with another's bytes.
    if traits.create && traits.replace {
        metadata.insert(BOUND.to_owned(), seen.version.etag.clone());
    }
    // The class is the target bucket's matter.
    head.storage_class = None;
    head
}

async fn take(
    target: &Target<'_>,
    traits: &Traits,
    source: Source<'_>,
    wanted: Wanted<'_>,
    hash: Hash,
    trash: Option<&RelPath>,
) -> Result<Taken> {
    // Nothing is kept for nothing.
    if target.expected.is_some() {
        target.check().await?;
    }
    target.check_nothing_below().await?;
    let kept = copy::keep(target, traits, trash).await?;
    let copied = match copy::copy(target.place, traits, source, &target.key, wanted).await {
        Ok(version) => settle(target, traits, source, &version, hash).await,
        // It may have taken effect although the answer says otherwise, or none came.
        Err(error) => copied_after_all(target, traits, source, hash).await.ok_or(error),
    };
    let error = match copied {
        Ok(written) => return Ok(Taken::Written(written)),
        Err(error) => error,
    };
    if let Some(kept) = kept {
        kept.change_failed(target, &error).await;
    }
    match error.fault {
        Fault::Refused => Err(target.changed()),
        // The target's credentials may not be good for the source, or the server cannot; sent and written it may do.
        Fault::Denied | Fault::Unsupported => Ok(Taken::Closed),
        Fault::Missing | Fault::Malformed | Fault::Broken => Ok(Taken::NotThis),
        _ => Err(error.at(target.path)),
    }
}

/// Looks at the copy, and proves what it holds.
async fn settle(
    target: &Target<'_>,
    traits: &Traits,
    source: Source<'_>,
    copied: &Version,
    hash: Hash,
) -> Result<Written> {
    let seen = Seen::at(target.place, &target.key).await?.filter(|seen| seen.version == *copied);
    let seen = seen.ok_or_else(|| target.changed())?;
    if is_proven(traits, source, &seen, hash) {
        return Ok(Written { entry: seen.entry(), hash });
    }
    let proven = if copied.size == source.version.size {
        read_back(target, copied, hash).await
    } else {
        Err(Error::new(Fault::Refused, "the server copied something else"))
    };
    if let Err(error) = proven {
        if target.expected.is_none() {
            remove::discard(target.place, &target.key, copied).await;
        }
        return Err(error);
    }
    Ok(Written { entry: seen.entry(), hash })
}

/// Whether what the server shows of a copy proves what it holds.
fn is_proven(traits: &Traits, source: Source<'_>, copy: &Seen, hash: Hash) -> bool {
    match copy.hash(traits.checksums) {
        Some(found) => found == hash && copy.version.size == source.version.size,
        None => copy.version == *source.version && !is_mixed(source),
    }
}

/// The copy, if it is there although a request for it failed.
async fn copied_after_all(target: &Target<'_>, traits: &Traits, source: Source<'_>, hash: Hash) -> Option<Written> {
    let seen = Seen::at(target.place, &target.key).await.ok()??;
    let ours = Some(&seen.version) != target.expected.as_ref() && seen.says(&hash);
    (ours && is_proven(traits, source, &seen, hash)).then(|| Written { entry: seen.entry(), hash })
}
