//! What a listing leaves out may be there all the same: a storage can hold a name and never list it. Before anything is
//! taken for deleted, it is looked at.

use futures::{StreamExt as _, TryStreamExt as _};

use super::folding::is_listed_otherwise;
use super::{Raw, Survey};
use crate::backend::Look;
use crate::error::{Fault, Result};
use crate::job::{Pair, Which};
use crate::path::RelPath;
use crate::report::ProblemKind;

/// One path that a side seems to have lost.
struct Loss {
    index: usize,
    which: Which,
    path: RelPath,
}

impl Survey<'_> {
    /// Looks at whatever one side seems to have lost and the other still has, and puts right what was only not listed.
    pub(super) async fn confirm_losses(&mut self, raws: &mut [Raw]) -> Result<()> {
        for which in Which::BOTH {
            let mut sure = vec![false; raws.len()];
            loop {
                let losses = topmost(raws, &sure, which);
                if losses.is_empty() {
                    break;
                }
                for (loss, look) in look_at(self.pair, losses).await? {
                    sure[loss.index] = true;
                    if let Ok(Look::Entry(entry)) = &look
                        && is_listed_otherwise(raws, which, &loss.path, entry)
                    {
                        // It was renamed to another spelling, or is listed in one.
                        continue;
                    }
                    self.put_right(&mut raws[loss.index], &loss, look);
                }
            }
        }
        Ok(())
    }

    fn put_right(&mut self, raw: &mut Raw, loss: &Loss, look: Result<Look>) {
        let (kind, message) = match look {
            Ok(Look::Absent) => return,
            Ok(Look::Entry(entry)) => {
                raw.entries[loss.which as usize] = Some(entry);
                // It may as well have come back just now.
                if !raw.unchanged(loss.which) {
                    return;
                }
                (ProblemKind::Name, "the storage holds it and does not list it: rename it".to_owned())
            }
            Ok(Look::Blocked(obstacle)) => (obstacle.kind, obstacle.message),
            Err(error) => (ProblemKind::Unreadable, error.message),
        };
        raw.unknown[loss.which as usize] = raw.entries[loss.which as usize].is_none();
        self.problem(loss.which, &loss.path, kind, message);
    }
}

/// The losses that were not looked at, without those below what is lost itself or is a file now.
fn topmost(raws: &[Raw], sure: &[bool], which: Which) -> Vec<Loss> {
    let mut losses: Vec<Loss> = Vec::new();
    let mut bare: Option<&RelPath> = None;
    for (index, raw) in raws.iter().enumerate() {
        if bare.is_some_and(|top| raw.path.is_below(top)) {
            continue;
        }
        let lost = is_loss(raw, which);
        if lost || raw.entries[which as usize].as_ref().is_some_and(|entry| !entry.is_dir()) {
            bare = Some(&raw.path);
        }
        if lost && !sure[index] {
            losses.push(Loss { index, which, path: raw.path.clone() });
        }
    }
    losses
}

fn is_loss(raw: &Raw, which: Which) -> bool {
    let (here, there) = (which as usize, which.other() as usize);
    raw.base.is_some() && raw.entries[here].is_none() && !raw.unknown[here] && raw.entries[there].is_some()
}

/// Looks at all of them, unless something keeps it from being told: then the others are not tried.
async fn look_at(pair: &Pair, losses: Vec<Loss>) -> Result<Vec<(Loss, Result<Look>)>> {
    let look = |loss: Loss| async move {
        match pair.side(loss.which).backend.stat(&loss.path).await {
            Err(error) if error.fault.passes() || error.fault == Fault::Stopped => Err(error),
            look => Ok((loss, look)),
        }
    };
    futures::stream::iter(losses).map(look).buffer_unordered(pair.in_flight()).try_collect().await
}
