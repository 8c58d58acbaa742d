//! Syncthing's scenarios, by the names of its tests.
//!
//! | scenario | why not here |
//! | --- | --- |
//! | three nodes, three overlapping shares | `sync --all` is a job a pair: each pair is one of these worlds |
//! | sparse file | a file is its bytes |
//! | SymlinkTraversalRead, -Write, DeleteBehindSymlink, SRConflictReplaceFileByLink | nothing goes through a link: the conformance suite's specials |
//! | PullCaseOnly…, PullTempFileCaseConflict, PullDeleteCaseConflict | `bisync::normalization`: names are bytes; a storage that folds them refuses |
//! | ignore patterns | the filter's own tests in core |

use wl_core::error::Fault;
use wl_core::job::{Options, Which};
use wl_core::report::ConflictKind;
use wl_test_kit::memory::{Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;

use crate::table::{End, are, check, conflicts, ends_with, now, on_both, once, row};
use End::{Apart, Both, Untouched};
use Which::{Source, Target};

#[tokio::test]
async fn conflict_default() {
    check(&[
        row("a=0", "a=1", "a=2", Untouched)
            .conflicts(&["a"])
            .because("nothing is renamed to a conflict copy unless the user asks: `resolve --keep both`"),
        row("a=0", "a=1", "", Untouched).conflicts(&["a"]).because("an edit does not beat a deletion by itself"),
    ])
    .await;
}

#[tokio::test]
async fn conflict_initial_merge() {
    check(&[row(
        "",
        "file1=1 file2=2 file3=same file4=4",
        "file1=other file2=another file3=same file5=5",
        Apart("file1=1 file2=2 file3=same file4=4 file5=5", "file1=other file2=another file3=same file4=4 file5=5"),
    )
    .conflicts(&["file1", "file2"])])
    .await;
}

#[tokio::test]
async fn conflict_index_reset() {
    let mut world = World::new();
    on_both(&world, "file1=1 file2=2 file3=3").await;
    now(&world, ["file1=a file2=b file3=3", "file1=c file2=d file3=3"]);
    world.forget();
    world.settle().await;
    are(&world, ["file1=a file2=b file3=3", "file1=c file2=d file3=3"]);
    let open = ["file1", "file2"].map(|path| (path.to_owned(), ConflictKind::Content));
    assert_eq!(conflicts(&world), open);
}

#[tokio::test]
async fn conflict_same_content() {
    let world = World::new();
    now(&world, ["a=1 b=2", ""]);
    now(&world, ["a=1 b=2", "b=2 a=1"]);
    world.side(Target).user_touch(&path("a"));
    ends_with(&world, "a=1 b=2").await;
}

#[tokio::test]
async fn append_without_mtime_change() {
    let world = World::new();
    on_both(&world, "a=1").await;
    let meta = world.side(Source).user_meta(&path("a")).unwrap();
    world.side(Source).user_append(&path("a"), b"more");
    world.side(Source).user_set_meta(&path("a"), meta);
    ends_with(&world, "a=1more").await;
    // The same size and time, another content.
    world.side(Target).user_write(&path("a"), "2more");
    world.side(Target).user_set_meta(&path("a"), meta);
    ends_with(&world, "a=2more").await;
}

#[tokio::test]
async fn conflict_replace_file_by_dir() {
    check(&[row("a=0", "a=1", "a/x=2", Untouched).conflicts(&["a"]), row("a=0", "a=0", "a/x=2", Both("a/x=2"))]).await;
}

#[tokio::test]
async fn pull_delete_unscanned_dir() {
    // What appears in a directory after it was listed keeps it from being removed.
    let world = World::new();
    on_both(&world, "d/x=1 a=1").await;
    now(&world, ["a=1", "d/x=1 a=1"]);
    let target = world.side(Target).clone();
    once(&world, (Target, What::Remove, Stage::Before), move || target.user_write(&path("d/new"), "2"));
    world.round().await.unwrap();
    ends_with(&world, "a=1 d/new=2").await;
}

#[tokio::test]
async fn pull_delete_ignored_child_dir() {
    let mut world = World::new();
    world.options = Options { exclude: vec!["cache".to_owned()], ..Options::default() };
    on_both(&world, "d/x=1 a=1").await;
    world.side(Target).user_write(&path("d/cache/keep"), "2");
    now(&world, ["a=1", "d/x=1 d/cache/keep=2 a=1"]);
    world.settle().await;
    are(&world, ["a=1", "d/cache/keep=2 a=1"]);
    assert_eq!(conflicts(&world), []);
}

#[tokio::test]
async fn request_remote_rename_changed() {
    // The old name changes while the rename is carried over.
    let world = World::new();
    on_both(&world, "a=1 b=2").await;
    now(&world, ["c=1 b=2", "a=1 b=2"]);
    let target = world.side(Target).clone();
    once(&world, (Target, What::Move, Stage::Before), move || target.user_write(&path("a"), "3"));
    world.settle().await;
    are(&world, ["b=2 c=1", "a=3 b=2 c=1"]);
    assert_eq!(conflicts(&world), [("a".to_owned(), ConflictKind::DeletedModified)]);
}

#[tokio::test]
async fn request_remote_rename_conflict() {
    // The new name is taken while the rename is carried over.
    let world = World::new();
    on_both(&world, "a=1 b=2").await;
    now(&world, ["c=1 b=2", "a=1 b=2"]);
    let target = world.side(Target).clone();
    once(&world, (Target, What::Move, Stage::Before), move || target.user_write(&path("c"), "3"));
    world.settle().await;
    are(&world, ["b=2 c=1", "b=2 c=3"]);
    assert_eq!(conflicts(&world), [("c".to_owned(), ConflictKind::Content)]);
}

#[tokio::test]
async fn request_delete_changed() {
    let world = World::new();
    on_both(&world, "a=1 b=2").await;
    now(&world, ["b=2", "a=1 b=2"]);
    let target = world.side(Target).clone();
    once(&world, (Target, What::Remove, Stage::Before), move || target.user_write(&path("a"), "3"));
    world.settle().await;
    are(&world, ["b=2", "a=3 b=2"]);
    assert_eq!(conflicts(&world), [("a".to_owned(), ConflictKind::DeletedModified)]);
}

#[tokio::test]
async fn parent_deletion() {
    check(&[
        row("foo/bar/baz=1", "", "foo/bar/baz=1 foo/bar/new=2", Both("foo/bar/new=2")),
        row("foo/bar/", "", "foo/bar/baz/new=2", Both("foo/bar/baz/new=2")),
    ])
    .await;
    // The parent vanishes while its child is written.
    let world = World::new();
    on_both(&world, "foo/a=1").await;
    now(&world, ["foo/a=1 foo/bar/baz=2", "foo/a=1"]);
    let target = world.side(Target).clone();
    once(&world, (Target, What::Replace, Stage::Publish), move || target.user_delete(&path("foo")));
    world.settle().await;
    world.undisturbed();
    ends_with(&world, "foo/bar/baz=2").await;
}

#[tokio::test]
async fn ignore_delete_unignore() {
    let mut world = World::new();
    on_both(&world, "a=1 b=1").await;
    world.options = Options { exclude: vec!["a".to_owned()], ..Options::default() };
    now(&world, ["b=1", "a=1 b=1"]);
    world.settle().await;
    are(&world, ["b=1", "a=1 b=1"]);
    world.options = Options::default();
    ends_with(&world, "a=1 b=1").await;
}

#[tokio::test]
async fn remove_dir_with_content() {
    check(&[
        row("d/x=1", "", "d/x=1 d/link?", Apart("", "d/link?")),
        row("d/x=1", "", "d/x=1 d/secret=2!", Apart("d/", "d/secret=2")),
    ])
    .await;
}

#[tokio::test]
async fn scan_recovery() {
    // The root vanishes and comes back, with changes on it.
    for which in Which::BOTH {
        let world = World::new();
        on_both(&world, "a=1 b=1").await;
        world.side(which).remove_root();
        world.side(which.other()).user_write(&path("c"), "2");
        for _ in 0..3 {
            assert_eq!(world.round().await.unwrap_err().fault, Fault::Missing);
        }
        world.side(which).restore_root();
        world.side(which).user_write(&path("a"), "3");
        ends_with(&world, "a=3 b=1 c=2").await;
    }
}

#[tokio::test]
async fn receive_only() {
    // Unidirectional: the target's own changes stay, and no change of the source overwrites them.
    let mut world = World::new();
    on_both(&world, "a=1 b=1 c=1 d=1").await;
    world.options = Options { unidirectional: true, ..Options::default() };
    now(&world, ["a=1 b=1 c=1 d=1", "a=2 c=1 d=1 mine=1"]);
    world.settle().await;
    are(&world, ["a=1 b=1 c=1 d=1", "a=2 c=1 d=1 mine=1"]);
    now(&world, ["a=3 b=3 c=3", "a=2 c=1 d=1 mine=1"]);
    world.settle().await;
    are(&world, ["a=3 b=3 c=3", "a=2 c=3 mine=1"]);
    let open = [("a".to_owned(), ConflictKind::Content), ("b".to_owned(), ConflictKind::DeletedModified)];
    assert_eq!(conflicts(&world), open);
}
