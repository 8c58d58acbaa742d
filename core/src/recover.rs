//! After a round that did not come to its end, by a crash or because the job was stopped: what was about to be done is looked
//! at, and the base takes what had been done.
//!
//! Without it a change that was made just before and not yet taken into the base would, once the user edits the same path,
//! look like an edit on both sides: a conflict that no user made.

use crate::backend::Look;
use crate::entry::{Entry, Hash, Kind};
use crate::error::{Fault, Result};
use crate::job::Pair;
use crate::state::{BaseRow, Batch, Becoming, Intent};

/// A storage whose modification times are at least so fine tells one version from another by them, in nanoseconds.
const FINE: u64 = 1_000;

/// Lets the base take what had been done, and forgets all intents.
pub(crate) async fn recover(pair: &Pair) -> Result<()> {
    let intents = pair.state.intents()?;
    if intents.is_empty() {
        return Ok(());
    }
    let mut batch = Batch { all_done: true, ..Batch::default() };
    for intent in intents {
        let look = match pair.side(intent.on).backend.stat(&intent.path).await {
            Ok(look) => look,
            Err(error) if error.fault.passes() || error.fault == Fault::Stopped => return Err(error),
            // What can never be looked at was never done, and the round lists it.
            Err(_) => continue,
        };
        match (&intent.becomes, look) {
            (Becoming::Gone, Look::Absent) => batch.base.push((intent.path, None)),
            (Becoming::File { .. }, Look::Entry(entry)) if !entry.is_dir() => {
                if let Some(hash) = made(pair, &intent, &entry).await {
                    batch.base.push((intent.path.clone(), Some(base(&intent, &entry, hash))));
                }
            }
            _ => {}
        }
    }
    let made = batch.base.len();
    tracing::info!(
        job = pair.job_id,
        "a round had not come to its end: {made} of its changes were made and not recorded"
    );
    pair.state.commit(batch)
}

/// The sha256 of what a side holds, if it is what was to be put there.
async fn made(pair: &Pair, intent: &Intent, entry: &Entry) -> Option<Hash> {
    let Becoming::File { size, mtime, hash } = &intent.becomes else { return None };
    let backend = &pair.side(intent.on).backend;
    let fine = backend.facts().mtime && backend.facts().mtime_resolution_ns <= FINE;
    let may_be = entry.size == *size && (hash.is_some() || fine && mtime.is_some() && entry.meta.mtime == *mtime);
    if !may_be {
        return None;
    }
    let found = backend.hash(&intent.path, &entry.token).await.ok()?;
    hash.is_none_or(|hash| hash == found).then_some(found)
}

/// What both sides held: the other one when it was planned, this one now. Neither token vouches for the other side.
fn base(intent: &Intent, entry: &Entry, hash: Hash) -> BaseRow {
    let mut tokens = [None, None];
    tokens[intent.on as usize] = (!entry.token.is_racy()).then(|| entry.token.clone());
    BaseRow {
        path: intent.path.clone(),
        kind: Kind::File,
        hash: Some(hash),
        size: entry.size,
        meta: entry.meta,
        tokens,
    }
}
