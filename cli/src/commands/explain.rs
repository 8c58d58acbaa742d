//! `wl container explain`: what is known about a path, what the next pass would do and why.

use wl_core::report::Explanation;

use crate::args::Explain;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::render::reports;
use crate::{pairs, paths};

/// Explains a path in the first pair that is synced, or the one that was asked for.
pub async fn run(context: &Context, args: &Explain) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let path = paths::parse(&args.path)?;
    let link = context.link().await?;
    let pair = context.pair_of(&link, &manifest, &args.choice).await?;
    let mut request = pair.args(&manifest);
    request.insert("path".into(), path.into());
    let found: Explanation = link.call("explain", request).await?;
    let storages = pairs::views(&manifest);
    context.screen.show(&found, |found| reports::explanation(found, &storages))?;
    Ok(Exit::Done)
}
