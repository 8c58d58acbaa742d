//! `wl container create`: writes a manifest.

use serde::Serialize;
use wl_core::Fault;
use wl_core::manifest::{Manifest, Storage};
use wl_core::report::StorageView;

use crate::args::Create;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs;
use crate::render::containers;

/// `container create --json`, and what `add-storage` and `remove-storage` print too.
#[derive(Debug, Serialize)]
pub struct Made {
    name: String,
    file: String,
    storages: Vec<StorageView>,
}

/// Makes a container.
pub async fn run(context: &Context, args: &Create) -> Outcome {
    let mut storages = Vec::new();
    for text in &args.storages {
        storages.push(storage(context, text).await?);
    }
    let lock = context.lock()?;
    let manifest = write(context, &args.name, storages)?;
    drop(lock);
    context.screen.say(format!("Made container `{}`: {}", manifest.name, manifest.file.display()));
    show(context, &manifest)?;
    Ok(Exit::Done)
}

/// Shows what a manifest holds now.
pub fn show(context: &Context, manifest: &Manifest) -> Outcome<()> {
    let made = Made {
        name: manifest.name.clone(),
        file: manifest.file.display().to_string(),
        storages: pairs::views(manifest),
    };
    context.screen.show(&made, |made| containers::storages(&made.storages))
}

/// Writes a new manifest; a name that is taken is refused.
pub fn write(context: &Context, name: &str, storages: Vec<Storage>) -> Outcome<Manifest> {
    Manifest::create(&context.places.base_dir, name, storages).map_err(|error| match error.fault {
        Fault::Malformed | Fault::Refused => Failure::manifest(&error),
        _ => error.into(),
    })
}

/// Reads a STORAGE, and asks a terminal for the secrets it needs and may not have in it.
pub async fn storage(context: &Context, text: &str) -> Outcome<Storage> {
    with_secrets(context, named(text)?).await
}

/// Reads a STORAGE.
pub fn named(text: &str) -> Outcome<Storage> {
    Storage::from_argument(text).map_err(|error| Failure::manifest(&error))
}

/// Asks a terminal for the secrets that a storage needs and does not have.
pub async fn with_secrets(context: &Context, storage: Storage) -> Outcome<Storage> {
    let mut storage = storage;
    for key in storage.missing_secrets() {
        let place = storage.location();
        if !context.screen.can_ask() {
            let hint = format!("give a reference to it: {key}=env:NAME, {key}=file:PATH or {key}=command:LINE");
            return Err(Failure::usage(format!("storage {place} needs a `{key}`")).hint(hint));
        }
        let what = format!("{key} of {place} (or env:NAME, file:PATH, command:LINE)");
        let secret = context.screen.ask_secret(&what).await?;
        storage = storage.with_typed_secret(key, &secret).map_err(|error| Failure::manifest(&error).about(place))?;
    }
    Ok(storage)
}
