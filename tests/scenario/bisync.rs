//! rclone bisync's scenarios, by their names in its `testdata`.
//!
//! | scenario | why not here |
//! | --- | --- |
//! | check_access_filters, check_filename | there are no marker files: a storage's root is known by its identity |
//! | check_sync | the base is never relisted: `a_lost_base_is_no_loss` stands for doctored listings |
//! | resync_modes | nothing is newer or larger enough to win at first contact: a difference is a conflict |
//! | rclone_args | what counts as a change is not configurable: the content does |
//! | ext_paths | names in root paths and config files never reach the engine |
//! | lock files, valid, expired, unreadable | the daemon holds one lock a user, released by the system |

use std::sync::Arc;
use std::time::Duration;

use wl_core::backend::Facts;
use wl_core::error::Fault;
use wl_core::job::{Options, Which};
use wl_core::report::ConflictKind;
use wl_core::resolve::{Keep, resolve};
use wl_test_kit::memory::{Fate, Memory, Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

use crate::table::{End, are, both_are, check, conflicts, ends_with, now, on_both, row};

use Which::{Source, Target};

#[tokio::test]
async fn basic() {
    check(&[row("file=1 sub/file=1", "file=1 sub/file=2", "file=2 sub/file=1", End::Both("file=2 sub/file=2"))]).await;
}

const BEFORE: &str = "newer2=0 newer1=0 gone2=0 gone1=0 both=0 newer2gone1=0 newer1gone2=0 gone=0 same=0";
const ONE: &str = "newer2=0 newer1=1 gone2=0 both=1 newer1gone2=1 same=0 new1=1";
const TWO: &str = "newer2=2 newer1=0 gone1=0 both=2 newer2gone1=2 same=0 new2=2";
// Both versions of a conflict stay where they are, under their own names: nothing is renamed.
const AFTER: [&str; 2] = [
    "newer2=2 newer1=1 both=1 newer1gone2=1 same=0 new1=1 new2=2",
    "newer2=2 newer1=1 both=2 newer2gone1=2 same=0 new1=1 new2=2",
];

/// The matrix of ten ways to change.
async fn matrix(world: &World) {
    on_both(world, BEFORE).await;
    now(world, [ONE, TWO]);
    world.settle().await;
    are(world, AFTER);
    let kinds = [
        ("both", ConflictKind::Content),
        ("newer1gone2", ConflictKind::DeletedModified),
        ("newer2gone1", ConflictKind::DeletedModified),
    ];
    assert_eq!(conflicts(world), kinds.map(|(path, kind)| (path.to_owned(), kind)));
}

#[tokio::test]
async fn changes() {
    matrix(&World::new()).await;
}

#[tokio::test]
async fn compare_all() {
    let world = World::new();
    world.sides.iter().for_each(|side| side.tokens_are_racy());
    matrix(&world).await;
}

#[tokio::test]
async fn nomodtime() {
    let timeless = || Memory::with(Facts { mtime: false, mode: false, ..Memory::able() });
    matrix(&World::of([timeless(), timeless()])).await;
    matrix(&World::of([timeless(), Memory::new()])).await;
}

#[tokio::test]
async fn dry_run() {
    let world = World::new();
    on_both(&world, BEFORE).await;
    now(&world, [ONE, TWO]);
    let (base, writes) = (world.base(), world.writes());
    let plan = wl_core::inspect::plan(&world.run().unwrap()).await.unwrap();
    assert_eq!(plan.len(), 9, "everything but `same` and what both deleted: {plan:?}");
    assert_eq!((world.base(), world.writes()), (base, writes));
    assert_eq!(conflicts(&world), []);
    are(&world, [ONE, TWO]);
    world.settle().await;
    are(&world, AFTER);
}

#[tokio::test]
async fn backupdir() {
    let world = World::new();
    matrix(&world).await;
    let kept = |which: Which| {
        let trash = world.side(which).trash().into_iter().filter(|(_, shown)| shown != "/");
        trash.map(|(path, shown)| format!("{}={shown}", path.name())).collect::<Vec<_>>()
    };
    assert_eq!(
        [kept(Source), kept(Target)].map(|mut all| {
            all.sort();
            all
        }),
        [["gone2=0", "newer2=0"], ["gone1=0", "newer1=0"]]
    );
    // A second run changes nothing, neither does the trash travel.
    let writes = world.writes();
    world.settle().await;
    assert_eq!(world.writes(), writes);
}

#[tokio::test]
async fn all_changed() {
    let world = World::new();
    on_both(&world, "a=1 b=1 d/c=1").await;
    for name in ["a", "b", "d/c"] {
        world.side(Source).user_touch(&path(name));
    }
    world.settle().await;
    both_are(&world, "a=1 b=1 d/c=1");
    for side in &world.sides {
        assert_eq!((side.count(What::Remove), side.count(What::Move)), (0, 0));
    }
    assert_eq!(world.side(Target).count(What::Replace), 0, "touching is no change of content: {world:?}");
    now(&world, ["a=2 b=2 d/c=2", "a=1 b=1 d/c=1"]);
    ends_with(&world, "a=2 b=2 d/c=2").await;
}

#[tokio::test]
async fn check_access() {
    for which in Which::BOTH {
        let world = World::new();
        on_both(&world, "a=1 sub/b=1").await;
        world.side(which).remove_root();
        for _ in 0..2 {
            let error = world.round().await.unwrap_err();
            assert_eq!(error.fault, Fault::Missing);
            assert!(Tree::parse("a=1 sub/b=1").same(&world.tree(which.other())), "{world:?}");
        }
        world.side(which).restore_root();
        world.side(which).user_write(&path("c"), "1");
        ends_with(&world, "a=1 sub/b=1 c=1").await;
    }
}

#[tokio::test]
async fn a_lost_base_is_no_loss() {
    let mut world = World::new();
    on_both(&world, "a=1 b=1 c=1").await;
    now(&world, ["a=2 b=1", "a=1 b=1 c=1 d=1"]);
    world.forget();
    world.settle().await;
    are(&world, ["a=2 b=1 c=1 d=1", "a=1 b=1 c=1 d=1"]);
    assert_eq!(conflicts(&world), [("a".to_owned(), ConflictKind::Content)]);
}

#[tokio::test]
async fn concurrent() {
    let world = World::new();
    on_both(&world, "a=1 b=1").await;
    now(&world, ["a=2 b=2", "a=1 b=1"]);
    let source = world.side(Source).clone();
    let once = std::sync::Once::new();
    world.on_op(move |which, op| {
        if (which, op.what, op.stage) == (Target, What::Replace, Stage::Before) {
            once.call_once(|| source.user_write(&path("a"), "3"));
        }
        Fate::GoesOn
    });
    let round = world.round().await.unwrap();
    assert_eq!(round.unsettled, [path("a")], "{world:?}");
    ends_with(&world, "a=3 b=2").await;
}

#[tokio::test]
async fn concurrent_runs() {
    let world = World::new();
    now(&world, ["a=1 b=1 c/d=1", "e=1 f/g=1"]);
    // Two processes never share a state, but two callers may share a pair.
    let (one, two) = tokio::join!(world.round(), world.round());
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    ends_with(&world, "a=1 b=1 c/d=1 e=1 f/g=1").await;
}

#[tokio::test]
async fn volatile() {
    let world = World::new();
    on_both(&world, "churn=0").await;
    for round in 1..4 {
        let (source, target) = (world.side(Source).clone(), world.side(Target).clone());
        target.user_write(&path("churn"), format!("two {round}"));
        source.user_write(&path("churn"), format!("one {round}"));
        let left = std::sync::atomic::AtomicU32::new(50);
        let count = Arc::new(left);
        world.on_op(move |_, op| {
            if matches!(op.what, What::Hash | What::List | What::Replace) {
                let number = count.fetch_update(
                    std::sync::atomic::Ordering::Relaxed,
                    std::sync::atomic::Ordering::Relaxed,
                    |left| left.checked_sub(1),
                );
                if let Ok(number) = number {
                    source.user_write(&path(&format!("during-{round}/{number}")), format!("{round} {number}"));
                }
            }
            Fate::GoesOn
        });
        world.round().await.unwrap();
        world.undisturbed();
        world.settle().await;
        assert_eq!(conflicts(&world), [("churn".to_owned(), ConflictKind::Content)]);
        let [one, two] = Which::BOTH.map(|which| world.side(which).snapshot());
        assert!(
            one.iter().filter(|(path, _)| path.name() != "churn").all(|(path, shown)| two.get(path) == Some(shown))
        );
        assert_eq!(world.lost(), []);
    }
}

#[tokio::test]
async fn createemptysrcdirs() {
    check(&[row("a=1", "a=1 empty/", "a=1", End::Both("a=1 empty/")), row("e/", "", "e/", End::Both(""))]).await;
}

#[tokio::test]
async fn rmdirs() {
    check(&[row("d/x=1", "d/", "d/x=1", End::Both("d/")), row("d/e/x=1", "", "d/e/x=1", End::Both(""))]).await;
}

#[tokio::test]
async fn equal() {
    check(&[
        row("same=0 other=0", "same=1 other=1", "same=1 other=2", End::Untouched).conflicts(&["other"]),
        row("same=0", "same=1", "same=1", End::Both("same=1")),
    ])
    .await;
}

#[tokio::test]
async fn resolving() {
    for (keep, ends) in [
        (Keep::Side(Source), ["a=1", "a=1"]),
        (Keep::Side(Target), ["a=2", "a=2"]),
        (Keep::Both, ["a=1 a(conflict)=2", "a=1 a(conflict)=2"]),
    ] {
        let world = World::new();
        on_both(&world, "a=0").await;
        now(&world, ["a=1", "a=2"]);
        world.settle().await;
        resolve(&world.run().unwrap(), &path("a"), keep).await.unwrap();
        world.settle().await;
        assert_eq!(conflicts(&world), []);
        // The copy's name says which storage it is from; its exact form is the user's to read.
        let plain = |which| {
            let snapshot = world.side(which).snapshot().into_iter();
            let name = |path: &str| if path.contains("conflict") { "a(conflict)".to_owned() } else { path.to_owned() };
            snapshot.map(|(path, shown)| format!("{}={shown}", name(path.as_str()))).collect::<Vec<_>>().join(" ")
        };
        let mut both = Which::BOTH.map(plain).map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let mut expected = ends.map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for items in both.iter_mut().chain(&mut expected) {
            items.sort();
        }
        assert_eq!(both, expected, "{keep:?} {world:?}");
        let given_up: Vec<_> = world.lost().into_iter().map(|lost| lost.content).collect();
        assert!(
            given_up.iter().all(|content| keep != Keep::Both && ["1", "2"].contains(&content.as_str())),
            "{given_up:?}"
        );
    }
}

/// A directory that gives way to a file takes nothing with it that rules may exclude.
#[tokio::test]
async fn resolving_below_rules_that_cannot_be_read() {
    let world = World::new();
    on_both(&world, "d/t=1").await;
    now(&world, ["d/t=2", "d/t/a=1 d/t/b.tmp=2"]);
    world.settle().await;
    assert_eq!(conflicts(&world).len(), 1);
    let (target, rules) = (world.side(Target), path("d/.wlignore"));
    target.user_write(&rules, "*.tmp");
    target.set_unreadable(&rules);
    let run = world.run().unwrap();
    let refused = resolve(&run, &path("d/t"), Keep::Side(Source)).await.unwrap_err();
    assert!(refused.message.contains("cannot be read"), "{refused}");
    are(&world, ["d/t=2", "d/.wlignore=*.tmp d/t/a=1 d/t/b.tmp=2"]);
    let told = wl_core::inspect::explain(&run, &path("d/t/b.tmp")).await.unwrap();
    assert!(told.reason.contains("cannot be read") && told.target.kind == "file", "{told:?}");
    target.user_delete(&rules);
    resolve(&run, &path("d/t"), Keep::Side(Source)).await.unwrap();
}

/// Before any round has seen what was resolved.
#[tokio::test]
async fn an_edit_in_the_moment_after_resolving() {
    for keep in [Keep::Side(Source), Keep::Side(Target), Keep::Both] {
        for which in Which::BOTH {
            let world = World::new();
            on_both(&world, "a=0").await;
            now(&world, ["a=1", "a=2"]);
            world.settle().await;
            resolve(&world.run().unwrap(), &path("a"), keep).await.unwrap();
            world.side(which).user_write(&path("a"), "3");
            world.settle().await;
            assert_eq!(conflicts(&world), [], "{keep:?} {which:?}");
            assert_eq!(Which::BOTH.map(|side| world.side(side).user_read(&path("a")).unwrap()), ["3", "3"]);
        }
    }
}

#[tokio::test]
async fn resync() {
    check(&[
        row("", "a=1 d/b=1", "", End::Both("a=1 d/b=1")),
        row(
            "",
            "missing2=1 same=1 differs=1",
            "missing1=2 same=1 differs=2",
            End::Apart("missing1=2 missing2=1 same=1 differs=1", "missing1=2 missing2=1 same=1 differs=2"),
        )
        .conflicts(&["differs"])
        .because("neither side wins at first contact, whichever is newer"),
    ])
    .await;
    // Afterwards a normal run with an emptied side stops.
    let world = many(30).await;
    now(&world, ["", &many_files(0..30)]);
    assert_eq!(world.round().await.unwrap_err().fault, Fault::Refused);
    assert!(Tree::parse(&many_files(0..30)).same(&world.tree(Target)), "{world:?}");
}

fn many_files(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("d/f{number}={number}")).collect::<Vec<_>>().join(" ")
}

async fn many(count: u32) -> World {
    let world = World::new();
    on_both(&world, &many_files(0..count)).await;
    world
}

#[tokio::test]
async fn max_delete_path1() {
    let mut world = many(30).await;
    Tree::parse(&many_files(0..13)).put_on(world.side(Source));
    for _ in 0..2 {
        assert_eq!(world.round().await.unwrap_err().fault, Fault::Refused, "17 of 30 are more than half");
        assert!(Tree::parse(&many_files(0..30)).same(&world.tree(Target)), "{world:?}");
    }
    world.options = Options { max_delete: 60, ..Options::default() };
    ends_with(&world, &many_files(0..13)).await;
}

#[tokio::test]
async fn max_delete_path2_force() {
    let mut world = many(30).await;
    now(&world, [&many_files(0..30), "d/"]);
    assert_eq!(world.round().await.unwrap_err().fault, Fault::Refused);
    world.options = Options { allow_deletes: true, ..Options::default() };
    ends_with(&world, "d/").await;
}

#[tokio::test]
async fn moves_are_no_deletes() {
    let world = many(30).await;
    world.side(Source).user_rename(&path("d"), &path("e"));
    ends_with(&world, &many_files(0..30).replace("d/", "e/")).await;
    assert_eq!(world.side(Target).count(What::Replace), 0, "nothing is copied: {world:?}");
    assert_eq!(world.side(Target).count(What::Move), 30);
}

#[tokio::test]
async fn filters() {
    let mut world = World::new();
    world.options = Options { exclude: vec!["/x".to_owned()], ..Options::default() };
    now(&world, ["x=1 sub/x=1", "y=2"]);
    world.settle().await;
    are(&world, ["x=1 sub/x=1 y=2", "sub/x=1 y=2"]);
    assert_eq!(conflicts(&world), []);
}

#[tokio::test]
async fn filtersfile_checks() {
    // A rule that is added, changed or taken back deletes nothing on either side.
    let mut world = World::new();
    on_both(&world, "a=1 b=1 c=1").await;
    world.options = Options { exclude: vec!["b".to_owned()], ..Options::default() };
    now(&world, ["a=1 c=2", "a=1 b=1 c=1"]);
    world.settle().await;
    are(&world, ["a=1 c=2", "a=1 b=1 c=2"]);
    world.options = Options::default();
    ends_with(&world, "a=1 b=1 c=2").await;
    // The same by a `.wlignore`, which is itself synced.
    now(&world, ["a=1 b=1 c=2 .wlignore=b", "a=1 b=1 c=2"]);
    world.settle().await;
    now(&world, ["a=1 c=3 .wlignore=b", "a=1 b=4 c=2 .wlignore=b"]);
    world.settle().await;
    are(&world, ["a=1 c=3 .wlignore=b", "a=1 b=4 c=3 .wlignore=b"]);
    now(&world, ["a=1 c=3", "a=1 b=4 c=3 .wlignore=b"]);
    ends_with(&world, "a=1 b=4 c=3").await;
}

#[tokio::test]
async fn ignorelistingchecksum() {
    let world = World::new();
    world.sides.iter().for_each(|side| side.tokens_are_racy());
    on_both(&world, "file=1 sub/file=1").await;
    now(&world, ["file=1 sub/file=2", "file=2 sub/file=1"]);
    ends_with(&world, "file=2 sub/file=2").await;
}

#[tokio::test]
async fn normalization() {
    // Two spellings of one name are two names, as on the storages: both travel, neither replaces the other.
    let world = World::new();
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    now(&world, [&format!("{composed}=1"), &format!("{decomposed}=2 CAFE=3")]);
    ends_with(&world, &format!("{composed}=1 {decomposed}=2 CAFE=3")).await;
    world.side(Source).user_write(&path(composed), "4");
    ends_with(&world, &format!("{composed}=4 {decomposed}=2 CAFE=3")).await;
}

#[tokio::test]
async fn extended_filenames() {
    let names =
        ["a b", "line\nbreak", "\u{19}", "\u{4e16}\u{754c}", "\u{41f}\u{440}", "e\u{301}", "100%", "\\", "'\"`"];
    let world = World::new();
    for (number, name) in names.iter().enumerate() {
        for kind in ["new", "changed", "deleted"] {
            world.side(Source).user_write(&path(&format!("{name}/{kind} {name}")), format!("{number} {kind}"));
        }
    }
    world.settle().await;
    for (number, name) in names.iter().enumerate() {
        world.side(Source).user_write(&path(&format!("{name}/changed {name}")), format!("{number} again"));
        world.side(Target).user_delete(&path(&format!("{name}/deleted {name}")));
    }
    world.settle().await;
    let [one, two] = Which::BOTH.map(|which| world.side(which).snapshot());
    assert_eq!((one.len(), &one), (names.len() * 3, &two));
    assert_eq!((world.lost(), conflicts(&world)), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn nothing_is_kept_where_the_trash_is_off() {
    let mut world = World::new();
    world.options = Options { keep_deleted: Duration::ZERO, ..Options::default() };
    on_both(&world, "a=1 b=1").await;
    now(&world, ["a=2", "a=1 b=1"]);
    ends_with(&world, "a=2").await;
    assert!(world.sides.iter().all(|side| side.trash().is_empty()), "{world:?}");
}
