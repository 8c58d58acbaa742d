//! The syncer for two directories of one SSH server, which copies by itself.

use async_trait::async_trait;
use wl_backend_sftp::{Offer, Sftp};
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

/// Serves two directories of SSH servers, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct SftpSftp;

const TYPES: &[&str] = &["sftp"];

/// Smaller contents are read and written in one round trip each.
const WORTH_IT: u64 = 256 << 10;

#[async_trait]
impl Carrier for SftpSftp {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        if let Some(written) = taken(&parcel).await? {
            return Ok(written);
        }
        parcel.read_and_write().await
    }
}

/// Lets the server copy; none where it is not to or cannot, and nothing has changed.
async fn taken(parcel: &Parcel<'_>) -> Result<Option<Written>> {
    let Parcel { path, entry, content, from, to, guard, trash, limited, monitor } = parcel;
    // The copy may have to be read for its hash, which no limit would slow down.
    if *limited || entry.size <= WORTH_IT {
        return Ok(None);
    }
    let (Some(at), Some(target)) = (from.known_as::<Sftp>(), to.known_as::<Sftp>()) else { return Ok(None) };
    let offer = Offer { at, path, token: &entry.token, hash: content.hash };
    target.take(path, offer, guard, *trash, &|bytes| monitor.transferred(bytes)).await
}

impl EngineSyncer for SftpSftp {
    const TRAITS: Traits = Traits::of_engine("sftp-sftp", TYPES, TYPES);
}
