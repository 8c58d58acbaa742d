//! `wl container add-storage` and `remove-storage`: change a manifest; the files stay where they are.

use wl_core::Result;
use wl_core::manifest::Manifest;

use super::create;
use crate::args::{AddStorage, RemoveStorage};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs;

/// Adds a storage.
pub async fn add(context: &Context, args: &AddStorage) -> Outcome {
    context.manifest(&args.name)?;
    let storage = create::storage(context, &args.storage).await?;
    let place = storage.location();
    let (manifest, ()) = change(context, &args.name, |manifest| manifest.add_storage(storage))?;
    context.screen.say(format!("Container `{}` is kept at {place} too, once it is synced.", args.name));
    create::show(context, &manifest)?;
    Ok(Exit::Done)
}

/// Takes a storage out, unless a job is running over it.
pub async fn remove(context: &Context, args: &RemoveStorage) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let id = pairs::find(&manifest, &args.id)?.backend_id().to_owned();
    let jobs = context.remembered_jobs_of(&manifest).await?;
    if jobs.iter().any(|job| job.source.backend_id == id || job.target.backend_id == id) {
        let name = &args.name;
        return Err(Failure::new(format!("storage {id} of container `{name}` is being synced: it was not removed"))
            .hint(format!("`wl container stop-sync {name}` first")));
    }
    let (manifest, removed) = change(context, &args.name, |manifest| manifest.remove_storage(&id))?;
    let place = removed.location();
    context.screen.say(format!("Container `{}` is not kept at {place} any more; what is there stays.", args.name));
    create::show(context, &manifest)?;
    Ok(Exit::Done)
}

/// Changes a manifest as it is now, with nobody else at it meanwhile.
fn change<T>(context: &Context, name: &str, change: impl FnOnce(&mut Manifest) -> Result<T>) -> Outcome<(Manifest, T)> {
    let _lock = context.lock()?;
    let mut manifest = context.manifest(name)?;
    let changed = change(&mut manifest).map_err(|error| Failure::manifest(&error))?;
    save(context, &manifest)?;
    Ok((manifest, changed))
}

fn save(context: &Context, manifest: &Manifest) -> Outcome<()> {
    let file = manifest.file.display();
    if !manifest.keeps_comments() {
        context.screen.warn(format!("{file} is written anew, without its comments"));
    }
    manifest.save()?;
    if manifest.owner.is_some() {
        context.screen.warn(format!("{file}: a signature in its header no longer fits"));
    }
    Ok(())
}
