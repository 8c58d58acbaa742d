//! What a directory can do, found out by trying.

use std::sync::atomic::Ordering;

use rustix::fd::AsFd as _;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{RelPath, TRASH_DIR};

use crate::error::error;
use crate::part::{Part, fresh_name};
use crate::rename::{exchange, move_new};
use crate::root::{Handle, Keeps, Nature, Root};
use crate::seen::Clock;
use crate::trash::Place;

/// How often a directory of another machine is scanned, in seconds, unless the manifest says: what others do there no
/// watcher tells.
const SCAN_EVERY_S: u64 = 60;

/// How many small operations at once pay: so many share a sync. Each may hold a few files open.
pub fn in_flight() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|files| usize::try_from(files).ok()).map_or(1024, |files| (files / 8).clamp(16, 1024))
}

/// What it can do, as far as is known.
pub fn facts(nature: Option<&Nature>) -> Facts {
    let can = |ability: fn(&Nature) -> &std::sync::atomic::AtomicBool| {
        nature.is_none_or(|nature| ability(nature).load(Ordering::Relaxed))
    };
    let (no_replace, exchange) = (can(|nature| &nature.no_replace), can(|nature| &nature.exchange));
    let mut windows = Vec::new();
    if !no_replace {
        windows.push(
            "this file system cannot rename without replacing: links are used where it has them, else a file that \
             appears within microseconds of a look is replaced"
                .to_owned(),
        );
    }
    if !exchange {
        windows.push(
            "this file system cannot exchange two files: while one is replaced its name is free for some microseconds"
                .to_owned(),
        );
    }
    if nature.is_some_and(|nature| nature.clock != Clock::Fine) {
        windows.push("file dates are coarse here: files changed just now are hashed again".to_owned());
    }
    let keeps = nature.map_or(Keeps::EVERYTHING, |nature| nature.keeps);
    let swap = |atomic| if atomic { Swap::Atomic } else { Swap::Checked };
    Facts {
        hash: HashBy::Read,
        token: Vouch::Strong,
        replace: swap(exchange && no_replace),
        create: swap(no_replace),
        delete: swap(no_replace),
        watcher: if nature.is_some_and(|nature| nature.remote) { WatchBy::Scan } else { WatchBy::Native },
        scan_every_s: nature.is_some_and(|nature| nature.remote).then_some(SCAN_EVERY_S),
        server_copy: true,
        server_move: true,
        trash: true,
        mtime: keeps.mtime,
        mode: keeps.mode,
        mtime_resolution_ns: keeps.resolution,
        in_flight: in_flight(),
        windows,
    }
}

/// Finds out by trying, under temporary names. Nothing is tried where nothing may be written.
pub fn probe(root: &Root) -> Result<Facts> {
    let handle = root.open()?;
    if root.is_read_only() {
        let mut facts = facts(Some(&handle.nature));
        facts.windows.extend(watches());
        return Ok(facts);
    }
    let dir = handle.dir(&RelPath::root()).map_err(|errno| error(errno, &RelPath::root()))?;
    let part = || Part::create(&dir).map_err(|errno| error(errno, &RelPath::root()));
    let (mut one, two) = (part()?, part()?);
    let place = |part: &Part| Place { dir: dir.clone(), name: part.name().to_owned() };
    let (a, b, free) = (place(&one), place(&two), Place { dir: dir.clone(), name: fresh_name() });
    handle.nature.no_replace.store(true, Ordering::Relaxed);
    handle.nature.exchange.store(true, Ordering::Relaxed);
    exchange(&handle.nature, &a, &b).map_err(|errno| error(errno, &RelPath::root()))?;
    if move_new(&handle.nature, &a, &b) != Err(Errno::EXIST) {
        one.renamed();
        return Err(Error::new(Fault::Broken, "this file system replaces a file when told not to"));
    }
    let moved = move_new(&handle.nature, &a, &free).and_then(|()| move_new(&handle.nature, &free, &a));
    moved.map_err(|errno| error(errno, &RelPath::root()))?;
    let mut facts = facts(Some(&handle.nature));
    facts.trash = has_trash(&handle);
    facts.windows.extend(watches());
    Ok(facts)
}

/// Whether the trash is there, or can be made.
fn has_trash(handle: &Handle) -> bool {
    match rustix::fs::mkdirat(handle.as_fd(), TRASH_DIR, Mode::from_raw_mode(0o700)) {
        Ok(()) => rustix::fs::unlinkat(handle.as_fd(), TRASH_DIR, AtFlags::REMOVEDIR).is_ok(),
        Err(errno) => errno == Errno::EXIST,
    }
}

/// A warning where the system allows few watches.
fn watches() -> Option<String> {
    const FEW: u64 = 65_536;
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    let most: u64 = text.trim().parse().ok()?;
    (most < FEW).then(|| {
        format!("the system lets a user watch {most} directories: raise fs.inotify.max_user_watches for a larger tree")
    })
}
