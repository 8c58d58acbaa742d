//! What is left of rclone's `fs/sync`, `fs/operations` and `fstests`, of s5cmd, aws-cli, osync, JuiceFS, lsyncd and rsync; and
//! what none of them tests.
//!
//! | scenario | where, or why not |
//! | --- | --- |
//! | rclone `fstests`, JuiceFS `pkg/object` | the conformance suite |
//! | rclone DryRun, BackupDir, UTFNorm, MissingDirectory, WithExclude | `bisync` |
//! | rclone CheckFirst, Depth, FilesFrom, SizeOnly, IgnoreSize, IgnoreTimes, IgnoreExisting, UpdateOlder, MaxDuration, MaxTransfer, CompareDest, CopyDest, Immutable, NoTraverse | there are no such options |
//! | rclone IgnoreCase, FixCase | `bisync::normalization` |
//! | rclone DeleteBefore, -During, -After | a move needs what it moves: deletions come last, and there is no option |
//! | rclone Overlap | refused by the manifest |
//! | rclone Check, CheckSum, CheckDownload | [`verify`] |
//! | s5cmd, aws-cli: exit codes, special files, 10,000 deletes, pagination | the command's own tests, the conformance suite |
//! | osync Locking, timedExecution, UpgradeConfRun, DaemonMode | the daemon's own tests |
//! | lsyncd churn, JuiceFS `hypo` and `fsrand` | `random` |
//! | rsync append, partial, files-from, itemize | there are no such options |

use wl_core::entry::Hash;
use wl_core::error::{Error, Fault};
use wl_core::job::Which;
use wl_core::report::{ConflictKind, ProblemKind};
use wl_core::round::Engine;
use wl_core::survey::Scope;
use wl_syncer_generic::Generic;
use wl_test_kit::memory::{Fate, Memory, Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{End, are, both_are, check, conflicts, ends_with, fail, now, on_both, once, row};
use Which::{Source, Target};

#[tokio::test]
async fn nothing_to_transfer() {
    let world = World::new();
    on_both(&world, "a=1 d/b=2 e/ .wlignore=*.tmp d/.wlignore=x").await;
    world.settle().await;
    world.round().await.unwrap();
    let counts = || world.sides.iter().map(|side| [What::Read, What::Hash, What::Stat].map(|what| side.count(what)));
    let (before, writes) = (counts().collect::<Vec<_>>(), world.writes());
    world.round().await.unwrap();
    assert_eq!((counts().collect::<Vec<_>>(), world.writes()), (before, writes), "an unchanged pass only lists");
}

#[tokio::test]
async fn after_changing_modtime_only() {
    let world = World::new();
    on_both(&world, "a=1").await;
    for which in Which::BOTH {
        world.side(which).user_touch(&path("a"));
        let wanted = world.side(which).user_meta(&path("a")).unwrap().mtime;
        ends_with(&world, "a=1").await;
        assert_eq!(world.side(which.other()).user_meta(&path("a")).unwrap().mtime, wanted);
    }
    assert!(world.sides.iter().all(|side| side.count(What::Replace) == 0));
}

/// As in a bucket: modification times come with the content, not with the listing.
#[tokio::test]
async fn times_that_a_listing_does_not_know() {
    let world = World::new();
    world.side(Target).lists_without_times();
    let [here, there] = Which::BOTH.map(|which| world.side(which).clone());
    let time = |side: &Memory, name| side.user_meta(&path(name)).unwrap().mtime;
    here.user_write(&path("up"), "1");
    there.user_write(&path("down"), "2");
    ends_with(&world, "down=2 up=1").await;
    assert_eq!([time(&here, "up"), time(&there, "down")], [time(&there, "up"), time(&here, "down")]);
    here.user_touch(&path("up"));
    here.user_touch(&path("down"));
    ends_with(&world, "down=2 up=1").await;
    assert_eq!([time(&here, "up"), time(&here, "down")], [time(&there, "up"), time(&there, "down")], "they travel up");
    let writes = world.writes();
    world.round().await.unwrap();
    assert_eq!(world.writes(), writes, "and then all is quiet");
}

#[tokio::test]
async fn after_changing_contents_only() {
    let world = World::new();
    on_both(&world, "a=one").await;
    let meta = world.side(Source).user_meta(&path("a")).unwrap();
    world.side(Source).user_write(&path("a"), "two");
    world.side(Source).user_set_meta(&path("a"), meta);
    ends_with(&world, "a=two").await;
}

#[tokio::test]
async fn after_removing_a_file_and_adding_a_file() {
    check(&[
        row("a=1 b=1", "a=1 c=2", "a=1 b=1", End::Both("a=1 c=2")),
        row("a/a=1 a/b=1", "a/a=1 a/c=2", "a/a=1 a/b=1", End::Both("a/a=1 a/c=2")),
    ])
    .await;
}

#[tokio::test]
async fn after_removing_and_adding_with_errors() {
    // An error elsewhere does not turn into deletions, nor keep what can be done from being done.
    let world = World::new();
    on_both(&world, "a=1 b=1 d/x=1").await;
    now(&world, ["a=1 c=2 d/x=1", "a=1 b=1 d/x=1"]);
    world.side(Source).set_unreadable(&path("d"));
    world.settle().await;
    are(&world, ["a=1 c=2 d/x=1", "a=1 c=2 d/x=1"]);
    assert_eq!(world.problems().len(), 1);
}

#[tokio::test]
async fn server_side_copy_and_move() {
    let world =
        World::of([Memory::new(), Memory::with(wl_core::backend::Facts { server_move: false, ..Memory::able() })]);
    on_both(&world, "a=1").await;
    now(&world, ["b=1", "a=1"]);
    ends_with(&world, "b=1").await;
    assert_eq!(world.side(Target).count(What::Move), 0, "a storage that cannot move is not asked to");
}

/// Content that the destination holds already is not transferred again, whatever it is called there.
#[tokio::test]
async fn a_copy_of_what_is_there() {
    let large = "large".repeat(20_000);
    let hand = |able: bool| Memory::with(wl_core::backend::Facts { server_copy: able, ..Memory::able() });
    for able in [true, false] {
        let world = World::of([Memory::new(), hand(able)]);
        world.side(Source).user_write(&path("a"), large.clone());
        world.settle().await;
        let there = world.side(Target).clone();
        let reads = |world: &World| world.side(Source).count(What::Read);
        let before = reads(&world);
        world.side(Source).user_write(&path("d/copy"), large.clone());
        world.settle().await;
        assert_eq!((there.count(What::Copy), reads(&world) - before), (u64::from(able), u64::from(!able)));
        let [wanted, found] = [Source, Target].map(|which| world.side(which).user_meta(&path("d/copy")).unwrap().mtime);
        assert_eq!(wanted, found);
        // What was its origin over there is something else by now: it comes from here.
        world.side(Source).user_write(&path("e"), large.clone());
        once(&world, (Target, What::Copy, Stage::Before), move || {
            for name in ["a", "d/copy"] {
                there.user_write(&path(name), "other");
            }
        });
        world.settle().await;
        world.undisturbed();
        assert_eq!(world.side(Target).user_read(&path("e")).as_deref(), Some(large.as_bytes()));
    }
}

/// The time that a copy inside a storage could not be given is given to it by the next pass.
#[tokio::test]
async fn a_copy_of_what_is_there_that_cannot_be_timed_at_first() {
    let large = "large".repeat(20_000);
    let world = World::new();
    world.side(Source).user_write(&path("a"), large.clone());
    world.settle().await;
    world.side(Source).user_write(&path("copy"), large);
    fail(&world, (Target, What::SetMeta, Stage::Before), Fault::Busy, 1);
    world.settle().await;
    assert_eq!(world.side(Target).count(What::Copy), 1);
    let times = Which::BOTH.map(|which| world.side(which).user_meta(&path("copy")).unwrap().mtime);
    assert_eq!(times[0], times[1]);
}

#[tokio::test]
async fn concurrent_delete() {
    // Deleted between the listing and the transfer.
    for stage in [Stage::Before, Stage::Midway] {
        let world = World::new();
        on_both(&world, "a=0").await;
        now(&world, ["a=1 b=1 c=1", "a=0"]);
        let source = world.side(Source).clone();
        once(&world, (Source, What::Read, stage), move || {
            source.user_delete(&path("b"));
            source.user_delete(&path("a"));
        });
        world.settle().await;
        world.undisturbed();
        ends_with(&world, "c=1").await;
    }
}

#[tokio::test]
async fn concurrent_truncate() {
    let world = World::new();
    now(&world, ["a=1234567890 b=1", ""]);
    let source = world.side(Source).clone();
    once(&world, (Source, What::Read, Stage::Midway), move || source.user_write(&path("a"), "12"));
    ends_with(&world, "a=12 b=1").await;
}

#[tokio::test]
async fn growing_file() {
    // It grows while every one of its transfers runs: nothing stale counts as synced, and in the end it is.
    let world = World::new();
    now(&world, ["log=1", ""]);
    let (source, grown) = (world.side(Source).clone(), std::sync::atomic::AtomicU32::new(0));
    world.on_op(move |which, op| {
        let reading = which == Source && op.what == What::Read && op.stage == Stage::Midway;
        if reading && grown.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5 {
            source.user_append(&path("log"), b"+");
        }
        Fate::GoesOn
    });
    while !world.round().await.unwrap().unsettled.is_empty() {}
    let whole = format!("log={}", String::from_utf8_lossy(&world.side(Source).user_read(&path("log")).unwrap()));
    ends_with(&world, &whole).await;
}

#[tokio::test]
async fn verify() {
    let world = World::new();
    on_both(&world, "a=1 d/b=2").await;
    let run = world.run().unwrap();
    let verified = wl_core::inspect::verify(&run).await.unwrap();
    assert_eq!((verified.checked, verified.differences.len()), (2, 0), "{verified:?}");
    now(&world, ["a=1 d/b=2 c=3", "a=9 d/b=2"]);
    let verified = wl_core::inspect::verify(&run).await.unwrap();
    let paths: Vec<_> = verified.differences.into_iter().map(|difference| difference.path).collect();
    assert_eq!(paths, ["a", "c"]);
}

/// A bucket's metadata, a server's checksum or a property may say anything.
#[tokio::test]
async fn verify_believes_no_claim() {
    let world = World::new();
    on_both(&world, "a=1 b=2").await;
    now(&world, ["a=1 b=2", "a=9 b=2"]);
    for which in Which::BOTH {
        world.side(which).claims(Hash::of(b"1"));
    }
    let verified = wl_core::inspect::verify(&world.run().unwrap()).await.unwrap();
    let differences: Vec<_> =
        verified.differences.into_iter().map(|one| (one.path, [one.source, one.target])).collect();
    assert_eq!(differences, [("a".to_owned(), [b"1", b"9"].map(|bytes| Some(Hash::of(bytes))))]);
}

#[tokio::test]
async fn read_only() {
    let mut world = World::new();
    on_both(&world, "a=1 b=1").await;
    world.read_only = [false, true];
    now(&world, ["a=2 c=1", "a=1 b=1 d=1"]);
    world.settle().await;
    are(&world, ["a=2 c=1 d=1", "a=1 b=1 d=1"]);
    let kinds: Vec<_> = world.problems().into_iter().map(|problem| (problem.path, problem.kind)).collect();
    assert_eq!(kinds, ["a", "b", "c"].map(|path| (path.to_owned(), ProblemKind::ReadOnly)));
}

#[tokio::test]
async fn names_that_one_side_cannot_hold() {
    let world = World::new();
    world.side(Target).forbid(|path| path.name().contains(':'));
    now(&world, ["a:b=1 c=2 d:e/f=3", ""]);
    world.settle().await;
    are(&world, ["a:b=1 c=2 d:e/f=3", "c=2"]);
    assert_eq!(conflicts(&world), []);
    let problems = world.problems();
    assert!(problems.iter().any(|problem| problem.path == "a:b" && problem.kind == ProblemKind::Name), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.path == "d:e" && problem.kind == ProblemKind::Name), "{problems:?}");
}

#[tokio::test]
async fn names_that_are_written_and_not_listed() {
    let world = World::new();
    world.side(Target).unlist(|path| path.name().starts_with(".h"));
    now(&world, [".hidden=1 c=2", ""]);
    for _ in 0..4 {
        let _ = world.round().await.unwrap();
        assert!(Tree::parse(".hidden=1 c=2").same(&world.tree(Source)), "never a deletion: {world:?}");
        assert_eq!(world.lost(), []);
    }
    assert!(world.problems().iter().any(|problem| problem.kind == ProblemKind::Name), "{world:?}");
}

/// Asked for one case of a name, such a storage answers for the other: that is neither a new file nor one that is left.
#[tokio::test]
async fn another_case_of_a_name_where_a_side_takes_both_for_one() {
    for (folds, renames) in [(Source, Source), (Source, Target), (Target, Source), (Target, Target)] {
        for in_two_batches in [false, true] {
            let world = World::new();
            world.side(folds).fold_names();
            on_both(&world, "other=1 d/Photo.JPG=2").await;
            let hand = world.side(renames).clone();
            let steps = if in_two_batches { 2 } else { 1 };
            let meddle = |step| match (in_two_batches, step) {
                (false, _) => hand.user_rename(&path("d/Photo.JPG"), &path("d/photo.jpg")),
                (true, 0) if folds != renames => hand.user_write(&path("d/photo.jpg"), "2"),
                (true, 0) => {}
                (true, _) => {
                    hand.user_delete(&path("d/Photo.JPG"));
                    hand.user_write(&path("d/photo.jpg"), "2");
                }
            };
            world.watch(steps, meddle).await.unwrap();
            for _ in 0..4 {
                let _ = world.round().await.unwrap();
            }
            let told = format!("{folds:?} folds, {renames:?} renames, {in_two_batches}\n{world:?}");
            assert_eq!(world.lost(), [], "{told}");
            for side in &world.sides {
                let held = side.user_read(&path("d/photo.jpg")).map(|bytes| bytes.to_vec());
                assert_eq!(held.as_deref(), Some(&b"2"[..]), "{told}");
            }
            assert_eq!(world.tree(Source), world.tree(Target), "{told}");
        }
    }
}

/// As on macOS, whose own file system gives back another spelling of a name than it was given.
#[tokio::test]
async fn a_name_that_a_side_lists_in_another_spelling() {
    let names = ["d/caf\u{e9}.txt", "d/cafe\u{301}.txt"];
    for folds in Which::BOTH {
        let world = World::new();
        world.side(folds).take_accents_apart();
        on_both(&world, "other=1 d/plain=2").await;
        let hand = world.side(folds.other()).clone();
        let there = || names.into_iter().map(path).find(|name| hand.user_read(name).is_some());
        let meddle = |step| match step {
            0 => hand.user_write(&path(names[0]), "3"),
            1 => hand.user_write(&there().unwrap(), "4"),
            _ => hand.user_write(&path("other"), "5"),
        };
        world.watch(3, meddle).await.unwrap();
        world.settle().await;
        let told = format!("{folds:?} folds\n{world:?}");
        assert_eq!(world.lost(), [], "{told}");
        assert_eq!(world.tree(Source), world.tree(Target), "{told}");
        assert_eq!(hand.user_read(&path(names[1])).as_deref(), Some(&b"4"[..]), "{told}");
        assert_eq!(hand.user_read(&path(names[0])), None, "one file, not two: {told}");
        // Who deletes the one file means that one.
        world.watch(1, |_| hand.user_delete(&there().unwrap())).await.unwrap();
        are(&world, ["other=5 d/plain=2"; 2]);
    }
}

/// As in a bucket, where two files of one content have the same token: they are two all the same, and a change of one of them
/// is no reason to look at everything.
#[tokio::test]
async fn two_names_of_one_content_that_a_side_tells_apart() {
    let world = World::new();
    world.side(Target).tell_by_content();
    on_both(&world, "A=1 a=1 other=2").await;
    let (source, target) = (world.side(Source).clone(), world.side(Target).clone());
    let mut before = 0;
    let meddle = |step| {
        // The first one is looked into.
        if step == 1 {
            before = target.count(What::List);
        }
        source.user_write(&path("other"), ["3", "4", "5"][step]);
        source.user_touch(&path("a"));
    };
    world.watch(3, meddle).await.unwrap();
    assert_eq!(target.count(What::List), before, "{world:?}");
    both_are(&world, "A=1 a=1 other=5");
}

/// Two names on one side that are one on the other: the second is listed as a problem, and nothing happens to either.
#[tokio::test]
async fn two_names_where_a_side_takes_both_for_one() {
    let world = World::new();
    world.side(Target).fold_names();
    now(&world, ["A.txt=1 a.txt=1", ""]);
    let source = world.side(Source).clone();
    world.watch(1, |_| source.user_delete(&path("a.txt"))).await.unwrap();
    for _ in 0..4 {
        let _ = world.round().await.unwrap();
    }
    are(&world, ["A.txt=1", "A.txt=1"]);
}

/// Two directories on one side that are one on the other: what lies in the second is not taken for renamed.
#[tokio::test]
async fn two_directories_where_a_side_takes_both_for_one() {
    let world = World::new();
    world.side(Target).fold_names();
    now(&world, ["Dir/x=1 dir/y=2", ""]);
    for _ in 0..4 {
        let _ = world.round().await.unwrap();
    }
    are(&world, ["Dir/x=1 Dir/y=2 dir/y=2", "Dir/x=1 Dir/y=2"]);
    assert!(world.problems().iter().any(|problem| problem.path == "dir/y" && problem.kind == ProblemKind::Name));
}

/// What was about to be done when a round was cut off may be something that can never be looked at.
#[tokio::test]
async fn a_round_cut_off_over_a_name_that_one_side_cannot_hold() {
    let world = World::new();
    now(&world, ["a=1 long=2", ""]);
    world.on_op(|which, op| match (which, op.what, op.stage) {
        (Target, What::Replace, Stage::Before) => Fate::Hangs,
        _ => Fate::GoesOn,
    });
    assert_eq!(world.round().await.unwrap_err().fault, Fault::Stopped);
    world.on_op(|which, op| match (which, op.path.name()) {
        (Target, "long") => Fate::Fails(Error::new(Fault::Malformed, "the name is too long")),
        _ => Fate::GoesOn,
    });
    world.settle().await;
    are(&world, ["a=1 long=2", "a=1"]);
    assert!(world.problems().iter().any(|problem| problem.path == "long" && problem.kind == ProblemKind::Name));
}

#[tokio::test]
async fn rules_that_cannot_be_read_hold_when_something_is_hinted_at() {
    let world = World::new();
    now(&world, [".wlignore=*.tmp x.tmp=1", ""]);
    let source = world.side(Source).clone();
    source.set_unreadable(&path(".wlignore"));
    let meddle = |step| {
        if step == 0 {
            source.user_write(&path("x.tmp"), "2");
        } else {
            source.set_readable(&path(".wlignore"));
            source.user_touch(&path(".wlignore"));
            source.user_write(&path("y"), "3");
        }
    };
    world.watch(1, meddle).await.unwrap();
    are(&world, [".wlignore=*.tmp x.tmp=2", ""]);
    world.watch(2, meddle).await.unwrap();
    are(&world, [".wlignore=*.tmp x.tmp=2 y=3", ".wlignore=*.tmp y=3"]);
}

/// What is refused again and again is listed in the end, and not hurried any more.
#[tokio::test]
async fn what_is_never_settled_is_listed() {
    let world = World::new();
    now(&world, ["a=1 busy=2", ""]);
    world.on_op(|which, op| match (which, op.what, op.path.name()) {
        (Target, What::Replace, "busy") => Fate::Fails(Error::changed(&op.path)),
        _ => Fate::GoesOn,
    });
    let run = world.run().unwrap();
    let mut engine = Engine::new(&run, &Generic).unwrap();
    let mut rounds = 1;
    while !engine.round(&Scope::All).await.unwrap().unsettled.is_empty() {
        assert_eq!(engine.problems().count(), 0);
        rounds += 1;
    }
    assert_eq!((rounds, engine.problems().map(|problem| problem.kind).collect()), (6, vec![ProblemKind::Busy]));
    world.undisturbed();
    assert!(engine.round(&Scope::All).await.unwrap().unsettled.is_empty());
    assert_eq!(engine.problems().count(), 0);
    both_are(&world, "a=1 busy=2");
}

#[tokio::test]
async fn a_root_that_vanishes_while_it_is_listed() {
    for (what, stage) in [(What::List, Stage::Before), (What::List, Stage::Midway), (What::Hash, Stage::Before)] {
        for which in Which::BOTH {
            let world = World::new();
            let all = "a=1 b=1 c=1 d/e=1 d/f=1 g=1 h=1 i=1 j=1";
            on_both(&world, all).await;
            now(&world, [&all.replace("a=1", "a=2"), &all.replace("b=1", "b=2")]);
            let side = world.side(which).clone();
            once(&world, (which, what, stage), move || side.remove_root());
            let _ = world.round().await;
            assert_eq!(world.side(which.other()).count(What::Remove), 0, "{what:?} {stage:?}\n{world:?}");
            world.side(which).restore_root();
            world.undisturbed();
            ends_with(&world, &all.replace("a=1", "a=2").replace("b=1", "b=2")).await;
        }
    }
}

#[tokio::test]
async fn a_root_that_is_replaced_while_it_is_listed() {
    // As when a disk is unmounted and leaves its empty mount point behind, after the root was looked at.
    for stage in [Stage::Before, Stage::Midway] {
        for which in Which::BOTH {
            let world = World::new();
            let all = "a=1 b=1 c=1 d/e=1 d/f=1 g=1 h=1 i=1 j=1";
            on_both(&world, all).await;
            let side = world.side(which).clone();
            once(&world, (which, What::List, stage), move || side.replace_root());
            let _ = world.round().await;
            assert!(Tree::parse(all).same(&world.tree(which.other())), "{which:?} {stage:?}\n{world:?}");
            assert_eq!(world.round().await.unwrap_err().fault, Fault::Refused, "{world:?}");
            world.side(which).restore_root();
            world.undisturbed();
            both_are(&world, all);
            ends_with(&world, all).await;
        }
    }
}

#[tokio::test]
async fn a_root_that_does_not_exist_yet_is_made() {
    let world = World::new();
    now(&world, ["a=1 d/b=2", ""]);
    world.side(Target).remove_root();
    ends_with(&world, "a=1 d/b=2").await;
}

#[tokio::test]
async fn every_fault_of_every_operation_passes() {
    let faults = [Fault::Offline, Fault::Busy, Fault::Denied, Fault::Full, Fault::Broken, Fault::Malformed];
    let everything = [
        What::Root,
        What::List,
        What::Stat,
        What::Hash,
        What::Read,
        What::Replace,
        What::Remove,
        What::MakeDir,
        What::RemoveDir,
        What::Move,
        What::SetMeta,
    ];
    for (what, fault) in everything.into_iter().flat_map(|what| faults.map(|fault| (what, fault))) {
        for (which, stage) in Which::BOTH.into_iter().flat_map(|w| [Stage::Before, Stage::After].map(|s| (w, s))) {
            let world = World::new();
            on_both(&world, "a=1 b=1 m=move d/x=1 k=1 t=1").await;
            now(&world, ["a=2 b=1 n=move k/x=1 t=1 e/", "a=1 m=move d/x=1 k=1 t=1 f/g=3"]);
            world.side(Source).user_touch(&path("t"));
            fail(&world, (which, what, stage), fault, 1);
            let _ = world.round().await;
            assert_eq!(world.lost(), [], "{what:?} {fault:?}\n{world:?}");
            ends_with(&world, "a=2 n=move k/x=1 t=1 e/ f/g=3").await;
            assert_eq!(world.problems(), [], "{what:?} {fault:?}\n{world:?}");
        }
    }
}

#[tokio::test]
async fn a_full_storage_keeps_nobody_from_deleting() {
    let world = World::new();
    on_both(&world, "a=1 b=1").await;
    now(&world, ["b=1 c=2", "a=1 b=1"]);
    world.on_op(|which, op| {
        let writing = which == Target && op.what == What::Replace;
        if writing { Fate::Fails(Error::new(Fault::Full, "no room")) } else { Fate::GoesOn }
    });
    world.round().await.unwrap();
    are(&world, ["b=1 c=2", "b=1"]);
}

#[tokio::test]
async fn a_full_storage_takes_what_needs_no_room_and_the_other_one_everything() {
    let world = World::new();
    let many = |prefix: &str, range: std::ops::Range<u32>| {
        range.map(|n| format!("{prefix}{n}={n}")).collect::<Vec<_>>().join(" ")
    };
    let (old, new, theirs) = (many("old", 0..20), many("new", 100..120), many("their", 200..220));
    on_both(&world, &format!("stays=1 {old}")).await;
    now(&world, [&format!("stays=1 {} {new}", many("old", 8..20)), &format!("stays=1 {old} {theirs}")]);
    world.on_op(|which, op| {
        let writing = which == Target && op.what == What::Replace;
        if writing { Fate::Fails(Error::new(Fault::Full, "no room")) } else { Fate::GoesOn }
    });
    let waits = world.round().await.unwrap().waits.map(|error| error.fault);
    assert_eq!(waits, Some(Fault::Full));
    let here = format!("stays=1 {} {new} {theirs}", many("old", 8..20));
    are(&world, [&here, &format!("stays=1 {} {theirs}", many("old", 8..20))]);
    world.undisturbed();
    ends_with(&world, &here).await;
}

/// A change took effect, its answer was lost, and the user puts back what was there before: that is what both get.
#[tokio::test]
async fn what_is_put_back_after_a_lost_answer_stays() {
    for fault in [Fault::Offline, Fault::Busy, Fault::Broken] {
        for (what, meanwhile, back) in [
            (What::Remove, "k=1", "a=1 k=1"),
            (What::Replace, "a=2 k=1", "a=1 k=1"),
            (What::Replace, "a=1 b=2 k=1", "a=1 k=1"),
            (What::Move, "b=1 k=1", "a=1 k=1"),
        ] {
            let world = World::new();
            on_both(&world, "a=1 k=1").await;
            now(&world, [meanwhile, "a=1 k=1"]);
            fail(&world, (Target, what, Stage::After), fault, 1);
            let _ = world.round().await;
            Tree::parse(back).put_on(world.side(Source));
            ends_with(&world, back).await;
            assert_eq!(conflicts(&world), [], "{what:?} {fault:?}\n{world:?}");
        }
    }
}

/// The same, and the user goes on with it: no conflict that no user made.
#[tokio::test]
async fn what_is_saved_once_more_after_a_lost_answer_is_no_conflict() {
    for base in ["k=1", "a=1 k=1"] {
        let world = World::new();
        on_both(&world, base).await;
        now(&world, ["a=2 k=1", base]);
        fail(&world, (Target, What::Replace, Stage::After), Fault::Offline, 1);
        let _ = world.round().await;
        Tree::parse("a=3 k=1").put_on(world.side(Source));
        ends_with(&world, "a=3 k=1").await;
        assert_eq!(conflicts(&world), [], "{world:?}");
    }
}

/// What goes on below a path where a file and a directory clash is decided with it.
#[tokio::test]
async fn a_kind_conflict_stands_for_those_below_it() {
    let world = World::new();
    on_both(&world, "d/ d/f=1 d/g=1").await;
    now(&world, ["d/ d/g=1", "d/ d/f=2 d/g=1"]);
    world.settle().await;
    assert_eq!(conflicts(&world), [("d/f".to_owned(), ConflictKind::DeletedModified)]);
    now(&world, ["d/ d/g=1 d/new=3", "d=file"]);
    world.settle().await;
    assert_eq!(conflicts(&world), [("d".to_owned(), ConflictKind::Kind)]);
}

/// An emptied bucket, or another one of the same name, looks as if everything in it had been deleted.
#[tokio::test]
async fn everything_vanished_from_a_place_that_nothing_names() {
    for on in Which::BOTH {
        let mut world = World::new();
        world.side(on).has_no_name();
        on_both(&world, "a=1 d/ d/b=2").await;
        world.settle().await;
        for emptied in ["", "other=3"] {
            Tree::parse(emptied).put_on(world.side(on));
            let stopped = world.round().await.unwrap_err();
            assert!(stopped.fault == Fault::Refused && stopped.message.contains("all 2 files vanished"), "{stopped}");
            assert!(world.tree(on.other()).same(&Tree::parse("a=1 d/ d/b=2")), "{world:?}");
        }
        // What is left, or returns, shows that it is the place.
        Tree::parse("a=1").put_on(world.side(on));
        ends_with(&world, "a=1").await;
        Tree::parse("").put_on(world.side(on));
        ends_with(&world, "").await;
        on_both(&world, "a=1 b=2").await;
        world.settle().await;
        world.options.allow_deletes = true;
        Tree::parse("").put_on(world.side(on));
        ends_with(&world, "").await;
    }
}

/// A file system that names nothing was unmounted, and the directory below it has a name.
#[tokio::test]
async fn a_place_that_nothing_named_gives_way_to_one_that_has_a_name() {
    for on in Which::BOTH {
        let world = World::new();
        world.side(on).has_no_name();
        on_both(&world, "a=1 d/ d/b=2").await;
        world.settle().await;
        Tree::parse("").put_on(world.side(on));
        world.side(on).has_a_name();
        let stopped = world.round().await.unwrap_err();
        assert!(stopped.fault == Fault::Refused && stopped.message.contains("all 2 files vanished"), "{stopped}");
        // What returns shows that it is the place, and from now on it is known by its name.
        Tree::parse("a=1 d/ d/b=2").put_on(world.side(on));
        ends_with(&world, "a=1 d/ d/b=2").await;
        Tree::parse("").put_on(world.side(on));
        ends_with(&world, "").await;
    }
}

/// What comes in the same pass does not make a mass deletion a small one.
#[tokio::test]
async fn many_files_vanish_while_many_more_appear() {
    let world = World::new();
    let vanishing = || (0..30).map(|n| path(&format!("z/{n}")));
    vanishing().for_each(|path| world.side(Source).user_write(&path, path.as_str().to_owned()));
    world.settle().await;
    vanishing().for_each(|path| world.side(Source).user_delete(&path));
    // More than a window of them, and all of them sort before.
    (0..8300).for_each(|n| world.side(Source).user_write(&path(&format!("a/{n}")), format!("new {n}")));
    let stopped = world.round().await.unwrap_err();
    assert!(stopped.fault == Fault::Refused && stopped.message.contains("30 of 30 files vanished"), "{stopped}");
    assert!(vanishing().all(|path| world.side(Target).user_exists(&path)));
    assert_eq!(world.lost(), []);
}

/// A conflict about a file that was never agreed on says nothing about those that were; nor does one count twice.
#[tokio::test]
async fn some_files_vanish_beside_many_open_conflicts() {
    for (known, never) in [(20, 16), (0, 30)] {
        let world = World::new();
        world.side(Source).has_no_name();
        let both = |name: &str, contents: [&str; 2]| {
            for which in Which::BOTH {
                world.side(which).user_write(&path(name), contents[which as usize].to_owned());
            }
        };
        (0..24).for_each(|n| both(&format!("equal/{n}"), ["1", "1"]));
        (0..known).for_each(|n| both(&format!("known/{n}"), ["1", "1"]));
        (0..never).for_each(|n| both(&format!("never/{n}"), ["1", "2"]));
        world.settle().await;
        (0..known).for_each(|n| both(&format!("known/{n}"), ["2", "3"]));
        world.settle().await;
        assert_eq!(world.conflicts().len(), known + never);
        let gone = [path("equal/0"), path("equal/1")];
        for path in &gone {
            world.side(Source).user_delete(path);
        }
        world.settle().await;
        assert!(!gone.iter().any(|path| world.side(Target).user_exists(path)), "{world:?}");
    }
}
