//! The syncer for any pair of storages: content is read from one and written to the other.

use async_trait::async_trait;
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{ANY, Carrier, EngineSyncer, Parcel, Traits};

/// Serves every pair, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct Generic;

#[async_trait]
impl Carrier for Generic {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        parcel.read_and_write().await
    }
}

impl EngineSyncer for Generic {
    const TRAITS: Traits = Traits::of_engine("generic", &[ANY], &[ANY]);
}
