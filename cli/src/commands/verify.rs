//! `wl container verify`: reads and hashes everything on both sides, and lists what differs.

use wl_core::report::Verification;

use crate::args::Verify;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::pairs;
use crate::render::reports;

/// Verifies the pair that was asked for, else every pair that has a job, else the usual pair.
pub async fn run(context: &Context, args: &Verify) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let link = context.link().await?;
    let chosen = context.pairs_of(&link, &manifest, &args.choice).await?;
    let mut all = Verification::default();
    for pair in &chosen {
        let found: Verification = link.call("verify", pair.args(&manifest)).await?;
        all.checked += found.checked;
        all.differences.extend(found.differences);
        all.problems.extend(found.problems);
    }
    // Two pairs that share a storage share its problems.
    all.problems.sort();
    all.problems.dedup();
    let storages = pairs::views(&manifest);
    context.screen.show(&all, |found| reports::verification(found, &storages))?;
    Ok(if all.differences.is_empty() { Exit::of_open(false, &all.problems) } else { Exit::Differs })
}
