//! The suite of a dedicated carrier: on the same storages, through the same changes, also in the middle of a copy, it must
//! come to the same end as the generic one.
//!
//! A syncer's whole file is `wl_test_kit::pairs!(types, carrier, fresh)`, where `fresh` makes two empty storages as users
//! reach them, past wl.

#![allow(missing_docs, reason = "the name of a scenario says what happens")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wl_core::backend::{Backend, Listed, Written};
use wl_core::drive;
use wl_core::entry::{Entry, Hash};
use wl_core::error::Result;
use wl_core::job::{Options, Pair, Run, Side, Which};
use wl_core::monitor::Monitor;
use wl_core::path::RelPath;
use wl_core::report::{StorageView, Summary};
use wl_core::state::State;
use wl_core::syncer::{Carrier, Parcel};
use wl_core::turn::Turn;

use crate::conformance::Bench;
use crate::{path, sim};

/// Larger than what any carrier leaves to the generic way, and long enough on its way to be met there.
pub const LARGE: usize = 24 << 20;

/// Makes one test of every scenario.
#[macro_export]
macro_rules! pairs {
    ($types:expr, $carrier:expr, $fresh:expr) => {
        $crate::pairs_scenarios!($types, $carrier, $fresh;
            a_first_contact, edits_and_deletions, a_move, a_conflict, no_deletion_is_lost_in_a_copy,
            the_source_changes_before, the_source_changes_meanwhile, the_source_vanishes_before,
            the_source_vanishes_meanwhile, the_target_changes_before, the_target_changes_meanwhile);
    };
}

/// Makes one test of every scenario named: where servers are slow, or several, those that tell most of a carrier.
#[macro_export]
macro_rules! pairs_scenarios {
    ($types:expr, $carrier:expr, $fresh:expr; $($scenario:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() {
            let world = async || $crate::pairs::World::new($types, $fresh).await;
            let dedicated = $crate::pairs::$scenario(&world().await, &$carrier).await;
            let generic = $crate::pairs::$scenario(&world().await, &$crate::pairs::GENERIC).await;
            assert_eq!(dedicated, generic);
        })+
    };
}

/// What every other carrier is held against.
pub const GENERIC: wl_syncer_generic::Generic = wl_syncer_generic::Generic;

/// Two storages and what is known about them.
pub struct World {
    ends: [Box<dyn Bench>; 2],
    pair: Arc<Pair>,
}

/// Size, hash and mode by path.
type Tree = BTreeMap<String, (u64, Option<Hash>, Option<u32>)>;

/// How it ended, where that is the same whenever it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    sides: [Tree; 2],
    trash: [Vec<Hash>; 2],
    conflicts: Vec<String>,
    problems: Vec<String>,
}

impl World {
    /// Two empty ones, of these types.
    ///
    /// # Panics
    /// If there can be no state.
    pub async fn new(types: [&str; 2], ends: [Box<dyn Bench>; 2]) -> Self {
        let backends = [ends[0].backend().await, ends[1].backend().await];
        Self::between(types, ends, backends, Options::default())
    }

    fn between(types: [&str; 2], ends: [Box<dyn Bench>; 2], backends: [Arc<dyn Backend>; 2], options: Options) -> Self {
        let store = State::in_memory().unwrap_or_else(|error| panic!("{error}"));
        let state = store.pair("local|pair", "source", "target").unwrap_or_else(|error| panic!("{error}"));
        let mut backends = backends.into_iter();
        let sides = [(types[0], "source"), (types[1], "target")].map(|(storage_type, name)| Side {
            view: StorageView {
                backend_id: format!("{name}-id"),
                storage_type: storage_type.to_owned(),
                location: name.to_owned(),
            },
            place: name.to_owned(),
            // INVARIANT: there are two of them.
            backend: backends.next().unwrap_or_else(|| unreachable!()),
            read_only: false,
            watcher_interval: None,
            bandwidth_limit: None,
        });
        let (job_id, container) = ("local|pair".to_owned(), "pair".to_owned());
        let pair = Pair {
            job_id,
            container,
            sides,
            options,
            state,
            store,
            turn: Turn::default(),
            leave_used: AtomicBool::default(),
        };
        Self { ends, pair: Arc::new(pair) }
    }

    /// The same storages, with other options, and nothing known about them.
    pub async fn with(self, types: [&str; 2], options: Options) -> Self {
        let backends = [self.ends[0].backend().await, self.ends[1].backend().await];
        Self::between(types, self.ends, backends, options)
    }

    /// A side as its user reaches it.
    pub fn user(&self, on: Which) -> &dyn Bench {
        &*self.ends[on as usize]
    }

    async fn put(&self, on: Which, at: &str, bytes: &[u8]) {
        self.user(on).user_write(&path(at), bytes).await;
    }

    /// A run of the job between them, and who is told by it.
    pub fn run(&self) -> (Run, Arc<Monitor>) {
        let monitor = Arc::new(Monitor::new(sim::status(&self.pair)));
        let (stop, poke) = (CancellationToken::new(), Arc::new(Notify::new()));
        (Run { pair: self.pair.clone(), monitor: monitor.clone(), stop, poke }, monitor)
    }

    /// Makes both sides equal once; what that did, and what it told meanwhile.
    ///
    /// # Panics
    /// If that fails.
    pub async fn once(&self, carrier: &dyn Carrier) -> (Summary, Arc<Monitor>) {
        let (run, monitor) = self.run();
        let summary = drive::one_shot(&run, carrier).await.unwrap_or_else(|error| panic!("{error}"));
        (summary, monitor)
    }

    async fn backend(&self, on: Which) -> Arc<dyn Backend> {
        self.user(on).backend().await
    }

    async fn end(&self) -> End {
        let mut sides = [Tree::new(), Tree::new()];
        let mut trash = [Vec::new(), Vec::new()];
        for on in Which::BOTH {
            let backend = self.backend(on).await;
            for (path, entry) in listed(&backend, &RelPath::root()).await {
                let hash = if entry.is_dir() { None } else { backend.hash(&path, &entry.token).await.ok() };
                sides[on as usize].insert(path.to_string(), (entry.size, hash, entry.meta.mode));
            }
            for (path, entry) in listed(&backend, &path(".wl-trash")).await.into_iter().filter(|(_, e)| !e.is_dir()) {
                trash[on as usize].extend(backend.hash(&path, &entry.token).await);
            }
            trash[on as usize].sort();
        }
        let conflicts = self.pair.state.conflicts().unwrap_or_default();
        let problems = self.pair.state.problems().unwrap_or_default();
        End {
            sides,
            trash,
            conflicts: conflicts.into_iter().map(|row| format!("{} {:?}", row.path, row.kind)).collect(),
            problems: problems.into_iter().map(|problem| format!("{} {:?}", problem.path, problem.kind)).collect(),
        }
    }
}

impl End {
    fn hash(&self, on: Which, at: &str) -> Option<Hash> {
        self.sides[on as usize].get(at)?.1
    }

    /// Every content that is anywhere, the trash included.
    fn kept(&self) -> BTreeSet<Hash> {
        let there = self.sides.iter().flat_map(Tree::values).filter_map(|(_, hash, _)| *hash);
        there.chain(self.trash.iter().flatten().copied()).collect()
    }

    /// The same without what depends on when exactly somebody came.
    fn apart_from_trash(self) -> Self {
        Self { trash: [Vec::new(), Vec::new()], ..self }
    }
}

async fn listed(backend: &Arc<dyn Backend>, under: &RelPath) -> Vec<(RelPath, Entry)> {
    let items = backend.list(under, None).collect::<Vec<_>>().await.concat();
    let entry = |item| match item {
        Listed::Entry(path, entry) => (path, entry),
        other => panic!("only entries were expected: {other:?}"),
    };
    items.into_iter().map(entry).collect()
}

/// Bytes that differ from file to file and from page to page, made fast: the tests need many.
pub fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (number, page) in (seed << 16..).zip(bytes.chunks_mut(4096)) {
        page.fill(number.to_le_bytes()[0]);
        let stamp = number.to_be_bytes();
        let stamped = page.len().min(stamp.len());
        page[..stamped].copy_from_slice(&stamp[stamp.len() - stamped..]);
    }
    bytes
}

/// When somebody comes between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// After it was decided what to copy.
    Before,
    /// Once something of it went over.
    Meanwhile,
}

/// Carries as another does, and lets somebody come between, once.
struct Meddled<'a> {
    carrier: &'a dyn Carrier,
    when: When,
    meddle: Mutex<Option<BoxFuture<'a, ()>>>,
}

impl<'a> Meddled<'a> {
    fn new(carrier: &'a dyn Carrier, when: When, meddle: impl Future<Output = ()> + Send + 'a) -> Self {
        Self { carrier, when, meddle: Mutex::new(Some(Box::pin(meddle))) }
    }

    async fn meddle(&self) {
        let meddle = self.meddle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meddle) = meddle {
            meddle.await;
        }
    }
}

#[async_trait]
impl Carrier for Meddled<'_> {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        if self.when == When::Before {
            self.meddle().await;
            return self.carrier.carry(parcel).await;
        }
        let (monitor, carried) = (parcel.monitor.clone(), AtomicBool::new(false));
        let before = monitor.status().transferred_bytes;
        let carrying = async {
            let written = self.carrier.carry(parcel).await;
            carried.store(true, Ordering::Relaxed);
            written
        };
        let coming = async {
            while monitor.status().transferred_bytes == before && !carried.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            self.meddle().await;
        };
        futures::join!(carrying, coming).0
    }
}

/// Files of every size in a tree, on both sides; all that is beside them travels too.
pub async fn a_first_contact(world: &World, carrier: &dyn Carrier) -> (End, [u64; 4]) {
    let sizes = [0, 1, 4096, (1 << 20) + 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1];
    for (seed, size) in (0..).zip(sizes) {
        world.put(Which::Source, &format!("d/{seed}/source"), &noise(size, seed)).await;
        world.put(Which::Target, &format!("d/{seed}/target"), &noise(size, seed + 100)).await;
        world.put(Which::Source, &format!("same/{seed}"), &noise(size, seed)).await;
        world.put(Which::Target, &format!("same/{seed}"), &noise(size, seed)).await;
    }
    world.user(Which::Source).user_mkdir(&path("empty/dir")).await;
    let (summary, monitor) = world.once(carrier).await;
    let status = monitor.status();
    let end = world.end().await;
    assert_eq!(end.sides[0], end.sides[1]);
    let keeps_times = Which::BOTH.iter().all(|on| world.pair.side(*on).backend.facts().mtime);
    for (seed, size) in (0..).zip(sizes) {
        assert_eq!(end.hash(Which::Target, &format!("d/{seed}/source")), Some(Hash::of(&noise(size, seed))));
        for name in ["source", "target"] {
            let at = path(&format!("d/{seed}/{name}"));
            let mut times = Vec::new();
            for on in Which::BOTH {
                let entries = listed(&world.backend(on).await, &at.parent().unwrap_or_else(RelPath::root)).await;
                times.extend(entries.into_iter().find(|(path, _)| *path == at).map(|(_, entry)| entry.meta.mtime));
            }
            let told = times.iter().all(Option::is_some) && keeps_times;
            assert!(!told || times[0] == times[1], "{at}: {times:?}");
        }
    }
    (end, [summary.copied, summary.bytes, status.transferred_files, status.transferred_bytes])
}

pub async fn edits_and_deletions(world: &World, carrier: &dyn Carrier) -> (End, [u64; 3]) {
    for (seed, name) in (0..).zip(["grown", "shrunk", "gone", "stays"]) {
        world.put(Which::Source, name, &noise(2 << 20, seed)).await;
    }
    world.once(carrier).await;
    world.put(Which::Source, "grown", &noise(5 << 20, 10)).await;
    world.put(Which::Target, "shrunk", &noise(3, 11)).await;
    world.user(Which::Target).user_delete(&path("gone")).await;
    let (summary, _) = world.once(carrier).await;
    let end = world.end().await;
    assert_eq!(end.sides[0], end.sides[1]);
    assert_eq!(end.sides[0].len(), 3);
    assert!(end.kept().contains(&Hash::of(&noise(2 << 20, 0))), "what was overwritten is in the trash");
    (end, [summary.copied, summary.deleted, summary.bytes])
}

pub async fn a_move(world: &World, carrier: &dyn Carrier) -> (End, [u64; 3]) {
    world.put(Which::Source, "here", &noise(2 << 20, 1)).await;
    world.put(Which::Source, "d/other", &noise(10, 2)).await;
    world.once(carrier).await;
    world.user(Which::Source).user_rename(&path("here"), &path("d/there")).await;
    let (summary, _) = world.once(carrier).await;
    let end = world.end().await;
    assert_eq!(end.sides[0], end.sides[1]);
    (end, [summary.copied, summary.moved, summary.deleted])
}

pub async fn a_conflict(world: &World, carrier: &dyn Carrier) -> End {
    world.put(Which::Source, "f", &noise(2 << 20, 1)).await;
    world.once(carrier).await;
    for (on, seed) in Which::BOTH.into_iter().zip(2..) {
        world.put(on, "f", &noise(2 << 20, seed)).await;
    }
    world.once(carrier).await;
    let end = world.end().await;
    assert_eq!(end.conflicts.len(), 1);
    assert_eq!(end.hash(Which::Source, "f"), Some(Hash::of(&noise(2 << 20, 2))));
    assert_eq!(end.hash(Which::Target, "f"), Some(Hash::of(&noise(2 << 20, 3))));
    end
}

/// Who deletes the old version on the target while the new one comes: the new one is there in the end.
pub async fn no_deletion_is_lost_in_a_copy(world: &World, carrier: &dyn Carrier) -> End {
    world.put(Which::Source, "f", &noise(10, 1)).await;
    world.once(carrier).await;
    world.put(Which::Source, "f", &noise(LARGE, 2)).await;
    let delete = async { world.user(Which::Target).user_delete(&path("f")).await };
    world.once(&Meddled::new(carrier, When::Before, delete)).await;
    world.once(carrier).await;
    let end = world.end().await;
    assert!(end.kept().contains(&Hash::of(&noise(LARGE, 2))));
    end.apart_from_trash()
}

/// An edit of the source that somebody makes between: it is what both sides have in the end.
async fn the_source_changes(world: &World, carrier: &dyn Carrier, when: When) -> End {
    world.put(Which::Source, "f", &noise(10, 1)).await;
    world.once(carrier).await;
    world.put(Which::Source, "f", &noise(LARGE, 2)).await;
    let newer = &noise(LARGE, 3);
    let edit = async { world.user(Which::Source).user_write(&path("f"), newer).await };
    world.once(&Meddled::new(carrier, when, edit)).await;
    world.once(carrier).await;
    let end = world.end().await;
    assert_eq!(end.sides[0], end.sides[1]);
    assert_eq!(end.hash(Which::Target, "f"), Some(Hash::of(newer)));
    end.apart_from_trash()
}

pub async fn the_source_changes_before(world: &World, carrier: &dyn Carrier) -> End {
    the_source_changes(world, carrier, When::Before).await
}

pub async fn the_source_changes_meanwhile(world: &World, carrier: &dyn Carrier) -> End {
    the_source_changes(world, carrier, When::Meanwhile).await
}

/// A deletion of the source while it is on its way: it is gone on both sides, or back on both.
async fn the_source_vanishes(world: &World, carrier: &dyn Carrier, when: When) -> BTreeSet<String> {
    world.put(Which::Source, "f", &noise(LARGE, 2)).await;
    world.put(Which::Source, "stays", &noise(5, 3)).await;
    let delete = async { world.user(Which::Source).user_delete(&path("f")).await };
    world.once(&Meddled::new(carrier, when, delete)).await;
    world.once(carrier).await;
    let end = world.end().await;
    assert_eq!(end.sides[0], end.sides[1]);
    assert!(end.problems.is_empty() && end.conflicts.is_empty(), "{end:?}");
    end.sides[0].keys().cloned().collect()
}

pub async fn the_source_vanishes_before(world: &World, carrier: &dyn Carrier) -> BTreeSet<String> {
    the_source_vanishes(world, carrier, When::Before).await
}

pub async fn the_source_vanishes_meanwhile(world: &World, carrier: &dyn Carrier) {
    the_source_vanishes(world, carrier, When::Meanwhile).await;
}

/// An edit of the target that somebody makes between: it is nowhere overwritten.
async fn the_target_changes(world: &World, carrier: &dyn Carrier, when: When) -> End {
    world.put(Which::Source, "f", &noise(10, 1)).await;
    world.once(carrier).await;
    world.put(Which::Source, "f", &noise(LARGE, 2)).await;
    let theirs = &noise(12, 3);
    let edit = async { world.user(Which::Target).user_write(&path("f"), theirs).await };
    world.once(&Meddled::new(carrier, when, edit)).await;
    world.once(carrier).await;
    let end = world.end().await;
    assert!(end.kept().contains(&Hash::of(theirs)), "{end:?}");
    assert!(end.kept().contains(&Hash::of(&noise(LARGE, 2))), "{end:?}");
    end
}

pub async fn the_target_changes_before(world: &World, carrier: &dyn Carrier) -> End {
    let end = the_target_changes(world, carrier, When::Before).await;
    assert_eq!(end.conflicts.len(), 1);
    end
}

pub async fn the_target_changes_meanwhile(world: &World, carrier: &dyn Carrier) {
    the_target_changes(world, carrier, When::Meanwhile).await;
}
