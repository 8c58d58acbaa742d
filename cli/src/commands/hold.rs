//! `wl container pause` and `resume`: a job held without being forgotten.

use serde_json::{Value, json};

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs;

/// Holds every job of the container.
pub async fn pause(context: &Context, args: &Name) -> Outcome {
    each(context, args, "pause", "paused").await
}

/// Lets every job of the container go on.
pub async fn resume(context: &Context, args: &Name) -> Outcome {
    each(context, args, "resume", "resumed").await
}

async fn each(context: &Context, args: &Name, command: &str, done: &str) -> Outcome {
    let (link, manifest, jobs) = context.jobs_of(&args.name).await?;
    if jobs.is_empty() {
        return Err(Failure::new(format!("container `{}` is not being synced", args.name))
            .hint(format!("`wl container sync {}` starts it", args.name)));
    }
    for job in &jobs {
        let mut request = pairs::object(json!({ "job-id": job.job_id }));
        if command == "resume" {
            let storages = manifest.iter().flat_map(|manifest| &manifest.storages);
            request.insert("env".into(), json!(pairs::captured_env(storages)));
        }
        let _: Value = link.call(command, request).await?;
    }
    let ids: Vec<_> = jobs.iter().map(|job| &job.job_id).collect();
    context.screen.show(&json!({ (done): ids }), |_| format!("Container `{}` is {done}.", args.name))?;
    Ok(Exit::Done)
}
