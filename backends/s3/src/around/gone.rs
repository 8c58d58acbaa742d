//! Keys that wl deleted a moment ago, or is about to delete: a page that was listed before still has them.

use std::collections::{BTreeMap, VecDeque};

use wl_core::moment::Moment;

use super::FRESH;

/// Deleted keys, for as long as a page is good.
#[derive(Default)]
pub(super) struct Gone {
    since: BTreeMap<String, Moment>,
    /// As they were noted, the oldest first: some of them again later.
    noted: VecDeque<(Moment, String)>,
}

impl Gone {
    pub fn note(&mut self, key: &str) {
        let now = Moment::now();
        self.since.insert(key.to_owned(), now);
        self.noted.push_back((now, key.to_owned()));
    }

    pub fn holds(&self, key: &str) -> bool {
        self.since.contains_key(key)
    }

    /// It is there again.
    pub fn forget(&mut self, key: &str) {
        self.since.remove(key);
    }

    pub fn forget_old(&mut self) {
        while let Some((_, key)) = self.noted.pop_front_if(|(at, _)| !at.is_within(FRESH)) {
            if self.since.get(&key).is_some_and(|since| !since.is_within(FRESH)) {
                self.since.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_forgotten_when_pages_are_old() {
        let mut gone = Gone::default();
        gone.note("a");
        gone.note("b");
        gone.forget_old();
        assert!(gone.holds("a") && gone.holds("b"));
        for (at, _) in &mut gone.noted {
            *at = at.slept(FRESH);
        }
        gone.since.insert("a".to_owned(), Moment::now().slept(FRESH));
        gone.forget_old();
        assert!(!gone.holds("a") && gone.holds("b"), "b was deleted again later");
        gone.forget("b");
        assert!(!gone.holds("b") && gone.noted.is_empty());
    }
}
