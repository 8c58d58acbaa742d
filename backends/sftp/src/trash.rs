//! Where a user's version goes when another takes its place: the trash, or a held name for a moment.

use std::sync::PoisonError;

use jiff::Timestamp;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;
use wl_core::report::TrashReason;

use crate::error::{error, is_missing, is_plain_refusal};
use crate::root::{At, Root};
use crate::seen::{Seen, What};
use crate::ssh::Answer;
use crate::wire::Attrs;

/// Names tried in the trash before giving up.
const NAMES: usize = 100;

/// How a version comes to its second place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By another name for it; it keeps the first.
    Link,
    /// By taking its name away.
    Move,
}

/// Where displaced versions of a path are kept.
pub struct Trash<'a> {
    root: &'a Root,
    at: &'a At,
    path: &'a RelPath,
    wanted: Option<&'a RelPath>,
}

impl<'a> Trash<'a> {
    /// Keeps what is displaced under that path, or nowhere.
    pub fn new(root: &'a Root, at: &'a At, path: &'a RelPath, wanted: Option<&'a RelPath>) -> Self {
        Self { root, at, path, wanted }
    }

    /// Gives what is under the path a second place: where it is to be kept, else a held name beside it, from where
    /// [`settle`](Self::settle) deletes it.
    pub async fn take_in(&self, how: How) -> Answer<RelPath> {
        if let Some(wanted) = self.wanted {
            let aside = (how == How::Move).then_some(self.path);
            return keep(self.root, self.at, self.path, wanted, how, aside).await;
        }
        let held = self.root.names.held(self.path, self.root.clock.seconds());
        if how == How::Move {
            self.root.aside.goes(self.path, &held);
        }
        put(self.at, self.path, &held, how).await.map(|()| held)
    }

    /// What was displaced was the expected version: it stays where it is kept, or is deleted.
    pub async fn settle(&self, held: &RelPath) {
        if self.wanted.is_none() {
            // If that fails, the next sweep takes it to the trash.
            let _ = self.at.link.remove(&self.at.full(held)).await;
        }
    }

    /// Takes back a second name that turned out not to be needed.
    pub async fn let_go(&self, held: &RelPath) {
        let _ = self.at.link.remove(&self.at.full(held)).await;
    }

    /// What was displaced was not expected, and its name is taken by now: it is kept in any case.
    pub async fn rescue(&self, held: &RelPath) {
        if self.wanted.is_some() {
            return;
        }
        if let Err(failure) = keep(self.root, self.at, held, &recovered(self.path), How::Move, None).await {
            // It stays under its held name, which the next sweep tries again.
            tracing::warn!(path = %self.path, %failure, "a displaced version could not be moved to the trash yet");
        }
    }
}

/// Where a version is kept that nobody expected, and nobody named a place for.
fn recovered(path: &RelPath) -> RelPath {
    wl_core::trash::place(Timestamp::now(), TrashReason::Overwritten, path)
}

/// Moves a held file, which a crash left, into the trash.
pub async fn recover(root: &Root, at: &At, held: &RelPath) -> Result<()> {
    let shown = held.name().trim_start_matches('.');
    let path = held.parent().and_then(|parent| parent.join(shown).ok());
    let wanted = recovered(path.as_ref().unwrap_or(held));
    keep(root, at, held, &wanted, How::Move, None).await.map(drop).map_err(|failure| error(&failure, held))
}

/// Puts a file into the trash, under another name if that one is taken. `aside` is the path that loses it.
async fn keep(
    root: &Root,
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
        match put(at, from, &place, how).await {
            Ok(()) => return Ok(place),
            Err(failure) if is_missing(&failure) && !made_again => {
                // Somebody emptied the trash.
                root.trash_dirs.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

async fn put(at: &At, from: &RelPath, to: &RelPath, how: How) -> Answer<()> {
    let (from, to) = (at.full(from), at.full(to));
    match how {
        How::Link => at.link.hardlink(&from, &to).await,
        How::Move => at.link.rename(&from, &to).await,
    }
}

/// Makes the directories a path in the trash is in, for the server's user alone. The trash may not be a link.
async fn make_parents(root: &Root, at: &At, path: &RelPath) -> Answer<()> {
    let known = |dir: &RelPath| root.trash_dirs.lock().unwrap_or_else(PoisonError::into_inner).contains(dir);
    let mut missing: Vec<RelPath> = path.ancestors().take_while(|dir| !known(dir)).collect();
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
        root.trash_dirs.lock().unwrap_or_else(PoisonError::into_inner).insert(dir);
    }
    Ok(())
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
