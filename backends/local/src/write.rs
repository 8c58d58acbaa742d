//! Safe replace: write beside, prove the hash, make durable, take the name if it holds what is expected.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use wl_core::backend::{Content, Guard, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Local;
use crate::commit::Touched;
use crate::error::error;
use crate::part::Writer;
use crate::publish::{Finished, check};
use crate::root::{Handle, Root};
use crate::seen::Seen;
use crate::trash::Trash;

/// A content up to this size is gathered and written in one job.
const SMALL: u64 = 256 << 10;

/// A content being written, and what it will replace.
struct Writing {
    handle: Arc<Handle>,
    writer: Writer,
    old: Option<Seen>,
    path: RelPath,
}

impl Writing {
    fn begin(
        root: &Root,
        path: &RelPath,
        content: &Content,
        guard: &Guard,
        called_off: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let handle = root.open_to_change()?;
        let dir = handle.parent(path)?;
        let old = check(&dir, path, guard)?;
        let writer = Writer::begin(&dir, path, content, called_off)?;
        Ok(Self { handle, writer, old, path: path.clone() })
    }

    fn write(mut self, bytes: &Bytes) -> Result<Self> {
        self.writer.write(bytes)?;
        Ok(self)
    }

    /// What was written is kept for later only if the same version may still be had.
    fn cut_off(self, error: Error) -> Error {
        if !error.fault.passes() && error.fault != Fault::Stopped {
            self.writer.give_up();
        }
        error
    }

    fn finish(self, meta: &Meta) -> Result<(Finished, Hash)> {
        let (part, hash) = self.writer.finish()?;
        part.dress(meta, self.old.as_ref(), self.handle.nature.usual_mode).map_err(|errno| error(errno, &self.path))?;
        Ok((Finished { handle: self.handle, part, path: self.path }, hash))
    }
}

/// Replaces what `guard` expects.
pub async fn replace(
    local: &Local,
    path: &RelPath,
    content: Content,
    guard: &Guard,
    trash: Option<&RelPath>,
) -> Result<Written> {
    let _turn = local.writers.acquire().await.map_err(|_| Error::stopped())?;
    let (finished, hash) = if content.size <= SMALL {
        write_small(local, path, content, guard).await?
    } else {
        write_large(local, path, content, guard).await?
    };
    publish(local, finished, guard, trash).await.map(|entry| Written { entry, hash })
}

/// Makes a finished content durable and gives it its name.
pub async fn publish(local: &Local, finished: Finished, guard: &Guard, trash: Option<&RelPath>) -> Result<Entry> {
    let (path, file) = (finished.path.clone(), finished.part.fd().clone());
    let trash = Trash::new(&finished.handle, trash);
    let touched = match guard {
        Guard::Absent => Touched::only(finished.part.dir()),
        Guard::Unchanged(_) => Touched::and_more(finished.part.dir()),
    };
    let guard = guard.clone();
    local.committer.publish(&path, file, vec![touched], move || finished.publish(&guard, &trash)).await
}

/// One job for the whole file.
async fn write_small(local: &Local, path: &RelPath, content: Content, guard: &Guard) -> Result<(Finished, Hash)> {
    let Reading { meta, mut body } = content.read(0).await?;
    let (mut pieces, mut size) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        size += piece.len() as u64;
        if size > content.size {
            return Err(
                Error::new(Fault::Refused, "the content is longer than announced: it changed meanwhile").at(path)
            );
        }
        pieces.push(piece);
    }
    let (root, path, guard) = (local.root.clone(), path.clone(), guard.clone());
    let write = move || {
        let writing = Writing::begin(&root, &path, &content, &guard, &|| false)?;
        pieces.iter().try_fold(writing, Writing::write)?.finish(&meta)
    };
    local.pool.run(write).await
}

/// One job a piece, while the next is awaited.
async fn write_large(local: &Local, path: &RelPath, content: Content, guard: &Guard) -> Result<(Finished, Hash)> {
    let (root, at, expected, what) = (local.root.clone(), path.clone(), guard.clone(), content.clone());
    let begin = move |called_off: &dyn Fn() -> bool| Writing::begin(&root, &at, &what, &expected, called_off);
    let mut writing = local.pool.run_long(begin).await?;
    let Reading { meta, mut body } = match content.read(writing.writer.written()).await {
        Ok(reading) => reading,
        Err(error) => return Err(writing.cut_off(error)),
    };
    let mut piece = body.next().await;
    while let Some(bytes) = piece {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Err(writing.cut_off(error)),
        };
        let write = local.pool.run(move || writing.write(&bytes));
        let (written, next) = futures::join!(write, body.next());
        (writing, piece) = (written?, next);
    }
    local.pool.run(move || writing.finish(&meta)).await
}
