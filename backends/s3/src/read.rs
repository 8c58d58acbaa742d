//! Reading one version: ranges fetched ahead of whoever reads, each asked for with `If-Match`, so that versions never mix.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio_util::task::AbortOnDropHandle;
use wl_core::backend::{Body, Reading};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;
use crate::budget::{self, Share};
use crate::meta::Shown;
use crate::object::Seen;
use crate::token::Version;

/// A content above this size is read in ranges, several at once.
const LARGE: u64 = 16 << 20;
/// What one request asks for then.
const RANGE: u64 = 8 << 20;
/// So many ranges are on their way beside the one that is being read.
const AHEAD: usize = 4;
/// How often in a row a body may break off before it has brought anything.
const ATTEMPTS: u32 = 5;
/// The first pause after a body broke off; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads that version from an offset on.
pub(crate) async fn read(place: &Arc<Place>, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
    let wanted =
        Wanted { place: place.clone(), key: place.key(path)?, path: path.clone(), version: Version::of(token)? };
    place.archive.check(&wanted.key, &wanted.version).map_err(|error| error.at(path))?;
    let (wanted, size) = (Arc::new(wanted), Version::of(token)?.size);
    if from >= size {
        // No range is left to ask for.
        let meta = wanted.look().await?;
        return Ok(Reading { meta, body: stream::empty().boxed() });
    }
    let first = from..if size - from > LARGE { from + RANGE } else { size };
    let next = first.end;
    let (meta, streamed) = Streamed::open(wanted.clone(), first).await?;
    let ranges =
        Ranges { wanted, next, size, streamed: Some(streamed), coming: VecDeque::new(), here: Fetched::default() };
    Ok(Reading { meta, body: body(ranges) })
}

/// Reads that version, which is not empty, for its sha256, and shows it as a HEAD does.
pub(crate) async fn whole(place: &Arc<Place>, path: &RelPath, version: &Version) -> Result<(Seen, Hash)> {
    let wanted = Wanted { place: place.clone(), key: place.key(path)?, path: path.clone(), version: version.clone() };
    place.archive.check(&wanted.key, version).map_err(|error| error.at(path))?;
    let (answer, mut streamed) = Streamed::answered(Arc::new(wanted), 0..version.size).await?;
    let mut sha256 = Sha256::new();
    while let Some(piece) = streamed.piece().await? {
        sha256.update(&piece);
    }
    let head = HeadObjectOutput::builder()
        .set_last_modified(answer.last_modified)
        .set_metadata(answer.metadata)
        .set_content_type(answer.content_type)
        .set_content_encoding(answer.content_encoding)
        .set_content_disposition(answer.content_disposition)
        .set_content_language(answer.content_language)
        .set_cache_control(answer.cache_control)
        .build();
    Ok((Seen { version: version.clone(), head }, Hash(sha256.finalize().into())))
}

fn body(ranges: Ranges) -> Body {
    stream::unfold(Some(ranges), |ranges| async {
        let mut ranges = ranges?;
        match ranges.piece().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(ranges))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// The version that is read.
struct Wanted {
    place: Arc<Place>,
    key: String,
    path: RelPath,
    version: Version,
}

impl Wanted {
    /// Looks whether it still is there, and what travels beside it.
    async fn look(&self) -> Result<Meta> {
        let request = self.place.client().await?.head_object().bucket(self.place.bucket()).key(&self.key);
        let answer = request.send().await.map_err(|error| self.place.error(&error).at(&self.path))?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        if Version::new(answer.e_tag(), size).as_ref() != Some(&self.version) {
            return Err(Error::changed(&self.path));
        }
        let shown = Shown { metadata: answer.metadata(), etag: &self.version.etag, checksum: None };
        Ok(Meta { mtime: shown.mtime(answer.last_modified()), mode: None })
    }

    /// Asks for a range that is not empty.
    async fn get(&self, range: &Range<u64>) -> Result<GetObjectOutput> {
        let mut request = self.place.client().await?.get_object().bucket(self.place.bucket()).key(&self.key);
        request = request.if_match(self.version.quoted());
        if *range != (0..self.version.size) {
            request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        }
        let answer = request.send().await.map_err(|error| {
            self.place.archive.note(&self.key, &self.version, &error);
            // 416, from a server that looks at the range first: it has become shorter.
            let shorter = crate::error::status(&error) == 416;
            if shorter { Error::changed(&self.path) } else { self.place.error(&error).at(&self.path) }
        })?;
        self.check(&answer, range)?;
        Ok(answer)
    }

    /// A server that ignores `If-Match`, or ranges, is noticed.
    fn check(&self, answer: &GetObjectOutput, range: &Range<u64>) -> Result<()> {
        let (begin, size) = match answer.content_range() {
            Some(text) => content_range(text).ok_or_else(|| self.nonsense(&format!("the range {text:?}")))?,
            None => (0, answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0)),
        };
        if Version::new(answer.e_tag(), size).as_ref() != Some(&self.version) {
            return Err(Error::changed(&self.path));
        }
        if begin == range.start { Ok(()) } else { Err(self.nonsense(&format!("from byte {begin} on"))) }
    }

    fn nonsense(&self, answered: &str) -> Error {
        Error::new(Fault::Broken, format!("the server answered {answered} where another range was asked for"))
            .at(&self.path)
    }
}

/// `bytes 0-9/20` as where it begins and the size of all (RFC 9110 section 14.4).
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// One range as it comes. A body that breaks off is gone on with from where it ended.
struct Streamed {
    wanted: Arc<Wanted>,
    left: Range<u64>,
    body: ByteStream,
    attempts: u32,
}

impl Streamed {
    async fn open(wanted: Arc<Wanted>, range: Range<u64>) -> Result<(Meta, Self)> {
        let (answer, streamed) = Self::answered(wanted, range).await?;
        let shown = Shown { metadata: answer.metadata(), etag: &streamed.wanted.version.etag, checksum: None };
        let meta = Meta { mtime: shown.mtime(answer.last_modified()), mode: None };
        Ok((meta, streamed))
    }

    /// The answer, without its body.
    async fn answered(wanted: Arc<Wanted>, range: Range<u64>) -> Result<(GetObjectOutput, Self)> {
        let mut answer = wanted.get(&range).await?;
        let body = std::mem::take(&mut answer.body);
        Ok((answer, Self { wanted, left: range, body, attempts: 0 }))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        while !self.left.is_empty() {
            let broken = match self.body.next().await {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(mut piece)) => {
                    piece.truncate(usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
                    self.left.start += piece.len() as u64;
                    self.attempts = 0;
                    return Ok(Some(piece));
                }
                Some(Err(error)) => error.to_string(),
                None => "it ended too early".to_owned(),
            };
            self.reopen(&broken).await?;
        }
        Ok(None)
    }

    async fn reopen(&mut self, broken: &str) -> Result<()> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS {
            let text = format!("the server's answer broke off {ATTEMPTS} times at byte {} ({broken})", self.left.start);
            return Err(Error::new(Fault::Offline, text).at(&self.wanted.path));
        }
        tracing::debug!(path = %self.wanted.path, at = self.left.start, broken, "a body broke off");
        tokio::time::sleep(PAUSE * 2u32.pow(self.attempts - 1)).await;
        self.body = self.wanted.get(&self.left).await?.body;
        Ok(())
    }
}

/// A range that has come whole, and the memory it takes.
#[derive(Default)]
struct Fetched {
    pieces: VecDeque<Bytes>,
    _share: Option<Share>,
}

/// All ranges, in order.
struct Ranges {
    wanted: Arc<Wanted>,
    /// Where the next range begins that nobody fetches yet.
    next: u64,
    size: u64,
    /// The range that is handed on while it comes: it needs no memory, so that reading goes on however little there is.
    streamed: Option<Streamed>,
    coming: VecDeque<AbortOnDropHandle<Result<Fetched>>>,
    here: Fetched,
}

impl Ranges {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.fetch_ahead();
            if let Some(piece) = self.here.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if let Some(streamed) = &mut self.streamed {
                match streamed.piece().await? {
                    Some(piece) => return Ok(Some(piece)),
                    None => self.streamed = None,
                }
            } else if let Some(fetched) = self.coming.pop_front() {
                self.here = fetched.await.map_err(|error| Error::new(Fault::Broken, error.to_string()))??;
            } else if self.next < self.size {
                let range = self.take_range();
                self.streamed = Some(Streamed::open(self.wanted.clone(), range).await?.1);
            } else {
                return Ok(None);
            }
        }
    }

    fn fetch_ahead(&mut self) {
        while self.coming.len() < AHEAD && self.next < self.size {
            let Some(share) = budget::for_reading_ahead(RANGE) else { return };
            let (wanted, range) = (self.wanted.clone(), self.take_range());
            self.coming.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
                let mut streamed = Streamed::open(wanted, range).await?.1;
                let mut pieces = VecDeque::new();
                while let Some(piece) = streamed.piece().await? {
                    pieces.push_back(piece);
                }
                Ok(Fetched { pieces, _share: Some(share) })
            })));
        }
    }

    fn take_range(&mut self) -> Range<u64> {
        let range = self.next..(self.next + RANGE).min(self.size);
        self.next = range.end;
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_where_it_begins_and_of_how_much() {
        assert_eq!(content_range("bytes 5-9/20"), Some((5, 20)));
        assert_eq!(content_range("bytes 5-9/*"), None);
        assert_eq!(content_range("5-9/20"), None);
    }
}
