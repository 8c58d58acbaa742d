//! The syncer for any pair of storages: content is read from one and written to the other.

use async_trait::async_trait;
use wl_core::backend::Written;
use wl_core::job::Run;
use wl_core::report::Summary;
use wl_core::syncer::{ANY, Carrier, Parcel, Syncer, Traits};
use wl_core::{Result, drive};

/// Serves every pair, in both modes and directions.
#[derive(Debug, Clone, Copy)]
pub struct Generic;

#[async_trait]
impl Carrier for Generic {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        let Parcel { path, content, to, guard, trash, .. } = parcel;
        to.backend.replace(path, content, guard, trash).await
    }
}

#[async_trait]
impl Syncer for Generic {
    fn traits(&self) -> Traits {
        Traits {
            name: "generic",
            source_types: &[ANY],
            target_types: &[ANY],
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
