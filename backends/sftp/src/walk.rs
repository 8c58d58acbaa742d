//! Listing directory by directory: many are read at once, ahead of the one that is reported.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::join_all;
use tokio::task::JoinHandle;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{RelPath, listing_order};

use crate::error::error;
use crate::list::{Gone, Out};
use crate::root::{At, Root};
use crate::seen::{Seen, What};
use crate::ssh::Answer;
use crate::wire::Name;

/// Directories of one level that are read ahead.
const AHEAD: usize = 32;
/// Parts of a directory asked for at once: first few, as most directories are small, then more.
const PARTS: [usize; 2] = [2, 16];

/// More names than a directory has that can be kept in memory: where one has no end, it is not listed.
const MOST: usize = if cfg!(test) { 1_000 } else { 4_000_000 };

/// Lists everything below the directory that `out` is about.
pub async fn walk(out: &mut Out) -> Result<(), Gone> {
    let top = out.under.clone();
    let mut levels = Vec::new();
    match entries(&out.root, &top).await {
        Ok(entries) => levels.push(Level::new(top, entries)),
        Err(error) => out.blocked(top, &error).await?,
    }
    while let Some(level) = levels.last_mut() {
        level.read_ahead(&out.root);
        let Some((name, seen)) = level.entries.pop_front() else {
            levels.pop();
            continue;
        };
        level.looked = level.looked.saturating_sub(1);
        let inside = if seen.what == What::Dir { level.next_inside() } else { None };
        let Some(path) = out.take(&level.path.clone(), &name, &seen).await? else { continue };
        let found = match inside {
            Some(reading) => reading.await,
            None => entries(&out.root, &path).await,
        };
        match found {
            Ok(entries) => levels.push(Level::new(path, entries)),
            // It was there a moment ago: what it held is unknown, which is not the same as deleted.
            Err(error) if error.fault == Fault::Missing => out.blocked(path, &vanished()).await?,
            Err(error) => out.blocked(path, &error).await?,
        }
    }
    Ok(())
}

fn vanished() -> Error {
    Error::new(Fault::Busy, "the directory vanished while it was listed: it is looked at again")
}

type Entries = VecDeque<(Vec<u8>, Seen)>;

/// One directory on the way down.
struct Level {
    path: RelPath,
    entries: Entries,
    /// Directories that are being read, the next one first.
    ahead: VecDeque<Ahead>,
    /// How many of the entries were looked through for them.
    looked: usize,
}

struct Ahead(Option<JoinHandle<Result<Entries>>>);

impl Ahead {
    async fn take(mut self) -> Result<Entries> {
        let Some(task) = self.0.as_mut() else { return Err(Error::stopped()) };
        let done = task.await;
        self.0 = None;
        done.unwrap_or_else(|_| Err(Error::stopped()))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Level {
    fn new(path: RelPath, entries: Entries) -> Self {
        Self { path, entries, ahead: VecDeque::new(), looked: 0 }
    }

    fn read_ahead(&mut self, root: &Arc<Root>) {
        while self.ahead.len() < AHEAD {
            let Some((name, seen)) = self.entries.get(self.looked) else { return };
            self.looked += 1;
            if seen.what != What::Dir {
                continue;
            }
            let path = std::str::from_utf8(name).ok().and_then(|name| self.path.join(name).ok());
            let wanted = path.filter(|path| !path.is_ours() || self.path.is_ours());
            let root = root.clone();
            let task = wanted.map(|path| tokio::spawn(async move { entries(&root, &path).await }));
            self.ahead.push_back(Ahead(task));
        }
    }

    /// The directory just taken from the entries, being read.
    fn next_inside(&mut self) -> Option<impl Future<Output = Result<Entries>> + use<>> {
        self.ahead.pop_front().map(Ahead::take)
    }
}

/// What a directory holds, in the order of a listing.
async fn entries(root: &Root, path: &RelPath) -> Result<Entries> {
    let names = root.attempt(|at, _| async move { names_in(&at, path).await.map_err(|failure| error(&failure, path)) });
    let mut entries: Vec<_> =
        names.await?.into_iter().map(|name| (name.name.to_vec(), Seen::of(&name.attrs))).collect();
    entries.sort_unstable_by(|(a, one), (b, other)| {
        listing_order((a, one.what == What::Dir), (b, other.what == What::Dir))
    });
    Ok(entries.into())
}

/// The names in a directory, in no order.
pub async fn names_in(at: &At, dir: &RelPath) -> Answer<Vec<Name>> {
    let handle = at.link.open_dir(&at.full(dir)).await?;
    let (mut found, mut told, mut parts) = (Vec::new(), 0, PARTS[0]);
    loop {
        let mut ended = false;
        for part in join_all((0..parts).map(|_| at.link.read_dir(&handle))).await {
            match part? {
                Some(names) => {
                    // An answer without a name is one step on the way to no end, too.
                    told += names.len().max(1);
                    found.extend(names.into_iter().filter(|name| *name.name != *b"." && *name.name != *b".."));
                }
                None => ended = true,
            }
        }
        if ended {
            return Ok(found);
        }
        if told > MOST {
            let text =
                format!("the server tells more than {MOST} names in it, and no end: spread them over directories");
            return Err(Error::new(Fault::Broken, text).into());
        }
        parts = PARTS[1];
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures::StreamExt as _;
    use wl_core::backend::Listed;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::tests::storage_on;

    #[tokio::test]
    async fn a_directory_that_comes_to_no_end_is_unknown() {
        let sshd = Sshd::start(Mode::SftpOnly);
        for dir in ["many", "other"] {
            fs::create_dir(sshd.root().join(dir)).unwrap();
        }
        // What is on its way already is told before the end is missed.
        for number in 0..4 * MOST {
            fs::File::create(sshd.root().join(format!("many/{number}"))).unwrap();
        }
        let listed: Vec<_> = storage_on(&sshd).list(&RelPath::root(), None).concat().await;
        let shown = listed.iter().take(9).map(|item| match item {
            Listed::Blocked(path, why) if why.message.contains("no end") => format!("{path}!"),
            Listed::Entry(path, _) => path.to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), ["many", "many!", "other"]);
    }
}
