//! Every small world: what a side held at `a`, `d` and `d/x` (nothing, one of two contents, a directory) as base, source
//! and target, synced to rest and held against what the reconciliation promises of each path.

use std::collections::BTreeMap;

use wl_core::job::Which;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::conflicts;

/// What may be at `d` and below it.
const DEEP: [&str; 7] = ["", "d=1", "d=2", "d/", "d/ d/x=1", "d/ d/x=2", "d/ d/x/"];
/// What may be at `a`.
const FLAT: [&str; 4] = ["", "a=1", "a=2", "a/"];

/// How a world ended: both sides and the conflicts.
type End = ([Tree; 2], Vec<String>);

#[test]
fn one_directory() {
    let trees: Vec<_> = DEEP.into_iter().map(Tree::parse).collect();
    every_world(&trees, 1);
}

/// With a second place, to which content may seem to have moved.
#[test]
fn a_directory_and_a_place_beside_it() {
    let trees = DEEP.into_iter().flat_map(|deep| FLAT.map(|flat| Tree::parse(&format!("{deep} {flat}"))));
    // A fifth of all there are; every one with WL_EXHAUSTIVE.
    every_world(&trees.collect::<Vec<_>>(), if std::env::var_os("WL_EXHAUSTIVE").is_some() { 1 } else { 5 });
}

fn every_world(trees: &[Tree], stride: usize) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for base in trees.iter().skip(thread).step_by(threads) {
                    runtime.block_on(worlds_of(base, trees, stride));
                }
            });
        }
    });
}

/// Every pair of sides against one base, each held against its mirror image.
async fn worlds_of(base: &Tree, trees: &[Tree], stride: usize) {
    let mut number = 0;
    for (index, one) in trees.iter().enumerate() {
        for two in &trees[index..] {
            number += 1;
            if number % stride != 0 {
                continue;
            }
            let (trees, conflicts) = world(base, [one, two]).await;
            let (mirrored, same_conflicts) = world(base, [two, one]).await;
            let [source, target] = &mirrored;
            assert_eq!(
                (&trees, &conflicts),
                (&[target.clone(), source.clone()], &same_conflicts),
                "base {base}, sides {one} {two}: it matters which is the source"
            );
        }
    }
}

async fn world(base: &Tree, sides: [&Tree; 2]) -> End {
    let world = World::new();
    for which in Which::BOTH {
        base.put_on(world.side(which));
    }
    world.settle().await;
    for which in Which::BOTH {
        sides[which as usize].put_on(world.side(which));
    }
    world.settle().await;
    let open: Vec<_> = conflicts(&world).into_iter().map(|(path, _)| path).collect();
    let ends = Which::BOTH.map(|which| world.tree(which));
    promises_hold(base, sides, &ends, &open);
    assert_eq!(world.lost(), [], "base {base}, sides {sides:?}\n{world:?}");
    (ends, open)
}

fn promises_hold(base: &Tree, sides: [&Tree; 2], ends: &[Tree; 2], open: &[String]) {
    let story = || format!("base {base}, sides {sides:?}, ended as {ends:?}, conflicts {open:?}");
    let maps = [base, sides[0], sides[1], &ends[0], &ends[1]].map(|tree| tree.iter().collect::<BTreeMap<_, _>>());
    let [was, source, target, source_end, target_end] = &maps;
    for (here, there, end) in [(source, target, source_end), (target, source, target_end)] {
        for (path, item) in here {
            let (mine, theirs) = (was.get(path) != Some(item), was.get(path) != there.get(path));
            if mine || !theirs {
                // A directory may become a parent of nothing when all it held was deleted elsewhere.
                let kept = end.get(path) == Some(item);
                assert!(kept, "{path} was {item}, which only its own user may change: {}", story());
            }
        }
        for (path, item) in end {
            let known = [was, source, target].iter().any(|tree| tree.get(path) == Some(item));
            assert!(known, "{path} is {item}, which nobody made: {}", story());
        }
    }
    if source == was || target == was {
        assert!(open.is_empty() && source_end == target_end, "only one side changed: {}", story());
    }
    if open.is_empty() {
        assert_eq!(source_end, target_end, "no conflict, yet not equal: {}", story());
    }
}
