//! A content that is read in order, in parts.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use wl_core::backend::Body;
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

/// Cuts a body into parts, and hashes the whole as it goes.
pub(super) struct Cutter<'a> {
    body: Body,
    rest: Bytes,
    whole: Sha256,
    path: &'a RelPath,
}

impl<'a> Cutter<'a> {
    /// Cuts a body that is read for that path.
    pub fn new(body: Body, path: &'a RelPath) -> Self {
        Self { body, rest: Bytes::new(), whole: Sha256::new(), path }
    }

    /// The next so many bytes.
    pub async fn next(&mut self, size: u64) -> Result<Bytes> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut part = BytesMut::with_capacity(size);
        while part.len() < size {
            if self.rest.is_empty() {
                self.rest = self.body.try_next().await?.ok_or_else(|| self.other("is shorter than announced"))?;
            }
            let piece = self.rest.split_to(self.rest.len().min(size - part.len()));
            self.whole.update(&piece);
            part.extend_from_slice(&piece);
        }
        Ok(part.freeze())
    }

    /// Nothing is left, and all of it had that sha256.
    pub async fn end(mut self, hash: Hash) -> Result<()> {
        while self.rest.is_empty() {
            match self.body.try_next().await? {
                Some(piece) => self.rest = piece,
                None if Hash(self.whole.clone().finalize().into()) == hash => return Ok(()),
                None => return Err(self.other("has another sha256 than announced")),
            }
        }
        Err(self.other("is longer than announced"))
    }

    fn other(&self, what: &str) -> Error {
        Error::new(Fault::Refused, format!("the content {what}: it changed meanwhile")).at(self.path)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::stream;

    use super::*;

    fn cutter<'a>(path: &'a RelPath, pieces: &[&'static [u8]]) -> Cutter<'a> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
        Cutter::new(stream::iter(pieces).boxed(), path)
    }

    #[tokio::test]
    async fn a_body_is_cut_wherever_its_pieces_end() {
        let path = RelPath::root();
        for pieces in [&[&b"abcdefgh"[..]][..], &[b"a", b"", b"bcdef", b"g", b"h"], &[b"abc", b"def", b"gh"]] {
            let mut cutter = cutter(&path, pieces);
            for part in [&b"abc"[..], b"def", b"gh"] {
                assert_eq!(cutter.next(part.len() as u64).await.unwrap(), part);
            }
            assert_eq!(cutter.end(Hash::of(b"abcdefgh")).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_announced_is_refused() {
        let path = RelPath::root();
        assert_eq!(cutter(&path, &[b"ab"]).next(3).await.unwrap_err().fault, Fault::Refused);
        for (hash, pieces) in [(Hash::of(b"abc"), &[&b"abcd"[..]][..]), (Hash::of(b"abd"), &[b"abc"])] {
            let mut cutter = cutter(&path, pieces);
            cutter.next(3).await.unwrap();
            assert_eq!(cutter.end(hash).await.unwrap_err().fault, Fault::Refused);
        }
    }
}
