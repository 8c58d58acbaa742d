//! `wl container explain`: what is known about a path, what the next pass would do and why.

use wl_core::report::Explanation;

use crate::args::Explain;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::render::reports;
use crate::{pairs, paths};

/// Explains a path in the pair that was asked for, else in the first that is synced and has anything to do about it.
pub async fn run(context: &Context, args: &Explain) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let path = paths::parse(&args.path)?;
    let link = context.link().await?;
    let mut found: Option<Explanation> = None;
    for pair in context.pairs_of(&link, &manifest, &args.choice).await? {
        let mut request = pair.args(&manifest);
        request.insert("path".into(), path.clone().into());
        let next: Explanation = match link.call("explain", request).await {
            // Another pair has told already: a storage that cannot be reached now has nothing to add.
            Err(failure) if found.is_some() => {
                context.screen.fail(&failure);
                continue;
            }
            next => next?,
        };
        if found.as_ref().is_none_or(|found| found.verdict == "nothing" && next.verdict != "nothing") {
            found = Some(next);
        }
    }
    let found = found.ok_or_else(|| Failure::new("there is no pair of storages to explain it for"))?;
    let storages = pairs::views(&manifest);
    context.screen.show(&found, |found| reports::explanation(found, &storages))?;
    Ok(Exit::Done)
}
