//! `wl container stop-sync`: ends every job of a container; the daemon forgets them.

use serde_json::json;

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

/// Returns when nothing of the container's jobs runs any more. Nothing to stop is no failure.
pub async fn run(context: &Context, args: &Name) -> Outcome {
    // A daemon that is not running may still remember the job, and would resume it.
    let (link, _, jobs) = context.jobs_of(&args.name).await?;
    let mut stopped = Vec::new();
    for job in jobs {
        link.stop(&job.job_id).await?;
        stopped.push(job.job_id);
    }
    let text = |stopped: usize| match stopped {
        0 => format!("Container `{}` was not being synced.", args.name),
        _ => format!("Container `{}` is not synced any more.", args.name),
    };
    context.screen.show(&json!({ "stopped": stopped }), |_| text(stopped.len()))?;
    Ok(Exit::Done)
}
