//! When not to delete. Pure.

use crate::job::Which;

/// Below this many known files a share says nothing: whoever has ten files may delete nine.
pub const FEW_FILES: u64 = 20;

/// From so many files on it is no coincidence that all of them vanished at once.
const ALL_AT_ONCE: u64 = 2;

/// What one batch is about to do, and what is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// Files about to be deleted on each side. Moves do not count.
    pub deletes: [u64; 2],
    /// Known files that vanished from each side without being deleted on the other.
    pub lost: [u64; 2],
    /// Files deleted on each side a short while ago.
    pub recent: [u64; 2],
    /// Files both sides are known to agree on now.
    pub known: u64,
    /// Whether each root is another one than before.
    pub replaced: [bool; 2],
    /// Known files in a conflict, open or new: nobody says of them that they vanished.
    pub conflicts: u64,
    /// Whether nothing tells each root from another that took its place.
    pub nameless: [bool; 2],
    /// The share of the known files, in percent, that may be deleted.
    pub max_delete: u8,
    /// Whether the user allowed more than that.
    pub allowed: bool,
}

/// Why the batch must not run; none if it may.
pub fn check(batch: &Batch, names: [&str; 2]) -> Option<String> {
    Which::BOTH.into_iter().find_map(|on| check_side(batch, names, on))
}

fn check_side(batch: &Batch, names: [&str; 2], on: Which) -> Option<String> {
    let (here, there) = (on as usize, on.other() as usize);
    let (deletes, lost) = (batch.deletes[here], batch.lost[here]);
    if batch.allowed {
        return None;
    }
    // What would be written there would be taken for kept, and for deleted once the old root is back.
    if batch.replaced[here] && lost > 0 {
        return Some(format!(
            "the root of {} was replaced by another directory, which lacks {lost} files that are known; nothing was changed. \
             Bring the old root back, or run once with --allow-deletes",
            names[here]
        ));
    }
    if deletes == 0 {
        return None;
    }
    if batch.replaced[there] {
        return Some(format!(
            "the root of {} was replaced by another directory, and following it would delete {deletes} files on {}; \
             nothing was deleted. Bring the old root back, or run once with --allow-deletes",
            names[there], names[here]
        ));
    }
    // An emptied bucket, or another collection at the same address, looks like this and not otherwise.
    if batch.nameless[there]
        && deletes >= batch.known.saturating_sub(batch.conflicts).max(ALL_AT_ONCE)
        && batch.max_delete < 100
    {
        return Some(format!(
            "all {deletes} files vanished from {} at once: it may have been emptied, or another place took its address, which \
             cannot be told there; nothing was deleted on {}. Bring them back, or run once with --allow-deletes",
            names[there], names[here]
        ));
    }
    let (sum, known) = (deletes + batch.recent[here], batch.known + batch.recent[here]);
    let too_many = known >= FEW_FILES && sum * 100 > known * u64::from(batch.max_delete);
    too_many.then(|| {
        format!(
            "{sum} of {known} files vanished from {}, which is more than {} percent (max-delete); {} on {}. \
             Bring them back, or run once with --allow-deletes",
            names[there],
            batch.max_delete,
            kept(batch.recent[here], deletes),
            names[here]
        )
    })
}

/// What becomes of the files on the other side: the first of a slow mass deletion were followed before it was one.
fn kept(followed: u64, stopped: u64) -> String {
    match followed {
        0 => "nothing was deleted".to_string(),
        followed => format!("the first {followed} were deleted, the other {stopped} were not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(batch: Batch) -> bool {
        check(&batch, ["one", "two"]).is_some()
    }

    fn deletes(deletes: [u64; 2], known: u64) -> Batch {
        Batch { deletes, known, max_delete: 50, ..Batch::default() }
    }

    #[test]
    fn a_share_above_the_limit_stops_and_one_at_it_does_not() {
        assert!(!stops(deletes([10, 0], 20)));
        assert!(stops(deletes([11, 0], 20)) && stops(deletes([0, 11], 20)));
        assert!(!stops(deletes([0, 19], 19)));
        let strict = |batch| Batch { max_delete: 0, ..batch };
        assert!(stops(strict(deletes([1, 0], 1000))) && !stops(strict(deletes([0, 0], 1000))));
        assert!(!stops(Batch { max_delete: 100, ..deletes([0, 1000], 1000) }));
    }

    #[test]
    fn a_replaced_root_that_lacks_files_stops_though_nothing_is_deleted() {
        let replaced = Batch { replaced: [false, true], ..deletes([0, 0], 100) };
        assert!(!stops(replaced));
        assert!(stops(Batch { lost: [0, 1], ..replaced }));
        assert!(!stops(Batch { lost: [1, 0], ..replaced }));
        assert!(!stops(Batch { lost: [0, 1], allowed: true, ..replaced }));
    }

    #[test]
    fn a_slow_mass_deletion_is_one_all_the_same() {
        assert!(stops(Batch { recent: [0, 48], ..deletes([0, 5], 52) }));
        let stopped = |recent| check(&Batch { recent, ..deletes([0, 53], 52) }, ["one", "two"]).unwrap();
        assert!(stopped([0, 48]).contains("the first 48 were deleted, the other 53 were not on two"));
        assert!(stopped([0, 0]).contains("nothing was deleted on two"));
    }

    #[test]
    fn a_replaced_root_stops_what_it_would_delete_on_the_other_side() {
        let batch = Batch { replaced: [true, false], ..deletes([0, 1], 3) };
        assert!(stops(batch));
        assert!(!stops(Batch { replaced: [false, true], ..batch }));
        assert!(!stops(Batch { deletes: [0, 0], ..batch }));
    }

    #[test]
    fn a_root_that_nothing_names_is_not_emptied_by_a_deletion_of_everything() {
        let batch = Batch { nameless: [true, false], ..deletes([0, 5], 5) };
        assert!(stops(batch));
        assert!(!stops(Batch { nameless: [false, true], ..batch }), "the other one is known to be the same");
        assert!(!stops(Batch { deletes: [0, 4], ..batch }), "something is left");
        assert!(stops(Batch { deletes: [0, 4], conflicts: 1, ..batch }), "the fifth was edited meanwhile");
        assert!(!stops(Batch { max_delete: 100, ..batch }) && !stops(Batch { allowed: true, ..batch }));
        assert!(!stops(Batch { nameless: [true, true], ..deletes([0, 1], 1) }), "one file says nothing");
    }

    #[test]
    fn the_user_may_allow_it() {
        assert!(!stops(Batch { allowed: true, replaced: [true, true], ..deletes([0, 100], 100) }));
    }
}
