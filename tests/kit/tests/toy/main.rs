//! A storage type and a syncer of its own, made as ARCHITECTURE.md tells and in no registry: the suites hold of them, and
//! the engine runs a job between them.

mod backend;
mod syncer;

use std::sync::Arc;

use wl_core::job::Which;
use wl_core::report::Mode;
use wl_core::syncer::{Needs, Syncer, select};
use wl_test_kit::conformance::Bench;
use wl_test_kit::pairs::World;
use wl_test_kit::path;

use backend::Toy;
use syncer::ToyToy;

wl_test_kit::conformance!(Toy::default());

mod pair {
    use super::*;

    wl_test_kit::pairs!(TYPES, ToyToy::default(), two_toys());
}

const TYPES: [&str; 2] = ["toy", "toy"];

fn two_toys() -> [Box<dyn Bench>; 2] {
    [Box::new(Toy::default()), Box::new(Toy::default())]
}

/// The whole way: it is chosen for its pair, and the job goes through it and not through the generic one.
#[tokio::test]
async fn the_one_that_is_made_for_a_pair_runs_it() {
    let toys = Arc::new(ToyToy::default());
    let syncers: [Arc<dyn Syncer>; 2] = [Arc::new(wl_syncer_generic::Generic), toys.clone()];
    let needs = |target_type| Needs {
        source_type: "toy",
        target_type,
        mode: Mode::OneShot,
        unidirectional: false,
        mounted: false,
    };
    assert_eq!(select(&syncers, &needs("local")).unwrap().traits().name, "generic");
    let chosen = select(&syncers, &needs("toy")).unwrap();
    assert_eq!(chosen.traits().name, "toy-toy");

    let world = World::new(TYPES, two_toys()).await;
    world.user(Which::Source).user_write(&path("a"), b"from the source").await;
    world.user(Which::Target).user_write(&path("d/b"), b"from the target").await;
    let (run, monitor) = world.run();
    let summary = chosen.one_shot(&run).await.unwrap();
    assert_eq!((summary.copied, toys.handed_over()), (2, 2));
    assert_eq!(monitor.status().transferred_bytes, 30);
    assert_eq!(world.user(Which::Target).user_read(&path("a")).await.as_deref(), Some(&b"from the source"[..]));
    assert_eq!(world.user(Which::Source).user_read(&path("d/b")).await.as_deref(), Some(&b"from the target"[..]));
}
