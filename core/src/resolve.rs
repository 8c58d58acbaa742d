//! The user decides a conflict. Guarded like every change: if either side changed since the conflict was recorded, nothing
//! is done.

use jiff::Timestamp;

use crate::backend::{Backend, Content, Guard, Look};
use crate::below::Below;
use crate::entry::{Entry, Kind, Meta};
use crate::error::{Error, Fault, Result};
use crate::job::{Pair, Run, Side, Which};
use crate::path::{IGNORE_FILE, RelPath};
use crate::report::{ConflictView, HistoryEntry, TrashReason};
use crate::state::{BaseRow, Batch, Held};
use crate::step::base_of_copy;
use crate::survey::rules_above;
use crate::trash;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// That side's version; the other side's goes to its trash.
    Side(Which),
    /// Both: the target's under a name of its own.
    Both,
}

/// One side of a conflict as it is now.
struct Now {
    held: Held,
    entry: Option<Entry>,
    /// What is below, if that is a directory that would go.
    below: Option<Below>,
}

/// Resolves the conflict under a path. The base learns which files are equal now, so that an edit in the next moment is an
/// edit; what else there is the next round finds equal, or carries over.
pub async fn resolve(run: &Run, path: &RelPath, keep: Keep) -> Result<()> {
    let pair = &*run.pair;
    let _turn = pair.turn.of_user(&run.stop).await?;
    let Some(recorded) = pair.state.conflict_of(path)? else {
        let text = "no conflict is recorded for this path; `wl container list-conflicts` shows those there are";
        return Err(Error::new(Fault::Missing, text).at(path));
    };
    // What is below a directory counts where it would be removed or moved, and only there.
    let goes = match keep {
        Keep::Side(winner) => winner.other(),
        Keep::Both => Which::Target,
    };
    let mut now = [look(pair, path, Which::Source).await?, look(pair, path, Which::Target).await?];
    let mut same = now.each_ref().map(|one| one.held) == recorded.versions;
    if now[goes as usize].held == Held::Dir {
        let below = Below::list(&*pair.side(goes).backend, path).await?;
        same &= recorded.trees[goes as usize] == Some(below.digest());
        now[goes as usize].below = Some(below);
    }
    if !same {
        let text = "it changed since the conflict was recorded; nothing was done. Look at it, let a sync look at it \
            (`wl container sync NAME --one-shot`; a running job does at once), then resolve it";
        return Err(Error::new(Fault::Refused, text).at(path));
    }
    let at = Timestamp::now();
    let done = match keep {
        Keep::Side(winner) => keep_side(pair, path, winner, &now, at).await,
        Keep::Both => keep_both(pair, path, &now).await,
    };
    let equal = done.map_err(|error| if error.path.is_some() { error } else { error.at(path) })?;
    close(run, path, keep, &now, equal, at)
}

async fn look(pair: &Pair, path: &RelPath, which: Which) -> Result<Now> {
    let side = pair.side(which);
    match side.backend.stat(path).await? {
        Look::Absent => Ok(Now { held: Held::Absent, entry: None, below: None }),
        Look::Entry(entry) if entry.is_dir() => Ok(Now { held: Held::Dir, entry: Some(entry), below: None }),
        Look::Entry(entry) => {
            let hash = side.backend.hash(path, &entry.token).await?;
            Ok(Now { held: Held::File(hash), entry: Some(entry), below: None })
        }
        Look::Blocked(obstacle) => {
            let text = format!("{} on storage {}; nothing was done", obstacle.message, pair.id(which));
            Err(Error::new(Fault::Refused, text).at(path))
        }
    }
}

fn writable(side: &Side) -> Result<()> {
    if side.read_only {
        let text = format!("storage {} is read-only in the manifest", side.view.backend_id);
        return Err(Error::new(Fault::Denied, text));
    }
    Ok(())
}

/// Makes the other side what the winner is. The base of what was copied.
async fn keep_side(pair: &Pair, path: &RelPath, winner: Which, now: &[Now; 2], at: Timestamp) -> Result<Vec<BaseRow>> {
    let (kept, given_up) = (&now[winner as usize], &now[winner.other() as usize]);
    let (from, to) = (pair.side(winner), pair.side(winner.other()));
    writable(to)?;
    let trash = |reason| (!pair.options.keep_deleted.is_zero()).then(|| trash::place(at, reason, path));
    if let (Held::File(hash), Some(entry)) = (kept.held, &kept.entry) {
        let guard = match (given_up.held, &given_up.entry) {
            (Held::File(_), Some(there)) => Guard::Unchanged(there.token.clone()),
            (Held::Dir, _) => {
                remove_tree(pair, to, path, given_up, at).await?;
                Guard::Absent
            }
            _ => Guard::Absent,
        };
        trash::make_parents(&*to.backend, path).await?;
        let content = Content::on(from.backend.clone(), path.clone(), entry, Some(hash));
        let trash = trash(TrashReason::Overwritten).filter(|_| guard != Guard::Absent);
        let written = match to.backend.replace(path, content, &guard, trash.as_ref()).await {
            Ok(written) => written,
            Err(error) => return Err(trash::explained(&*to.backend, trash.as_ref(), error).await),
        };
        return Ok(vec![base_of_copy(pair, path, winner, entry, &written)]);
    }
    match (given_up.held, &given_up.entry) {
        (Held::File(_), Some(there)) => {
            let trash = trash(TrashReason::Deleted);
            if let Err(error) = to.backend.remove(path, &there.token, trash.as_ref()).await {
                return Err(trash::explained(&*to.backend, trash.as_ref(), error).await);
            }
        }
        (Held::Dir, _) => remove_tree(pair, to, path, given_up, at).await?,
        _ => {}
    }
    if kept.held == Held::Dir {
        trash::make_parents(&*to.backend, path).await?;
        to.backend.make_dir(path, &Meta::default()).await?;
    }
    Ok(Vec::new())
}

/// Removes a directory with all that was seen below it, every file by way of the trash, also where the trash keeps nothing
/// else. Refuses if there is anything in it that is not synced.
async fn remove_tree(pair: &Pair, side: &Side, top: &RelPath, now: &Now, at: Timestamp) -> Result<()> {
    let Some(Below { files, dirs }) = &now.below else { return Err(Error::changed(top)) };
    let rules = rules_above(pair, top).await?;
    let is_out =
        |path: &RelPath, kind| rules.is_unruled(path) || rules.excludes(path, kind) || path.name() == IGNORE_FILE;
    let out = files.iter().map(|(path, _)| (path, Kind::File)).chain(dirs.iter().map(|path| (path, Kind::Dir)));
    if let Some((path, _)) = out.into_iter().find(|(path, kind)| is_out(path, *kind)) {
        let text = if rules.is_unruled(path) {
            "a .wlignore above it cannot be read and may exclude it, and it lies in the directory that would be removed: \
             make that readable, or move this away"
        } else {
            "it is excluded, or excludes something, and lies in the directory that would be removed: move it away"
        };
        return Err(Error::new(Fault::Refused, text).at(path));
    }
    for (path, entry) in files {
        let trash = trash::place(at, TrashReason::Deleted, path);
        side.backend.remove(path, &entry.token, Some(&trash)).await?;
    }
    for dir in dirs.iter().rev().chain([top]) {
        side.backend.remove_dir(dir).await?;
    }
    Ok(())
}

/// Gives the target's version a name of its own, on both sides, and the source's version the path. The base of what was
/// copied.
async fn keep_both(pair: &Pair, path: &RelPath, now: &[Now; 2]) -> Result<Vec<BaseRow>> {
    let [source, target] = &pair.sides;
    let survivor = match [now[0].held, now[1].held] {
        [Held::Absent, _] => Some(Which::Target),
        [_, Held::Absent] => Some(Which::Source),
        _ => None,
    };
    if let Some(survivor) = survivor {
        // One version is a deletion: keeping both is keeping the other.
        return keep_side(pair, path, survivor, now, Timestamp::now()).await;
    }
    writable(source)?;
    writable(target)?;
    let renamed = conflict_name(path, &target.view.backend_id)?;
    for side in [source, target] {
        if side.backend.stat(&renamed).await? != Look::Absent {
            let text = format!("{renamed} exists already on storage {}: rename it first", side.view.backend_id);
            return Err(Error::new(Fault::Refused, text));
        }
    }
    move_over(&*target.backend, path, &now[1], &renamed).await?;
    let mut equal = Vec::new();
    if let (Held::File(hash), Some(entry)) = (now[0].held, &now[0].entry) {
        let content = Content::on(source.backend.clone(), path.clone(), entry, Some(hash));
        let written = target.backend.replace(path, content, &Guard::Absent, None).await?;
        equal.push(base_of_copy(pair, path, Which::Source, entry, &written));
    }
    if let (Held::File(hash), Look::Entry(entry)) = (now[1].held, target.backend.stat(&renamed).await?) {
        let content = Content::on(target.backend.clone(), renamed.clone(), &entry, Some(hash));
        let written = source.backend.replace(&renamed, content, &Guard::Absent, None).await?;
        equal.push(base_of_copy(pair, &renamed, Which::Target, &entry, &written));
    }
    Ok(equal)
}

/// Moves a file, or a directory with all below it, to a name where nothing is.
async fn move_over(backend: &dyn Backend, path: &RelPath, now: &Now, to: &RelPath) -> Result<()> {
    match (&now.entry, &now.below) {
        (Some(entry), None) => backend.move_within(path, &entry.token, to).await.map(drop),
        (_, Some(Below { files, dirs })) => {
            let moved = |below: &RelPath| {
                let tail = below.as_str().get(path.as_str().len() + 1..).unwrap_or_default();
                RelPath::parse(tail)
                    .map(|tail| to.join_path(&tail))
                    .map_err(|bad| Error::new(Fault::Broken, bad.to_string()))
            };
            backend.make_dir(to, &Meta::default()).await?;
            for dir in dirs {
                backend.make_dir(&moved(dir)?, &Meta::default()).await?;
            }
            for (file, entry) in files {
                backend.move_within(file, &entry.token, &moved(file)?).await?;
            }
            for dir in dirs.iter().rev().chain([path]) {
                backend.remove_dir(dir).await?;
            }
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// The longest name in bytes that nearly every file system holds (`NAME_MAX` of Linux).
const LONGEST_NAME: usize = 255;

/// `NAME (conflict XXXXXXXX).EXT`.
fn conflict_name(path: &RelPath, backend_id: &str) -> Result<RelPath> {
    let short: String = backend_id.chars().take(8).collect();
    let name = match path.name().rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, extension)) => format!("{stem} (conflict {short}).{extension}"),
        None => format!("{} (conflict {short})", path.name()),
    };
    let bad = |bad| Error::new(Fault::Malformed, format!("{name} is no file name: it {bad}"));
    if name.len() > LONGEST_NAME {
        let text = format!("its second name, {name}, would be too long for most storages: rename the file first");
        return Err(Error::new(Fault::Malformed, text));
    }
    path.parent().unwrap_or_else(RelPath::root).join(&name).map_err(bad)
}

/// Closes the conflict. What the base said at and below the path is forgotten, for it is a base of neither version now,
/// and what is known to be equal takes its place.
fn close(run: &Run, path: &RelPath, keep: Keep, now: &[Now; 2], equal: Vec<BaseRow>, at: Timestamp) -> Result<()> {
    let pair = &*run.pair;
    let mut batch = Batch { conflicts: vec![(path.clone(), None)], ..Batch::default() };
    batch.base.push((path.clone(), None));
    batch.base.extend(pair.state.base_after(path, None, usize::MAX)?.into_iter().map(|row| (row.path, None)));
    batch.base.extend(equal.into_iter().map(|row| (row.path.clone(), Some(row))));
    let winner = match keep {
        Keep::Side(which) => which,
        Keep::Both => Which::Source,
    };
    let hash = if let Held::File(hash) = now[winner as usize].held { Some(hash) } else { None };
    batch.history.push(HistoryEntry {
        at,
        action: "resolved".to_owned(),
        path: path.to_string(),
        from: Some(pair.id(winner).to_owned()),
        to: Some(pair.id(winner.other()).to_owned()),
        hash,
        bytes: now[winner as usize].entry.as_ref().map_or(0, |entry| entry.size),
    });
    pair.state.commit(batch)?;
    let views = pair.state.conflicts()?.into_iter();
    let views = views.map(|row| ConflictView { path: row.path.to_string(), kind: row.kind, since: row.since });
    run.monitor.set_open(views.collect(), pair.state.problems()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_keeps_its_extension() {
        for (path, expected) in [
            ("a/b.tar.gz", "a/b.tar (conflict 01234567).gz"),
            ("b", "b (conflict 01234567)"),
            (".profile", ".profile (conflict 01234567)"),
        ] {
            let path = RelPath::parse(path).unwrap();
            assert_eq!(conflict_name(&path, "0123456789").unwrap().as_str(), expected);
        }
        let long = RelPath::parse(&"x".repeat(254)).unwrap();
        assert!(conflict_name(&long, "0123456789").unwrap_err().message.contains("too long"));
    }
}
