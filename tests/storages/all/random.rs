//! Users at every storage at once, who do anything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use wl_core::entry::Hash;

use super::{Four, User};
use crate::home::tree::{Node, tree};
use crate::home::{wait_for, wait_until};

/// How long all of them work, in seconds, where the environment does not say otherwise.
const SECONDS: u64 = 12;
/// What must be there in the end has this long to come.
const CALM: Duration = Duration::from_mins(3);
/// Files that only one of them edits.
const OWN: u32 = 6;
/// Files that all of them edit.
const SHARED: u32 = 4;

/// What a user did.
#[derive(Default)]
struct Deeds {
    written: BTreeSet<Vec<u8>>,
    /// What they replaced or deleted knowingly.
    replaced: BTreeSet<Vec<u8>>,
}

#[test]
fn nothing_is_lost_while_everybody_edits() {
    let seconds = std::env::var("WL_TEST_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let four = Four::new();
    four.users()[0].put("kept", b"so that no root is ever empty");
    four.keep();
    wait_until(|| four.are_equal());
    let until = Instant::now() + Duration::from_secs(seconds);
    let users = four.users();
    let deeds: Vec<Deeds> = std::thread::scope(|scope| {
        let working: Vec<_> =
            users.iter().enumerate().map(|(index, user)| scope.spawn(move || work(index, user, until))).collect();
        working.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    settle(&four);
    let (kept, replaced) = (kept(&four), deeds.iter().flat_map(|one| &one.replaced).collect::<BTreeSet<_>>());
    let lost: Vec<_> = deeds
        .iter()
        .flat_map(|one| &one.written)
        .filter(|version| !replaced.contains(version) && !kept.contains(&Hash::of(version).to_string()))
        .map(|version| String::from_utf8_lossy(&version[..version.len().min(40)]).into_owned())
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let conflicts = four.conflicts();
    let own: Vec<_> = conflicts.iter().filter(|one| !one["path"].as_str().unwrap().starts_with("shared/")).collect();
    assert!(own.is_empty(), "nobody else edited {own:?}");
    println!("{} versions, {} conflicts", deeds.iter().map(|one| one.written.len()).sum::<usize>(), conflicts.len());
}

/// One user's work: mostly on files that are theirs alone, at times on those of all.
fn work(index: usize, user: &User, until: Instant) -> Deeds {
    let mut random = StdRng::seed_from_u64(index as u64);
    let mut deeds = Deeds::default();
    let mut number = 0_u32;
    while Instant::now() < until {
        let own = |number: u32| format!("own {index}/{}/file {number}", number % 2);
        let path = own(random.random_range(0..OWN));
        match random.random_range(0..20) {
            0..2 => deeds.replaced.extend(user.delete(&path)),
            2..4 => user.rename(&path, &own(random.random_range(0..OWN))),
            choice => {
                let shared = choice == 4;
                let path = if shared { format!("shared/{}", random.random_range(0..SHARED)) } else { path };
                number += 1;
                let mut content = format!("{number} of {index} in {path}\n").into_bytes();
                content.resize(content.len() + random.random_range(0..40_000), b'.');
                deeds.replaced.extend(user.put(&path, &content));
                deeds.written.insert(content);
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(10..400)));
    }
    deeds
}

/// Waits until nothing happens any more and all agree but for open conflicts.
#[track_caller]
fn settle(four: &Four) {
    let mut before = None;
    wait_for(CALM, || {
        std::thread::sleep(Duration::from_secs(2));
        let conflicts: BTreeSet<String> =
            four.conflicts().iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect();
        let trees = four.roots().map(|root| {
            let mut tree = tree(&root);
            tree.retain(|path, _| !conflicts.contains(path));
            tree
        });
        let calm = four.home.jobs().iter().all(|job| job["state"] == "SYNCED");
        let equal = trees.iter().all(|tree| *tree == trees[0]);
        let now = (four.history().len(), conflicts);
        let still = before.replace(now.clone()) == Some(now);
        calm && equal && still
    });
}

/// The hashes of everything that is in a storage or its trash.
fn kept(four: &Four) -> BTreeSet<String> {
    let files = four.roots().into_iter().flat_map(|root| tree(&root).into_values());
    let mut hashes: BTreeSet<String> = files
        .filter_map(|node| match node {
            Node::File(content) => Some(Hash::of(&content).to_string()),
            _ => None,
        })
        .collect();
    for container in ["all", "far"] {
        let trash = four.home.json(&["container", "trash", container, "list"]);
        let entries = trash["entries"].as_array().unwrap();
        hashes.extend(entries.iter().filter_map(|entry| Some(entry["hash"].as_str()?.to_owned())));
    }
    hashes
}
