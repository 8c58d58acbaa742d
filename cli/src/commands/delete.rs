//! `wl container delete`: deletes a manifest; the files stay where they are.

use serde_json::json;
use wl_core::manifest::Manifest;
use wl_core::report::JobStatus;

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// Deletes the manifest, unless the container is being synced.
pub async fn run(context: &Context, args: &Name) -> Outcome {
    let manifest = context.manifest_alone(&args.name)?;
    // A job of that uuid under the name of another manifest that is there is the other one's.
    let is_its = |job: &JobStatus| {
        job.container == args.name || !Manifest::path_of(&context.places.base_dir, &job.container).exists()
    };
    if context.remembered_jobs_of(&manifest).await?.iter().any(is_its) {
        return Err(Failure::new(format!("container `{}` is being synced: its manifest was not deleted", args.name))
            .hint(format!("`wl container stop-sync {}` first", args.name)));
    }
    let lock = context.lock()?;
    std::fs::remove_file(&manifest.file)
        .map_err(|error| Failure::new(format!("{} cannot be deleted: {error}", manifest.file.display())))?;
    drop(lock);
    let file = manifest.file.display().to_string();
    let text = || format!("Deleted container `{}`. Its files stay where they are.", args.name);
    context.screen.show(&json!({ "deleted": args.name, "file": file }), |_| text())?;
    Ok(Exit::Done)
}
