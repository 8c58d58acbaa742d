//! Files that change names with each other, or are moved onto what is there: nothing is transferred, and nothing is lost
//! whatever fails on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wl_core::backend::Facts;
use wl_core::error::{Error, Fault};
use wl_core::job::Which;
use wl_test_kit::memory::{Fate, Memory, What};
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{conflicts, on_both};

/// What both agreed on, and what one of them made of it.
const MOVES: [(&str, &str); 12] = [
    // Two change names.
    ("a=one b=three", "a=three b=one"),
    ("a=1 b=2 d/ d/c=3", "a=2 b=3 d/ d/c=1"),
    ("a=1 b=2 c=3 d=4 e=5", "a=2 b=1 c=4 d=5 e=3"),
    // One is moved onto another.
    ("a=one b=three", "b=one"),
    ("d/ d/a=one b=three", "b=one"),
    // As when logs are rotated: with and without an end.
    ("log=newest log.1=new log.2=old", "log.1=newest log.2=new log.3=old"),
    ("log=newest log.1=new log.2=old", "log.1=newest log.2=new"),
    ("log=newest log.1=new log.2=old", "log=fresh log.1=newest log.2=new"),
    // A circle from which something is copied away.
    ("a=1 b=2 c=3", "a=2 b=1 c=1 d=2"),
    // A file makes way for a directory that it is moved into, and the reverse.
    ("a=1", "a/ a/x=1"),
    ("d/ d/x=1", "d=1"),
    // One content in two places.
    ("a=1 b=1 c=2", "a=2 c=1"),
];

fn contents(tree: &str) -> Vec<&str> {
    tree.split_whitespace().filter_map(|word| Some(word.split_once('=')?.1)).collect()
}

/// How much of that is new, and has to be transferred.
fn new_in(base: &str, after: &str) -> u64 {
    let base = contents(base);
    contents(after).into_iter().filter(|text| !base.contains(text)).count() as u64
}

async fn begun(sides: [Arc<Memory>; 2], base: &str) -> World {
    let world = World::of(sides);
    on_both(&world, base).await;
    world.settle().await;
    world
}

fn changed(world: &World, on: Which, after: &str) {
    Tree::parse(after).put_on(world.side(on));
}

fn ended(world: &World, after: &str, what: &str) {
    let wanted = Tree::parse(after);
    for which in Which::BOTH {
        assert!(world.tree(which).same(&wanted), "{what}: {which:?}\n{world:?}");
    }
    assert_eq!(conflicts(world), [], "{what}\n{world:?}");
    assert_eq!(world.lost(), [], "{what}\n{world:?}");
}

#[tokio::test]
async fn what_the_other_side_holds_is_not_transferred() {
    for (base, after) in MOVES {
        for on in Which::BOTH {
            let world = begun([Memory::new(), Memory::new()], base).await;
            changed(&world, on, after);
            let before = world.side(on).count(What::Read);
            world.settle().await;
            ended(&world, after, base);
            let read = world.side(on).count(What::Read) - before;
            assert_eq!(read, new_in(base, after), "{base} to {after} on {on:?}");
        }
    }
}

#[tokio::test]
async fn storages_that_can_do_less_come_to_the_same() {
    let less = [
        Facts { server_copy: false, ..Memory::able() },
        Facts { server_move: false, ..Memory::able() },
        Facts { server_copy: false, server_move: false, trash: false, ..Memory::able() },
        Facts { in_flight: 1, ..Memory::able() },
    ];
    for (base, after) in MOVES {
        for facts in &less {
            for keep in [Duration::ZERO, Duration::from_hours(1)] {
                let mut world = begun([Memory::new(), Memory::with(facts.clone())], base).await;
                world.options.keep_deleted = keep;
                changed(&world, Which::Source, after);
                world.settle().await;
                ended(&world, after, base);
            }
        }
    }
}

/// Plays every move once for every moment of it, where that moment is the job's last, or a failure.
async fn at_every_moment(fate: impl Fn(usize) -> Fate + Clone + Send + Sync + 'static) {
    for (base, after) in MOVES {
        for moment in 0.. {
            let world = begun([Memory::new(), Memory::new()], base).await;
            changed(&world, Which::Source, after);
            let moments = Arc::new(AtomicUsize::new(0));
            world.on_op({
                let (moments, fate) = (moments.clone(), fate.clone());
                move |_, _| if moments.fetch_add(1, Ordering::Relaxed) == moment { fate(moment) } else { Fate::GoesOn }
            });
            let _ = world.round().await;
            assert_eq!(world.lost(), [], "{base} to {after}, moment {moment}\n{world:?}");
            world.undisturbed();
            world.settle().await;
            ended(&world, after, &format!("{base} to {after}, moment {moment}"));
            if moments.load(Ordering::Relaxed) <= moment {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing() {
    at_every_moment(|_| Fate::Hangs).await;
}

#[tokio::test]
async fn a_failure_at_any_moment_loses_nothing() {
    let faults = [Fault::Broken, Fault::Offline, Fault::Refused, Fault::Full];
    at_every_moment(move |moment| Fate::Fails(Error::new(faults[moment % 4], "an invented fault"))).await;
}

/// Whoever edits one of them while they change names keeps the edit.
#[tokio::test]
async fn an_edit_in_the_middle_stays() {
    for moment in 0.. {
        let world = begun([Memory::new(), Memory::new()], "a=1 b=2 c=3").await;
        changed(&world, Which::Source, "a=2 b=3 c=1");
        let moments = Arc::new(AtomicUsize::new(0));
        world.on_op({
            let (moments, target) = (moments.clone(), world.side(Which::Target).clone());
            move |_, _| {
                if moments.fetch_add(1, Ordering::Relaxed) == moment {
                    target.user_write(&wl_test_kit::path("b"), "edited");
                }
                Fate::GoesOn
            }
        });
        let _ = world.round().await;
        world.undisturbed();
        if moments.load(Ordering::Relaxed) <= moment {
            break;
        }
        world.settle().await;
        assert_eq!(world.lost(), [], "moment {moment}\n{world:?}");
        let kept = Which::BOTH
            .iter()
            .any(|which| world.side(*which).user_read(&wl_test_kit::path("b")).is_some_and(|bytes| bytes == "edited"));
        assert!(kept, "moment {moment}\n{world:?}");
    }
}

#[tokio::test]
async fn logs_are_rotated_while_only_hints_tell() {
    let world = begun([Memory::new(), Memory::new()], "log=newest log.1=new log.2=old").await;
    let source = world.side(Which::Source).clone();
    let read = source.count(What::Read);
    let path = wl_test_kit::path;
    world
        .watch(1, |_| {
            for (from, to) in [("log.2", "log.3"), ("log.1", "log.2"), ("log", "log.1")] {
                source.user_rename(&path(from), &path(to));
            }
        })
        .await
        .unwrap();
    ended(&world, "log.1=newest log.2=new log.3=old", "rotated");
    assert_eq!(source.count(What::Read), read, "nothing is transferred");
}
