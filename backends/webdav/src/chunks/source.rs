//! A content that is read in order, chunk by chunk, where those that the server has are passed over.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use wl_core::backend::{Body, Content};
use wl_core::entry::{Hash, Meta};
use wl_core::error::{Error, Fault, Result};

pub struct Source<'a> {
    content: &'a Content,
    pub meta: Meta,
    body: Body,
    rest: Bytes,
    at: u64,
    /// None where something was passed over.
    whole: Option<Sha256>,
}

impl<'a> Source<'a> {
    /// A content from there on.
    pub async fn open(content: &'a Content, at: u64) -> Result<Self> {
        let reading = content.read(at).await?;
        let (meta, body) = (reading.meta, reading.body);
        Ok(Self { content, meta, body, rest: Bytes::new(), at, whole: (at == 0).then(Sha256::new) })
    }

    /// Goes on from there. A body may hold a turn of the storage that it is read from: the old one goes before another is asked
    /// for, and whoever holds what others wait for while they have such a turn had better not ask for one then.
    pub async fn seek(&mut self, at: u64) -> Result<()> {
        if at == self.at {
            return Ok(());
        }
        self.body = futures::stream::empty().boxed();
        (self.rest, self.at, self.whole) = (Bytes::new(), at, None);
        self.body = self.content.read(at).await?.body;
        Ok(())
    }

    /// The bytes of a range, and their sha256.
    pub async fn bytes(&mut self, range: Range<u64>) -> Result<(Bytes, Hash)> {
        self.seek(range.start).await?;
        let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::with_capacity(size);
        while bytes.len() < size {
            if self.rest.is_empty() {
                self.rest = self.body.try_next().await?.ok_or_else(|| other("size"))?;
            }
            bytes.extend_from_slice(&self.rest.split_to(self.rest.len().min(size - bytes.len())));
        }
        self.at = range.end;
        if let Some(whole) = &mut self.whole {
            whole.update(&bytes);
        }
        let hash = Hash::of(&bytes);
        Ok((bytes.freeze(), hash))
    }

    /// Fails if more is left of it, or if all of it was read and is not what it was announced as.
    pub async fn end(mut self, announced: Hash) -> Result<()> {
        while self.at == self.content.size && self.rest.is_empty() {
            match self.body.try_next().await? {
                Some(piece) => self.rest = piece,
                None => break,
            }
        }
        if !self.rest.is_empty() {
            return Err(other("size"));
        }
        let read = self.whole.filter(|_| self.at == self.content.size).map(|whole| Hash(whole.finalize().into()));
        if read.is_some_and(|read| read != announced) { Err(other("hash")) } else { Ok(()) }
    }
}

fn other(what: &str) -> Error {
    Error::new(Fault::Refused, format!("what was read does not have the {what} it was announced with"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use wl_core::backend::Reading;

    use super::*;

    /// A content that announces so many bytes, and comes in pieces of three.
    fn content(bytes: &'static [u8], size: u64) -> Content {
        Content::new(size, None, move |from| {
            let pieces: Vec<_> =
                bytes[usize::try_from(from).unwrap()..].chunks(3).map(|piece| Ok(piece.into())).collect();
            let body = futures::stream::iter(pieces).boxed();
            Box::pin(std::future::ready(Ok(Reading { meta: Meta::default(), body })))
        })
    }

    #[tokio::test]
    async fn chunks_are_read_in_order_or_from_where_they_begin() {
        let whole = content(b"abcdefgh", 8);
        let mut source = Source::open(&whole, 0).await.unwrap();
        for (range, bytes) in [(0..4, &b"abcd"[..]), (4..7, b"efg"), (7..8, b"h")] {
            assert_eq!(source.bytes(range).await.unwrap(), (Bytes::from_static(bytes), Hash::of(bytes)));
        }
        assert_eq!(source.end(Hash::of(b"abcdefgh")).await, Ok(()));
        let mut source = Source::open(&whole, 0).await.unwrap();
        assert_eq!(&source.bytes(2..4).await.unwrap().0[..], b"cd");
        assert_eq!(&source.bytes(6..8).await.unwrap().0[..], b"gh");
        assert_eq!(source.end(Hash::of(b"what was passed over tells")).await, Ok(()));
        assert_eq!(Source::open(&whole, 0).await.unwrap().end(Hash::of(b"abcdefgh")).await, Ok(()));
    }

    #[tokio::test]
    async fn no_more_than_one_turn_is_held_at_a_time() {
        let turns = Arc::new(Semaphore::new(1));
        let content = Content::new(8, None, move |from| {
            let turns = turns.clone();
            Box::pin(async move {
                let turn = turns.acquire_owned().await.unwrap();
                let piece = Bytes::from_static(&b"abcdefgh"[usize::try_from(from).unwrap()..]);
                let mut pieces = std::iter::once(piece);
                let body = futures::stream::poll_fn(move |_| {
                    let _while_it_is_read = &turn;
                    std::task::Poll::Ready(pieces.next().map(Ok))
                });
                let body = body.boxed();
                Ok(Reading { meta: Meta::default(), body })
            })
        });
        let read = async {
            let mut source = Source::open(&content, 2).await.unwrap();
            assert_eq!(&source.bytes(2..4).await.unwrap().0[..], b"cd");
            source.seek(5).await.unwrap();
            source.seek(5).await.unwrap();
            assert_eq!(&source.bytes(5..6).await.unwrap().0[..], b"f");
            assert_eq!(&source.bytes(7..8).await.unwrap().0[..], b"h");
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), read).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_as_announced_is_refused() {
        for (bytes, hash) in [(&b"abc"[..], &b"abcd"[..]), (b"abcde", b"abcd"), (b"abcx", b"abcd")] {
            let content = content(bytes, 4);
            let mut source = Source::open(&content, 0).await.unwrap();
            let read = match source.bytes(0..4).await {
                Ok(_) => source.end(Hash::of(hash)).await,
                Err(error) => Err(error),
            };
            assert_eq!(read.map_err(|error| error.fault), Err(Fault::Refused), "{bytes:?}");
        }
    }
}
