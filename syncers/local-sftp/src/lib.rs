//! The syncer for a local directory and one of an SSH server, either way: of a large file that changed only the difference
//! travels, where there is `rsync` at both ends.
//!
//! `rsync` changes a copy of the present version, under a part name; what it made must have the content's sha256, and takes
//! the name as everything does. Whatever goes wrong before that, the plain way is gone.

mod rsync;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rsync::Rsync;
use wl_backend_local::Local;
use wl_backend_sftp::{New, Sftp};
use wl_core::Result;
use wl_core::backend::{Guard, Written};
use wl_core::entry::Token;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

/// Serves a local directory and one of an SSH server, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct LocalSftp;

/// In either order.
const TYPES: &[&str] = &["local", "sftp"];

/// Smaller contents are read and written.
const WORTH_IT: u64 = 8 << 20;

#[async_trait]
impl Carrier for LocalSftp {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        if let Some(written) = patched(&parcel).await? {
            return Ok(written);
        }
        parcel.read_and_write().await
    }
}

/// Lets the difference travel; none where it is not to or cannot, and nothing has changed.
async fn patched(parcel: &Parcel<'_>) -> Result<Option<Written>> {
    let Guard::Unchanged(token) = parcel.guard else { return Ok(None) };
    if parcel.limited || parcel.entry.size < WORTH_IT {
        return Ok(None);
    }
    let passed = Passed { parcel, told: AtomicU64::default() };
    let written = if let (Some(here), Some(there)) = (parcel.from.known_as::<Local>(), parcel.to.known_as::<Sftp>()) {
        up(parcel, here, there, token, &passed).await?
    } else if let (Some(there), Some(here)) = (parcel.from.known_as::<Sftp>(), parcel.to.known_as::<Local>()) {
        down(parcel, there, here, token, &passed).await?
    } else {
        None
    };
    if written.is_some() {
        passed.all();
    }
    Ok(written)
}

async fn up(
    parcel: &Parcel<'_>,
    here: &Local,
    there: &Sftp,
    token: &Token,
    passed: &Passed<'_>,
) -> Result<Option<Written>> {
    let Some(_turn) = there.turn_to_differ().await else { return Ok(None) };
    // Reading it fails in the same way, and tells whose fault it is.
    let Ok(version) = here.open(parcel.path, &parcel.entry.token).await else { return Ok(None) };
    let (Ok(meta), Ok(hash)) = (version.meta(), parcel.content.sha256().await) else { return Ok(None) };
    // Whatever takes its name meanwhile, this is the file that is open.
    let fd = std::os::fd::AsRawFd::as_raw_fd(&version.fd());
    let file = PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()));
    let Some((rsync, peer)) = Rsync::tell(&file).await else {
        there.rest_from_differences("there is no rsync here");
        return Ok(None);
    };
    let new = New { size: parcel.entry.size, hash, meta: &meta };
    let written = there.patch(parcel.path, token, new, parcel.trash, peer, &|bytes| passed.some(bytes)).await?;
    rsync.ended_well().await;
    Ok(written)
}

async fn down(
    parcel: &Parcel<'_>,
    there: &Sftp,
    here: &Local,
    token: &Token,
    passed: &Passed<'_>,
) -> Result<Option<Written>> {
    let Some(_turn) = there.turn_to_differ().await else { return Ok(None) };
    // Reading it fails in the same way, and tells whose fault it is.
    let Ok(hash) = parcel.content.sha256().await else { return Ok(None) };
    let change = async |copy: wl_backend_local::Copy| {
        let Some((rsync, peer)) = Rsync::change(&copy.dir, &copy.name).await else {
            there.rest_from_differences("there is no rsync here");
            return Ok(None);
        };
        let (path, version) = (parcel.path, &parcel.entry.token);
        let meta = there.tell_difference(path, version, peer, &|bytes| passed.some(bytes)).await;
        let well = rsync.ended_well().await;
        Ok(meta.ok().flatten().filter(|_| well))
    };
    here.patch(parcel.path, token, hash, parcel.trash, change).await
}

/// What was told to have gone over: never more than there is.
struct Passed<'a> {
    parcel: &'a Parcel<'a>,
    told: AtomicU64,
}

impl Passed<'_> {
    fn some(&self, bytes: u64) {
        let size = self.parcel.entry.size;
        let before = self.told.fetch_add(bytes, Ordering::Relaxed).min(size);
        self.parcel.monitor.transferred(bytes.min(size - before));
    }

    /// What did not travel is there, too.
    fn all(&self) {
        self.some(self.parcel.entry.size);
    }
}

impl EngineSyncer for LocalSftp {
    const TRAITS: Traits = Traits::of_engine("local-sftp", TYPES, TYPES);
}
