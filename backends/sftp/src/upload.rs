//! A large content on its way into a part file: many writes in flight, resumed when the connection is lost.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::join;
use futures::stream::FuturesOrdered;
use sha2::{Digest as _, Sha256};
use wl_core::backend::{Content, Guard, Reading};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::part::Part;
use crate::publish::sync;
use crate::root::Root;
use crate::seen::Seen;
use crate::ssh::{Answer, Failure, Handle};
use crate::write::{damaged, dress, give_back, prove, refused};

/// From this size on a part outlives a lost connection and a crash, for a later attempt to go on with.
const LASTING: u64 = 4 << 20;
/// Bytes in flight of one file.
const WINDOW: u64 = 8 << 20;
/// Connections it is written on at once, and how many bytes after one the next is taken.
const LANES: usize = 4;
const WIDEN: u64 = 4 << 20;
/// Connections lost in a row, without a byte written in between, before giving up.
const ATTEMPTS: u32 = 6;

/// A content written, proven and durable, under its part name.
pub struct Uploaded {
    pub part: Part,
    pub hash: Hash,
    /// What the part is.
    pub sealed: Seen,
}

/// Writes a content beside the path, if that holds what `guard` says.
pub async fn upload(root: &Arc<Root>, path: &RelPath, content: &Content, guard: &Guard) -> Result<Uploaded> {
    let _turn = root.uploads.acquire().await.map_err(|_| Error::stopped())?;
    let mut may_go_on = true;
    root.prepare_for(content.size).await?;
    loop {
        let (old, mut upload, from) = root
            .attempt(|at, _| async move {
                let old = at.check(path, guard).await?;
                let name = content.version.or(content.hash);
                let (part, from) = match name.filter(|_| content.size >= LASTING && may_go_on) {
                    Some(name) => {
                        let (part, size) = Part::go_on(root, &at, path, name, content.size).await?;
                        // What was in flight on several connections left holes, if it was cut off.
                        (part, size.saturating_sub(WINDOW))
                    }
                    None => (Part::create(root, &at, path).await?, 0),
                };
                Ok((old, Upload::new(root, part, path, from), from))
            })
            .await?;
        let done = upload.run(content, from, old.as_ref()).await;
        let part = upload.part;
        match done {
            Ok(Some((hash, sealed))) => return Ok(Uploaded { part, hash, sealed }),
            // The beginning that was found was not of this content.
            Ok(None) if from > 0 => {
                part.discard().await;
                may_go_on = false;
            }
            Ok(None) => {
                part.discard().await;
                return Err(damaged(path));
            }
            Err(error) => {
                part.failed(&error).await;
                return Err(error);
            }
        }
    }
}

struct Upload<'a> {
    root: &'a Arc<Root>,
    part: Part,
    path: &'a RelPath,
    /// What is written next, and what of it was answered.
    asked: u64,
    /// Asked and not answered, the oldest first, with its answers to come.
    pending: VecDeque<(u64, Bytes)>,
    answers: FuturesOrdered<BoxFuture<'static, Answer<()>>>,
    /// The part, open on other connections, to write on several at once.
    lanes: Vec<Arc<Handle>>,
    /// When another lane is looked for.
    widen_at: u64,
    lost: u32,
}

impl<'a> Upload<'a> {
    fn new(root: &'a Arc<Root>, part: Part, path: &'a RelPath, from: u64) -> Self {
        let (pending, answers) = (VecDeque::new(), FuturesOrdered::new());
        Self { root, part, path, asked: from, pending, answers, lanes: Vec::new(), widen_at: from + WIDEN, lost: 0 }
    }

    /// Writes it all and proves it; none if the part holds something else in the end.
    async fn run(&mut self, content: &Content, from: u64, old: Option<&Seen>) -> Result<Option<(Hash, Seen)>> {
        let Reading { meta, body } = content.read(from).await?;
        let found = self.write(content, body).await?;
        // Of a content that was gone on with only the end was read: the whole is proven on the server.
        let hash = if from > 0 { content.sha256().await? } else { found };
        if content.hash.is_some_and(|expected| expected != hash) {
            return Err(refused("the content does not have the sha256 it should have", self.path));
        }
        loop {
            match self.finish(content.size, hash, &meta, old).await {
                Err(error) if error.fault == Fault::Offline && self.part.at().link.is_lost() => {
                    self.reconnect(error).await?;
                }
                done => return done.map(|sealed| sealed.map(|sealed| (hash, sealed))),
            }
        }
    }

    /// Writes what the body brings; its sha256.
    async fn write(&mut self, content: &Content, mut body: wl_core::backend::Body) -> Result<Hash> {
        let (mut hasher, mut ended) = (Sha256::new(), false);
        loop {
            let in_flight = self.asked - self.pending.front().map_or(self.asked, |(at, _)| *at);
            tokio::select! {
                biased;
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answered(answer).await?,
                piece = body.next(), if !ended && in_flight < WINDOW => match piece {
                    Some(piece) => {
                        let piece = piece?;
                        if self.asked + piece.len() as u64 > content.size {
                            return Err(refused("the content is longer than announced", self.path));
                        }
                        hasher.update(&piece);
                        self.ask(piece)?;
                        self.widen().await?;
                    }
                    None => ended = true,
                },
                else => break,
            }
        }
        if self.asked < content.size {
            let text = format!("the content ended after {} of {} bytes", self.asked, content.size);
            return Err(refused(&text, self.path));
        }
        Ok(Hash(hasher.finalize().into()))
    }

    fn ask(&mut self, mut piece: Bytes) -> Result<()> {
        let chunk = self.part.file()?.link().server().large_write_size();
        while !piece.is_empty() {
            let bytes = piece.split_to(piece.len().min(chunk));
            self.pending.push_back((self.asked, bytes.clone()));
            self.send(self.asked, bytes.clone())?;
            self.asked += bytes.len() as u64;
        }
        Ok(())
    }

    /// On the connection that has the least to do.
    fn send(&mut self, at: u64, bytes: Bytes) -> Result<()> {
        let own = self.part.shared()?;
        let alive = self.lanes.iter().filter(|lane| !lane.link().is_lost());
        let file = alive.chain([&own]).min_by_key(|lane| lane.link().load()).unwrap_or(&own).clone();
        // Unconstrained: it is to be on its way before the next one chooses.
        let write = tokio::task::unconstrained(async move { file.link().write(&file, at, bytes).await });
        self.answers.push_back(Box::pin(write));
        Ok(())
    }

    /// Takes one more connection where there is one: a channel brings no more than its window in a round trip.
    async fn widen(&mut self) -> Result<()> {
        if self.asked < self.widen_at || self.lanes.len() + 1 >= LANES {
            return Ok(());
        }
        self.widen_at = self.asked + WIDEN;
        let own = [self.part.at().link.clone()];
        let known: Vec<_> = self.lanes.iter().map(|lane| lane.link().clone()).chain(own).collect();
        if let Some(at) = self.root.another(&known) {
            match self.part.open_on(&at, self.path).await {
                Ok(lane) => self.lanes.push(lane),
                Err(error) if error.fault == Fault::Offline => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn answered(&mut self, answer: Answer<()>) -> Result<()> {
        match answer {
            Ok(()) => {
                self.pending.pop_front();
                self.lost = 0;
                Ok(())
            }
            Err(Failure::Link(error)) if error.fault == Fault::Offline => self.go_on(error).await,
            Err(failure) => Err(self.part.at().why(&failure, self.path).await),
        }
    }

    /// Writes again what was lost with a connection, once all that was on its way is answered: a write that came late
    /// would give the finished part another date.
    async fn go_on(&mut self, lost: Error) -> Result<()> {
        let mut again = VecDeque::from_iter(self.pending.pop_front());
        while let Some(answer) = self.answers.next().await {
            let Some(piece) = self.pending.pop_front() else { break };
            match answer {
                Ok(()) => {}
                Err(Failure::Link(error)) if error.fault == Fault::Offline => again.push_back(piece),
                Err(failure) => return Err(self.part.at().why(&failure, self.path).await),
            }
        }
        self.lanes.retain(|lane| !lane.link().is_lost());
        if self.part.at().link.is_lost() {
            self.reconnect(lost).await?;
        }
        for (at, bytes) in again {
            self.pending.push_back((at, bytes.clone()));
            self.send(at, bytes)?;
        }
        Ok(())
    }

    /// Goes on with the same part on another connection.
    async fn reconnect(&mut self, error: Error) -> Result<()> {
        self.lost += 1;
        if self.lost >= ATTEMPTS {
            return Err(error.at(self.path));
        }
        tracing::debug!(path = %self.path, "the connection was lost during an upload: it goes on with another");
        let at = self.root.open().await?;
        self.part.reopen(&at, self.path).await
    }

    /// Proves it and makes it durable, at the same time where a command proves it. A part that was begun elsewhere may be longer than it should be. It gets its date
    /// last: with that it looks like one that nobody needs any more.
    async fn finish(&mut self, size: u64, hash: Hash, meta: &Meta, old: Option<&Seen>) -> Result<Option<Seen>> {
        let file = self.part.file()?;
        let failed = |failure| error(&failure, self.path);
        let proven = async {
            let seen = Seen::of(&file.link().fstat(file).await.map_err(failed)?);
            let proven = seen.size == size && prove(self.root, &self.part, size, hash, self.path).await?;
            Ok::<_, Error>(proven.then_some(seen))
        };
        let (proven, durable) = join!(proven, sync(&self.part));
        if let Err(failure) = durable {
            return Err(self.part.at().why(&failure, self.path).await);
        }
        let Some(seen) = proven? else { return Ok(None) };
        file.link().fsetstat(file, dress(self.root, meta, old)).await.map_err(failed)?;
        give_back(&self.part, old, &seen).await;
        let sealed = Seen::of(&file.link().fstat(file).await.map_err(failed)?);
        Ok((sealed.size == size).then_some(sealed))
    }
}
