//! What was deleted a short while ago and has not come back.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::{Duration, Instant};

use crate::job::Which;
use crate::path::RelPath;

/// Deletions count together for so long: a slow mass deletion is one all the same.
const RECENT: Duration = Duration::from_mins(1);
/// So many files made at once may be temporary ones. More are a work of somebody's: they count from the beginning.
const TEMPORARY: usize = 20;

/// What happened to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    name: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Deleted(Which),
    Made,
    Moved,
}

impl Change {
    /// A file was deleted on a side.
    pub fn deleted(path: &RelPath, on: Which) -> Self {
        Self { name: name(path), what: What::Deleted(on) }
    }

    /// A file was copied to where none was.
    pub fn made(path: &RelPath) -> Self {
        Self { name: name(path), what: What::Made }
    }

    /// A file was moved there.
    pub fn moved(to: &RelPath) -> Self {
        Self { name: name(to), what: What::Moved }
    }
}

/// Files are told apart by this: a mass deletion may be of millions.
fn name(path: &RelPath) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(path)
}

/// Files that were known a short while ago, and were deleted since. What is made and deleted again and again, as many
/// programs do with their temporary files, is none of them.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    deleted: [HashMap<u64, Instant>; 2],
    made: HashMap<u64, Instant>,
    order: VecDeque<(u64, Instant)>,
}

impl Recent {
    /// Takes note of what happened, in its order.
    pub fn add(&mut self, changes: &[Change], now: Instant) {
        self.forget(now);
        let may_be_temporary = changes.iter().filter(|change| change.what == What::Made).count() <= TEMPORARY;
        for &Change { name, what } in changes {
            match what {
                What::Deleted(on) => {
                    if self.made.remove(&name).is_none() {
                        self.deleted[on as usize].insert(name, now);
                    }
                }
                What::Made => {
                    if !self.comes_back(name) && may_be_temporary {
                        self.made.insert(name, now);
                        self.order.push_back((name, now));
                    }
                }
                What::Moved => {
                    self.comes_back(name);
                }
            }
        }
    }

    /// How many were deleted on each side.
    pub fn sum(&mut self, now: Instant) -> [u64; 2] {
        self.forget(now);
        self.deleted.each_ref().map(|deleted| deleted.len() as u64)
    }

    /// More is held back, and waits for the user: what was deleted before does not become long ago meanwhile.
    pub fn hold(&mut self, now: Instant) {
        self.deleted.iter_mut().flat_map(HashMap::values_mut).for_each(|at| *at = now);
    }

    fn comes_back(&mut self, name: u64) -> bool {
        let [here, there] = self.deleted.each_mut().map(|deleted| deleted.remove(&name).is_some());
        here || there
    }

    fn forget(&mut self, now: Instant) {
        let is_recent = |at: Instant| now.duration_since(at) < RECENT;
        self.deleted.iter_mut().for_each(|deleted| deleted.retain(|_, at| is_recent(*at)));
        while let Some(&(name, at)) = self.order.front().filter(|(_, at)| !is_recent(*at)) {
            self.order.pop_front();
            // It may have been made again since.
            if self.made.get(&name) == Some(&at) {
                self.made.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: u32) -> RelPath {
        RelPath::parse(&format!("f{number}")).unwrap()
    }

    fn deleted(numbers: std::ops::Range<u32>, on: Which) -> Vec<Change> {
        numbers.map(|number| Change::deleted(&path(number), on)).collect()
    }

    #[test]
    fn what_was_deleted_is_soon_long_ago_but_not_while_more_is_held_back() {
        let (mut recent, begun) = (Recent::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        recent.add(&deleted(0..40, Which::Source), at(0));
        assert_eq!(recent.sum(at(59)), [40, 0]);
        recent.hold(at(59));
        recent.add(&deleted(40..41, Which::Target), at(60));
        assert_eq!([recent.sum(at(118)), recent.sum(at(119)), recent.sum(at(120))], [[40, 1], [0, 1], [0, 0]]);
    }

    #[test]
    fn what_came_back_was_not_lost() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.add(&deleted(0..3, Which::Source), now);
        recent.add(&[Change::made(&path(0)), Change::moved(&path(1))], now);
        assert_eq!(recent.sum(now), [1, 0]);
        // It is as old as it was.
        recent.add(&deleted(0..1, Which::Target), now);
        assert_eq!(recent.sum(now), [1, 1]);
    }

    #[test]
    fn what_was_new_is_no_loss() {
        let (mut recent, begun) = (Recent::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for second in 0..50_u32 {
            recent.add(
                &[Change::made(&path(second % 2)), Change::deleted(&path(second % 2), Which::Target)],
                at(second.into()),
            );
        }
        assert_eq!(recent.sum(at(50)), [0, 0]);
        recent.add(&[Change::made(&path(7))], at(50));
        recent.add(&deleted(7..8, Which::Target), at(111));
        assert_eq!(recent.sum(at(111)), [0, 1], "it was there for more than a minute");
        let many: Vec<_> = (100..130).map(|number| Change::made(&path(number))).collect();
        recent.add(&many, at(112));
        recent.add(&deleted(100..130, Which::Target), at(113));
        assert_eq!(recent.sum(at(113)), [0, 31], "a copy of many is none of temporary files");
    }
}
