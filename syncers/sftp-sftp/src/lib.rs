//! The syncer for two directories of one SSH server, which copies by itself.

use async_trait::async_trait;
use wl_backend_sftp::{Offer, Sftp};
use wl_core::backend::Written;
use wl_core::job::Run;
use wl_core::report::Summary;
use wl_core::syncer::{Carrier, Parcel, Syncer, Traits};
use wl_core::{Result, drive};

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
        let Parcel { path, content, to, guard, trash, .. } = parcel;
        to.backend.replace(path, content, guard, trash).await
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

#[async_trait]
impl Syncer for SftpSftp {
    fn traits(&self) -> Traits {
        Traits {
            name: "sftp-sftp",
            source_types: TYPES,
            target_types: TYPES,
            one_shot: true,
            continuous: true,
            unidirectional: true,
            requires_mount: false,
        }
    }

    async fn one_shot(&self, run: &Run) -> Result<Summary> {
        drive::one_shot(run, self).await
    }

    async fn continuous(&self, run: &Run) -> Result<()> {
        drive::continuous(run, self).await
    }
}
