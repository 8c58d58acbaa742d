//! Giving a finished content its name, and taking a version away, only if the name still holds what was expected.

use std::sync::Arc;

use futures::join;
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::aside::bring_back;
use crate::durable;
use crate::error::{error, is_missing, is_plain_refusal};
use crate::facts::meet_links;
use crate::part::Part;
use crate::root::{At, Found, Root, no_parent, refused_if_gone};
use crate::seen::Seen;
use crate::ssh::{Answer, Failure, Handle};
use crate::trash::{How, Trash};
use crate::wire::extension::{FSYNC, HARDLINK};
use crate::young::is_still;

/// A finished content on its way to its name.
pub struct Finished<'a> {
    pub root: &'a Arc<Root>,
    pub part: &'a mut Part,
    pub path: &'a RelPath,
    /// What the part is, finished.
    pub sealed: Seen,
}

impl Finished<'_> {
    /// Takes the name if it still holds what `guard` says. Returns what stands there then. If somebody has changed it
    /// since, that is what was written, which no later look will find.
    pub async fn publish(&mut self, guard: &Guard, trash: Option<&RelPath>) -> Result<Seen> {
        let at = self.part.at().clone();
        let _turn = self.root.turn(self.path).await;
        bring_back(self.root, &at, self.path).await?;
        match guard {
            Guard::Absent => self.take_free(&at).await,
            Guard::Unchanged(token) => {
                let known = self.root.known();
                let trash = Trash::new(self.root, &at, self.path, trash);
                if known.replaces && known.links != Some(false) {
                    match self.swap(&at, token, &trash).await {
                        // The file system has no second names after all.
                        Ok(None) => {}
                        done => return done.map(|seen| seen.unwrap_or(self.sealed)),
                    }
                }
                self.step_in(&at, token, &trash).await
            }
        }
    }

    /// Takes a name where nothing is. A second name for a file is refused by the server's own system if the name is
    /// taken, whoever takes it.
    async fn take_free(&mut self, at: &At) -> Result<Seen> {
        self.part.stop_lasting(self.path).await?;
        let (part, target) = (at.full(self.part.path()), at.full(self.path));
        let links = self.root.known().links;
        if links != Some(false) && at.has(HARDLINK) {
            match at.link.hardlink(&part, &target).await {
                Ok(()) => {
                    self.root.note(|known| known.links = Some(true));
                    return self.settle(at, true).await;
                }
                Err(failure) if is_missing(&failure) => return Err(no_parent(self.path)),
                Err(failure) if is_plain_refusal(&failure) || links.is_none() => {
                    at.check(self.path, &Guard::Absent).await?;
                    meet_links(self.root, at).await?;
                    if self.root.known().links == Some(true) {
                        return Err(at.why(&failure, self.path).await);
                    }
                }
                Err(failure) => return Err(error(&failure, self.path)),
            }
        }
        at.check(self.path, &Guard::Absent).await?;
        self.rename_free(at).await?;
        self.settle(at, false).await
    }

    /// RACE: a file that appears between the look and the rename is replaced, and its content lost, where a server's
    /// rename replaces. Only where files cannot have second names, which `Facts` says; OpenSSH looks once more itself.
    async fn rename_free(&mut self, at: &At) -> Result<()> {
        // Servers link and remove for it.
        self.part.stop_lasting(self.path).await?;
        match at.link.rename(&at.full(self.part.path()), &at.full(self.path)).await {
            Ok(()) => {
                self.part.renamed();
                Ok(())
            }
            Err(failure) if is_missing(&failure) => Err(no_parent(self.path)),
            Err(failure) => {
                at.check(self.path, &Guard::Absent).await?;
                Err(at.why(&failure, self.path).await)
            }
        }
    }

    /// Replaces the expected version at once; none if files cannot have second names here.
    ///
    /// RACE: from the last look at the name to the rename, one round trip, a version that takes the name is overwritten
    /// and lost; the one that was expected is kept.
    async fn swap(&mut self, at: &At, token: &Token, trash: &Trash<'_>) -> Result<Option<Seen>> {
        at.check(self.path, &Guard::Unchanged(token.clone())).await?;
        let target = at.full(self.path);
        let held = match trash.take_in(How::Link).await {
            Ok(held) => held,
            Err(failure) if is_plain_refusal(&failure) && self.root.known().links.is_none() => {
                meet_links(self.root, at).await?;
                if self.root.known().links == Some(true) {
                    return Err(at.why(&failure, self.path).await);
                }
                return Ok(None);
            }
            Err(failure) if is_missing(&failure) => return Err(Error::changed(self.path)),
            Err(failure) => return Err(at.why(&failure, self.path).await),
        };
        self.root.note(|known| known.links = Some(true));
        let aside = at.full(&held);
        // The name last: the time from that look to the rename is what a race has.
        let (kept, still) = join!(at.link.lstat(&aside), at.link.lstat(&target));
        if !(is_version(&kept, token) && is_version(&still, token)) {
            trash.let_go(&held).await;
            let lost = lost_or(kept, self.path).or_else(|| lost_or(still, self.path));
            return Err(lost.unwrap_or_else(|| Error::changed(self.path)));
        }
        let same = is_still(self.root, self.path, token, &held).await;
        if !matches!(same, Ok(true)) {
            trash.let_go(&held).await;
            return Err(same.err().unwrap_or_else(|| Error::changed(self.path)));
        }
        if let Err(failure) = at.link.posix_rename(&at.full(self.part.path()), &target).await {
            trash.let_go(&held).await;
            return Err(match refused_if_gone(&failure, self.path) {
                refused if refused.fault == Fault::Refused => refused,
                _ => at.why(&failure, self.path).await,
            });
        }
        self.part.renamed();
        let durable = self.make_durable();
        let (durable, kept, there) = join!(durable, at.link.lstat(&aside), at.link.lstat(&target));
        let there = if durable? { at.link.lstat(&target).await } else { there };
        let same = match kept {
            Ok(attrs) if !Seen::of(&attrs).is(token) => Ok(false),
            _ => is_still(self.root, self.path, token, &held).await,
        };
        match same {
            Ok(true) => trash.settle(&held).await,
            Ok(false) => {
                self.swap_back(at, &held, trash).await;
                return Err(Error::changed(self.path));
            }
            // What it holds is not known: it is kept.
            Err(_) => trash.rescue(&held).await,
        }
        self.stands(there).map(Some)
    }

    /// Somebody wrote into the expected version after the last look: it goes back. If by then yet another took the name,
    /// that one, the newest, has it, and this one is kept in the trash.
    async fn swap_back(&self, at: &At, held: &RelPath, trash: &Trash<'_>) {
        let target = at.full(self.path);
        let ours = at.link.lstat(&target).await.is_ok_and(|attrs| Seen::of(&attrs).same(&self.sealed));
        if !ours || at.link.posix_rename(&at.full(held), &target).await.is_err() {
            trash.rescue(held).await;
        }
    }

    /// RACE: between the two renames the name is free: a reader finds nothing, and a crash leaves the old version in the
    /// trash only. Only on servers that cannot give second names or cannot replace at once, which `Facts` says.
    async fn step_in(&mut self, at: &At, token: &Token, trash: &Trash<'_>) -> Result<Seen> {
        let held = take_away(self.root, at, self.path, token, trash).await?;
        if let Err(error) = self.rename_free(at).await {
            put_back(self.root, at, self.path, &held, trash).await;
            return Err(error);
        }
        self.root.aside.settled(self.path);
        trash.settle(&held).await;
        self.settle(at, false).await
    }

    /// The name is taken: makes that durable, and removes the part's own name if it still has one.
    async fn settle(&mut self, at: &At, has_both: bool) -> Result<Seen> {
        let (part, target) = (at.full(self.part.path()), at.full(self.path));
        let remove = async { if has_both { at.link.remove(&part).await } else { Ok(()) } };
        let together = durable::commit(self.root).await;
        let alone = async { if together { Ok(()) } else { sync(self.part).await } };
        let (durable, removed, there) = join!(alone, remove, at.link.lstat(&target));
        if removed.is_ok() {
            self.part.renamed();
        }
        durable.map_err(|failure| error(&failure, self.path))?;
        self.stands(there)
    }

    /// File systems with a journal make a file's newest name durable with the file. Whether it was done together with
    /// others, so that only an answer on the same connection shows that it was the same server.
    async fn make_durable(&self) -> Result<bool> {
        if durable::commit(self.root).await {
            return Ok(true);
        }
        sync(self.part).await.map(|()| false).map_err(|failure| error(&failure, self.path))
    }

    fn stands(&self, there: Answer<crate::wire::Attrs>) -> Result<Seen> {
        match there.map(|attrs| Seen::of(&attrs)) {
            Ok(seen) if seen.same(&self.sealed) => Ok(seen),
            Err(Failure::Link(lost)) => Err(lost.at(self.path)),
            _ => Ok(self.sealed),
        }
    }
}

/// Makes what a part holds durable, where the server can.
pub async fn sync(part: &Part) -> Answer<()> {
    sync_file(part.at(), part.file()?, part.path()).await
}

/// Makes what a file holds durable, and its newest name, where the server can.
pub async fn sync_file(at: &At, file: &Handle, path: &RelPath) -> Answer<()> {
    if !at.has(FSYNC) {
        return Ok(());
    }
    match file.link().fsync(file).await {
        Err(failure) if is_plain_refusal(&failure) => Err(at.why(&failure, path).await.into()),
        done => done,
    }
}

fn is_version(look: &Answer<crate::wire::Attrs>, token: &Token) -> bool {
    look.as_ref().is_ok_and(|attrs| Seen::of(attrs).is(token))
}

/// The error of a look that got no answer.
fn lost_or(look: Answer<crate::wire::Attrs>, path: &RelPath) -> Option<Error> {
    look.err().filter(|failure| !is_missing(failure)).map(|failure| error(&failure, path))
}

/// Moves the expected version away from its name, to where it is kept or held. Until the caller says that it is settled,
/// it is put back by whoever looks for it.
async fn take_away(root: &Arc<Root>, at: &At, path: &RelPath, token: &Token, trash: &Trash<'_>) -> Result<RelPath> {
    bring_back(root, at, path).await?;
    at.check(path, &Guard::Unchanged(token.clone())).await?;
    let held = match trash.take_in(How::Move).await {
        Ok(held) => held,
        // It may have been moved.
        Err(Failure::Link(lost)) if lost.fault == Fault::Offline => return Err(lost.at(path)),
        Err(failure) => {
            root.aside.settled(path);
            let gone = is_missing(&failure);
            return Err(if gone { Error::changed(path) } else { at.why(&failure, path).await });
        }
    };
    let came_out = at.link.lstat(&at.full(&held)).await;
    let lost = if is_version(&came_out, token) {
        match is_still(root, path, token, &held).await {
            Ok(true) => return Ok(held),
            same => same.err(),
        }
    } else {
        lost_or(came_out, path)
    };
    put_back(root, at, path, &held, trash).await;
    Err(lost.unwrap_or_else(|| Error::changed(path)))
}

/// Gives a version its name back; if that is taken by now, it is kept in the trash.
async fn put_back(root: &Root, at: &At, path: &RelPath, held: &RelPath, trash: &Trash<'_>) {
    match at.link.rename(&at.full(held), &at.full(path)).await {
        Ok(()) => {}
        // The next look at it tries again.
        Err(Failure::Link(_)) => return,
        Err(_) => trash.rescue(held).await,
    }
    root.aside.settled(path);
}

/// Deletes that version of a file, or keeps it in the trash.
///
/// RACE: who has it open goes on writing into it after the last look at it: that is in the trash, or lost where there is
/// none.
pub async fn remove(root: &Arc<Root>, path: &RelPath, token: &Token, wanted: Option<&RelPath>) -> Result<()> {
    let _turn = root.turn(path).await;
    root.attempt(|at, _| async move {
        let trash = Trash::new(root, &at, path, wanted);
        let held = take_away(root, &at, path, token, &trash).await?;
        root.aside.settled(path);
        trash.settle(&held).await;
        Ok(())
    })
    .await
}

/// Moves that version of a file to a name where nothing is.
pub async fn move_within(root: &Arc<Root>, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    let _turn = root.turn(from).await;
    root.attempt(|at, tries| async move {
        match move_once(root, &at, from, token, to).await {
            // An attempt whose answer was lost may have moved it, or did so just now: a server goes on for a moment with
            // what it was asked on a connection that is lost.
            Err(error) if tries > 0 && error.fault == Fault::Refused => match join!(at.look(from), at.look(to)) {
                (Ok(Found::Nothing), Ok(Found::Seen(moved))) if moved.is(token) => {
                    moved_entry(root, from, token, &moved, to)
                }
                _ => Err(error),
            },
            done => done,
        }
    })
    .await
}

async fn move_once(root: &Arc<Root>, at: &At, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
    let unchanged = Guard::Unchanged(token.clone());
    let (before, free) = join!(at.check(from, &unchanged), at.check(to, &Guard::Absent));
    before?;
    free.map_err(|error| match error.fault {
        Fault::Refused => Error::new(Fault::Refused, "something is there already").at(to),
        _ => error,
    })?;
    let (source, target) = (at.full(from), at.full(to));
    if let Err(failure) = at.link.rename(&source, &target).await {
        at.check(from, &unchanged).await?;
        at.check(to, &Guard::Absent).await?;
        return Err(if is_missing(&failure) { no_parent(to) } else { at.why(&failure, to).await });
    }
    match at.link.lstat(&target).await.map(|attrs| Seen::of(&attrs)) {
        Ok(moved) if moved.is(token) && is_still(root, from, token, to).await? => {
            moved_entry(root, from, token, &moved, to)
        }
        Ok(_) => {
            // Whatever it is goes back, unless the name is taken again: then both stay.
            let _ = at.link.rename(&target, &source).await;
            Err(Error::changed(from))
        }
        Err(failure) => Err(refused_if_gone(&failure, to)),
    }
}

/// The entry of what was moved, which has the content that it had under its old name.
fn moved_entry(root: &Root, from: &RelPath, token: &Token, moved: &Seen, to: &RelPath) -> Result<Entry> {
    let entry = root.entry(moved, to)?;
    if let Some(hash) = root.young.expected(from, token) {
        root.young.told(to, &entry.token, hash);
    }
    Ok(entry)
}
