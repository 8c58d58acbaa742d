//! Directories: a zero-length object `name/` where nothing lies below, and nothing at all where something does.

use std::sync::Arc;

use wl_core::error::{Error, Fault, Result};
use wl_core::path::{RelPath, TRASH_DIR};

use crate::object::Seen;
use crate::page::{From, Object, page};
use crate::probe::{self, Traits};
use crate::token::Version;
use crate::{Place, around, error, remove, resume};

/// Makes a directory.
pub(crate) async fn make_dir(place: &Arc<Place>, path: &RelPath) -> Result<()> {
    let marker = place.dir(path)?;
    let near = place.dir(&path.parent().unwrap_or_else(RelPath::root))?;
    if path.is_root() || around::anything_below(place, &marker, &near, None).await.map_err(|error| error.at(path))? {
        return Ok(());
    }
    if Seen::at(place, &place.key(path)?).await.map_err(|error| error.at(path))?.is_some() {
        return Err(Error::new(Fault::Refused, "a file is in the way").at(path));
    }
    put_marker(place, &marker).await.map_err(|error| error.at(path))?;
    holds_something(place, &marker).await;
    Ok(())
}

/// Removes an empty directory, with what wl left in it.
pub(crate) async fn remove_dir(place: &Arc<Place>, path: &RelPath) -> Result<()> {
    let marker = place.dir(path)?;
    let mut own = None;
    let mut leftovers = Vec::new();
    let mut from = Some(From::Start);
    while let Some(begin) = from.take() {
        let page = page(place, &marker, true, &begin, None).await.map_err(|error| error.at(path))?;
        for object in page.objects {
            match &object.key {
                key if *key == marker => own = Some(object),
                key if around::is_part(&marker, key) => leftovers.push(object),
                _ => return Err(Error::new(Fault::Refused, "the directory is not empty").at(path)),
            }
        }
        from = page.next;
    }
    for leftover in &leftovers {
        resume::clear(place, leftover).await.map_err(|error| error.at(path))?;
    }
    match own {
        Some(marker) => remove_marker(place, path, &marker).await.map_err(|error| error.at(path)),
        None if !leftovers.is_empty() => Ok(()),
        None => {
            let file = Seen::at(place, &place.key(path)?).await.map_err(|error| error.at(path))?.is_some();
            Err(if file { Error::new(Fault::Refused, "it is a file").at(path) } else { Error::missing(path) })
        }
    }
}

async fn remove_marker(place: &Arc<Place>, path: &RelPath, marker: &Object) -> Result<()> {
    let traits = probe::traits(place).await?;
    if marker.size > 0 {
        let text = "the object that marks the directory has a content of its own: delete it by hand";
        return Err(Error::new(Fault::Refused, text));
    }
    place.around.gone(&marker.key);
    let removed = match keep_parent(place, path, &marker.key).await {
        // One that is gone already is as good.
        Ok(()) => match delete_marker(place, &traits, marker).await {
            Err(error) if error.fault == Fault::Missing => Ok(()),
            done => done,
        },
        failed => failed,
    };
    match &removed {
        Ok(()) => place.around.gone(&marker.key),
        Err(_) => place.around.put(&marker.key),
    }
    removed
}

async fn delete_marker(place: &Arc<Place>, traits: &Traits, marker: &Object) -> Result<()> {
    if let Some(version) = &marker.version {
        return remove::delete(place, traits, &marker.key, version).await;
    }
    // Where directories are real ones, JuiceFS names no ETag for them.
    // RACE: a marker that somebody gives a content in this moment is deleted with it.
    let delete = place.client().await?.delete_object().bucket(place.bucket()).key(&marker.key);
    delete.send().await.map(drop).map_err(|error| place.error(&error))
}

/// Puts a marker for the directory a path is in, if nothing but the key that is about to be deleted lies there.
///
/// On a file system behind the S3 interface this also keeps a folder from staying behind that nothing shows. The trash
/// needs no empty directories.
pub(crate) async fn keep_parent(place: &Arc<Place>, path: &RelPath, leaving: &str) -> Result<()> {
    let kept = path.segments().next() == Some(TRASH_DIR);
    let Some(parent) = path.parent().filter(|parent| !parent.is_root() && !kept) else { return Ok(()) };
    let marker = place.dir(&parent)?;
    if around::anything_below(place, &marker, &marker, Some(leaving)).await? {
        return Ok(());
    }
    put_marker(place, &marker).await
}

/// Deletes the markers that wl made for directories that were empty until an object of this key was put.
pub(crate) async fn holds_something(place: &Arc<Place>, key: &str) {
    for (marker, version) in place.around.superfluous(key) {
        place.around.gone(&marker);
        remove::discard(place, &marker, &version).await;
    }
}

async fn put_marker(place: &Arc<Place>, marker: &str) -> Result<()> {
    let traits = probe::traits(place).await?;
    // RACE: where conditions are ignored, a content that somebody gives the marker after this look is lost.
    if !traits.create && holds_content(place, marker).await? {
        return Ok(());
    }
    let (client, bucket) = (place.client().await?, place.bucket());
    let put = || client.put_object().bucket(bucket).key(marker).content_length(0);
    let mut sent = put().set_if_none_match(traits.create.then(|| "*".to_owned())).send().await;
    if sent.as_ref().is_err_and(|error| matches!(error::status(error), 409 | 412)) {
        if holds_content(place, marker).await? {
            return Ok(());
        }
        // Somebody made it meanwhile; or, at SeaweedFS, it is only implied, and counts for this condition all the same.
        // RACE: a content that somebody gives the marker after this look is lost.
        sent = put().send().await;
    }
    let answer = sent.map_err(|error| place.error(&error))?;
    if let Some(version) = Version::new(answer.e_tag(), 0) {
        place.around.made(marker, version);
    }
    Ok(())
}

/// Whether somebody gave a marker a content.
async fn holds_content(place: &Place, marker: &str) -> Result<bool> {
    match Seen::at(place, marker).await {
        Ok(seen) => Ok(seen.is_some_and(|seen| seen.version.size > 0)),
        // Where directories are real ones, JuiceFS names no ETag for them.
        Err(error) if error.fault == Fault::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}
