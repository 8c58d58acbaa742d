//! One object as HEAD shows it, and what a change expects under its key.

use std::sync::Arc;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use wl_core::backend::Guard;
use wl_core::entry::{Entry, Hash, Kind, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::meta::Shown;
use crate::page::{From, page};
use crate::token::Version;
use crate::{Place, around, dirs, error};

/// An object as HEAD shows it.
pub(crate) struct Seen {
    pub version: Version,
    pub head: HeadObjectOutput,
}

impl Seen {
    /// The object under a key, if there is one.
    pub async fn at(place: &Place, key: &str) -> Result<Option<Self>> {
        let request = place.client().await?.head_object().bucket(place.bucket()).key(key);
        let head = match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => head,
            Err(error) if error::status(&error) == 404 => return Ok(None),
            Err(error) => return Err(in_words(place, key, &error).await),
        };
        let size = head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        let version = Version::new(head.e_tag(), size).ok_or_else(|| {
            Error::new(Fault::Unsupported, "the server names no ETag: its versions cannot be told apart")
        })?;
        Ok(Some(Self { version, head }))
    }

    fn shown(&self) -> Shown<'_> {
        let (metadata, etag) = (self.head.metadata(), self.version.etag.as_str());
        Shown { metadata, etag, checksum: self.head.checksum_sha256() }
    }

    /// The sha256 that is proven by what is shown.
    pub fn hash(&self, checksums: bool) -> Option<Hash> {
        self.shown().hash(checksums)
    }

    /// The sha256 that its metadata claim, bound to the content or not.
    pub fn claims(&self) -> Option<Hash> {
        self.shown().claims()
    }

    /// Whether its metadata claim that sha256, bound to the content or not.
    pub fn says(&self, hash: &Hash) -> bool {
        self.claims().as_ref() == Some(hash)
    }

    /// Whether its metadata say that sha256, and a modification time, as those of everything that wl puts do.
    pub fn is_dressed(&self, hash: &Hash) -> bool {
        self.says(hash) && self.shown().names_a_time()
    }

    /// Whether it says the same sha256 and the same modification time as that.
    pub fn is_dressed_as(&self, dress: &HeadObjectOutput) -> bool {
        let (wanted, shown) = (Shown { metadata: dress.metadata(), ..Shown::default() }, self.shown());
        (wanted.claims(), wanted.mtime(None)) == (shown.claims(), shown.mtime(None))
    }

    /// As a file.
    pub fn entry(&self) -> Entry {
        let meta = Meta { mtime: self.shown().mtime(self.head.last_modified()), mode: None };
        Entry { kind: Kind::File, size: self.version.size, meta, token: self.version.token() }
    }
}

/// Why a HEAD was refused. Its answer has a status and no words, as for credentials that have expired: if the same holds
/// for a GET, its answer says so.
async fn in_words(place: &Place, key: &str, refused: &SdkError<HeadObjectError, HttpResponse>) -> Error {
    let mute = error::code(refused).is_empty() && matches!(error::status(refused), 400 | 401 | 403);
    if mute && let Err(told) = Box::pin(page(place, key, true, &From::Start, Some(1))).await {
        return told;
    }
    place.error(refused)
}

/// Where a change is made, and what it expects to find.
pub(crate) struct Target<'a> {
    pub place: &'a Arc<Place>,
    pub path: &'a RelPath,
    pub key: String,
    /// None for nothing at all.
    pub expected: Option<Version>,
}

impl<'a> Target<'a> {
    pub fn new(place: &'a Arc<Place>, path: &'a RelPath, guard: &Guard) -> Result<Self> {
        let expected = match guard {
            Guard::Absent => None,
            Guard::Unchanged(token) => Some(Version::of(token).map_err(|error| error.at(path))?),
        };
        Ok(Self { place, path, key: place.key(path).map_err(|error| error.at(path))?, expected })
    }

    /// Refuses where a directory has the name of the file that is to be created.
    pub async fn check_nothing_below(&self) -> Result<()> {
        if self.expected.is_some() {
            return Ok(());
        }
        let near = self.place.dir(&self.path.parent().unwrap_or_else(RelPath::root))?;
        let below = around::anything_below(self.place, &format!("{}/", self.key), &near, None).await;
        if below.map_err(|error| error.at(self.path))? { Err(self.changed()) } else { Ok(()) }
    }

    /// Takes note that a file is there now.
    pub async fn is_there(&self) {
        self.place.around.put(&self.key);
        dirs::holds_something(self.place, &self.key).await;
    }

    /// Looks whether the key holds what is expected.
    pub async fn check(&self) -> Result<()> {
        let seen = Seen::at(self.place, &self.key).await.map_err(|error| error.at(self.path))?;
        if seen.map(|seen| seen.version) == self.expected { Ok(()) } else { Err(self.changed()) }
    }

    /// What a request about this key failed with. Where a version was expected, nothing is as wrong as another version.
    pub fn failed(&self, error: Error, code: &str) -> Error {
        if error.fault == Fault::Refused && code != "BadDigest"
            || error.fault == Fault::Missing && code != "NoSuchBucket" && code != "NoSuchUpload"
        {
            return self.changed();
        }
        error.at(self.path)
    }

    /// Another version is there.
    pub fn changed(&self) -> Error {
        Error::changed(self.path)
    }
}
