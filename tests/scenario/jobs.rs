//! Whole jobs over storages that fail, vanish or end what they began: how much is tried, and how soon a job gives up.

use wl_core::error::{Error, Fault};
use wl_core::job::Which;
use wl_test_kit::memory::{Fate, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use Which::{Source, Target};

/// A storage that cannot be reached is not asked thousands of times before the job waits for it.
#[tokio::test]
async fn what_cannot_be_reached_is_not_tried_again_and_again() {
    for (what, on) in [(What::Hash, Target), (What::Stat, Source)] {
        let world = World::new();
        let both = |n: u32, content: &'static str| {
            world.sides.iter().for_each(|side| side.user_write(&path(&n.to_string()), content));
        };
        (0..300).for_each(|n| both(n, "equal"));
        if what == What::Stat {
            world.settle().await;
            (0..100).for_each(|n| world.side(Source).user_delete(&path(&n.to_string())));
        }
        let before = world.side(on).count(what);
        world.on_op(move |which, op| match which == on && op.what == what {
            true => Fate::Fails(Error::new(Fault::Offline, "nobody answers")),
            false => Fate::GoesOn,
        });
        assert_eq!(world.round().await.unwrap_err().fault, Fault::Offline);
        let tried = world.side(on).count(what) - before;
        assert!((1..=16).contains(&tried), "{what:?} {tried} times");
    }
}
