//! The syncer for two collections of one WebDAV server, which copies by itself.

use async_trait::async_trait;
use wl_backend_webdav::{Offer, WebDav};
use wl_core::backend::Written;
use wl_core::job::Run;
use wl_core::report::Summary;
use wl_core::syncer::{Carrier, Parcel, Syncer, Traits};
use wl_core::{Result, drive};

/// Serves two collections, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct WebDavWebDav;

const TYPES: &[&str] = &["webdav"];

#[async_trait]
impl Carrier for WebDavWebDav {
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
    // The copy is read for its hash, which no limit would slow down.
    if *limited {
        return Ok(None);
    }
    let (Some(at), Some(target)) = (from.known_as::<WebDav>(), to.known_as::<WebDav>()) else { return Ok(None) };
    let offer = Offer { at, path, token: &entry.token, size: entry.size, hash: content.hash };
    target.take(path, offer, guard, *trash, &|bytes| monitor.transferred(bytes)).await
}

#[async_trait]
impl Syncer for WebDavWebDav {
    fn traits(&self) -> Traits {
        Traits {
            name: "webdav-webdav",
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
