//! Rows of a table of scenarios: a base, what became of it on both sides, and what a sync makes of that.

use std::collections::BTreeSet;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use wl_core::error::{Error, Fault};
use wl_core::job::Which;
use wl_core::report::ConflictKind;
use wl_test_kit::memory::{Fate, Stage, What};
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

/// What both sides are to be in the end.
#[derive(Clone, Copy)]
pub enum End {
    /// Both the same.
    Both(&'static str),
    /// Each something else.
    Apart(&'static str, &'static str),
    /// Each what it was.
    Untouched,
}

/// One scenario. It is run as it stands and with the sides swapped.
pub struct Row {
    /// What both agreed on.
    pub base: &'static str,
    /// What became of it.
    pub source: &'static str,
    /// What became of it.
    pub target: &'static str,
    /// What a sync makes of that.
    pub end: End,
    /// The paths in conflict then.
    pub conflicts: &'static [&'static str],
    /// Why we decide otherwise than the peer that the row is from; empty where we do not.
    pub why: &'static str,
}

/// A row on which we and the peer agree.
pub const fn row(base: &'static str, source: &'static str, target: &'static str, end: End) -> Row {
    Row { base, source, target, end, conflicts: &[], why: "" }
}

impl Row {
    pub const fn conflicts(self, conflicts: &'static [&'static str]) -> Self {
        Self { conflicts, ..self }
    }

    /// The peer decides otherwise.
    pub const fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    /// Plays it both ways round.
    pub async fn check(&self) {
        self.play(Which::Source).await;
        self.play(Which::Target).await;
    }

    /// Plays it with `source` on that side.
    async fn play(&self, first: Which) {
        let world = World::new();
        on_both(&world, self.base).await;
        Tree::parse(self.source).put_on(world.side(first));
        Tree::parse(self.target).put_on(world.side(first.other()));
        let (source, target) = match self.end {
            End::Both(both) => (both, both),
            End::Apart(source, target) => (source, target),
            End::Untouched => (self.source, self.target),
        };
        for again in 0..2 {
            world.settle().await;
            let name = format!(
                "({}, {}, {}) with source as {first:?}, run {again} {}\n{world:?}",
                self.base, self.source, self.target, self.why
            );
            for (expected, which) in [(source, first), (target, first.other())] {
                assert!(Tree::parse(expected).same(&world.tree(which)), "{which:?} should be [{expected}]: {name}");
            }
            let conflicts: BTreeSet<_> = world.conflicts().into_iter().map(|(path, _)| path.to_string()).collect();
            assert_eq!(conflicts, self.conflicts.iter().map(ToString::to_string).collect(), "{name}");
            assert_eq!(world.lost(), [], "{name}");
        }
    }
}

/// Plays a whole table.
pub async fn check(rows: &[Row]) {
    for row in rows {
        row.check().await;
    }
}

/// Makes a tree the base.
pub async fn on_both(world: &World, tree: &str) {
    let tree = Tree::parse(tree);
    for which in Which::BOTH {
        tree.put_on(world.side(which));
    }
    world.settle().await;
    assert_eq!(world.base().len(), tree.iter().filter(|(_, shown)| *shown != "?").count(), "{world:?}");
}

/// Brings a world to rest and holds both sides against one tree.
pub async fn ends_with(world: &World, tree: &str) {
    world.settle().await;
    both_are(world, tree);
}

/// Holds both sides against one tree, with no conflict open and nothing lost.
pub fn both_are(world: &World, tree: &str) {
    are(world, [tree, tree]);
    assert_eq!(world.conflicts(), [], "{world:?}");
}

/// Holds each side against a tree, with nothing lost.
pub fn are(world: &World, trees: [&str; 2]) {
    for (tree, which) in trees.into_iter().zip(Which::BOTH) {
        assert!(Tree::parse(tree).same(&world.tree(which)), "{which:?} should be [{tree}]\n{world:?}");
    }
    assert_eq!(world.lost(), [], "{world:?}");
}

/// The open conflicts, as texts.
pub fn conflicts(world: &World) -> Vec<(String, ConflictKind)> {
    world.conflicts().into_iter().map(|(path, kind)| (path.to_string(), kind)).collect()
}

/// Makes each side hold a tree.
pub fn now(world: &World, trees: [&str; 2]) {
    for (tree, which) in trees.into_iter().zip(Which::BOTH) {
        Tree::parse(tree).put_on(world.side(which));
    }
}

/// Ends one kind of operation on one side with a fault, so often.
pub fn fail(world: &World, (which, what, stage): (Which, What, Stage), fault: Fault, times: usize) {
    let left = AtomicUsize::new(times);
    world.on_op(move |on, op| {
        let meant = (on, op.what, op.stage) == (which, what, stage);
        let spend = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if meant && spend() { Fate::Fails(Error::new(fault, "an invented fault")) } else { Fate::GoesOn }
    });
}

/// Does something once, at a moment of an operation on one side.
pub fn once(world: &World, (which, what, stage): (Which, What, Stage), act: impl Fn() + Send + Sync + 'static) {
    let once = Once::new();
    world.on_op(move |on, op| {
        if (on, op.what, op.stage) == (which, what, stage) {
            once.call_once(&act);
        }
        Fate::GoesOn
    });
}
