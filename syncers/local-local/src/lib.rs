//! The syncer for two local directories: content does not pass through this program but to be hashed.

use async_trait::async_trait;
use wl_backend_local::Local;
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

/// Serves two local directories, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct LocalLocal;

const TYPES: &[&str] = &["local"];

/// Smaller contents are read and written: from here on sharing measured at least 1.4 times as fast on xfs and btrfs; with
/// files of 16 KiB both ways are alike.
const WORTH_IT: u64 = 4 << 20;

#[async_trait]
impl Carrier for LocalLocal {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        if let Some(written) = taken_over(&parcel).await? {
            return Ok(written);
        }
        parcel.read_and_write().await
    }
}

/// Lets the system copy; none where it is not to or cannot, and nothing has changed.
async fn taken_over(parcel: &Parcel<'_>) -> Result<Option<Written>> {
    let Parcel { path, entry, content, from, to, guard, trash, limited, .. } = parcel;
    if *limited || entry.size < WORTH_IT {
        return Ok(None);
    }
    let (Some(source), Some(target)) = (from.known_as::<Local>(), to.known_as::<Local>()) else { return Ok(None) };
    // Reading it fails in the same way, and tells whose fault it is.
    let Ok(version) = source.open(path, &entry.token).await else { return Ok(None) };
    let monitor = parcel.monitor.clone();
    let passed = move |bytes| monitor.transferred(bytes);
    target.replace_with(path, (version, content.hash), guard, *trash, passed).await
}

impl EngineSyncer for LocalLocal {
    const TRAITS: Traits = Traits::of_engine("local-local", TYPES, TYPES);
}
