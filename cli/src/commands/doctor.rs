//! `wl doctor`: whether each storage is reachable and what it can do, by trying it.

use serde::{Deserialize, Serialize};
use serde_json::json;
use wl_core::report::StorageProbe;

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::pairs;
use crate::render::containers;

/// `doctor --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probe {
    /// What each storage can do.
    pub storages: Vec<StorageProbe>,
    /// Who would sync each pair.
    pub syncers: Vec<Chosen>,
}

/// The syncer of one pair.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chosen {
    /// The source's backend-id.
    pub source: String,
    /// The target's backend-id.
    pub target: String,
    /// The syncer, none if nothing serves that pair.
    pub syncer: Option<String>,
}

/// Probes every storage of the container.
pub async fn run(context: &Context, args: &Name) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let link = context.link().await?;
    let storages: Vec<_> = manifest.storages.iter().map(wl_core::manifest::Storage::params).collect();
    let found: Probe = link
        .call(
            "probe",
            pairs::object(json!({
                "container-name": manifest.name,
                "storages": storages,
                "env": pairs::captured_env(&manifest.storages),
            })),
        )
        .await?;
    context.screen.show(&found, containers::probe)?;
    Ok(if found.storages.iter().all(|storage| storage.reachable) { Exit::Done } else { Exit::Failed })
}
