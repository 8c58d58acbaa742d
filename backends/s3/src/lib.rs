//! Storage type `s3`: a prefix of a bucket.
//!
//! A file is an object, a directory is what anything lies below, an empty one a zero-length object `name/`. What a version
//! is, its ETag says. What the server does with conditions, checksums and copies is found out by trying ([`probe`]).

mod archive;
mod around;
mod budget;
mod client;
mod config;
mod copy;
mod dirs;
mod error;
mod flat;
mod key;
mod list;
mod look;
mod meta;
mod multipart;
mod object;
mod page;
mod parts;
mod probe;
#[cfg(feature = "notifications")]
mod queue;
mod race;
mod read;
mod remove;
mod resume;
mod shape;
mod tags;
mod take;
mod token;
mod trial;
mod trust;
mod walk;
mod watch;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::stream::BoxStream;
use wl_core::backend::{Backend, Content, Facts, Guard, Hint, Known, Listing, Look, Prune, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;
use wl_core::path::RelPath;

use crate::config::Config;
use crate::list::Leftover;

pub use crate::take::{Offer, Taken};

/// A prefix of a bucket as a storage.
pub struct S3 {
    place: Arc<Place>,
}

/// What everything here works with.
struct Place {
    config: Config,
    client: client::Lazy,
    /// What the server does, once it was tried.
    traits: Arc<probe::Memory>,
    /// Part objects that listings came across, by key.
    leftovers: Mutex<BTreeMap<String, Leftover>>,
    /// What lies around the keys that are changed.
    around: around::Around,
    /// What has become of large contents since the last sweep.
    rounds: Mutex<resume::Rounds>,
    /// Where the pages of listings began.
    marks: flat::Marks,
    tags: tags::Tags,
    archive: archive::Archive,
    records: resume::Known,
    /// What was kept for changes that may yet take effect, by the key of what was to be changed.
    unsettled: Mutex<BTreeMap<String, copy::Unsettled>>,
    /// Whether the object that was looked at last, to be copied elsewhere, said its sha256 and its time.
    dressed: AtomicBool,
    /// Keys, with ETags, under which a server without checksums was seen to hold other bytes than the ETag is of.
    mixed: Mutex<BTreeSet<(String, String)>>,
}

/// The storage that a manifest describes. Needs no network.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    Ok(S3::new(storage)?)
}

impl S3 {
    /// The storage that a manifest describes. Needs no network.
    pub fn new(storage: &Storage) -> Result<Arc<Self>> {
        let config = Config::of(storage)?;
        let traits = probe::memory(&config.server_and_bucket());
        let place = Place {
            config,
            client: client::Lazy::default(),
            traits,
            leftovers: Mutex::default(),
            around: around::Around::default(),
            rounds: Mutex::default(),
            marks: flat::Marks::default(),
            tags: tags::Tags::default(),
            archive: archive::Archive::default(),
            records: resume::Known::default(),
            unsettled: Mutex::default(),
            dressed: AtomicBool::default(),
            mixed: Mutex::default(),
        };
        Ok(Arc::new(Self { place: Arc::new(place) }))
    }
}

impl Place {
    async fn client(&self) -> Result<&Client> {
        self.client.s3(&self.config).await
    }

    fn bucket(&self) -> &str {
        &self.config.bucket
    }

    /// A file's key.
    fn key(&self, path: &RelPath) -> Result<String> {
        self.config.keys.file(path)
    }

    /// The marker of a directory, which everything below it begins with.
    fn dir(&self, path: &RelPath) -> Result<String> {
        self.config.keys.dir(path)
    }

    /// What the SDK's error means.
    fn error<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        error::error(&self.config, error)
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, resume::Rounds> {
        // The same.
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsettled(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, copy::Unsettled>> {
        // The same.
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mixed(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        // The same.
        self.mixed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leftovers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Leftover>> {
        // What was noted stays true if somebody panicked while noting it.
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for S3 {
    fn facts(&self) -> Facts {
        probe::facts(&self.place)
    }

    async fn root(&self) -> Result<String> {
        look::root(&self.place).await.inspect_err(|_| self.place.around.forget())
    }

    fn is_named(&self, _root: &str) -> bool {
        // Whoever makes a bucket of that name has that one.
        false
    }

    async fn make_root(&self) -> Result<()> {
        self.can_make_root().await
    }

    async fn can_make_root(&self) -> Result<()> {
        // A prefix need not be made, and a bucket never is.
        look::root(&self.place).await.map(drop)
    }

    async fn probe(&self) -> Result<Facts> {
        probe::afresh(&self.place).await?;
        Ok(probe::facts(&self.place))
    }

    fn list(&self, under: &RelPath, prune: Option<Prune>) -> Listing {
        list::list(self.place.clone(), under, prune)
    }

    async fn stat(&self, path: &RelPath) -> Result<Look> {
        look::stat(&self.place, path).await
    }

    async fn hash(&self, path: &RelPath, token: &Token) -> Result<Hash> {
        look::hash(&self.place, path, token).await
    }

    async fn read(&self, path: &RelPath, token: &Token, from: u64) -> Result<Reading> {
        read::read(&self.place, path, token, from).await
    }

    async fn replace(
        &self,
        path: &RelPath,
        content: Content,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Written> {
        probe::can_hold(&self.place, path).await?;
        write::replace(&self.place, path, content, guard, trash).await
    }

    async fn remove(&self, path: &RelPath, token: &Token, trash: Option<&RelPath>) -> Result<()> {
        remove::remove(&self.place, path, token, trash).await
    }

    async fn make_dir(&self, path: &RelPath, _meta: &Meta) -> Result<()> {
        probe::can_hold(&self.place, path).await?;
        dirs::make_dir(&self.place, path).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        dirs::remove_dir(&self.place, path).await
    }

    async fn move_within(&self, from: &RelPath, token: &Token, to: &RelPath) -> Result<Entry> {
        probe::can_hold(&self.place, to).await?;
        copy::move_within(&self.place, from, token, to).await
    }

    async fn copy_within(&self, known: Known<'_>, to: &RelPath) -> Result<Entry> {
        probe::can_hold(&self.place, to).await?;
        copy::copy_within(&self.place, known.path, known.token, Some(known.hash), to).await
    }

    async fn replace_within(
        &self,
        path: &RelPath,
        known: Known<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
    ) -> Result<Option<Written>> {
        let unread = Content::new(known.size, Some(known.hash), |_| {
            let text = "a copy inside a bucket is not read";
            Box::pin(std::future::ready(Err(Error::new(Fault::Unsupported, text))))
        });
        let offer = Offer { at: self, path: known.path, token: known.token, content: &unread, may_read: false };
        match self.take(path, offer, guard, trash, &|_| ()).await? {
            Taken::Written(written) => Ok(Some(written)),
            Taken::NotThis | Taken::Closed => Ok(None),
        }
    }

    async fn set_meta(&self, path: &RelPath, token: &Token, meta: &Meta) -> Result<Entry> {
        copy::set_meta(&self.place, path, token, meta).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        watch::watch(&self.place).await
    }

    async fn sweep(&self) -> Result<usize> {
        resume::sweep(&self.place).await
    }
}
