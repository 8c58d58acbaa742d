//! Both sides listed side by side, whatever the base says.

use super::join::Join;
use super::rules;
use crate::entry::Entry;
use crate::error::Result;
use crate::filter::Filter;
use crate::job::Pair;
use crate::path::{IGNORE_FILE, RelPath};
use crate::report::Problem;

/// What both sides hold under one path.
#[derive(Debug)]
pub struct Found {
    /// The path.
    pub path: RelPath,
    /// The entry on each side.
    pub entries: [Option<Entry>; 2],
    /// Whether a side is unknown there.
    pub unknown: [bool; 2],
}

/// All paths that either side holds and that are not excluded, in path order.
pub struct Walk {
    join: Join,
    filter: Filter,
}

impl Walk {
    /// Begins a walk; all exclude rules are read first.
    pub async fn begin(pair: &Pair) -> Result<Self> {
        let mut filter = Filter::new(&pair.options.exclude)?;
        let mut join = Join::bare(pair, filter.prune().as_ref());
        while let Some(raw) = join.next(&filter).await? {
            if raw.path.name() == IGNORE_FILE {
                rules::learn(pair, &mut filter, &raw).await;
            }
        }
        Ok(Self { join: Join::bare(pair, filter.prune().as_ref()), filter })
    }

    /// The next path.
    pub async fn next(&mut self) -> Result<Option<Found>> {
        let raw = self.join.next(&self.filter).await?;
        Ok(raw.map(|raw| Found { path: raw.path, entries: raw.entries, unknown: raw.unknown }))
    }

    /// What could not be listed.
    pub fn problems(&mut self) -> Vec<Problem> {
        self.join.problems(&self.filter)
    }
}
