//! Safe replace with a version that another directory of the same server holds: the server copies it into the part file, and
//! hashes it where it runs commands. Everything else is as for a content that is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wl_core::backend::{Guard, Written};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Sftp;
use crate::copy;
use crate::error::error;
use crate::facts::meet;
use crate::hash::of_content;
use crate::part::Part;
use crate::publish::sync;
use crate::root::{At, Found, Root};
use crate::seen::{Seen, size_in};
use crate::shell::shell;
use crate::ssh::{Failure, Handle};
use crate::wire::extension::COPY_DATA;
use crate::wire::{Attrs, OpenFlags};
use crate::write::{dress, give_back, publish, refused};

/// How often to look whether a file is young no longer.
const POLL: Duration = Duration::from_millis(100);

/// A version of a file of another directory.
pub struct Offer<'a> {
    /// Where it is.
    pub at: &'a Sftp,
    /// Its path there.
    pub path: &'a RelPath,
    /// Which version of it.
    pub token: &'a Token,
    /// Its sha256, where it is known already.
    pub hash: Option<Hash>,
}

impl Sftp {
    /// Replaces what `guard` expects with a version that another storage of this server holds, as `replace` does with a
    /// content; none where the server does not copy it, and nothing has changed. `passed` is told of bytes that were copied.
    pub async fn take(
        &self,
        path: &RelPath,
        offer: Offer<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
        passed: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<Written>> {
        let (root, source) = (&self.root, &offer.at.root);
        let Some(size) = size_in(offer.token).filter(|_| root.is_beside(source)) else { return Ok(None) };
        // Whatever fails there fails for whoever reads it, too, and is told as the source's then.
        let Ok(below) = source.open().await else { return Ok(None) };
        meet(root).await?;
        let _turn = root.uploads.acquire().await.map_err(|_| Error::stopped())?;
        let progress = Progress { passed, told: AtomicU64::default() };
        // Where commands see below both roots what SFTP shows.
        let commands = copy::can(root) && matches!(shell(source).await, Ok(Some(_)));
        let (from, token) = (offer.path, offer.token);
        let copying = Copying { root, below: &below, commands, from, token, size, progress: &progress };
        let Some((mut part, sealed)) = root.attempt(|at, _| copying.run(at, path, guard)).await? else {
            return Ok(None);
        };
        let done = async {
            let hash = of_content(root, part.path(), size).await?;
            let young = source.young.expected(offer.path, offer.token);
            if offer.hash.into_iter().chain(young).any(|expected| expected != hash) {
                return Err(refused("the content does not have the sha256 it should have", path));
            }
            let seen = publish(root, &mut part, path, sealed, hash, guard, trash).await?;
            Ok((seen, hash))
        }
        .await;
        if let Err(error) = &done {
            part.failed(error).await;
        }
        let (seen, hash) = done?;
        let entry = root.entry(&seen, path)?;
        root.young.told(path, &entry.token, hash);
        Ok(Some(Written { entry, hash }))
    }
}

/// Tells each byte once, though a copy may begin again.
struct Progress<'a> {
    passed: &'a (dyn Fn(u64) + Send + Sync),
    told: AtomicU64,
}

impl Progress<'_> {
    fn reached(&self, bytes: u64) {
        let before = self.told.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            (self.passed)(bytes - before);
        }
    }
}

/// Dresses a part as its content is to be dressed, and makes it durable.
pub async fn seal(root: &Root, part: &Part, meta: &Meta, old: Option<&Seen>, path: &RelPath) -> Result<Seen> {
    let (file, failed) = (part.file()?, |failure| error(&failure, path));
    let link = file.link();
    link.fsetstat(file, dress(root, meta, old)).await.map_err(failed)?;
    let seen = Seen::of(&link.fstat(file).await.map_err(failed)?);
    give_back(part, old, &seen).await;
    if let Err(failure) = sync(part).await {
        return Err(part.at().why(&failure, path).await);
    }
    Ok(Seen::of(&link.fstat(file).await.map_err(failed)?))
}

struct Copying<'a> {
    root: &'a Arc<Root>,
    /// The root that the version lies below.
    below: &'a At,
    /// Whether a command may copy it.
    commands: bool,
    from: &'a RelPath,
    token: &'a Token,
    size: u64,
    progress: &'a Progress<'a>,
}

impl Copying<'_> {
    /// The version in a part file, finished but not proven; none if it is not to be had in this way.
    async fn run(&self, at: At, path: &RelPath, guard: &Guard) -> Result<Option<(Part, Seen)>> {
        if !(at.has(COPY_DATA) || self.commands) {
            return Ok(None);
        }
        let old = at.check(path, guard).await?;
        let there = at.below(self.below);
        let Some(before) = self.settled(&there).await? else { return Ok(None) };
        let source = at.link.open(&there.full(self.from), OpenFlags::READ, Attrs::default()).await;
        let Ok(source) = source else { return Ok(None) };
        let part = Part::create(self.root, &at, path).await?;
        let filled = if at.has(COPY_DATA) {
            self.fill(&at, &part, &source, path).await
        } else {
            self.fill_by_command(&at, &there, &part, path).await
        };
        let sealed = match filled {
            Ok(true) => self.seal(&part, &before, old.as_ref(), path).await.map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        match sealed {
            Ok(Some(sealed)) if sealed.size == self.size => Ok(Some((part, sealed))),
            Ok(_) => {
                part.discard().await;
                Ok(None)
            }
            Err(error) => {
                part.failed(&error).await;
                Err(error)
            }
        }
    }

    /// The version once it is so old that every change of it has another date; none if it is not there.
    async fn settled(&self, there: &At) -> Result<Option<Seen>> {
        loop {
            let seen = match there.check(self.from, &Guard::Unchanged(self.token.clone())).await {
                Ok(Some(seen)) => seen,
                Err(error) if error.fault == Fault::Offline => return Err(error),
                Ok(None) | Err(_) => return Ok(None),
            };
            if !self.root.clock.is_young(seen.mtime) {
                return Ok(Some(seen));
            }
            if self.root.clock.is_due() {
                meet(self.root).await?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Copies all of it; false if the server cannot, or it changed meanwhile.
    async fn fill(&self, at: &At, part: &Part, source: &Handle, path: &RelPath) -> Result<bool> {
        let copied = copy::in_steps(source, 0..self.size, part.file()?, |copied| self.progress.reached(copied));
        if let Err(failure) = copied.await {
            return cannot(at, &failure, path).await;
        }
        let still = at.link.fstat(source).await.map_err(|failure| error(&failure, path))?;
        Ok(Seen::of(&still).is(self.token))
    }

    /// The same by a command.
    async fn fill_by_command(&self, at: &At, there: &At, part: &Part, path: &RelPath) -> Result<bool> {
        if let Err(failure) = copy::by_command(at, &there.full(self.from), part, self.size).await {
            return cannot(at, &failure, path).await;
        }
        let still = there.look(self.from).await?;
        if !matches!(still, Found::Seen(seen) if seen.is(self.token)) {
            return Ok(false);
        }
        self.progress.reached(self.size);
        Ok(true)
    }

    /// Dresses a part as the version is dressed, and makes it durable.
    async fn seal(&self, part: &Part, version: &Seen, old: Option<&Seen>, path: &RelPath) -> Result<Seen> {
        seal(self.root, part, &version.meta(), old, path).await
    }
}

/// False where the server cannot copy, so that the content is carried; an error where that would fail as well.
async fn cannot(at: &At, failure: &Failure, path: &RelPath) -> Result<bool> {
    let error = at.why(failure, path).await;
    let telling = error.fault.passes() || matches!(error.fault, Fault::Full | Fault::Denied);
    if telling { Err(error) } else { Ok(false) }
}
