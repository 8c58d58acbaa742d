//! `wl container history`: what was done, the newest first.

use serde::{Deserialize, Serialize};
use wl_core::report::HistoryEntry;

use crate::args::History;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::render::reports;
use crate::{pairs, paths};

/// `history --json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Entries {
    entries: Vec<HistoryEntry>,
}

/// Lists the history of every pair of the container's storages.
pub async fn run(context: &Context, args: &History) -> Outcome {
    let manifest = context.manifest(&args.name)?;
    let path = args.path.as_deref().map(paths::parse).transpose()?;
    let link = context.link().await?;
    let mut all = Entries::default();
    for pair in pairs::every(&manifest) {
        let mut request = pair.args(&manifest);
        request.insert("limit".into(), args.limit.into());
        if let Some(path) = &path {
            request.insert("path".into(), path.as_str().into());
        }
        let found: Entries = link.call("history", request).await?;
        all.entries.extend(found.entries);
    }
    all.entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    all.entries.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    let storages = pairs::views(&manifest);
    context.screen.show(&all, |found| reports::history(&found.entries, &storages))?;
    Ok(Exit::Done)
}
