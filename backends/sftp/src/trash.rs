//! Where a user's version goes when another takes its place: the trash, or a held name for a moment.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};
use wl_core::trash::rescued;

use crate::copy::in_steps;
use crate::error::{error, is_missing, is_plain_refusal};
use crate::hash::of_content;
use crate::publish::sync_file;
use crate::root::{At, Root};
use crate::seen::{Seen, What};
use crate::ssh::Answer;
use crate::wire::extension::COPY_DATA;
use crate::wire::{Attrs, OpenFlags};

/// Names tried in the trash before giving up.
const NAMES: usize = 100;
/// So many directories of the trash are known to be there, at most.
const KNOWN: usize = 4096;

/// How a version comes to its second place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By another name for it; it keeps the first.
    Link,
    /// By taking its name away.
    Move,
    /// By a copy that the server makes and that is proven, for another file system; then its name is taken away.
    Copy,
}

/// Where displaced versions of a path are kept.
pub struct Trash<'a> {
    root: &'a Arc<Root>,
    at: &'a At,
    path: &'a RelPath,
    wanted: Option<&'a RelPath>,
}

impl<'a> Trash<'a> {
    /// Keeps what is displaced under that path, or nowhere.
    pub fn new(root: &'a Arc<Root>, at: &'a At, path: &'a RelPath, wanted: Option<&'a RelPath>) -> Self {
        Self { root, at, path, wanted }
    }

    /// Gives what is under the path a second place: where it is to be kept, else a held name beside it, from where
    /// [`settle`](Self::settle) takes it.
    pub async fn take_in(&self, how: How) -> Answer<RelPath> {
        if let Some(wanted) = self.wanted {
            let aside = (how == How::Move).then_some(self.path);
            match keep(self.root, self.at, self.path, wanted, how, aside).await {
                // It may lie on another file system than the trash: it is held first, and copied when it is settled.
                Err(failure) if is_plain_refusal(&failure) && self.at.has(COPY_DATA) => {}
                done => return done,
            }
        }
        let held = self.root.names.held(self.path, self.root.clock.seconds());
        let (from, to) = (self.at.full(self.path), self.at.full(&held));
        let put = if how == How::Link {
            self.at.link.hardlink(&from, &to).await
        } else {
            self.root.aside.goes(self.path, &held);
            self.at.link.rename(&from, &to).await
        };
        put.map(|()| held)
    }

    /// What was displaced was the expected version: it stays where it is kept, or is deleted.
    pub async fn settle(&self, held: &RelPath) {
        match self.wanted {
            // If that fails, the next sweep takes it to the trash.
            None => drop(self.at.link.remove(&self.at.full(held)).await),
            Some(wanted) if is_held(held) => self.carry(held, wanted).await,
            Some(_) => {}
        }
    }

    async fn carry(&self, held: &RelPath, wanted: &RelPath) {
        if let Err(failure) = carry(self.root, self.at, held, wanted).await {
            // It stays under its held name, which the next sweep tries again.
            tracing::warn!(path = %self.path, %failure, "a displaced version could not be moved to the trash yet");
            self.root.leftovers.came_across(held.clone());
        }
    }

    /// Takes back a second name that turned out not to be needed.
    pub async fn let_go(&self, held: &RelPath) {
        let _ = self.at.link.remove(&self.at.full(held)).await;
    }

    /// What was displaced was not expected, and its name is taken by now: it is kept in any case.
    pub async fn rescue(&self, held: &RelPath) {
        if is_held(held) {
            self.carry(held, self.wanted.unwrap_or(&rescued(self.path))).await;
        }
    }
}

/// Moves a held file, which a crash left, into the trash.
pub async fn recover(root: &Arc<Root>, at: &At, held: &RelPath) -> Result<()> {
    let shown = held.name().trim_start_matches('.');
    let path = held.parent().and_then(|parent| parent.join(shown).ok());
    let wanted = rescued(path.as_ref().unwrap_or(held));
    carry(root, at, held, &wanted).await.map_err(|failure| error(&failure, held))
}

/// Whether a version has a held name, and is not in the trash yet.
fn is_held(place: &RelPath) -> bool {
    place.name().starts_with(PART_PREFIX)
}

/// Puts a held version into the trash, from another file system, too.
async fn carry(root: &Arc<Root>, at: &At, held: &RelPath, wanted: &RelPath) -> Answer<()> {
    match keep(root, at, held, wanted, How::Move, None).await {
        Err(failure) if is_plain_refusal(&failure) && at.has(COPY_DATA) => {
            keep(root, at, held, wanted, How::Copy, None).await.map(drop)
        }
        done => done.map(drop),
    }
}

/// Puts a file into the trash, under another name if that one is taken. `aside` is the path that loses it.
async fn keep(
    root: &Arc<Root>,
    at: &At,
    from: &RelPath,
    wanted: &RelPath,
    how: How,
    aside: Option<&RelPath>,
) -> Answer<RelPath> {
    make_parents(root, at, wanted).await?;
    let mut made_again = false;
    let mut names = names_like(wanted).take(NAMES);
    let mut place = wanted.clone();
    loop {
        if let Some(path) = aside {
            root.aside.goes(path, &place);
        }
        let put = match how {
            How::Link => at.link.hardlink(&at.full(from), &at.full(&place)).await,
            How::Move => at.link.rename(&at.full(from), &at.full(&place)).await,
            How::Copy => copy(root, at, from, &place).await,
        };
        match put {
            Ok(()) => return Ok(place),
            Err(failure) if is_missing(&failure) && !made_again => {
                // Somebody emptied the trash.
                trash_dirs(root).clear();
                make_parents(root, at, wanted).await?;
                made_again = true;
            }
            Err(failure) if is_plain_refusal(&failure) && at.link.lstat(&at.full(&place)).await.is_ok() => {
                place = names.next().ok_or(failure)?;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Copies a file inside the server, proves the copy, makes it durable and takes away what was copied.
async fn copy(root: &Arc<Root>, at: &At, from: &RelPath, to: &RelPath) -> Answer<()> {
    let source = at.link.open(&at.full(from), OpenFlags::READ, Attrs::default()).await?;
    let seen = Seen::of(&at.link.fstat(&source).await?);
    let flags = [OpenFlags::WRITE, OpenFlags::CREATE, OpenFlags::EXCLUSIVE];
    let flags = flags.into_iter().fold(OpenFlags::READ, OpenFlags::and);
    let private = Attrs { permissions: Some(0o600), ..Attrs::default() };
    let target = at.link.open(&at.full(to), flags, private).await?;
    let copied = async {
        in_steps(&source, 0..seen.size, &target, |_| ()).await?;
        let dress = Attrs { permissions: seen.mode, times: Some((seen.read, seen.mtime)), ..Attrs::default() };
        at.link.fsetstat(&target, dress).await?;
        sync_file(at, &target, to).await?;
        let (before, after) = (of_content(root, from, seen.size).await?, of_content(root, to, seen.size).await?);
        let same = before == after && Seen::of(&at.link.fstat(&source).await?).same(&seen);
        if same { Ok(()) } else { Err(Error::changed(from).into()) }
    }
    .await;
    let gone = if copied.is_ok() { from } else { to };
    at.link.remove(&at.full(gone)).await.and(copied)
}

/// Makes the directories a path in the trash is in, for the server's user alone. The trash may not be a link.
async fn make_parents(root: &Root, at: &At, path: &RelPath) -> Answer<()> {
    match make_missing(root, at, path).await {
        // Somebody removed the trash: nothing of it is there any more.
        Err(failure) if is_missing(&failure) => {
            trash_dirs(root).clear();
            make_missing(root, at, path).await
        }
        done => done,
    }
}

/// The same, of those that are not known to be there.
async fn make_missing(root: &Root, at: &At, path: &RelPath) -> Answer<()> {
    let mut missing: Vec<RelPath> = path.ancestors().take_while(|dir| !trash_dirs(root).contains(dir)).collect();
    missing.reverse();
    for dir in missing {
        let private = Attrs { permissions: Some(0o700), ..Attrs::default() };
        if let Err(failure) = at.link.mkdir(&at.full(&dir), private).await {
            match at.link.lstat(&at.full(&dir)).await.map(|attrs| Seen::of(&attrs).what) {
                Ok(What::Dir) => {}
                Ok(_) => {
                    let text = format!("{dir} is no directory: move it away, so that the trash can be there");
                    return Err(Error::new(Fault::Denied, text).into());
                }
                Err(_) => return Err(failure),
            }
        }
        let mut known = trash_dirs(root);
        // Those that are needed are soon known again.
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(dir);
    }
    Ok(())
}

fn trash_dirs(root: &Root) -> MutexGuard<'_, HashSet<RelPath>> {
    root.trash_dirs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `name (2).ext`, `name (3).ext` and so on, beside a path.
fn names_like(path: &RelPath) -> impl Iterator<Item = RelPath> {
    let name = path.name();
    let (stem, ext) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let dir = path.parent().unwrap_or_else(RelPath::root);
    (2..).filter_map(move |count| dir.join(&format!("{stem} ({count}){ext}")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_counted_up() {
        let path = RelPath::parse("t/a.b.txt").unwrap();
        let names: Vec<_> = names_like(&path).take(2).map(|path| path.to_string()).collect();
        assert_eq!(names, ["t/a.b (2).txt", "t/a.b (3).txt"]);
    }
}
