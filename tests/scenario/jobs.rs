//! Whole jobs over storages that fail, vanish or end what they began: how much is tried, and how soon a job gives up.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wl_core::drive;
use wl_core::error::{Error, Fault};
use wl_core::filter::Filter;
use wl_core::job::{Run, Which};
use wl_core::path::RelPath;
use wl_core::report::{JobState, TrashReason};
use wl_core::survey::{Scope, Survey};
use wl_core::trash;
use wl_syncer_generic::Generic;
use wl_test_kit::memory::{Fate, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;

use crate::table::{now, on_both};
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
        world.on_op(move |which, op| {
            let away = which == on && op.what == what;
            if away { Fate::Fails(Error::new(Fault::Offline, "nobody answers")) } else { Fate::GoesOn }
        });
        assert_eq!(world.round().await.unwrap_err().fault, Fault::Offline);
        let tried = world.side(on).count(what) - before;
        assert!((1..=16).contains(&tried), "{what:?} {tried} times");
    }
}

/// A stopped job does not first go through the whole trash.
#[tokio::test]
async fn a_job_is_stopped_while_the_trash_is_swept() {
    let mut world = World::new();
    on_both(&world, "a=1 b=1").await;
    now(&world, ["b=1", "a=1 b=1"]);
    world.settle().await;
    assert!(!world.side(Target).trash().is_empty());
    world.options.keep_deleted = Duration::ZERO;
    let run = world.run().unwrap();
    let stop = run.stop.clone();
    world.side(Target).on_op(move |op| {
        if op.what != What::Remove {
            return Fate::GoesOn;
        }
        stop.cancel();
        Fate::Hangs
    });
    timeout(Duration::from_secs(5), drive::one_shot(&run, &Generic)).await.expect("it ends").unwrap();
}

/// What a storage does not list may be in a directory that came into the trash: it stays as long as everything else there.
#[tokio::test]
async fn only_what_is_due_is_removed_from_a_trash() {
    let world = World::new();
    let (now, old) = (Timestamp::now(), Timestamp::now() - Duration::from_hours(48));
    let file = trash::place(old, TrashReason::Deleted, &path("d/x"));
    let (young, rescued) = (trash::place(now, TrashReason::Deleted, &path("dir")), trash::rescued(&path("kept")));
    world.side(Target).user_write(&file, "x");
    world.side(Target).user_write(&rescued, "x");
    world.side(Target).user_mkdir(&young);
    let run = world.run().unwrap();
    let is_there = |path: &RelPath| world.side(Target).user_exists(path);
    assert_eq!(trash::sweep(&run.pair, Duration::from_hours(24)).await.removed, 1);
    assert!(!is_there(&file.parent().unwrap()) && is_there(&young) && is_there(&rescued), "{world:?}");
    world.side(Target).user_write(&file, "x");
    assert_eq!(trash::sweep(&run.pair, Duration::ZERO).await.removed, 1);
    assert!(!is_there(&young) && is_there(&rescued), "{world:?}");
    assert_eq!(trash::empty(&run).await.unwrap().removed, 1);
    assert!(!is_there(&rescued), "{world:?}");
}

/// Everything is looked at each time that watching begins anew.
#[tokio::test]
async fn a_watcher_that_ends_at_once_is_not_begun_anew_without_a_pause() {
    let world = World::new();
    on_both(&world, "a=1").await;
    world.side(Source).ends_watching();
    let run = world.run().unwrap();
    let before = world.side(Target).count(What::List);
    let job = async {
        sleep(Duration::from_millis(1200)).await;
        run.stop.cancel();
    };
    let (done, ()) = tokio::join!(drive::continuous(&run, &Generic), job);
    done.unwrap();
    let rounds = world.side(Target).count(What::List) - before;
    assert!((2..=6).contains(&rounds), "{rounds} rounds");
}

/// Leave to delete is given for one run; what `keep` of the daemon begins again after a failure is the same one.
#[tokio::test]
async fn a_run_that_begins_anew_has_no_leave_to_delete_any_more() {
    let mut world = World::new();
    let all = || (0..30).map(|n| path(&n.to_string()));
    all().for_each(|path| world.side(Source).user_write(&path, path.as_str().to_owned()));
    world.settle().await;
    world.options.allow_deletes = true;
    let first = world.run().unwrap();
    let until = async |run: &Run, state: JobState| {
        let reached = async {
            let mut now = run.monitor.state();
            let waited = timeout(Duration::from_secs(20), now.wait_for(|now| *now == state)).await;
            waited.expect("it comes to that").unwrap();
            run.stop.cancel();
        };
        tokio::join!(drive::continuous(run, &Generic), reached).0.unwrap();
    };
    until(&first, JobState::Synced).await;
    all().for_each(|path| world.side(Source).user_delete(&path));
    let again = Run { stop: CancellationToken::new(), ..first };
    until(&again, JobState::Error).await;
    assert!(all().all(|path| world.side(Target).user_exists(&path)));
}

/// As below `.cache` of a home directory: a `.wlignore` in any of the directories on the way is still to come.
#[tokio::test]
async fn a_window_ends_though_rules_are_still_to_come() {
    let world = World::new();
    let source = world.side(Source);
    for n in 0..9000 {
        source.user_write(&path(&format!(".cache/#/{n}.{}", if n % 100 == 0 { "tmp" } else { "txt" })), n.to_string());
    }
    source.user_write(&path(".cache/.wlignore"), "*.tmp");
    world.side(Target).user_write(&path(".wlignore"), "10*.txt");
    source.user_write(&path("b"), "b");
    let run = world.run().unwrap();
    let mut filter = Filter::new(&[]).unwrap();
    let mut survey = Survey::new(&run.pair, &mut filter, &Scope::All).unwrap();
    let (mut windows, mut names) = (Vec::new(), Vec::new());
    loop {
        let window = survey.next_window().await.unwrap();
        windows.push(window.rows.len());
        names.extend(window.rows.into_iter().map(|row| row.path.name().to_owned()));
        if window.last {
            break;
        }
    }
    assert!(windows.len() > 1 && windows.iter().all(|rows| *rows <= 8192), "{windows:?}");
    assert!(!names.iter().any(|name| name.contains(".tmp") || name.starts_with("10")));
    assert!(["3.txt", "8999.txt", "b", ".wlignore"].iter().all(|name| names.iter().any(|other| other == name)));
    assert!(!survey.restless && survey.problems.is_empty());
}
