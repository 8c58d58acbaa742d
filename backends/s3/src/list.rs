//! Listing: pages of keys as one sorted stream.
//!
//! A server lists keys in byte order ("in lexicographical order": Amazon S3 API reference, ListObjectsV2), so that one flat
//! listing is all it takes ([`crate::flat`]). SeaweedFS walks its directories instead and lists `a/x` before `a-b`: such
//! servers are listed directory by directory ([`crate::walk`]), as soon as they are known for it or seen to do it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use wl_core::backend::{Listed, Listing, Obstacle, Prune};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;
use crate::flat::Flat;
use crate::page::Object;
use crate::shape::Shape;
use crate::token::Version;
use crate::walk::Walk;

/// A part object that a listing came across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub version: Version,
    /// When it was stored, by the server's clock.
    pub stored: Option<Timestamp>,
}

/// Lists everything below a directory.
pub(crate) fn list(place: Arc<Place>, under: &RelPath, prune: Option<Prune>) -> Listing {
    let shape = Shape::new(place.config.keys.clone(), under.clone(), prune);
    let under = under.clone();
    let lister = Lister { place, under, shape, source: None, last_key: None, disorder: false, ended: false };
    stream::unfold(lister, |mut lister| async move { lister.chunk().await.map(|chunk| (chunk, lister)) }).boxed()
}

struct Lister {
    place: Arc<Place>,
    under: RelPath,
    shape: Shape,
    source: Option<Source>,
    last_key: Option<String>,
    /// The server's order turned out to be none when something was listed already.
    disorder: bool,
    ended: bool,
}

enum Source {
    Flat(Flat),
    Walk(Walk),
}

impl Lister {
    async fn chunk(&mut self) -> Option<Vec<Listed>> {
        while !self.ended {
            match self.objects().await {
                Ok(Some(objects)) => objects.into_iter().for_each(|object| self.shape.push(object)),
                Ok(None) => self.ended = true,
                Err(error) => return Some(self.broken(error)),
            }
            self.place.leftovers().extend(self.shape.leftovers.drain(..));
            let chunk = self.shape.take();
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
        None
    }

    /// The next objects, in order; none after the last.
    async fn objects(&mut self) -> Result<Option<Vec<Object>>> {
        loop {
            let source = match &mut self.source {
                Some(source) => source,
                None => self.source.insert(begin(&self.place, &self.under)?),
            };
            let (objects, flat) = match source {
                Source::Walk(walk) => (walk.next(&self.shape).await?, false),
                Source::Flat(flat) => (flat.next(&self.shape).await?, true),
            };
            let Some(objects) = objects else { return Ok(None) };
            let in_order = self.in_order(&objects);
            if !in_order {
                self.place.client.walks.store(true, Ordering::Relaxed);
            }
            let nothing_listed = self.last_key.is_none();
            if flat && nothing_listed && self.place.client.walks.load(Ordering::Relaxed) {
                self.source = None;
                continue;
            }
            if !in_order {
                self.disorder = true;
                let message = "the server lists its keys in no order: they are listed directory by directory next time";
                return Err(Error::new(Fault::Busy, message));
            }
            self.last_key = objects.last().map(|object| object.key.clone()).or_else(|| self.last_key.take());
            return Ok(Some(objects));
        }
    }

    /// Whether these keys go on from those before.
    fn in_order(&self, objects: &[Object]) -> bool {
        self.last_key.iter().chain(objects.iter().map(|object| &object.key)).is_sorted_by(|one, other| one < other)
    }

    /// What was listed before stands; from there on nothing is known.
    fn broken(&mut self, error: Error) -> Vec<Listed> {
        self.ended = true;
        let mut chunk = self.shape.take();
        let obstacle = Obstacle::from(error);
        let last = self.shape.last.clone().filter(|_| !self.disorder);
        chunk.push(match last {
            Some(last) => Listed::Cut(last, obstacle),
            None if self.last_key.is_none() => Listed::Blocked(self.under.clone(), obstacle),
            None => Listed::Cut(self.under.clone(), obstacle),
        });
        chunk
    }
}

fn begin(place: &Arc<Place>, under: &RelPath) -> Result<Source> {
    let prefix = place.dir(under)?;
    Ok(if place.client.walks.load(Ordering::Relaxed) {
        Source::Walk(Walk::new(place, prefix))
    } else {
        Source::Flat(Flat::new(place, prefix))
    })
}
