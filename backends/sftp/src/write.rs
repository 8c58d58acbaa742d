//! Safe replace: write beside, prove the hash, make durable, take the name if it holds what is expected.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::join;
use wl_core::backend::{Content, Guard, Written};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::durable;
use crate::error::error;
use crate::hash::on_the_server;
use crate::part::Part;
use crate::publish::{Finished, sync, sync_file};
use crate::read;
use crate::root::{At, Found, Root, refused_if_gone};
use crate::seen::{Seen, seconds};
use crate::ssh::Failure;
use crate::upload;
use crate::wire::{Attrs, OpenFlags};

/// A content up to this size is gathered, written, made durable and read back in one round trip.
const SMALL: u64 = 256 << 10;

/// Replaces what `guard` expects.
pub async fn replace(
    root: &Arc<Root>,
    path: &RelPath,
    content: Content,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let (seen, hash) = if content.size <= SMALL {
        let (bytes, meta) = gather(&content, path).await?;
        let hash = Hash::of(&bytes);
        if content.hash.is_some_and(|expected| expected != hash) {
            return Err(refused("the content does not have the sha256 it should have", path));
        }
        let (bytes, meta) = (&bytes, &meta);
        let write = |at: At, tries: u32| async move {
            let size = bytes.len() as u64;
            if tries > 0
                && let Some(seen) = took_effect(root, &at, path, size, hash, guard).await?
            {
                return Ok(seen);
            }
            match write_small(root, &at, path, bytes, meta, guard, trash).await {
                // A server goes on for a moment with what it was asked on a connection that is lost.
                Err(error) if tries > 0 && error.fault == Fault::Refused => {
                    took_effect(root, &at, path, size, hash, guard).await?.ok_or(error)
                }
                done => done,
            }
        };
        (root.attempt_in_turn(write).await?, hash)
    } else {
        let upload::Uploaded { mut part, hash, sealed } = upload::upload(root, path, &content, guard).await?;
        let done = publish(root, &mut part, path, sealed, hash, guard, trash).await;
        if let Err(error) = &done {
            part.failed(error).await;
        }
        (done?, hash)
    };
    let entry = root.entry(&seen, path)?;
    root.young.told(path, &entry.token, hash);
    Ok(Written { entry, hash })
}

/// Gives a finished part its name; on another connection if one is lost.
pub async fn publish(
    root: &Arc<Root>,
    part: &mut Part,
    path: &RelPath,
    sealed: Seen,
    hash: Hash,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Seen> {
    let mut tries = 0;
    loop {
        let link = part.at().link.clone();
        let done = Finished { root, part, path, sealed }.publish(guard, trash).await;
        match done {
            Err(error) if error.fault == Fault::Offline && link.is_lost() && tries < 5 => {
                let at = root.open().await?;
                if let Some(seen) = took_effect(root, &at, path, sealed.size, hash, guard).await? {
                    part.give_up_name(&at).await;
                    return Ok(seen);
                }
                part.reopen(&at, path).await?;
                tries += 1;
            }
            // A server goes on for a moment with what it was asked on a connection that is lost.
            Err(error) if error.fault == Fault::Refused && tries > 0 => {
                let at = part.at().clone();
                let seen = took_effect(root, &at, path, sealed.size, hash, guard).await?.ok_or(error)?;
                part.give_up_name(&at).await;
                return Ok(seen);
            }
            done => return done,
        }
    }
}

/// What stands under the path, if an attempt whose answer was lost gave the name to this content.
async fn took_effect(
    root: &Arc<Root>,
    at: &At,
    path: &RelPath,
    size: u64,
    hash: Hash,
    guard: &Guard,
) -> Result<Option<Seen>> {
    let Found::Seen(seen) = at.look(path).await? else { return Ok(None) };
    let before = matches!(guard, Guard::Unchanged(token) if seen.is(token));
    let Some(entry) = root.clock.entry(&seen).filter(|entry| !entry.is_dir() && seen.size == size && !before) else {
        return Ok(None);
    };
    match crate::hash::found(root, path, &entry.token).await {
        Ok(there) if there == hash => {}
        // Lost once more: the next attempt looks again.
        Err(error) if error.fault == Fault::Offline => return Err(error),
        _ => return Ok(None),
    }
    let file = at.link.open(&at.full(path), OpenFlags::READ, Attrs::default()).await;
    let file = file.map_err(|failure| refused_if_gone(&failure, path))?;
    sync_file(at, &file, path).await.map_err(|failure| error(&failure, path))?;
    Ok(Some(seen))
}

/// The whole of a small content, and what travels beside it.
async fn gather(content: &Content, path: &RelPath) -> Result<(Bytes, Meta)> {
    let reading = content.read(0).await?;
    let (mut body, mut bytes) = (reading.body, BytesMut::new());
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > content.size {
            return Err(refused("the content is longer than announced", path));
        }
    }
    if (bytes.len() as u64) < content.size {
        let text = format!("the content ended after {} of {} bytes", bytes.len(), content.size);
        return Err(refused(&text, path));
    }
    Ok((bytes.freeze(), reading.meta))
}

async fn write_small(
    root: &Arc<Root>,
    at: &At,
    path: &RelPath,
    bytes: &Bytes,
    meta: &Meta,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Seen> {
    let _writer = root.commits.writer();
    let old = at.check(path, guard).await?;
    let dress = dress(root, meta, old.as_ref());
    let mut part = Part::create(root, at, path).await?;
    let done = match fill(root, &part, bytes, dress, path).await {
        Ok(sealed) => {
            give_back(&part, old.as_ref(), &sealed).await;
            Finished { root, part: &mut part, path, sealed }.publish(guard, trash).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &done {
        part.failed(error).await;
    }
    done
}

/// Writes, dates, makes durable, reads back and looks, all in one round trip: a server does what concerns one file in
/// the order it is asked. Where many write, they are made durable together after that.
async fn fill(root: &Arc<Root>, part: &Part, bytes: &Bytes, dress: Attrs, path: &RelPath) -> Result<Seen> {
    let together = durable::pays(root);
    let file = part.file()?;
    let link = file.link();
    let chunk = link.server().write_size();
    let writes = (0..bytes.len()).step_by(chunk).map(|from| {
        let piece = bytes.slice(from..bytes.len().min(from + chunk));
        link.write(file, from as u64, piece)
    });
    let back = read::range(file, 0, bytes.len() as u64);
    let alone = async { if together { Ok(()) } else { sync(part).await } };
    let (written, dressed, durable, back, seen) =
        join!(join_all(writes), link.fsetstat(file, dress), alone, back, link.fstat(file));
    for done in written.into_iter().chain([dressed, durable]) {
        if let Err(failure) = done {
            return Err(part.at().why(&failure, path).await);
        }
    }
    let back = back.map_err(|failure| error(&failure, path))?;
    if back.concat() != bytes[..] {
        return Err(damaged(path));
    }
    if together && !durable::commit(root).await {
        sync(part).await.map_err(|failure| error(&failure, path))?;
    }
    seen.map(|attrs| Seen::of(&attrs)).map_err(|failure| error(&failure, path))
}

/// Mode and times of a new version: those wanted, else the replaced file's, else the server's usual ones.
pub fn dress(root: &Root, meta: &Meta, old: Option<&Seen>) -> Attrs {
    let mtime = meta.mtime.and_then(seconds);
    Attrs {
        permissions: Some(meta.mode.or(old.and_then(|old| old.mode)).unwrap_or(root.known().usual_mode) & 0o777),
        times: mtime.map(|mtime| (root.clock.seconds(), mtime)),
        ..Attrs::default()
    }
}

/// Gives a new version the owner of the old one.
pub async fn give_back(part: &Part, old: Option<&Seen>, sealed: &Seen) {
    if let Some(owner) = old.and_then(|old| old.owner).filter(|owner| sealed.owner != Some(*owner))
        && let Ok(file) = part.file()
    {
        // Only a privileged user may: the file is worth more than its owner.
        let _ = file.link().fsetstat(file, Attrs { owner: Some(owner), ..Attrs::default() }).await;
    }
}

/// Proves that a part holds what was written: by a command on the server, else by reading it back.
pub async fn prove(root: &Arc<Root>, part: &Part, size: u64, expected: Hash, path: &RelPath) -> Result<bool> {
    if let Some(hash) = on_the_server(root, part.path(), size).await? {
        return Ok(hash == expected);
    }
    let hash = read::hash_of(part.file()?, size).await.map_err(|failure: Failure| error(&failure, path))?;
    Ok(hash == expected)
}

/// The server holds something else than was sent.
pub fn damaged(path: &RelPath) -> Error {
    let text = "the server holds other bytes than were written to it: check its disk";
    Error::new(Fault::Broken, text).at(path)
}

/// The content was not what it was said to be.
pub fn refused(what: &str, path: &RelPath) -> Error {
    Error::new(Fault::Refused, format!("{what}: it changed meanwhile")).at(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wl_test_kit::proxy::Tcp;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use crate::take::seal;
    use crate::tests::root_behind;

    use super::*;

    /// Whoever went on with it later would write into the user's file.
    #[tokio::test]
    async fn a_part_whose_name_was_given_without_an_answer_goes() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let line = Tcp::start(&sshd.address());
        let root = root_behind(&sshd, line.port());
        let (path, hash) = (RelPath::parse("x").unwrap(), Hash::of(b"content"));
        let at = root.open().await.unwrap();
        let (mut part, _) = Part::go_on(&root, &at, &path, hash, 7).await.unwrap();
        at.link.write(part.file().unwrap(), 0, Bytes::from_static(b"content")).await.unwrap();
        let sealed = seal(&root, &part, &Meta::default(), None, &path).await.unwrap();
        // As if the answer to it were lost.
        part.stop_lasting(&path).await.unwrap();
        at.link.hardlink(&at.full(part.path()), &at.full(&path)).await.unwrap();
        line.cut_all();
        let seen = publish(&root, &mut part, &path, sealed, hash, &Guard::Absent, None).await.unwrap();
        assert_eq!(seen.size, 7);
        drop(part);
        let left = fs::read_dir(sshd.root()).unwrap().map(|found| found.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = left.filter(|name| name.starts_with(".wl-part") || name == "x").collect();
        assert_eq!(left, ["x"]);
    }
}
