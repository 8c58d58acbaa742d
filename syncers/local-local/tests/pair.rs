//! Two directories come to the same end as with the generic syncer, on file systems that share content and that do not.

use std::path::Path;
use std::time::{Duration, Instant};

use wl_backend_local::Local;
use wl_core::job::{Options, Which};
use wl_core::path::RelPath;
use wl_syncer_local_local::LocalLocal;
use wl_test_kit::conformance::Bench;
use wl_test_kit::directory::Directory;
use wl_test_kit::mounted::{Mounted, SHARING};
use wl_test_kit::pairs::{self, GENERIC, World};

const TYPES: [&str; 2] = ["local", "local"];

fn two_below(dir: &Path) -> [Box<dyn Bench>; 2] {
    two_at([dir, dir])
}

fn two_at(dirs: [&Path; 2]) -> [Box<dyn Bench>; 2] {
    dirs.map(|dir| Box::new(Directory::below(dir, |root| Local::new(root).unwrap())) as Box<dyn Bench>)
}

wl_test_kit::pairs!(TYPES, LocalLocal, two_below(&std::env::temp_dir()));

/// The same where both files share their content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharing_changes_nothing() {
    for kind in SHARING {
        let around = tempfile::tempdir().unwrap();
        let Some(mounted) = Mounted::new(kind, around.path()) else { continue };
        let world = async || World::new(TYPES, two_below(mounted.path())).await;
        macro_rules! same {
            ($($scenario:ident),+) => {
                $(assert_eq!(
                    pairs::$scenario(&world().await, &LocalLocal).await,
                    pairs::$scenario(&world().await, &GENERIC).await,
                    "{kind}"
                );)+
            };
        }
        same!(edits_and_deletions, the_source_changes_before, the_source_changes_meanwhile);
        same!(the_target_changes_before, the_target_changes_meanwhile, the_source_vanishes_meanwhile);
    }
}

/// Where the system cannot copy the generic way is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_file_system_to_another() {
    let around = tempfile::tempdir().unwrap();
    let Some(memory) = Mounted::in_memory(around.path(), 200 << 10) else { return };
    let world = async || World::new(TYPES, two_at([&std::env::temp_dir(), memory.path()])).await;
    let dedicated = pairs::a_first_contact(&world().await, &LocalLocal).await;
    assert_eq!(dedicated, pairs::a_first_contact(&world().await, &GENERIC).await);
    pairs::the_source_changes_meanwhile(&world().await, &LocalLocal).await;
}

/// What the system copies cannot be slowed down: with a limit it is read and written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds() {
    let options = Options { bandwidth_limit: Some(8 << 20), ..Options::default() };
    let world = World::new(TYPES, two_below(&std::env::temp_dir())).await.with(TYPES, options).await;
    let at = RelPath::parse("f").unwrap();
    world.user(Which::Source).user_write(&at, &pairs::noise(8 << 20, 1)).await;
    let begun = Instant::now();
    let (summary, monitor) = world.once(&LocalLocal).await;
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!((summary.bytes, monitor.status().transferred_bytes), (8 << 20, 8 << 20));
}
