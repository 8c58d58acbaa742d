//! One step carried out, and what the base learns from it.

mod inside;

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use jiff::Timestamp;

use crate::backend::{Body, Content, Guard, Known, Look, Written};
use crate::entry::{Entry, Hash, Kind, Meta, Token};
use crate::error::{Error, Fault, Result};
use crate::job::{Pair, Run, Which};
use crate::limit::Limit;
use crate::path::{PART_PREFIX, RelPath};
use crate::plan::Step;
use crate::report::{HistoryEntry, TrashReason};
use crate::round::terms;
use crate::state::BaseRow;
use crate::syncer::{Carrier, Parcel};
use crate::trash;

use inside::Over;

/// What a step left behind: what the base learns, and what is told.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub base: Vec<(RelPath, Option<BaseRow>)>,
    pub history: Option<HistoryEntry>,
    pub copied: u64,
    pub deleted: u64,
    pub moved: u64,
    pub bytes: u64,
    /// Why nothing was done, where that stays so until the user does something.
    pub skipped: Option<String>,
}

/// A failed step: what happened, and on which side.
#[derive(Debug)]
pub(crate) struct Failed {
    pub error: Error,
    pub on: Which,
    /// Whether it was reading that failed.
    pub reading: bool,
    /// Whether a storage that is said to be out of reach answers all the same.
    pub alone: bool,
}

/// What steps are carried out with.
pub(crate) struct Means<'a> {
    pub run: &'a Run,
    pub carrier: &'a dyn Carrier,
    /// The job's limit and each side's.
    pub limits: Vec<Limit>,
    /// Which roots there were when the round began.
    pub roots: [String; 2],
    /// When the round began: names the trash it fills.
    pub at: Timestamp,
}

impl Means<'_> {
    /// Carries out one step.
    pub async fn perform(&self, step: &Step) -> Result<Done, Failed> {
        let on = step.on();
        let done = match step {
            Step::Copy { path, from, entry, hash, guard, inside } => {
                if let Some(hash) = hash
                    && let Some(done) = self.copy_inside(path, *from, entry, *hash, guard, inside.as_ref()).await?
                {
                    return Ok(done);
                }
                return self.copy(path, *from, entry, *hash, guard).await;
            }
            Step::Move { path, to, on, token, hash, there, guard: Guard::Absent } => {
                self.move_within(path, to, *on, token, *hash, there).await
            }
            Step::Move { path, to, on, token, hash, there, guard } => {
                let known = Known { path, token, size: there.size, hash: *hash };
                return self.move_over(&Over { path, to, on: *on, known, there, guard }).await;
            }
            Step::Remove { path, on, token, content } => self.remove(path, *on, token, *content).await,
            Step::MakeDir { path, on, meta } => self.make_dir(path, *on, meta).await,
            Step::RemoveDir { path, on, for_file } => self.remove_dir(path, *on, *for_file).await,
            Step::SetMeta { path, on, token, meta, base } => self.set_meta(path, *on, token, meta, base).await,
        };
        done.map_err(|error| Failed { error: error.at(step.path()), on, reading: false, alone: false })
    }

    async fn copy(
        &self,
        path: &RelPath,
        from: Which,
        entry: &Entry,
        hash: Option<Hash>,
        guard: &Guard,
    ) -> Result<Done, Failed> {
        let (pair, monitor) = (&self.run.pair, &self.run.monitor);
        let trash = match guard {
            Guard::Absent => None,
            Guard::Unchanged(_) => self.trash(path, TrashReason::Overwritten),
        };
        let read_error = Arc::new(Mutex::new(None));
        let content = self.content(path, from, entry, hash, &read_error);
        monitor.transfer_begins(path);
        let parcel = Parcel {
            path,
            entry,
            content,
            from: pair.side(from),
            to: pair.side(from.other()),
            guard,
            trash: trash.as_ref(),
            limited: !self.limits.is_empty(),
            monitor,
        };
        let result = self.carrier.carry(parcel).await;
        monitor.transfer_ends(path, result.is_ok());
        let read_error = read_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let written = match (result, read_error) {
            (Ok(written), _) => written,
            (Err(_), Some(error)) => return Err(Failed { error, on: from, reading: true, alone: false }),
            (Err(error), None) => {
                let on = from.other();
                let error = trash::explained(&*pair.side(on).backend, trash.as_ref(), error).await;
                return Err(Failed { error, on, reading: false, alone: false });
            }
        };
        if *guard == Guard::Absent {
            monitor.progress("CREATE", path);
        }
        monitor.progress("MODIFY", path);
        Ok(self.copied(path, from, entry, &written))
    }

    /// What is to be copied, counted and slowed down while it is read, its failure to be read kept apart from the
    /// destination's to be written.
    fn content(
        &self,
        path: &RelPath,
        from: Which,
        entry: &Entry,
        hash: Option<Hash>,
        read_error: &Arc<Mutex<Option<Error>>>,
    ) -> Content {
        let (limits, monitor, failed) = (self.limits.clone(), self.run.monitor.clone(), read_error.clone());
        let observe = move |body: Body| -> Body {
            let (monitor, failed) = (monitor.clone(), failed.clone());
            let slowed = limits.iter().cloned().fold(body, |body, limit| limit.slow(body));
            Box::pin(slowed.inspect(move |chunk| match chunk {
                Ok(bytes) => monitor.transferred(bytes.len() as u64),
                Err(error) => note(&failed, error),
            }))
        };
        let there = Content::on(self.run.pair.side(from).backend.clone(), path.clone(), entry, hash);
        let (inner, failed) = (there.clone(), read_error.clone());
        let place = &self.run.pair.side(from).place;
        let content = Content::new(entry.size, hash, move |offset| {
            let (inner, observe, failed) = (inner.clone(), observe.clone(), failed.clone());
            Box::pin(async move {
                let reading = inner.read(offset).await.map(|reading| reading.wrapped(observe));
                noted(&failed, reading)
            })
        });
        let failed = read_error.clone();
        content.identified(place, path, &entry.token).hashed_by(move || {
            let (there, failed) = (there.clone(), failed.clone());
            Box::pin(async move { there.sha256().await.inspect_err(|error| note(&failed, error)) })
        })
    }

    fn copied(&self, path: &RelPath, from: Which, entry: &Entry, written: &Written) -> Done {
        let base = base_of_copy(&self.run.pair, path, from, entry, written);
        let entry = self.entry("copied", path, from.other(), Some(written.hash), base.size);
        let history = HistoryEntry { from: Some(self.run.pair.id(from).to_owned()), ..entry };
        let bytes = base.size;
        Done { base: vec![(path.clone(), Some(base))], history: Some(history), copied: 1, bytes, ..Done::default() }
    }

    async fn remove(&self, path: &RelPath, on: Which, token: &Token, (hash, size): (Hash, u64)) -> Result<Done> {
        let trash = self.trash(path, TrashReason::Deleted);
        let backend = &self.run.pair.side(on).backend;
        if let Err(error) = backend.remove(path, token, trash.as_ref()).await {
            return Err(trash::explained(&**backend, trash.as_ref(), error).await);
        }
        self.run.monitor.progress("DELETE", path);
        let history = self.entry("deleted", path, on, Some(hash), size);
        Ok(Done { base: vec![(path.clone(), None)], history: Some(history), deleted: 1, ..Done::default() })
    }

    async fn make_dir(&self, path: &RelPath, on: Which, meta: &Meta) -> Result<Done> {
        self.run.pair.side(on).backend.make_dir(path, meta).await?;
        self.run.monitor.progress("CREATE", path);
        let (path, tokens) = (path.clone(), [None, None]);
        let base = BaseRow { path: path.clone(), kind: Kind::Dir, hash: None, size: 0, meta: Meta::default(), tokens };
        Ok(Done { base: vec![(path, Some(base))], ..Done::default() })
    }

    async fn remove_dir(&self, path: &RelPath, on: Which, for_file: bool) -> Result<Done> {
        let backend = &self.run.pair.side(on).backend;
        match backend.remove_dir(path).await {
            Ok(()) => self.run.monitor.progress("DELETE", path),
            // It may as well be the root that is missing, and everything will be back with it.
            Err(error) if error.fault == Fault::Missing => match backend.stat(path).await? {
                Look::Absent => {}
                _ => return Err(error),
            },
            Err(error) if error.fault == Fault::Refused && !for_file && self.shows_nothing(path, on).await => {
                let text = format!(
                    "the directory was removed on the other side; here it holds something whose name begins with \
                     {PART_PREFIX}, which is neither shown nor synced: remove that, and the directory goes"
                );
                return Ok(Done { skipped: Some(text), ..Done::default() });
            }
            Err(error) => return Err(error),
        }
        Ok(Done { base: vec![(path.clone(), None)], ..Done::default() })
    }

    /// Whether a listing of what is below a directory says that nothing is.
    async fn shows_nothing(&self, dir: &RelPath, on: Which) -> bool {
        let mut listing = self.run.pair.side(on).backend.list(dir, None);
        while let Some(items) = listing.next().await {
            if !items.is_empty() {
                return false;
            }
        }
        true
    }

    async fn set_meta(&self, path: &RelPath, on: Which, token: &Token, meta: &Meta, base: &BaseRow) -> Result<Done> {
        let entry = self.run.pair.side(on).backend.set_meta(path, token, meta).await?;
        let mut base = base.clone();
        base.tokens[on as usize] = vouching(&entry.token);
        base.meta = alike(&self.run.pair, base.meta, &entry.meta);
        Ok(Done { base: vec![(path.clone(), Some(base))], ..Done::default() })
    }

    fn trash(&self, path: &RelPath, reason: TrashReason) -> Option<RelPath> {
        (!self.run.pair.options.keep_deleted.is_zero()).then(|| trash::place(self.at, reason, path))
    }

    fn entry(&self, action: &str, path: &RelPath, on: Which, hash: Option<Hash>, bytes: u64) -> HistoryEntry {
        HistoryEntry {
            at: Timestamp::now(),
            action: action.to_owned(),
            path: path.to_string(),
            from: None,
            to: Some(self.run.pair.id(on).to_owned()),
            hash,
            bytes,
        }
    }
}

fn note(failed: &Mutex<Option<Error>>, error: &Error) {
    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
}

/// Whoever reads again after a failure, and can, has no failure to read any more: what fails then is the writing.
fn noted<T>(failed: &Mutex<Option<Error>>, result: Result<T>) -> Result<T> {
    *failed.lock().unwrap_or_else(PoisonError::into_inner) = result.as_ref().err().cloned();
    result
}

/// The base of a file that was copied from one side to the other.
pub(crate) fn base_of_copy(pair: &Pair, path: &RelPath, from: Which, entry: &Entry, written: &Written) -> BaseRow {
    BaseRow {
        path: path.clone(),
        kind: Kind::File,
        hash: Some(written.hash),
        size: written.entry.size,
        meta: alike(pair, entry.meta, &written.entry.meta),
        tokens: tokens(from, &entry.token, &written.entry.token),
    }
}

/// What travels beside a content that one side was given from the other, as far as it holds it.
fn alike(pair: &Pair, given: Meta, held: &Meta) -> Meta {
    // Most often it is just the same.
    if given == *held { given } else { terms(pair).alike(given, held) }
}

fn vouching(token: &Token) -> Option<Token> {
    (!token.is_racy()).then(|| token.clone())
}

/// The tokens of both sides, the source's first.
fn tokens(from: Which, read: &Token, written: &Token) -> [Option<Token>; 2] {
    let pair = [vouching(read), vouching(written)];
    match from {
        Which::Source => pair,
        Which::Target => {
            let [read, written] = pair;
            [written, read]
        }
    }
}
