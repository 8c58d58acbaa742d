//! The syncer for two collections of one WebDAV server, which copies by itself.

use async_trait::async_trait;
use wl_backend_webdav::{Offer, WebDav};
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

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
        parcel.read_and_write().await
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

impl EngineSyncer for WebDavWebDav {
    const TRAITS: Traits = Traits::of_engine("webdav-webdav", TYPES, TYPES);
}
