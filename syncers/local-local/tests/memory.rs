//! What a look at many files takes: the ninth invariant of the house.

use std::fs;
use std::path::Path;

use peak_alloc::PeakAlloc;
use wl_backend_local::Local;
use wl_core::job::Which;
use wl_test_kit::conformance::Bench;
use wl_test_kit::directory::Directory;
use wl_test_kit::pairs::{GENERIC, World};
use wl_test_kit::path;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Files in one directory: a directory is read whole, to be sorted.
const TOGETHER: usize = 100;

/// A round over twice as many unchanged files holds no more of them at a time: what is read ahead is full with 30,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_takes_no_more_for_more_unchanged_files() {
    let (few, many) = (taken_by_a_look_at(30_000).await, taken_by_a_look_at(60_000).await);
    // 100 bytes a file: less than a row takes. How full what is read ahead gets is a matter of moments.
    assert!(many < few + 100 * 30_000, "{few} bytes for 30,000 files, {many} for 60,000");
}

/// The most bytes held during a look at two equal trees that both sides and the base know, beyond those held before it.
async fn taken_by_a_look_at(files: usize) -> usize {
    let around = tempfile::tempdir().unwrap();
    let ends = [(); 2].map(|()| {
        Box::new(Directory::below(around.path(), |root| {
            fill(root, files);
            Local::new(root).unwrap()
        })) as Box<dyn Bench>
    });
    let world = World::new(["local", "local"], ends).await;
    let (first, _) = world.once(&GENERIC).await;
    assert_eq!(first.adopted, u64::try_from(files).unwrap());

    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let (again, _) = world.once(&GENERIC).await;
    let taken = HEAP.peak_usage() - before;
    assert_eq!((again.adopted, again.copied, again.deleted), (0, 0, 0));
    // It looked at all of them: what was lost without a word is seen.
    world.user(Which::Source).user_delete(&path("9/9")).await;
    assert_eq!(world.once(&GENERIC).await.0.deleted, 1);
    taken
}

fn fill(root: &Path, files: usize) {
    for number in 0..files {
        let dir = root.join((number / TOGETHER).to_string());
        if number % TOGETHER == 0 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join((number % TOGETHER).to_string()), []).unwrap();
    }
}
