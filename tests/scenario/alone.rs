//! One path that fails as if its storage could not be reached, though it can be: as where a disk behind a server cannot read
//! one file, or a proxy cuts one download off. It is listed, and the others go on.

use wl_core::error::{Error, Fault};
use wl_core::job::Which;
use wl_core::report::ProblemKind;
use wl_test_kit::memory::{Fate, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{ends_with, now, on_both};
use Which::Source;

/// Fails whatever is done to these paths on the source in that way.
fn out_of_reach(world: &World, what: What, paths: &'static [&'static str]) {
    world.on_op(move |on, op| {
        let meant = on == Source && op.what == what && paths.iter().any(|meant| path(meant) == op.path);
        if meant { Fate::Fails(Error::new(Fault::Offline, "an invented fault")) } else { Fate::GoesOn }
    });
}

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_no_other_one_waiting() {
    let world = World::new();
    on_both(&world, "k=5 x=6").await;
    now(&world, ["a=1 bad=2 c=3 x=6", "k=5 x=6"]);
    out_of_reach(&world, What::Read, &["bad"]);
    let round = world.round().await.unwrap();
    assert_eq!(round.waits.map(|error| error.fault), Some(Fault::Offline));
    assert!(Tree::parse("a=1 c=3 x=6").same(&world.tree(Which::Target)), "{world:?}");
    let listed: Vec<_> = world.problems().into_iter().map(|problem| (problem.path, problem.kind)).collect();
    assert_eq!(listed, [("bad".to_owned(), ProblemKind::Offline)]);
    world.undisturbed();
    ends_with(&world, "a=1 bad=2 c=3 x=6").await;
    assert_eq!(world.problems(), []);
}

#[tokio::test]
async fn a_file_that_cannot_be_hashed_keeps_no_other_one_waiting() {
    let world = World::new();
    now(&world, ["a=1 bad=1 c=1", "bad=2"]);
    out_of_reach(&world, What::Hash, &["bad"]);
    let round = world.round().await.unwrap();
    assert_eq!(round.waits.map(|error| error.fault), Some(Fault::Offline));
    assert!(Tree::parse("a=1 bad=2 c=1").same(&world.tree(Which::Target)), "{world:?}");
    let listed: Vec<_> = world.problems().into_iter().map(|problem| (problem.path, problem.kind)).collect();
    assert_eq!(listed, [("bad".to_owned(), ProblemKind::Offline)]);
}

/// With nothing that answers there is no use in asking for one after the other.
#[tokio::test]
async fn many_of_them_are_a_storage_that_cannot_be_reached() {
    const MANY: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c"];
    let world = World::new();
    let tree = MANY.iter().map(|name| format!("{name}=1")).collect::<Vec<_>>().join(" ");
    now(&world, [&tree, ""]);
    out_of_reach(&world, What::Read, MANY);
    assert_eq!(world.round().await.unwrap_err().fault, Fault::Offline, "{world:?}");
    world.undisturbed();
    ends_with(&world, &tree).await;
}
