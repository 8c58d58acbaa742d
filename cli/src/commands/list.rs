//! `wl container list`: every container, and every manifest that cannot be read.

use serde::Serialize;
use wl_core::manifest::Manifest;
use wl_core::report::StorageView;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::pairs;
use crate::render::containers;

/// `container list --json`.
#[derive(Debug, Default, Serialize)]
pub struct Containers {
    /// The containers.
    pub containers: Vec<Container>,
    /// What cannot be read.
    pub errors: Vec<Unreadable>,
}

/// One container.
#[derive(Debug, Serialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: Option<String>,
    /// Its storages, in the manifest's order.
    pub storages: Vec<StorageView>,
    /// The manifest.
    pub file: String,
}

/// A manifest that cannot be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The manifest.
    pub file: String,
    /// Why: file, line and key.
    pub message: String,
}

/// Lists the containers; one broken manifest hides no other, but makes the exit code 2.
pub fn run(context: &Context) -> Outcome {
    let mut found = Containers::default();
    for (name, manifest) in context.manifests()? {
        let file = Manifest::path_of(&context.places.base_dir, &name).display().to_string();
        match manifest {
            Ok(manifest) => {
                let storages = pairs::views(&manifest);
                found.containers.push(Container { name: manifest.name, title: manifest.title, storages, file });
            }
            Err(error) => found.errors.push(Unreadable { file, message: error.to_string() }),
        }
    }
    context.screen.show(&found, containers::list)?;
    Ok(if found.errors.is_empty() { Exit::Done } else { Exit::Usage })
}
