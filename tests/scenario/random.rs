//! Random worlds: one tree perturbed on both sides, with users, faults and crashes in the middle of everything.
//!
//! Whatever happens, no content is lost that nobody gave up, the world comes to rest, and there is no conflict that no
//! user made. A seed tells the whole story: run it alone with `WL_SEED=n`, more of them with `WL_SEEDS=count`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wl_core::error::{Error, Fault};
use wl_core::job::{Options, Which};
use wl_core::path::RelPath;
use wl_test_kit::memory::{Fate, Memory, Op, Stage, What};
use wl_test_kit::path;
use wl_test_kit::sim::World;
use wl_test_kit::tree::Tree;

/// What may happen while a round runs, in a thousand moments.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    users: u32,
    faults: u32,
    /// A change that takes effect and is reported as failed.
    lost_answers: u32,
    crashes: u32,
    /// A root vanishes, as when a disk is unmounted, and is back before one of the next rounds.
    roots: u32,
    /// Whether a crash takes the state with it now and then.
    forgets: bool,
}

const CALM: Weather = Weather { users: 0, faults: 0, lost_answers: 0, crashes: 0, roots: 0, forgets: false };
const USERS: Weather = Weather { users: 120, ..CALM };
const FAULTS: Weather = Weather { users: 30, faults: 100, roots: 15, ..CALM };
const UNHEARD: Weather = Weather { users: 40, lost_answers: 100, ..CALM };
const CRASHES: Weather = Weather { users: 40, lost_answers: 60, crashes: 40, ..CALM };
const STORM: Weather = Weather { users: 80, faults: 60, lost_answers: 30, crashes: 30, roots: 15, forgets: true };

/// Disturbances in one world: after that it is left alone.
const DISTURBANCES: u32 = 25;
/// Disturbed rounds in one world.
const DISTURBED: usize = 6;

/// Does what users do, and remembers where.
struct Hand {
    rng: StdRng,
    written: u32,
    left: u32,
    touched: [BTreeSet<RelPath>; 2],
    story: Vec<String>,
}

impl Hand {
    fn new(seed: u64) -> Self {
        let touched = [BTreeSet::new(), BTreeSet::new()];
        Self { rng: StdRng::seed_from_u64(seed), written: 0, left: DISTURBANCES, touched, story: Vec::new() }
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        self.rng.random_ratio(in_a_thousand, 1000)
    }

    /// A path that may or may not be there.
    fn any_path(&mut self) -> RelPath {
        let depth = *[1, 1, 2, 2, 3].choose(&mut self.rng).unwrap();
        let names: Vec<_> = (0..depth).map(|_| *["a", "b", "c", "a-b", "d"].choose(&mut self.rng).unwrap()).collect();
        path(&names.join("/"))
    }

    fn some_path(&mut self, storage: &Memory) -> RelPath {
        let there: Vec<_> = storage.snapshot().into_keys().collect();
        let known = there.choose(&mut self.rng).cloned().filter(|_| self.rng.random_ratio(3, 4));
        known.unwrap_or_else(|| self.any_path())
    }

    /// One thing that a user does on one side.
    fn act(&mut self, which: Which, storage: &Memory) {
        if !storage.user_exists(&RelPath::root()) {
            return;
        }
        let at = self.some_path(storage);
        let to = self.any_path();
        let action = self.rng.random_range(0..12);
        self.story.push(format!("{which:?} user {action} {at} {to}"));
        let touched = &mut self.touched[which as usize];
        touched.insert(at.clone());
        match action {
            0..=3 => {
                self.written += 1;
                storage.user_write(&at, format!("{}", self.written));
            }
            4..=5 => storage.user_delete(&at),
            6 => storage.user_mkdir(&at),
            7 => storage.user_touch(&at),
            8..=9 => {
                touched.insert(to.clone());
                storage.user_rename(&at, &to);
            }
            _ => {
                touched.insert(to.clone());
                let aside = path("aside");
                for (from, to) in [(&at, &aside), (&to, &at), (&aside, &to)] {
                    storage.user_rename(from, to);
                }
            }
        }
    }

    /// What becomes of an operation.
    fn disturb(&mut self, sides: &[Arc<Memory>; 2], which: Which, op: &Op, weather: Weather) -> Fate {
        if self.left == 0 {
            return Fate::GoesOn;
        }
        if self.chance(weather.users) {
            self.left -= 1;
            self.story.push(format!("  while {which:?} {op:?}"));
            let on = *Which::BOTH.choose(&mut self.rng).unwrap();
            self.act(on, &sides[on as usize]);
        }
        if self.chance(weather.roots) && sides[which as usize].user_exists(&RelPath::root()) {
            self.left -= 1;
            self.story.push(format!("the root vanishes while {which:?} {op:?}"));
            sides[which as usize].remove_root();
        }
        let faults = if op.stage == Stage::After { weather.lost_answers } else { weather.faults };
        if self.chance(faults) {
            self.left -= 1;
            let faults = [Fault::Offline, Fault::Busy, Fault::Denied, Fault::Full, Fault::Broken];
            let fault = *faults.choose(&mut self.rng).unwrap();
            self.story.push(format!("{fault:?} for {which:?} {op:?}"));
            return Fate::Fails(Error::new(fault, "an invented fault"));
        }
        if self.chance(weather.crashes) {
            self.left -= 1;
            self.story.push(format!("crash at {which:?} {op:?}"));
            return Fate::Hangs;
        }
        Fate::GoesOn
    }
}

/// Tells the story of a world that failed.
struct Teller(Arc<Mutex<Hand>>, u64, &'static str);

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("{} seed {}:\n{}", self.2, self.1, hand.story.join("\n"));
        }
    }
}

#[test]
fn calm() {
    every_seed("calm", 250, CALM);
}

#[test]
fn users_in_the_middle() {
    every_seed("users_in_the_middle", 250, USERS);
}

#[test]
fn faults() {
    every_seed("faults", 250, FAULTS);
}

#[test]
fn lost_answers() {
    every_seed("lost_answers", 250, UNHEARD);
}

#[test]
fn crashes() {
    every_seed("crashes", 250, CRASHES);
}

#[test]
fn storm() {
    every_seed("storm", 250, STORM);
}

#[test]
fn with_hints_alone() {
    seeds(150, |seed| async move { watched(seed).await });
}

fn every_seed(name: &'static str, default: u64, weather: Weather) {
    seeds(default, |seed| async move {
        let end = world(name, seed, weather).await;
        if seed % 16 == 0 {
            assert_eq!(end, world(name, seed, weather).await, "{name} seed {seed}: the same seed, another end");
        }
    });
}

fn seeds<F: Future<Output = ()>>(default: u64, play: impl Fn(u64) -> F) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match number("WL_SEED") {
        Some(seed) => runtime.block_on(play(seed)),
        None => (0..number("WL_SEEDS").unwrap_or(default)).for_each(|seed| runtime.block_on(play(seed))),
    }
}

/// A world of its own kind: some storages can do less than others.
fn born(hand: &mut Hand) -> World {
    let side = |hand: &mut Hand| {
        let able = Memory::able();
        let in_flight = if hand.chance(500) { 1 } else { 8 };
        let storage = Memory::with(wl_core::backend::Facts { server_move: hand.chance(700), in_flight, ..able });
        if hand.chance(200) {
            storage.tokens_are_racy();
        }
        storage
    };
    let mut world = World::of([side(hand), side(hand)]);
    let keep_deleted = if hand.chance(800) { Duration::from_hours(1) } else { Duration::ZERO };
    world.options = Options { max_delete: 100, keep_deleted, ..Options::default() };
    world
}

/// A tree that both sides agree on, and then each side's user at work.
async fn begun(world: &World, hand: &Arc<Mutex<Hand>>) {
    {
        let mut hand = hand.lock().unwrap();
        for _ in 0..hand.rng.random_range(0..14) {
            hand.act(Which::Source, world.side(Which::Source));
        }
        hand.touched = Default::default();
        hand.story.push("both agree".to_owned());
    }
    world.settle().await;
    let mut hand = hand.lock().unwrap();
    for which in Which::BOTH {
        for _ in 0..hand.rng.random_range(0..5) {
            hand.act(which, world.side(which));
        }
    }
}

/// Plays one world; both trees in the end, and the conflicts.
async fn world(name: &'static str, seed: u64, weather: Weather) -> ([Tree; 2], Vec<RelPath>) {
    let hand = Arc::new(Mutex::new(Hand::new(seed)));
    let _teller = Teller(hand.clone(), seed, name);
    let mut world = born(&mut hand.lock().unwrap());
    begun(&world, &hand).await;
    world.on_op({
        let (hand, sides) = (hand.clone(), world.sides.clone());
        move |which, op| hand.lock().unwrap().disturb(&sides, which, op, weather)
    });
    for round in 0..DISTURBED {
        if round % 2 == 0 {
            bring_back(&world);
        }
        hand.lock().unwrap().story.push("a round".to_owned());
        let round = world.round().await;
        assert_eq!(world.lost(), [], "{world:?}");
        let crashed = round.is_err_and(|error| error.fault == Fault::Stopped);
        if crashed && weather.forgets && hand.lock().unwrap().chance(300) {
            hand.lock().unwrap().story.push("the state is lost".to_owned());
            world.forget();
        }
    }
    world.undisturbed();
    bring_back(&world);
    hand.lock().unwrap().story.push("left alone".to_owned());
    world.settle().await;
    at_rest(&world, &hand.lock().unwrap(), weather);
    let conflicts = world.conflicts().into_iter().map(|(path, _)| path).collect();
    (Which::BOTH.map(|which| world.tree(which)), conflicts)
}

/// Brings back the roots that vanished.
fn bring_back(world: &World) {
    for side in world.sides.iter().filter(|side| !side.user_exists(&RelPath::root())) {
        side.restore_root();
    }
}

/// What must hold in the end.
fn at_rest(world: &World, hand: &Hand, weather: Weather) {
    assert_eq!(world.lost(), [], "{world:?}");
    assert_eq!(world.problems(), [], "{world:?}");
    let conflicts: Vec<_> = world.conflicts().into_iter().map(|(path, _)| path).collect();
    let near = |one: &RelPath, two: &RelPath| one.is_at_or_below(two) || two.is_at_or_below(one);
    // A crash between a change and its being remembered may make a conflict of what follows.
    if weather.crashes == 0 {
        for path in &conflicts {
            let by_both = hand.touched.iter().all(|touched| touched.iter().any(|touched| near(touched, path)));
            assert!(by_both, "{path} is in conflict, and not both users touched it\n{world:?}");
        }
    }
    let [source, target] = Which::BOTH.map(|which| world.side(which).snapshot());
    for path in source.keys().chain(target.keys()) {
        let excused = conflicts.iter().any(|conflict| near(conflict, path));
        assert!(excused || source.get(path) == target.get(path), "{path} differs without a conflict\n{world:?}");
    }
}

/// Plays one world that goes by hints, and then looks at everything: there must be nothing left to do.
async fn watched(seed: u64) {
    let hand = Arc::new(Mutex::new(Hand::new(seed)));
    let _teller = Teller(hand.clone(), seed, "with_hints_alone");
    let world = born(&mut hand.lock().unwrap());
    begun(&world, &hand).await;
    let meddle = |step| {
        let mut hand = hand.lock().unwrap();
        hand.story.push(format!("step {step}"));
        for _ in 0..hand.rng.random_range(1..4) {
            let which = *Which::BOTH.choose(&mut hand.rng).unwrap();
            hand.act(which, world.side(which));
        }
    };
    world.watch(6, meddle).await.unwrap();
    let (before, conflicts) = (world.writes(), world.conflicts());
    world.round().await.unwrap();
    assert_eq!((world.writes(), world.conflicts()), (before, conflicts), "hints left something to do\n{world:?}");
    at_rest(&world, &hand.lock().unwrap(), CALM);
    assert!(Which::BOTH.iter().all(|which| world.side(*which).count(What::List) > 0));
}
