//! Unison's self-test, and the invariants that its manual states.
//!
//! | scenario | why not here |
//! | --- | --- |
//! | atomicity of `.git` | no directory is a unit: every path is decided by itself |
//! | backups: prefix, suffix, location, maximum | the trash keeps for a time, in one place: `bisync::backupdir` |
//! | links 1, 2 | links are left alone and listed: `mutagen::what_cannot_be_synced`, and the conformance suite |
//! | moves/renames 6, two renames to one target | a path holds one file: the second rename has replaced the first |
//! | RPC: transfer append, update props, replaceArchive, merge | there is no peer process |
//! | self-protection: roots named `test` | these tests touch no disk |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wl_core::backend::Facts;
use wl_core::entry::{Hash, Meta};
use wl_core::error::Fault;
use wl_core::job::{Options, Which};
use wl_test_kit::memory::{Fate, Memory, Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{End, are, both_are, check, conflicts, ends_with, now, on_both, once, row};
use End::{Apart, Both, Untouched};
use Which::{Source, Target};

#[tokio::test]
async fn propagation() {
    // With fewer, as many and more transfers at once than there are updates.
    for transfers in [1, 2, 5, 6, 7] {
        let mut world = World::new();
        world.options = Options { transfers: Some(transfers), ..Options::default() };
        now(&world, ["a=1 b/c=2 d/e/f=3", "x=4 b/y=5 d/e/z=6"]);
        ends_with(&world, "a=1 b/c=2 d/e/f=3 x=4 b/y=5 d/e/z=6").await;
    }
}

#[tokio::test]
async fn backups() {
    // The old version is kept on the storage that lost it, wherever the change came from; a directory's files, too.
    for from in Which::BOTH {
        let world = World::new();
        on_both(&world, "a=1 d/x=1 d/y=1").await;
        Tree::parse("a=2 d=1").put_on(world.side(from));
        ends_with(&world, "a=2 d=1").await;
        let kept: BTreeSet<_> =
            world.side(from.other()).trash().into_keys().map(|path| path.name().to_owned()).collect();
        assert!(["a", "x", "y"].into_iter().all(|name| kept.contains(name)), "{kept:?}");
        assert!(world.side(from).trash().is_empty());
    }
}

#[tokio::test]
async fn fastercheck() {
    let world = World::new();
    now(&world, ["a=1", "a=2"]);
    world.settle().await;
    are(&world, ["a=1", "a=2"]);
    assert_eq!(conflicts(&world).len(), 1, "both created: left alone");
    now(&world, ["a=2", "a=2"]);
    ends_with(&world, "a=2").await;
    // An edit of the same size.
    now(&world, ["a=3", "a=2"]);
    ends_with(&world, "a=3").await;
    now(&world, ["a=3 b=1", "a=3"]);
    ends_with(&world, "a=3 b=1").await;
}

#[tokio::test]
async fn moves() {
    check(&[
        // 1: a file, a directory, into a directory, four at once, and what is none.
        row("a=1", "b=1", "a=1", Both("b=1")),
        row("d/a=1 d/b=2", "e/a=1 e/b=2", "d/a=1 d/b=2", Both("e/a=1 e/b=2")),
        row("a=1 d/", "d/a=1", "a=1 d/", Both("d/a=1")),
        row("d/a=1 e/", "e/d/a=1", "d/a=1 e/", Both("e/d/a=1")),
        row("a=1 b=2 c=3 d=4", "e=1 f=2 g=3 h=4", "a=1 b=2 c=3 d=4", Both("e=1 f=2 g=3 h=4")),
        row("a=1", "a=2 b=1", "a=1", Both("a=2 b=1")),
        // 3: over something else.
        row("a=1 b=2", "b=1", "a=1 b=2", Both("b=1")),
        row("a=1 d/x=2", "d=1", "a=1 d/x=2", Both("d=1")),
        row("a=1 d/x=2", "a/x=2", "a=1 d/x=2", Both("a/x=2")),
        // 5: against a deletion, an edit, and what was made under the new name.
        row("a=1", "b=1", "", Both("b=1")),
        row("a=1", "b=1", "a=2", Apart("b=1", "a=2 b=1")).conflicts(&["a"]),
        row("a=1", "b=1", "a=1 b=2", Apart("b=1", "b=2")).conflicts(&["b"]),
        row("a=1", "b=1", "a=1 b/x=2", Apart("b=1", "b/x=2")).conflicts(&["b"]),
        row("d/a=1", "e/a=1", "", Both("e/a=1")),
        row("d/a=1", "e/a=1", "d/a=1 e=2", Apart("e/a=1", "e=2")).conflicts(&["e"]),
    ])
    .await;
}

#[tokio::test]
async fn moves_back() {
    // 2 and 4: there and back again, seen at each step or only in the end.
    let world = World::new();
    on_both(&world, "a=1 d/x=2").await;
    for seen in [true, false] {
        for (from, to) in [("a", "b"), ("d", "e"), ("b", "a"), ("e", "d"), ("a", "d"), ("d", "a")] {
            world.side(Source).user_rename(&path(from), &path(to));
            if seen {
                world.settle().await;
                assert!(world.tree(Source).same(&world.tree(Target)), "{world:?}");
            }
        }
        ends_with(&world, "a=1").await;
        now(&world, ["a=1 d/x=2", "a=1 d/x=2"]);
        ends_with(&world, "a=1 d/x=2").await;
    }
}

/// A world with something of everything to do, and how it ends.
async fn busy() -> (World, &'static str) {
    let world = World::new();
    on_both(&world, "edited=old removed=old moved=kept d/gone=old d/sub/gone=old2 kind=old tree/x=old3 same=1").await;
    now(
        &world,
        [
            "edited=new renamed=kept kind/x=new2 tree=new3 same=1 made/deep/x=new4",
            "edited=old moved=kept removed=old d/gone=old d/sub/gone=old2 kind=old tree/x=old3 same=1 there=new5",
        ],
    );
    (world, "edited=new renamed=kept kind/x=new2 tree=new3 same=1 made/deep/x=new4 there=new5")
}

#[tokio::test]
async fn invariant_every_path_holds_its_original_or_its_correct_final_content() {
    let (world, end) = busy().await;
    let starts = Which::BOTH.map(|which| world.side(which).snapshot());
    let final_tree = Tree::parse(end);
    let sides = world.sides.clone();
    let wrong = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = wrong.clone();
    world.on_op(move |_, op| {
        for which in Which::BOTH {
            for (path, shown) in sides[which as usize].snapshot() {
                let original = starts[which as usize].get(&path) == Some(&shown);
                let finished = final_tree.iter().any(|(at, there)| *at == path && there == shown);
                if !original && !finished {
                    seen.lock().unwrap().push(format!("{which:?} {path}={shown} at {op:?}"));
                }
            }
        }
        Fate::GoesOn
    });
    ends_with(&world, end).await;
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

/// Ends the world at its `n`-th moment; false if it has fewer.
async fn cut_off(world: &World, n: u64) -> bool {
    let left = AtomicU64::new(n);
    world.on_op(move |_, _| if left.fetch_sub(1, Ordering::Relaxed) == 0 { Fate::Hangs } else { Fate::GoesOn });
    let cut = world.round().await.is_err_and(|error| error.fault == Fault::Stopped);
    world.undisturbed();
    cut
}

#[tokio::test]
async fn invariant_the_base_is_old_or_tells_only_of_what_was_synced() {
    for n in 0.. {
        let (world, _) = busy().await;
        let before = world.base();
        let cut = cut_off(&world, n).await;
        for row in world.base().into_iter().filter(|row| !before.contains(row)) {
            let held = |which: Which| world.side(which).user_read(&row.path).map(|bytes| Hash::of(&bytes));
            assert_eq!((held(Source), held(Target)), (row.hash, row.hash), "{} after {n} moments\n{world:?}", row.path);
        }
        if !cut {
            break;
        }
    }
}

#[tokio::test]
async fn invariant_it_may_be_interrupted_at_any_time() {
    for n in 0.. {
        let (world, end) = busy().await;
        let cut = cut_off(&world, n).await;
        assert_eq!(world.lost(), [], "after {n} moments\n{world:?}");
        ends_with(&world, end).await;
        if !cut {
            break;
        }
    }
}

#[tokio::test]
async fn interrupted_and_forgotten_it_loses_nothing() {
    for n in 0.. {
        let (mut world, _) = busy().await;
        let cut = cut_off(&world, n).await;
        world.forget();
        world.settle().await;
        assert_eq!(world.lost(), [], "after {n} moments\n{world:?}");
        // Without a base nothing is deleted: the union, and a conflict where contents differ.
        for held in ["new", "kept", "new2", "new4", "new5"] {
            let shown = |which: Which| world.side(which).snapshot().into_values().any(|shown| shown == held);
            assert!(shown(Source) || shown(Target), "{held} after {n} moments\n{world:?}");
        }
        if !cut {
            break;
        }
    }
}

#[tokio::test]
async fn invariant_changed_identically_is_silently_synced() {
    let world = World::new();
    on_both(&world, "a=1 d/b=1").await;
    now(&world, ["a=2 d/b=1 c=3", "a=2 d/b=1 c=3"]);
    let written = world.sides.iter().map(|side| side.count(What::Replace)).sum::<u64>();
    ends_with(&world, "a=2 d/b=1 c=3").await;
    assert_eq!(world.sides.iter().map(|side| side.count(What::Replace)).sum::<u64>(), written);
    now(&world, ["a=2", "a=2"]);
    ends_with(&world, "a=2").await;
    assert_eq!(world.base().len(), 1);
}

#[tokio::test]
async fn invariant_the_first_run_deletes_nothing() {
    check(&[row("", "a=1 b=1 d/x=1", "b=1 c=1 d/y=1", Both("a=1 b=1 c=1 d/x=1 d/y=1"))]).await;
}

#[tokio::test]
async fn invariant_what_differs_at_first_is_a_conflict() {
    check(&[
        row("", "a=1", "a=2", Untouched).conflicts(&["a"]),
        row("", "a=1 b=1", "a/x=2", Apart("a=1 b=1", "a/x=2 b=1")).conflicts(&["a"]),
    ])
    .await;
}

#[tokio::test]
async fn invariant_touching_is_no_update() {
    let world = World::new();
    on_both(&world, "a=1 b=1").await;
    world.side(Source).user_touch(&path("a"));
    now(&world, ["a=1 b=1", "a=2 b=1"]);
    ends_with(&world, "a=2 b=1").await;
    world.side(Source).user_touch(&path("b"));
    world.side(Target).user_delete(&path("b"));
    ends_with(&world, "a=2").await;
}

#[tokio::test]
async fn invariant_what_changes_during_the_sync_is_not_overwritten() {
    let moments = [What::Root, What::List, What::Hash, What::Read, What::Replace, What::Remove];
    let stages = [Stage::Before, Stage::Midway, Stage::Publish];
    for (what, stage) in moments.into_iter().flat_map(|what| stages.map(|stage| (what, stage))) {
        for (on, meant) in [Source, Target].into_iter().flat_map(|on| [Source, Target].map(|meant| (on, meant))) {
            let world = World::new();
            on_both(&world, "a=0 b=0 c=0").await;
            now(&world, ["a=1 b=1", "a=0 b=0 c=0"]);
            let storage = world.side(meant).clone();
            once(&world, (on, what, stage), move || {
                storage.user_write(&path("a"), "mine");
                storage.user_write(&path("c"), "mine too");
            });
            world.settle().await;
            assert_eq!(world.lost(), [], "{meant:?} wrote while {on:?} {what:?} {stage:?}\n{world:?}");
            world.undisturbed();
        }
    }
}

#[tokio::test]
async fn invariant_clock_skew_is_irrelevant() {
    let far = |text: &str| Meta { mtime: Some(text.parse().unwrap()), mode: None };
    let coarse = Memory::with(Facts { mtime_resolution_ns: 1_000_000_000, ..Memory::able() });
    let world = World::of([Memory::new(), coarse]);
    on_both(&world, "a=1 b=1 c=1").await;
    now(&world, ["a=2 b=1 c=1", "a=1 b=2"]);
    world.side(Source).user_set_meta(&path("a"), far("1970-01-02T00:00:00Z"));
    world.side(Target).user_set_meta(&path("b"), far("2099-01-01T00:00:00Z"));
    ends_with(&world, "a=2 b=2").await;
    let writes = world.writes();
    world.settle().await;
    assert_eq!(world.writes(), writes);
    both_are(&world, "a=2 b=2");
}
