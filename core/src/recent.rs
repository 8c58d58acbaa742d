//! What was deleted a short while ago.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Deletions count together for so long: a slow mass deletion is one all the same.
const RECENT: Duration = Duration::from_mins(1);

/// Files deleted on each side a short while ago.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<(Instant, [u64; 2])>);

impl Recent {
    /// Takes note of deletions.
    pub fn add(&mut self, deleted: [u64; 2], now: Instant) {
        if deleted != [0; 2] {
            self.0.push_back((now, deleted));
        }
    }

    /// How many they are.
    pub fn sum(&mut self, now: Instant) -> [u64; 2] {
        self.0.retain(|(at, _)| now.duration_since(*at) < RECENT);
        self.0.iter().fold([0; 2], |[one, two], (_, [here, there])| [one + here, two + there])
    }

    /// More is held back, and waits for the user: what was deleted before does not become long ago meanwhile.
    pub fn hold(&mut self, now: Instant) {
        self.0.iter_mut().for_each(|(at, _)| *at = now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_soon_long_ago_but_not_while_more_is_held_back() {
        let (mut recent, begun) = (Recent::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        recent.add([40, 0], at(0));
        assert_eq!(recent.sum(at(59)), [40, 0]);
        recent.hold(at(59));
        recent.add([0, 1], at(60));
        assert_eq!([recent.sum(at(118)), recent.sum(at(119)), recent.sum(at(120))], [[40, 1], [0, 1], [0, 0]]);
    }
}
