//! What a storage holds already is moved or copied inside it: nothing is transferred.

use crate::backend::{Content, Guard, Known, Look, Written};
use crate::entry::{Entry, Hash, Kind, Meta, Token};
use crate::error::{Error, Fault, Result};
use crate::job::Which;
use crate::path::RelPath;
use crate::plan::Inside;
use crate::report::{HistoryEntry, TrashReason};
use crate::state::BaseRow;

use super::{Done, Failed, Means, alike, tokens};

/// A file to be moved onto another.
pub(super) struct Over<'a> {
    pub path: &'a RelPath,
    pub to: &'a RelPath,
    pub on: Which,
    /// What is moved.
    pub known: Known<'a>,
    /// The entry under the new path on the other side.
    pub there: &'a Entry,
    /// What must be where it goes.
    pub guard: &'a Guard,
}

impl Means<'_> {
    /// Copies inside the destination what it holds already under another name; none if it does not, or cannot.
    pub(super) async fn copy_inside(
        &self,
        path: &RelPath,
        from: Which,
        entry: &Entry,
        hash: Hash,
        guard: &Guard,
        inside: Option<&Inside>,
    ) -> Result<Option<Done>, Failed> {
        let (pair, on) = (&self.run.pair, from.other());
        let backend = &pair.side(on).backend;
        let failed = |error| Failed { error, on, reading: false, alone: false };
        if !backend.facts().server_copy {
            return Ok(None);
        }
        let mut sources = Vec::from_iter(self.found(on, entry.size, inside).await);
        let rows = pair.state.of_content(&hash, entry.size).map_err(failed)?.into_iter();
        let known = rows.filter(|row| row.path != *path).map(|row| (row.path, row.tokens));
        sources.extend(known.filter_map(|(path, mut tokens)| Some((path, tokens[on as usize].take()?))));
        for (source, token) in sources {
            let known = Known { path: &source, token: &token, size: entry.size, hash };
            let written = match self.put_within(on, path, known, guard).await {
                Ok(Some(written)) => written,
                Err(error) if error.fault == Fault::Stopped => return Err(failed(error)),
                // It is no longer what it was, or cannot be copied: another one, or from the other side.
                Ok(None) | Err(_) => continue,
            };
            let (written, meta) = self.dressed(on, path, written, &entry.meta).await;
            if *guard == Guard::Absent {
                self.run.monitor.progress("CREATE", path);
            }
            self.run.monitor.progress("MODIFY", path);
            let entry = Entry { meta, ..entry.clone() };
            let done = self.copied(path, from, &entry, &written);
            return Ok(Some(Done { bytes: 0, ..done }));
        }
        Ok(None)
    }

    /// Where a content that a side has, or had a moment ago, is now.
    async fn found(&self, on: Which, size: u64, inside: Option<&Inside>) -> Option<(RelPath, Token)> {
        let Inside { path, token, kept } = inside?;
        let Some(reason) = *kept else { return Some((path.clone(), token.clone())) };
        let place = self.trash(path, reason)?;
        match self.run.pair.side(on).backend.stat(&place).await {
            Ok(Look::Entry(kept)) if !kept.is_dir() && kept.size == size => Some((place, kept.token)),
            _ => None,
        }
    }

    /// Puts a content that a side holds under another of its paths, inside it.
    async fn put_within(&self, on: Which, path: &RelPath, known: Known<'_>, guard: &Guard) -> Result<Option<Written>> {
        let backend = &self.run.pair.side(on).backend;
        // What was put into the trash, or changed just now, goes by its content alone.
        if *guard == Guard::Absent && !known.path.is_ours() && !known.token.is_racy() {
            let entry = backend.copy_within(known, path).await?;
            return Ok(Some(Written { entry, hash: known.hash }));
        }
        let trash = self.trash(path, TrashReason::Overwritten).filter(|_| *guard != Guard::Absent);
        backend.replace_within(path, known, guard, trash.as_ref()).await
    }

    /// Gives what was put inside a side the time and mode it is to have; with what both sides agree on then. Those are not
    /// worth failing for: the next pass sees that the other side differs from what was agreed on, since nothing vouches for
    /// this one.
    async fn dressed(&self, on: Which, path: &RelPath, written: Written, meta: &Meta) -> (Written, Meta) {
        let has = &written.entry.meta;
        let is_timed = meta.mtime.is_none() || has.mtime == meta.mtime;
        let has_mode = meta.mode.is_none() || has.mode.is_none() || has.mode == meta.mode;
        if is_timed && has_mode {
            return (written, *meta);
        }
        let set = self.run.pair.side(on).backend.set_meta(path, &written.entry.token, meta).await;
        match set {
            Ok(entry) => (Written { entry, ..written }, *meta),
            Err(error) if error.fault == Fault::Unsupported => (written, *meta),
            Err(_) => {
                let has = written.entry.meta;
                let token = Token::racy(written.entry.token.as_bytes());
                (Written { entry: Entry { token, ..written.entry }, ..written }, has)
            }
        }
    }

    /// Moves a file to where nothing is.
    pub(super) async fn move_within(
        &self,
        path: &RelPath,
        to: &RelPath,
        on: Which,
        token: &Token,
        hash: Hash,
        there: &Entry,
    ) -> Result<Done> {
        let backend = &self.run.pair.side(on).backend;
        let entry = match backend.move_within(path, token, to).await {
            Err(error) if error.fault == Fault::Unsupported => {
                // Not from here to there, as between file systems: a proven copy first, then the old one goes.
                let (from, inside) = (backend.clone(), Entry { token: token.clone(), ..there.clone() });
                let content = Content::on(from, path.clone(), &inside, Some(hash));
                let written = backend.replace(to, content, &Guard::Absent, None).await?;
                backend.remove(path, token, None).await?;
                written.entry
            }
            moved => moved?,
        };
        self.run.monitor.progress("DELETE", path);
        self.run.monitor.progress("CREATE", to);
        Ok(self.moved(path, to, on, hash, there, &entry))
    }

    /// Moves a file onto another, as it was moved on the other side: its content takes the place of the version that is
    /// expected there, and only then does the old name go.
    pub(super) async fn move_over(&self, over: &Over<'_>) -> Result<Done, Failed> {
        let Over { path, to, on, known, there, guard } = *over;
        let failed = |error: Error| Failed { error: error.at(path), on, reading: false, alone: false };
        let written = match self.put_within(on, to, known, guard).await {
            Ok(Some(written)) => written,
            Err(error) if error.fault == Fault::Stopped => return Err(failed(error)),
            Ok(None) | Err(_) => {
                let copied = self.copy(to, on.other(), there, Some(known.hash), guard).await?;
                return self.without_old_name(over, copied).await.map_err(failed);
            }
        };
        self.run.monitor.progress("MODIFY", to);
        let (written, meta) = self.dressed(on, to, written, &there.meta).await;
        let there = Entry { meta, ..there.clone() };
        let mut moved = self.moved(path, to, on, known.hash, &there, &written.entry);
        moved.base.retain(|(at, _)| at == to);
        self.without_old_name(over, moved).await.map_err(failed)
    }

    /// Takes the old name away, when its content is under the new one. What is under it is kept for a while, as with every
    /// deletion: somebody may have it open and write into it.
    async fn without_old_name(&self, over: &Over<'_>, mut done: Done) -> Result<Done> {
        let Over { path, on, known, .. } = *over;
        let trash = self.trash(path, TrashReason::Deleted);
        match self.run.pair.side(on).backend.remove(path, known.token, trash.as_ref()).await {
            Ok(()) => {
                self.run.monitor.progress("DELETE", path);
                done.base.push((path.clone(), None));
            }
            // Somebody has written there since: that is looked at as any other change.
            Err(error) if error.fault == Fault::Refused => done.moved = 0,
            Err(error) => return Err(error),
        }
        Ok(done)
    }

    fn moved(&self, path: &RelPath, to: &RelPath, on: Which, hash: Hash, there: &Entry, entry: &Entry) -> Done {
        let base = BaseRow {
            path: to.clone(),
            kind: Kind::File,
            hash: Some(hash),
            size: entry.size,
            meta: alike(&self.run.pair, there.meta, &entry.meta),
            tokens: tokens(on.other(), &there.token, &entry.token),
        };
        let moved = self.entry("moved", to, on, Some(hash), base.size);
        let history = HistoryEntry { from: Some(path.to_string()), to: Some(to.to_string()), ..moved };
        let base = vec![(path.clone(), None), (to.clone(), Some(base))];
        Done { base, history: Some(history), moved: 1, ..Done::default() }
    }
}
