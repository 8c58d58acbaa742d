//! Changes that need no content from outside: directories, times and modes, copies inside the storage.

use std::sync::Arc;

use futures::join;
use wl_core::backend::{Guard, Known};
use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::copy;
use crate::error::{error, is_missing, is_plain_refusal};
use crate::leftovers::sweep_dir;
use crate::part::Part;
use crate::publish::sync;
use crate::root::{At, Found, Root, no_parent, refused_if_gone};
use crate::seen::{Seen, What, seconds, size_in};
use crate::wire::extension::COPY_DATA;
use crate::wire::{Attrs, OpenFlags};
use crate::write::{prove, publish, refused};
use crate::young::is_still;

/// Makes a directory, with that mode if it is new.
pub async fn make_dir(root: &Root, path: &RelPath, meta: &Meta) -> Result<()> {
    root.attempt(|at, _| async move {
        let in_the_way = |what: &str| Error::new(Fault::Refused, format!("a {what} is in the way")).at(path);
        match at.look(path).await? {
            Found::Seen(Seen { what: What::Dir, .. }) => return Ok(()),
            Found::Seen(Seen { what: What::File, .. }) => return Err(in_the_way("file")),
            Found::Seen(Seen { what: What::Special(what), .. }) | Found::Behind(what) => return Err(in_the_way(what)),
            Found::Nothing => {}
        }
        let full = at.full(path);
        match at.link.mkdir(&full, Attrs::default()).await {
            Ok(()) => {}
            Err(failure) if is_missing(&failure) => return Err(no_parent(path)),
            Err(failure) => {
                return match at.look(path).await? {
                    Found::Seen(Seen { what: What::Dir, .. }) => Ok(()),
                    Found::Seen(_) => Err(in_the_way("file")),
                    _ => Err(at.why(&failure, path).await),
                };
            }
        }
        // Set afterwards: what is asked for when it is made goes through the server's mask.
        if let Some(mode) = meta.mode {
            let attrs = Attrs { permissions: Some(mode & 0o777), ..Attrs::default() };
            at.link.setstat(&full, attrs).await.map_err(|failure| error(&failure, path))?;
        }
        Ok(())
    })
    .await
}

/// Removes a directory that holds nothing, or nothing but what dead writers left.
pub async fn remove_dir(root: &Arc<Root>, path: &RelPath) -> Result<()> {
    root.attempt(|at, tries| async move {
        match at.look(path).await? {
            Found::Seen(Seen { what: What::Dir, .. }) => {}
            Found::Nothing if tries > 0 => return Ok(()),
            Found::Nothing => return Err(Error::missing(path)),
            Found::Seen(_) | Found::Behind(_) => {
                return Err(Error::new(Fault::Refused, "it is not a directory").at(path));
            }
        }
        let full = at.full(path);
        let Err(failure) = at.link.rmdir(&full).await else { return Ok(()) };
        if !is_plain_refusal(&failure) {
            return Err(error(&failure, path));
        }
        sweep_dir(root, &at, path).await?;
        let Err(failure) = at.link.rmdir(&full).await else { return Ok(()) };
        if is_plain_refusal(&failure) && !crate::walk::names_in(&at, path).await.is_ok_and(|names| names.is_empty()) {
            return Err(Error::new(Fault::Refused, "the directory is not empty").at(path));
        }
        Err(at.why(&failure, path).await)
    })
    .await
}

/// Sets time and mode of that version of a file.
///
/// RACE: a rewrite between the look and the setting of the time, one round trip later, is taken for the known version
/// from then on if it has as many bytes. Worst outcome: that rewrite is synced only with the file's next change, or found
/// by `verify`.
pub async fn set_meta(root: &Arc<Root>, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
    let _turn = root.turn(path).await;
    root.attempt(|at, tries| async move {
        let unchanged = Guard::Unchanged(token.clone());
        let mtime = meta.mtime.and_then(seconds);
        let before = match at.check(path, &unchanged).await {
            // An attempt whose answer was lost may have set it.
            Err(error) if error.fault == Fault::Refused && tries > 0 => {
                return set_already(root, &at, path, token, mtime).await;
            }
            before => before?.ok_or_else(|| Error::changed(path))?,
        };
        if !is_still(root, path, token, path).await? {
            return Err(Error::changed(path));
        }
        let flags = OpenFlags::READ;
        let opened = at.link.open(&at.full(path), flags, Attrs::default()).await;
        // Not everybody who may set a mode may read.
        let file = match opened {
            Err(failure) if is_missing(&failure) => return Err(Error::changed(path)),
            opened => opened.ok(),
        };
        let attrs = Attrs {
            permissions: meta.mode.map(|mode| mode & 0o777),
            times: mtime.map(|mtime| (before.read, mtime)),
            ..Attrs::default()
        };
        match &file {
            Some(file) => {
                let now = at.link.fstat(file).await.map_err(|failure| error(&failure, path))?;
                if !Seen::of(&now).is(token) {
                    return Err(Error::changed(path));
                }
                at.link.fsetstat(file, attrs).await
            }
            None => at.link.setstat(&at.full(path), attrs).await,
        }
        .map_err(|failure| refused_if_gone(&failure, path))?;
        match at.look(path).await? {
            Found::Seen(after) if after.what == What::File && after.size == before.size => root.entry(&after, path),
            _ => Err(Error::changed(path)),
        }
    })
    .await
}

async fn set_already(root: &Root, at: &At, path: &RelPath, token: &Token, mtime: Option<u32>) -> Result<Entry> {
    match at.look(path).await? {
        Found::Seen(seen) if size_in(token) == Some(seen.size) && mtime == Some(seen.mtime) => root.entry(&seen, path),
        _ => Err(Error::changed(path)),
    }
}

/// Copies that version of a file, inside the server, to a name where nothing is.
pub async fn copy_within(root: &Arc<Root>, known: Known<'_>, to: &RelPath) -> Result<Entry> {
    let Known { path: from, token, hash, .. } = known;
    let size = size_in(token).ok_or_else(|| Error::changed(from))?;
    let (mut part, sealed) =
        root.attempt(|at, _| async move { copied(root, &at, from, token, to, size).await }).await?;
    let done = async {
        // The copy was made by the server: that it has the hash shows that the version still had it, too.
        if !prove(root, &part, size, hash, to).await? {
            return Err(refused("the copy does not have the sha256 it should have", to));
        }
        publish(root, &mut part, to, sealed, hash, &Guard::Absent, None).await
    }
    .await;
    if let Err(error) = &done {
        part.failed(error).await;
    }
    root.entry(&done?, to)
}

async fn copied(
    root: &Arc<Root>,
    at: &At,
    from: &RelPath,
    token: &Token,
    to: &RelPath,
    size: u64,
) -> Result<(Part, Seen)> {
    let by_command = !at.has(COPY_DATA);
    if by_command && !copy::can(root) {
        return Err(Error::new(Fault::Unsupported, "the server does not copy files").at(to));
    }
    let unchanged = Guard::Unchanged(token.clone());
    let (before, free) = join!(at.check(from, &unchanged), at.check(to, &Guard::Absent));
    let before = before?.ok_or_else(|| Error::changed(from))?;
    free?;
    let source = at.link.open(&at.full(from), OpenFlags::READ, Attrs::default()).await;
    let source = source.map_err(|failure| refused_if_gone(&failure, from))?;
    let part = Part::create(root, at, to).await?;
    let done = async {
        let file = part.file()?;
        let attrs = Attrs { permissions: before.mode, times: Some((before.read, before.mtime)), ..Attrs::default() };
        if by_command && let Err(failure) = copy::by_command(at, &at.full(from), &part, size).await {
            return Err(at.why(&failure, to).await);
        }
        // What is asked together is done in order: the last step, and what belongs after it.
        let last = size.saturating_sub(1) / copy::STEP * copy::STEP;
        if !by_command && let Err(failure) = copy::in_steps(&source, 0..last, file, |_| ()).await {
            return Err(at.why(&failure, to).await);
        }
        let copied =
            async { if by_command { Ok(()) } else { copy::in_steps(&source, last..size, file, |_| ()).await } };
        let (copied, dressed, durable, sealed, still) =
            join!(copied, at.link.fsetstat(file, attrs), sync(&part), at.link.fstat(file), at.link.fstat(&source));
        for done in [copied, dressed, durable] {
            if let Err(failure) = done {
                return Err(at.why(&failure, to).await);
            }
        }
        let (sealed, still) = (sealed.map(|attrs| Seen::of(&attrs)), still.map(|attrs| Seen::of(&attrs)));
        match (sealed, still) {
            (Ok(sealed), Ok(still)) if still.is(token) && sealed.size == size => Ok(sealed),
            (Err(failure), _) | (_, Err(failure)) => Err(error(&failure, to)),
            _ => Err(Error::changed(from)),
        }
    }
    .await;
    match done {
        Ok(sealed) => Ok((part, sealed)),
        Err(error) => {
            part.failed(&error).await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use wl_core::backend::Look;
    use wl_core::entry::Hash;
    use wl_test_kit::known;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use crate::tests::storage_on;

    use super::*;

    /// The date comes last: a step after it would change it.
    #[tokio::test]
    async fn a_large_file_is_copied_in_steps() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let (storage, path) = (storage_on(&sshd), |name: &str| RelPath::parse(name).unwrap());
        for size in [0, 1, copy::STEP - 1, copy::STEP, copy::STEP + 1, 3 * copy::STEP, 3 * copy::STEP + 7] {
            let bytes: Vec<u8> = (0..=size / 8).flat_map(|word| (word * 7).to_be_bytes()).collect();
            let bytes = &bytes[..usize::try_from(size).unwrap()];
            let (from, to) = (path(&format!("{size}")), path(&format!("{size}.copy")));
            std::fs::write(sshd.root().join(from.as_str()), bytes).unwrap();
            let Ok(Look::Entry(there)) = storage.stat(&from).await else { panic!("{from} is there") };
            let copied = storage.copy_within(known(&from, &there.token, bytes), &to).await.unwrap();
            assert_eq!(copied.meta.mtime, there.meta.mtime, "{size}");
            assert_eq!(storage.hash(&to, &copied.token).await, Ok(Hash::of(bytes)), "{size}");
        }
    }
}
