//! What the server can do, found out by trying.

use std::time::Instant;

use futures::join;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::error::{Fault, Result};
use wl_core::path::{RelPath, TRASH_DIR};

use crate::error::{error, is_missing, is_plain_refusal};
use crate::part::Part;
use crate::publish::sync;
use crate::root::{At, Root};
use crate::seen::{Seen, What};
use crate::shell::{shell, tell_time};
use crate::wire::Attrs;
use crate::wire::extension::HARDLINK;

/// How many small operations at once pay: each takes a few round trips.
const IN_FLIGHT: usize = 256;

/// How often a server is scanned that tells of no changes, in seconds, unless the manifest says.
const SCAN_EVERY: u64 = 30;

/// What it can do, as far as is known.
pub fn facts(root: &Root) -> Facts {
    let known = root.known();
    let (links, replaces) = (known.links, known.replaces || !known.met);
    let seconds = "versions are told apart by size and by a date in whole seconds, which is all that SFTP tells";
    let mut windows = vec![
        format!("{seconds}: files changed just now are hashed again"),
        "replacing: between the last look and the rename lies one round trip; a version that takes the name in that \
         time is overwritten"
            .to_owned(),
        "a version that was modified within the last two seconds when it was looked at is replaced, moved or deleted only \
         if its content still has the sha256 that was found then; without one, a rewrite of the same size in the same \
         second is taken for it"
            .to_owned(),
        match known.shell {
            Some(shell) => format!(
                "commands can be run on the server: lists by {}, hashes by {}, watches by {}",
                if shell.lists { "find" } else { "SFTP" },
                if shell.hashes { "sha256sum" } else { "reading" },
                if shell.watches { "inotifywait" } else { "scanning" },
            ),
            None if known.met => {
                "commands cannot be run on the server: lists by SFTP, hashes by reading, watches by scanning".to_owned()
            }
            None => "not connected yet".to_owned(),
        },
    ];
    if known.met && !known.shell.is_some_and(|shell| shell.stats) {
        windows.push(
            "the root is told from another that takes its place by its file system alone: two directories of the same one \
             look the same"
                .to_owned(),
        );
    }
    if links == Some(false) {
        windows.push(
            "creating: the server cannot give a file a second name: a file that appears between a look and a rename, \
             one round trip, may be replaced"
                .to_owned(),
        );
    }
    if links == Some(false) || !replaces {
        windows.push("replacing: the name is free for a round trip while a file is replaced".to_owned());
    }
    if known.met && !known.syncs {
        windows.push("the server cannot be told to make a write durable: a power failure there may undo it".to_owned());
    }
    if known.met && !root.clock.is_known() {
        windows.push("the server's clock could not be measured: it is taken to be that of this machine".to_owned());
    }
    let watches = !known.met || known.shell.is_some_and(|shell| shell.watches);
    Facts {
        hash: if known.shell.is_some_and(|shell| shell.hashes) { HashBy::Native } else { HashBy::Read },
        token: Vouch::Weak,
        replace: Swap::Checked,
        // A second name is refused by the server's own system where one is, whoever came first.
        create: if links == Some(true) { Swap::Atomic } else { Swap::Checked },
        delete: Swap::Checked,
        watcher: if watches { WatchBy::Native } else { WatchBy::Scan },
        scan_every_s: (!watches).then_some(SCAN_EVERY),
        server_copy: known.copies || !known.met,
        server_move: true,
        trash: true,
        mtime: true,
        mode: true,
        mtime_resolution_ns: 1_000_000_000,
        in_flight: IN_FLIGHT,
        windows,
    }
}

/// Finds out, once, what has to be known before anything is looked at: the shell and the clock.
pub async fn meet(root: &std::sync::Arc<Root>) -> Result<()> {
    let due = root.clock.is_due();
    let measured = async {
        if due && !root.read_only {
            root.attempt(|at, _| async move { measure(root, &at).await }).await
        } else {
            Ok(())
        }
    };
    let (asked, measured) = join!(shell(root), measured);
    asked?;
    match measured {
        Ok(()) if !(due && root.read_only) => return Ok(()),
        Err(error) if error.fault == Fault::Offline => return Err(error),
        _ => {}
    }
    match tell_time(root).await {
        Err(error) if error.fault == Fault::Offline => Err(error),
        _ => Ok(()),
    }
}

/// Writes a byte, and looks what time that was.
async fn measure(root: &std::sync::Arc<Root>, at: &At) -> Result<()> {
    let here = RelPath::root();
    let beside = here.join("clock").unwrap_or_else(|_| here.clone());
    let begun = Instant::now();
    let part = Part::usual(root, at, &beside).await?;
    let seen = async {
        let file = part.file()?;
        at.link.write(file, 0, bytes::Bytes::from_static(b"x")).await?;
        at.link.fstat(file).await
    }
    .await;
    part.discard().await;
    let seen = seen.map(|attrs| Seen::of(&attrs)).map_err(|failure| error(&failure, &here))?;
    root.note(|known| known.usual_mode = seen.mode.unwrap_or(known.usual_mode));
    root.clock.stood(i64::from(seen.mtime) * 1000, 1000, begun);
    Ok(())
}

/// Finds out by trying, under temporary names, on a connection of its own.
pub async fn probe(root: &std::sync::Arc<Root>) -> Result<Facts> {
    root.begin_anew();
    meet(root).await?;
    root.attempt(|at, _| async move { root.seen(&at).await }).await?;
    if root.read_only {
        return Ok(facts(root));
    }
    let (trash, mtime, mode) = root.attempt(|at, _| async move { try_out(root, &at).await }).await?;
    let mut facts = Facts { trash, mtime, mode, ..facts(root) };
    facts.windows.push(root.way().await?);
    Ok(facts)
}

/// Whether there is a trash or can be one, and whether dates and modes are kept.
async fn try_out(root: &std::sync::Arc<Root>, at: &At) -> Result<(bool, bool, bool)> {
    let here = RelPath::root();
    let beside = here.join("probe").unwrap_or_else(|_| here.clone());
    let (one, other) = (Part::create(root, at, &beside).await?, Part::create(root, at, &beside).await?);
    try_links(root, at, &one, &other).await?;
    let attrs = Attrs { permissions: Some(0o640), times: Some((1_000_000_001, 1_000_000_001)), ..Attrs::default() };
    let kept = async {
        let file = one.file()?;
        at.link.fsetstat(file, attrs).await?;
        sync(&one).await?;
        at.link.fstat(file).await
    }
    .await;
    let kept = kept.map(|attrs| Seen::of(&attrs)).ok();
    let trash = has_trash(at).await;
    one.discard().await;
    other.discard().await;
    let (mtime, mode) = kept.map_or((false, false), |seen| (seen.mtime == 1_000_000_001, seen.mode == Some(0o640)));
    Ok((trash, mtime, mode))
}

/// Finds out whether files can have second names, if it is not known: one file that cannot says nothing of the others.
pub async fn meet_links(root: &std::sync::Arc<Root>, at: &At) -> Result<()> {
    if root.known().links.is_some() {
        return Ok(());
    }
    let here = RelPath::root();
    let beside = here.join("probe").unwrap_or(here);
    let (one, other) = (Part::create(root, at, &beside).await?, Part::create(root, at, &beside).await?);
    let tried = try_links(root, at, &one, &other).await;
    one.discard().await;
    other.discard().await;
    tried
}

/// A second name must be refused where there is a file, and given where there is none.
async fn try_links(root: &Root, at: &At, one: &Part, other: &Part) -> Result<()> {
    if !at.has(HARDLINK) {
        return Ok(());
    }
    let (from, taken) = (at.full(one.path()), at.full(other.path()));
    let free = at.full(&root.names.fresh(one.path(), root.clock.seconds()));
    let refused = at.link.hardlink(&from, &taken).await;
    let given = at.link.hardlink(&from, &free).await;
    if given.is_ok() {
        at.link.remove(&free).await.map_err(|failure| error(&failure, &RelPath::root()))?;
    }
    match (&refused, &given) {
        (Err(failure), Ok(())) if is_plain_refusal(failure) => root.note(|known| known.links = Some(true)),
        (Err(crate::ssh::Failure::Link(lost)), _) | (_, Err(crate::ssh::Failure::Link(lost))) => {
            return Err(lost.clone());
        }
        _ => root.note(|known| known.links = Some(false)),
    }
    Ok(())
}

async fn has_trash(at: &At) -> bool {
    let Ok(dir) = RelPath::parse(TRASH_DIR) else { return false };
    let full = at.full(&dir);
    match at.link.lstat(&full).await {
        Ok(attrs) => Seen::of(&attrs).what == What::Dir,
        Err(failure) if is_missing(&failure) => {
            let private = Attrs { permissions: Some(0o700), ..Attrs::default() };
            at.link.mkdir(&full, private).await.is_ok() && at.link.rmdir(&full).await.is_ok()
        }
        Err(_) => false,
    }
}
