//! After a round that did not come to its end, by a crash or because the job was stopped, or in which an answer was lost:
//! what was about to be done is looked at, and the base takes what had been done.
//!
//! Without it a change that was made just before and not yet taken into the base would, once the user edits the same path,
//! look like an edit on both sides: a conflict that no user made. And if the user puts the path back to what the base knows,
//! it would look like a change of the other side alone, and undo what the user just did.

use futures::StreamExt as _;

use crate::backend::Look;
use crate::entry::{Entry, Hash, Kind};
use crate::error::{Error, Fault, Result};
use crate::job::Pair;
use crate::report::ProblemKind;
use crate::state::{BaseRow, Batch, Becoming, Intent};

/// A storage whose modification times are at least so fine tells one version from another by them, in nanoseconds.
const FINE: u64 = 1_000;
/// After so many looks the base takes what was found, so that no look is for nothing if a later one fails.
const BATCH: usize = 1024;

/// What came of an intent.
enum Found {
    /// It was done: the base takes this.
    Made(Option<BaseRow>),
    /// It was not.
    NotMade,
    /// It cannot be told now.
    Doubtful,
}

/// Lets the base take what had been done, and forgets the intents that it could be told of; those that are still in doubt.
/// Fails if a storage went away.
pub(crate) async fn recover(pair: &Pair) -> Result<Vec<Intent>> {
    let intents = pair.state.intents()?;
    if intents.is_empty() {
        return Ok(Vec::new());
    }
    let look = |intent| async move { (look_at(pair, &intent).await, intent) };
    let mut looks = futures::stream::iter(intents).map(look).buffer_unordered(pair.in_flight());
    let (mut batch, mut made, mut doubtful) = (Batch::default(), 0, Vec::new());
    let ended = loop {
        let Some((found, intent)) = looks.next().await else { break Ok(()) };
        match found {
            Ok(Found::Made(row)) => {
                made += 1;
                batch.base.push((intent.path, row));
            }
            Ok(Found::NotMade) => batch.not_done.push(intent.path),
            Ok(Found::Doubtful) => doubtful.push(intent),
            Err(error) => break Err(error),
        }
        if batch.base.len() + batch.not_done.len() >= BATCH {
            pair.state.commit(std::mem::take(&mut batch))?;
        }
    };
    if made > 0 {
        tracing::info!(
            job = pair.job_id,
            "{made} changes were made and not recorded: what an earlier round did not hear of"
        );
    }
    pair.state.commit(batch)?;
    ended.map(|()| doubtful)
}

async fn look_at(pair: &Pair, intent: &Intent) -> Result<Found> {
    let look = match pair.side(intent.on).backend.stat(&intent.path).await {
        Ok(look) => look,
        Err(error) => return unknown(error),
    };
    match (&intent.becomes, look) {
        (Becoming::Gone, Look::Absent) => Ok(Found::Made(None)),
        (Becoming::File { .. }, Look::Entry(entry)) if !entry.is_dir() => match made(pair, intent, &entry).await {
            Ok(Some(hash)) => Ok(Found::Made(Some(base(intent, &entry, hash)))),
            Ok(None) => Ok(Found::NotMade),
            Err(error) => unknown(error),
        },
        // What is no file and no directory is somebody else's.
        (_, Look::Blocked(obstacle)) if obstacle.kind != ProblemKind::Skipped => Ok(Found::Doubtful),
        _ => Ok(Found::NotMade),
    }
}

fn unknown(error: Error) -> Result<Found> {
    match error.fault {
        Fault::Offline | Fault::Stopped => Err(error),
        // This one path cannot be looked at now, by the round neither.
        fault if fault.passes() => Ok(Found::Doubtful),
        // What can never be looked at was never done, and the round lists it; what changes is somebody else's.
        _ => Ok(Found::NotMade),
    }
}

/// The sha256 of what a side holds, if it is what was to be put there.
async fn made(pair: &Pair, intent: &Intent, entry: &Entry) -> Result<Option<Hash>> {
    let Becoming::File { size, mtime, hash } = &intent.becomes else { return Ok(None) };
    let backend = &pair.side(intent.on).backend;
    let fine = backend.facts().mtime && backend.facts().mtime_resolution_ns <= FINE;
    let may_be = entry.size == *size && (hash.is_some() || fine && mtime.is_some() && entry.meta.mtime == *mtime);
    if !may_be {
        return Ok(None);
    }
    let found = backend.hash(&intent.path, &entry.token).await?;
    Ok(hash.is_none_or(|hash| hash == found).then_some(found))
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
