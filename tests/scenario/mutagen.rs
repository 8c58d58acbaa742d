//! Mutagen's `reconcile_test`: (ancestor, alpha, beta) and what two-way-safe makes of them.
//!
//! Mutagen's F1 and F2 are `p=1` and `p=2`, D0 is `p/`, D1 and D2 are `p/f=1` and `p/f=2`; U, what cannot be synced, is
//! `p?`; P, what cannot be read, is `p=9!`. Every row is played both ways round, so mirrored ones are not written down.
//!
//! Its other cases: | case | why not here |
//! | --- | --- |
//! | modes two-way-resolved, one-way-replica | no side of ours ever wins by being that side |
//! | mode one-way-safe | `unidirectional`, in [`unidirectional_is_one_way_safe`] |
//! | symbolic links, relative and absolute | links are left alone and listed: they are `p?` |
//! | `transition_test`, `scan_test` | the conformance suite (guards, wrong hash, specials, names, own files) |
//! | crossing a file system boundary | allowed: a mounted directory is a directory |
//! | disallowed casing of a parent | the local backend opens names as they are spelled |

use wl_core::job::Options;
use wl_core::report::ConflictKind;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{End, Row, are, check, conflicts, ends_with, now, on_both, row};
use End::{Apart, Both, Untouched};

const UNKNOWN: &str = "what cannot be synced is unknown: nothing is done where it is, and it is listed as a problem";

#[tokio::test]
async fn both_agree() {
    let same = |base, both| row(base, both, both, Both(both));
    check(&[
        same("", ""),
        same("p=1", "p=1"),
        same("p/", "p/"),
        same("p/f=1", "p/f=1"),
        same("", "p=1"),
        same("", "p/"),
        same("", "p/f=1"),
        same("p/", "p/f=1"),
        same("p=1", ""),
        same("p/f=1", "p/"),
        same("p/", ""),
        same("p/f=1", ""),
    ])
    .await;
}

#[tokio::test]
async fn one_side_changed() {
    check(&[
        row("", "p=1", "", Both("p=1")),
        row("", "p/", "", Both("p/")),
        row("", "p/f=1", "", Both("p/f=1")),
        row("p/", "p/f=1", "p/", Both("p/f=1")),
        row("p=1", "p=2", "p=1", Both("p=2")),
        row("p=1", "p/f=1", "p=1", Both("p/f=1")),
        row("p=1", "p/", "p=1", Both("p/")),
        row("p=1", "", "p=1", Both("")),
        row("p/f=1", "", "p/f=1", Both("")),
        row("p/f=1", "p/", "p/f=1", Both("p/")),
        row("p/f=1", "p=2", "p/f=1", Both("p=2")),
        row("p/f=1", "p=1", "p/f=1", Both("p=1")),
        row("p/", "p=1", "p/", Both("p=1")),
    ])
    .await;
}

#[tokio::test]
async fn both_changed() {
    check(&[
        row("", "p=1", "p=2", Untouched).conflicts(&["p"]),
        row("", "p=1", "p/f=1", Untouched).conflicts(&["p"]),
        row("", "p=1", "p/", Untouched).conflicts(&["p"]),
        row("", "p/f=1", "p/", Both("p/f=1")),
        row("", "p/f=1", "p/f=2", Untouched).conflicts(&["p/f"]),
        row("p=1", "p=2", "", Untouched)
            .conflicts(&["p"])
            .because("a deleted and a modified version are a conflict: the user deleted one on purpose"),
        row("p/f=1", "", "p/", Both("")),
        row("p=0", "p=1", "p=2", Untouched).conflicts(&["p"]),
        row("p=0", "p/", "p=2", Untouched).conflicts(&["p"]),
        row("p=0", "p/f=1", "", Both("p/f=1")),
        row("p/f=0", "p=1", "", Both("p=1")),
        row("p/f=0", "p/f=1", "", Apart("p/f=1", "")).conflicts(&["p/f"]).because("edit against delete"),
        row("p/f=0", "p/g=1", "", Both("p/g=1")),
        row("p/f=0", "p=1", "p/f=2", Untouched).conflicts(&["p"]),
        row("p/f=0", "p=1", "p/f=0 p/g=2", Untouched).conflicts(&["p"]),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_synced() {
    check(&[
        row("", "p?", "", Untouched),
        row("", "p?", "p?", Untouched),
        row("p=1", "", "p?", Untouched),
        row("p=1", "p?", "p?", Untouched),
        row("p/f=1", "p?", "p?", Untouched),
        row("", "p?", "p=1", Untouched).because(UNKNOWN),
        row("", "p=1", "p/f?", Untouched).conflicts(&["p"]),
        row("p/", "p/f?", "p/", Untouched),
        row("", "p/f?", "", Apart("p/f?", "p/")),
        row("p=1", "p=1", "p?", Untouched).because(UNKNOWN),
        row("p=1", "p=1", "p/f?", Apart("p/", "p/f?")),
        row("p/f=1", "", "p/f?", Untouched).because(UNKNOWN),
        row("p/f=1", "p?", "p/", Untouched).because(UNKNOWN),
        row("p/f=1", "p/f?", "p=2", Untouched).because(UNKNOWN),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_read() {
    check(&[
        row("p=1", "p=9!", "p=1", Untouched),
        row("p=1", "p=9!", "", Untouched),
        row("p=1", "p=9!", "p=8!", Untouched),
        row("p/f=1", "p=9!", "p=8!", Untouched),
        row("p/", "p/f=9!", "p/", Untouched),
        row("", "p/f=9!", "", Apart("p/f=9", "p/")),
        row("p/f=1", "p/f=9!", "p=2", Untouched).because(UNKNOWN),
        // A directory that cannot be listed.
        row("p/f=1", "p/f=1 p/!", "p/f=1", Untouched),
        row("p/f=1", "p/f=1 p/!", "p/f=2", Untouched),
        row("p/f=1", "p/f=1 p/!", "p/", Untouched),
        row("p/f=1", "p/f=1 p/!", "", Untouched),
        row("p/f=1", "p/g=2 p/!", "p=2", Untouched).because(UNKNOWN),
        row("", "p/f=1 p/!", "", Apart("p/f=1", "p/")),
        row("p/f=1 q=1", "p/f=1 p/! q=2", "p/f=1 q=1", Both("p/f=1 q=2")),
    ])
    .await;
}

/// What is left on the target is not carried over, and does not become equal by that.
#[tokio::test]
async fn a_conflict_of_a_unidirectional_job_outlasts_the_sources_version() {
    let mut world = World::new();
    on_both(&world, "p=1").await;
    world.options = Options { unidirectional: true, ..Options::default() };
    now(&world, ["p=2", "p=3"]);
    world.settle().await;
    now(&world, ["", "p=3"]);
    for _ in 0..3 {
        world.settle().await;
        are(&world, ["", "p=3"]);
        assert_eq!(conflicts(&world), [("p".to_owned(), ConflictKind::DeletedModified)]);
    }
    now(&world, ["", ""]);
    ends_with(&world, "").await;
}

#[tokio::test]
async fn unidirectional_is_one_way_safe() {
    let table: &[(Row, &[&str])] = &[
        (row("", "p=1", "", Both("p=1")), &[]),
        (row("", "", "p=1", Untouched), &[]),
        (row("p=1", "p=2", "p=1", Both("p=2")), &[]),
        (row("p=1", "p=1", "p=2", Untouched), &[]),
        (row("p=1", "p=1", "", Untouched), &[]),
        (row("p=1", "", "p=1", Both("")), &[]),
        (row("p=1", "", "p=2", Untouched), &["p"]),
        (row("p=1", "p=2", "p=3", Untouched), &["p"]),
        (row("p=1", "p=2", "", Untouched), &["p"]),
        (row("", "p/f=1", "p/g=2", Apart("p/f=1", "p/f=1 p/g=2")), &[]),
        (row("p/f=1", "", "p/f=1 p/g=2", Apart("", "p/g=2")), &[]),
        (row("p/f=1", "p=1", "p/f=1 p/g=2", Untouched), &["p"]),
        (row("p/f=1", "p/f=1", "p=2", Untouched), &[]),
        (row("p/ q=1", "p/f=1 q=1", "p=2 q=1", Untouched), &["p"]),
        (row("p/d/f=1", "p/d/f=2", "p=2", Untouched), &["p"]),
        (row("p/ q=1", "p/q=1", "p=2 q=1", Apart("p/q=1", "p=2")), &["p"]),
    ];
    for (row, open) in table {
        let mut world = World::new();
        on_both(&world, row.base).await;
        world.options = Options { unidirectional: true, ..Options::default() };
        Tree::parse(row.source).put_on(&world.sides[0]);
        Tree::parse(row.target).put_on(&world.sides[1]);
        world.settle().await;
        let ends = match row.end {
            Both(both) => [both, both],
            Apart(source, target) => [source, target],
            Untouched => [row.source, row.target],
        };
        are(&world, ends);
        let paths: Vec<_> = conflicts(&world).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, *open, "{world:?}");
    }
}
