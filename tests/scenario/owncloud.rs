//! ownCloud's and Nextcloud's scenarios, by the names of their tests.
//!
//! | scenario | why not here |
//! | --- | --- |
//! | DuplicateFileId, DirEtagAfterIncompleteSync | there are no ids or etags that could lie: content decides |
//! | ChecksumValidation, PercentEncoding, VeryBigFiles | the conformance suite: wrong hashes, nasty names, sizes |
//! | DirectoryInitialMtime | modification times of directories do not travel |
//! | ChunkingNG Resume1–4, RemoveStale1/2, ResumeServerDeletedChunks | parts are the backends' own affair, and swept |
//! | AllFilesDeletedKeep, AllFilesDeletedDelete | `max_delete_path1`, `max_delete_path2_force` and `resync` in `bisync` |
//! | watchers: create, touch, mkdir, rmdir, rm, rename, move | the conformance suite, and `random::with_hints_alone` |

use wl_core::error::Fault;
use wl_core::job::Which;
use wl_core::report::{ConflictKind, ProblemKind};
use wl_test_kit::memory::{Fate, Memory, Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{End, are, both_are, check, conflicts, ends_with, fail, now, on_both, once, row};
use End::{Apart, Both, Untouched};
use Which::{Source, Target};

#[tokio::test]
async fn conflict_no_upload() {
    let world = World::new();
    on_both(&world, "A/a1=0").await;
    now(&world, ["A/a1=1", "A/a1=2"]);
    let writes = world.writes();
    for _ in 0..3 {
        world.settle().await;
        assert_eq!(conflicts(&world), [("A/a1".to_owned(), ConflictKind::Content)]);
    }
    assert_eq!(writes, world.writes(), "nothing is uploaded, renamed or downloaded");
    // However often either side changes again.
    now(&world, ["A/a1=3", "A/a1=2"]);
    world.settle().await;
    are(&world, ["A/a1=3", "A/a1=2"]);
    assert_eq!(conflicts(&world).len(), 1);
}

#[tokio::test]
async fn conflict_record_removal_1() {
    // One of the two versions is removed after the conflict was recorded: the other one is carried over.
    for gone in Which::BOTH {
        let world = World::new();
        on_both(&world, "A/a1=0 A/a2=0").await;
        now(&world, ["A/a1=1 A/a2=1", "A/a1=2 A/a2=2"]);
        world.settle().await;
        world.side(gone).user_delete(&path("A/a1"));
        world.settle().await;
        assert_eq!(conflicts(&world), [("A/a2".to_owned(), ConflictKind::Content)]);
        let left = world.side(gone.other()).user_read(&path("A/a1"));
        assert_eq!((world.side(gone).user_read(&path("A/a1")), left.is_some()), (left, true), "{world:?}");
        assert_eq!(world.lost(), []);
    }
}

#[tokio::test]
async fn conflict_record_removal_2() {
    // Both came to be equal.
    let world = World::new();
    on_both(&world, "A/a1=0").await;
    now(&world, ["A/a1=1", "A/a1=2"]);
    world.settle().await;
    now(&world, ["A/a1=1", "A/a1=1"]);
    ends_with(&world, "A/a1=1").await;
    // And it may come again.
    now(&world, ["A/a1=3", "A/a1=4"]);
    world.settle().await;
    assert_eq!(conflicts(&world).len(), 1);
}

#[tokio::test]
async fn a_kind_conflict_that_ends_is_looked_at_below() {
    // A hint about what ended it says nothing of what else is below: `A/old` changed on no side since.
    let world = World::new();
    on_both(&world, "A/old=0 B=0").await;
    now(&world, ["A/old=0 A/mine=1 B=0", "A=2 B=0"]);
    let target = world.side(Target).clone();
    world.watch(1, |_| target.user_write(&path("A/new"), "3")).await.unwrap();
    both_are(&world, "A/mine=1 A/new=3 B=0");
}

#[tokio::test]
async fn deleted_modified_ends_with_the_survivor() {
    let world = World::new();
    on_both(&world, "A/a1=0").await;
    now(&world, ["A/a1=1", "A/"]);
    world.settle().await;
    assert_eq!(conflicts(&world), [("A/a1".to_owned(), ConflictKind::DeletedModified)]);
    now(&world, ["A/", "A/"]);
    ends_with(&world, "A/").await;
}

#[tokio::test]
async fn local_dir_remote_file() {
    check(&[
        row("", "a/x=1", "a=2", Untouched).conflicts(&["a"]),
        row("a=0", "a/x=1", "a=2", Untouched).conflicts(&["a"]),
        row("a/x=0", "a/x=0 a/y=1", "a=2", Untouched).conflicts(&["a"]),
        row("a/x=0 b=0", "a/x=0 a/y=1 b=1", "a=2 b=0 c=1", Apart("a/x=0 a/y=1 b=1 c=1", "a=2 b=1 c=1"))
            .conflicts(&["a"]),
    ])
    .await;
}

#[tokio::test]
async fn type_conflict_with_move() {
    check(&[
        row("A/a=1 B=2", "A=2", "A/a=1 A/b=3 B=2", Apart("A=2", "A/a=1 A/b=3")).conflicts(&["A"]),
        row("A/a=1 B/b=2", "A/a=1 B=1", "A/a=1 B/b=2", Both("A/a=1 B=1")),
    ])
    .await;
}

#[tokio::test]
async fn type_change() {
    check(&[
        // A directory that holds something new does not give way to a file.
        row("A/a=1 B/b=1", "A=2 B/b=1", "A/a=1 A/n=3 B/b=1", Untouched).conflicts(&["A"]),
        row("A/a=1", "A=2", "A/a=1", Both("A=2")),
        row("A/a=1 A/b/c=2", "A=2", "A/a=1 A/b/c=2", Both("A=2")),
        row("A=1", "A/a=2", "A=1", Both("A/a=2")),
        row("A=1", "A/b/c/a=2", "A=1", Both("A/b/c/a=2")),
    ])
    .await;
}

#[tokio::test]
async fn type_change_empty_folder_to_file() {
    check(&[row("A/", "A=1", "A/", Both("A=1")), row("A/", "A=1", "A/a=1", Untouched).conflicts(&["A"])]).await;
}

#[tokio::test]
async fn remove_remove() {
    check(&[row("A/a=1 B=1", "B=1", "B=1", Both("B=1")), row("A/a=1 A/b=1", "", "A/b=1", Both(""))]).await;
}

#[tokio::test]
async fn remote_change_in_moved_folder() {
    check(&[
        row("A/a=1 A/b=1", "B/a=1 B/b=1", "A/a=2 A/b=1", Apart("B/a=1 B/b=1", "A/a=2 B/a=1 B/b=1")).conflicts(&["A/a"])
    ])
    .await;
}

#[tokio::test]
async fn local_move_detection() {
    for from in Which::BOTH {
        let world = World::new();
        on_both(&world, "A/a1=1 B/").await;
        let there = world.side(from.other());
        world.side(from).user_rename(&path("A/a1"), &path("B/a1m"));
        ends_with(&world, "A/ B/a1m=1").await;
        assert_eq!([What::Move, What::Replace, What::Remove].map(|what| there.count(what)), [1, 0, 0], "a pure move");
        world.side(from).user_rename(&path("B/a1m"), &path("A/a1"));
        world.side(from).user_write(&path("A/a1"), "2");
        ends_with(&world, "A/a1=2 B/").await;
        assert_eq!([What::Move, What::Replace, What::Remove].map(|what| there.count(what)), [1, 1, 1], "move and edit");
    }
}

#[tokio::test]
async fn move_propagation() {
    check(&[
        // Create against move-to; rename against rename; swapped names; a name taken over.
        row("a=1", "a=1 b=9", "b=1", Apart("b=9", "b=1")).conflicts(&["b"]),
        row("a=1", "b=1", "c=1", Both("b=1 c=1")),
        row("a=1 b=2", "a=2 b=1", "a=1 b=2", Both("a=2 b=1")),
        row("a=1 b=2", "b=1", "a=1 b=2", Both("b=1")),
        row("a=1 b=2 c=3", "a=3 b=1 c=2", "a=1 b=2 c=3", Both("a=3 b=1 c=2")),
        row("A/a=1 B/", "A/ B/a=1", "A/a=1 A/n=2 B/", Both("A/n=2 B/a=1")),
    ])
    .await;
    // A touch and a move, on one side and on opposite ones.
    for (toucher, mover) in [(Source, Source), (Source, Target), (Target, Source)] {
        let world = World::new();
        on_both(&world, "A/a=1").await;
        world.side(toucher).user_touch(&path("A/a"));
        world.side(mover).user_rename(&path("A/a"), &path("A/b"));
        ends_with(&world, "A/b=1").await;
    }
}

#[tokio::test]
async fn renames() {
    check(&[
        // RenameCaseOnly, InvertFolderHierarchy, DeepHierarchy, renameOnBothSides, a file that becomes its directory.
        row("a=1 D/x=1", "A=1 d/x=1", "a=1 D/x=1", Both("A=1 d/x=1")),
        row("A/B/C/c=1 A/a=2", "C/c=1 C/B/A/a=2", "A/B/C/c=1 A/a=2", Both("C/c=1 C/B/A/a=2")),
        row("a/b/c/d/e/f=1", "a/x/c/d/e/f=1", "a/b/c/d/e/f=1", Both("a/x/c/d/e/f=1")),
        row("A/a=1 B/b=2", "C/a=1 B/b=2", "A/a=1 D/b=2", Both("C/a=1 D/b=2")),
        row("A/a=1", "B/a=1", "C/a=1", Both("B/a=1 C/a=1")),
        row("a=1", "a/a=1", "a=1", Both("a/a=1")),
        row("a/a=1", "a=1", "a/a=1", Both("a=1")),
    ])
    .await;
}

#[tokio::test]
async fn moved_with_error() {
    for (stage, fault) in [(Stage::Before, Fault::Busy), (Stage::Before, Fault::Broken), (Stage::After, Fault::Offline)]
    {
        let world = World::new();
        on_both(&world, "A/a=1 A/b=2").await;
        world.side(Source).user_rename(&path("A"), &path("B"));
        fail(&world, (Target, What::Move, stage), fault, 1);
        let _ = world.round().await;
        ends_with(&world, "B/a=1 B/b=2").await;
    }
}

#[tokio::test]
async fn delete_directory_with_new_file() {
    check(&[
        row("A/a=1 A/b/c=1", "", "A/a=1 A/b/c=1 A/b/new=2", Both("A/b/new=2")),
        row("A/a=1", "", "A/a=2", Untouched).conflicts(&["A/a"]),
        row("A/a=1 A/b=1", "", "A/a=2 A/b=1", Apart("", "A/a=2")).conflicts(&["A/a"]),
    ])
    .await;
}

#[tokio::test]
async fn abort_after_failed_mkdir() {
    let world = World::new();
    now(&world, ["A/a=1 A/b/c=1 B/b=1", ""]);
    world.on_op(|which, op| {
        let denied = which == Target && op.what == What::MakeDir && op.path == path("A");
        if denied { Fate::Fails(wl_core::Error::new(Fault::Denied, "no")) } else { Fate::GoesOn }
    });
    world.round().await.unwrap();
    assert!(Tree::parse("B/b=1").same(&world.tree(Target)), "siblings go on: {world:?}");
    let kinds: Vec<_> = world.problems().into_iter().map(|problem| (problem.path, problem.kind)).collect();
    assert!(kinds.contains(&("A".to_owned(), ProblemKind::Denied)), "{kinds:?}");
    world.undisturbed();
    ends_with(&world, "A/a=1 A/b/c=1 B/b=1").await;
    assert_eq!(world.problems(), []);
}

#[tokio::test]
async fn dir_download_with_error() {
    let world = World::new();
    now(&world, ["", "Y/Z/d1=1 Y/Z/d2=2 Y/Z/d3=3"]);
    world.on_op(|which, op| {
        let broken = which == Target && op.what == What::Read && op.path == path("Y/Z/d2");
        if broken { Fate::Fails(wl_core::Error::new(Fault::Denied, "no")) } else { Fate::GoesOn }
    });
    world.settle().await;
    assert!(Tree::parse("Y/Z/d1=1 Y/Z/d3=3").same(&world.tree(Source)), "{world:?}");
    let problems: Vec<_> = world.problems().into_iter().map(|problem| (problem.path, problem.kind)).collect();
    assert_eq!(problems, [("Y/Z/d2".to_owned(), ProblemKind::Unreadable)]);
    world.undisturbed();
    ends_with(&world, "Y/Z/d1=1 Y/Z/d2=2 Y/Z/d3=3").await;
    assert_eq!(world.problems(), []);
}

#[tokio::test]
async fn fake_conflict() {
    check(&[row("a=1", "a=2", "a=2", Both("a=2")), row("", "A/a=2", "A/a=2", Both("A/a=2"))]).await;
}

#[tokio::test]
async fn insufficient_remote_storage() {
    let world = World::new();
    now(&world, ["big=1 small=2", "there=3"]);
    world.on_op(|which, op| {
        let full = which == Target && op.what == What::Replace && op.path == path("big");
        if full { Fate::Fails(wl_core::Error::new(Fault::Full, "no room")) } else { Fate::GoesOn }
    });
    let round = world.round().await.unwrap();
    assert_eq!(round.waits.map(|error| error.fault), Some(Fault::Full), "it goes on by itself when there is room");
    are(&world, ["big=1 small=2 there=3", "small=2 there=3"]);
    world.undisturbed();
    ends_with(&world, "big=1 small=2 there=3").await;
}

#[tokio::test]
async fn empty_local_but_has_remote() {
    check(&[row("", "", "A/a=1 b=2", Both("A/a=1 b=2"))]).await;
}

#[tokio::test]
async fn remote_discovery_error() {
    // What could not be listed is unknown: nothing below it is deleted on either side, and the rest goes on.
    let world = World::new();
    on_both(&world, "A/a=1 B/b=1 B/d/x=1 C/c=1").await;
    now(&world, ["A/a=2 B/ C/c=1", "A/a=1 B/b=1 B/d/x=1"]);
    world.side(Target).set_unreadable(&path("B"));
    world.settle().await;
    are(&world, ["A/a=2 B/", "A/a=2 B/b=1 B/d/x=1"]);
    assert!(world.problems().iter().any(|problem| problem.path == "B" && problem.storage == "target-id"));
    world.side(Target).set_readable(&path("B"));
    ends_with(&world, "A/a=2 B/").await;
    assert_eq!(world.problems(), []);
}

#[tokio::test]
async fn an_unreadable_directory_against_a_file() {
    // The failure leaves no conflict behind.
    let world = World::new();
    on_both(&world, "A/a=1 A/d/b=1").await;
    now(&world, ["A/a=1 A/d/b=1", "A=2"]);
    world.side(Source).set_unreadable(&path("A/d"));
    world.settle().await;
    are(&world, ["A/a=1 A/d/b=1", "A=2"]);
    assert_eq!(conflicts(&world), []);
    world.side(Source).set_readable(&path("A/d"));
    ends_with(&world, "A=2").await;
}

#[tokio::test]
async fn missing_data() {
    // A listing that is cut off.
    for which in Which::BOTH {
        let world = World::new();
        on_both(&world, "a=1 m=1 n/x=1 z=1").await;
        world.side(which).user_write(&path("a"), "2");
        world.side(which.other()).user_write(&path("z"), "2");
        world.side(which).cut_listing_at(Some(&path("m")));
        world.settle().await;
        let expected = Tree::parse("a=2 m=1 n/x=1 z=2");
        assert!(expected.same(&world.tree(which.other())), "{world:?}");
        assert_eq!(world.base().len(), 5, "{world:?}");
        world.side(which).cut_listing_at(None);
        ends_with(&world, "a=2 m=1 n/x=1 z=2").await;
    }
}

#[tokio::test]
async fn reset_server() {
    // The root is another, empty one: not everything was deleted, something else is mounted.
    for which in Which::BOTH {
        let world = World::new();
        on_both(&world, "a=1 A/b=1").await;
        world.side(which).replace_root();
        assert_eq!(world.round().await.unwrap_err().fault, Fault::Refused);
        assert!(Tree::parse("a=1 A/b=1").same(&world.tree(which.other())), "{world:?}");
        world.side(which).restore_root();
        ends_with(&world, "a=1 A/b=1").await;
    }
}

#[tokio::test]
async fn data_fingerprint() {
    // A server restored from a backup holds older content: that is a change there. What it replaces is kept.
    let world = World::new();
    on_both(&world, "a=new b=same").await;
    now(&world, ["a=new b=same", "a=old b=same"]);
    ends_with(&world, "a=old b=same").await;
    assert!(world.side(Source).trash().values().any(|shown| shown == "new"), "{world:?}");
}

#[tokio::test]
async fn late_abort() {
    // The last step took effect and its answer was lost: nothing is transferred again, there is no conflict.
    for (base, fault) in [("", Fault::Offline), ("A/a=1", Fault::Offline), ("", Fault::Broken), ("A/a=1", Fault::Busy)]
    {
        let world = World::new();
        on_both(&world, base).await;
        now(&world, ["A/a=2", base]);
        fail(&world, (Target, What::Replace, Stage::After), fault, 1);
        let _ = world.round().await;
        ends_with(&world, "A/a=2").await;
        assert_eq!(world.side(Target).count(What::Replace), 1, "{world:?}");
    }
}

#[tokio::test]
async fn create_conflict_while_syncing() {
    for base in ["", "A/a=0"] {
        let world = World::new();
        on_both(&world, base).await;
        now(&world, ["A/a=1", base]);
        let target = world.side(Target).clone();
        once(&world, (Target, What::Replace, Stage::Publish), move || target.user_write(&path("A/a"), "2"));
        let round = world.round().await.unwrap();
        assert_eq!(round.unsettled, [path("A/a")]);
        world.settle().await;
        are(&world, ["A/a=1", "A/a=2"]);
        assert_eq!(conflicts(&world), [("A/a".to_owned(), ConflictKind::Content)]);
    }
}

#[tokio::test]
async fn modify_local_file_while_uploading() {
    let world = World::new();
    on_both(&world, "A/a=0").await;
    now(&world, ["A/a=first", "A/a=0"]);
    let source = world.side(Source).clone();
    once(&world, (Source, What::Read, Stage::Midway), move || source.user_write(&path("A/a"), "second"));
    world.round().await.unwrap();
    assert!(Tree::parse("A/a=0").same(&world.tree(Target)), "no mixture and no stale content: {world:?}");
    ends_with(&world, "A/a=second").await;
}

#[tokio::test]
async fn connection_dropped() {
    for what in [What::List, What::Stat, What::Hash, What::Read, What::Replace, What::MakeDir, What::Remove, What::Move]
    {
        for which in Which::BOTH {
            let world = World::new();
            on_both(&world, "A/a=1 A/b=1 c=1 d=1").await;
            now(&world, ["A/a=2 A/b=1 N/n=3 e=1", "A/a=1 c=1 d=1 N2/n=4"]);
            fail(&world, (which, what, Stage::Before), Fault::Offline, 1);
            let _ = world.round().await;
            assert_eq!(world.lost(), [], "{what:?} {world:?}");
            ends_with(&world, "A/a=2 N/n=3 N2/n=4 e=1").await;
        }
    }
}

#[tokio::test]
async fn not_delete_metadata_change() {
    let world = World::of([Memory::new(), Memory::new()]);
    on_both(&world, "a=1 b=1").await;
    world.side(Source).user_touch(&path("a"));
    world.settle().await;
    both_are(&world, "a=1 b=1");
    let [source, target] = Which::BOTH.map(|which| world.side(which).user_meta(&path("a")).unwrap().mtime);
    assert_eq!(source, target, "the time travels, the content does not");
    assert_eq!(world.side(Target).count(What::Replace), 0);
    // A new time here and a deletion there: the deletion is the only change of content.
    world.side(Source).user_touch(&path("b"));
    world.side(Target).user_delete(&path("b"));
    ends_with(&world, "a=1").await;
}
