//! Opening the state directory: its lock, and the setting aside of what is damaged.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::db::{Db, Sync, Unusable, beside, cannot, marker};
use super::schema::{CACHE, STATE};
use crate::error::{Error, Fault, Result};

/// What a directory of state holds, and the lock that keeps others out of it.
pub(super) struct Opened {
    /// The base, conflicts, history and jobs.
    pub state: Db,
    /// The hash cache.
    pub cache: Db,
    /// Released when dropped.
    pub lock: File,
    /// What was set aside.
    pub told: Vec<String>,
}

/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How long the time is in the name of a database that was set aside.
const WHEN: usize = "20260101T000000Z".len();

/// Opens what is in `dir`, making what is missing.
pub(super) fn open(dir: &Path) -> Result<Opened> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|cause| cannot("make", dir, &cause))?;
    let lock = lock(dir)?;
    let mut told = Vec::new();
    let state = open_state(&dir.join("state.db"), &mut told)?;
    let cache = open_cache(&dir.join("hashcache.db"), &mut told)?;
    Ok(Opened { state, cache, lock, told })
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("state.lock");
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|cause| cannot("open", &path, &cause))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            Fault::Busy,
            format!("another wl daemon uses the state in {}: stop that one, or use another base dir", dir.display()),
        )),
        Err(TryLockError::Error(cause)) => Err(cannot("lock", &path, &cause)),
    }
}

fn open_state(path: &Path, told: &mut Vec<String>) -> Result<Db> {
    let open = || Db::open(path, &STATE, Sync::Full);
    let why = match open() {
        Ok(db) => return Ok(db),
        Err(Unusable::Damaged(why)) => why,
        Err(other) => return Err(refusal(path, other)),
    };
    let aside = set_aside(path).map_err(|cause| cannot("set aside the damaged", path, &cause))?;
    told.push(format!(
        "the state database {} was damaged ({why}) and is now {}. The next pass of every container goes by the rules of \
         first contact: nothing is deleted, and files that differ become conflicts. Start continuous jobs again",
        path.display(),
        aside.display(),
    ));
    open().map_err(|other| refusal(path, other))
}

/// A cache that is damaged or too new is as good as none.
fn open_cache(path: &Path, told: &mut Vec<String>) -> Result<Db> {
    let open = || Db::open(path, &CACHE, Sync::Normal);
    let why = match open() {
        Ok(db) => return Ok(db),
        Err(Unusable::Damaged(why)) => why,
        Err(Unusable::Newer) => "a newer wl wrote it".to_owned(),
        Err(Unusable::Failed(error)) => return Err(error),
    };
    discard(path).map_err(|cause| cannot("remove the damaged", path, &cause))?;
    told.push(format!(
        "the hash cache {} could not be used ({why}) and was made anew: the next pass reads and hashes every file",
        path.display()
    ));
    open().map_err(|other| refusal(path, other))
}

fn refusal(path: &Path, why: Unusable) -> Error {
    let path = path.display();
    match why {
        Unusable::Failed(error) => error,
        Unusable::Newer => Error::new(
            Fault::Unsupported,
            format!("a newer wl wrote the state database {path}: use that wl, or another base dir"),
        ),
        Unusable::Damaged(why) => {
            Error::new(Fault::Broken, format!("the database {path}, made anew, is damaged ({why}): check its disk"))
        }
    }
}

/// The state databases that were set aside in a directory and are still there, with when that was, the latest last.
pub(super) fn set_aside_in(dir: &Path) -> Vec<(PathBuf, Timestamp)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let when = name.strip_prefix("state.db.corrupt-")?;
            if COMPANIONS.iter().any(|companion| when.ends_with(companion)) {
                return None;
            }
            let when = DateTime::strptime("%Y%m%dT%H%M%SZ", when.get(..WHEN)?).ok()?;
            Some((entry.path(), when.to_zoned(TimeZone::UTC).ok()?.timestamp()))
        })
        .collect();
    found.sort_by_key(|(_, when)| *when);
    found
}

/// Renames a database and what belongs to it, and says what it is called now.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |n: u32| {
        let suffix = if n == 0 { String::new() } else { format!("-{n}") };
        beside(path, &format!(".corrupt-{}{suffix}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
    };
    let aside =
        (0..=u32::MAX).map(name).find(|aside| aside.symlink_metadata().is_err()).ok_or(io::ErrorKind::AlreadyExists)?;
    // The database first: without its log it could open as an older one; a log without a database is dropped.
    unless_missing(std::fs::rename(path, &aside))?;
    for companion in COMPANIONS {
        unless_missing(std::fs::rename(beside(path, companion), beside(&aside, companion)))?;
    }
    unless_missing(std::fs::remove_file(marker(path)))?;
    Ok(aside)
}

fn discard(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return set_aside(path).map(drop);
    }
    unless_missing(std::fs::remove_file(path))?;
    for companion in COMPANIONS {
        unless_missing(std::fs::remove_file(beside(path, companion)))?;
    }
    unless_missing(std::fs::remove_file(marker(path)))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;
    use rusqlite::Connection;
    use tempfile::{TempDir, tempdir};

    use crate::entry::{Hash, Token};
    use crate::path::RelPath;
    use crate::state::base::tests::file;
    use crate::state::{Batch, JobRecord, PairState, State};

    use super::*;

    fn pair(state: &State) -> Result<PairState> {
        state.pair("c", "x", "y")
    }

    /// A batch of ten files, and one that names it.
    fn batch(n: usize) -> Batch {
        let base = (0..10).map(|k| file(&format!("{k}/{n:03}"), 1)).map(|row| (row.path.clone(), Some(row))).collect();
        Batch { base, ..Batch::default() }
    }

    /// A directory with ten batches in it, all in the database itself.
    fn filled() -> TempDir {
        let dir = tempdir().unwrap();
        let (state, told) = State::open(dir.path()).unwrap();
        assert_eq!(told, [""; 0]);
        (0..10).for_each(|n| pair(&state).unwrap().commit(batch(n)).unwrap());
        let job = JobRecord { job_id: "j".to_owned(), definition: serde_json::Value::Null, paused: false };
        state.save_job(&job).unwrap();
        state.remember_hashes("p", &[(RelPath::root(), Token::new(b"t"), Hash::of(b""))]).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn aside(dir: &Path) -> usize {
        names(dir).iter().filter(|name| name.starts_with("state.db.corrupt-") && name.ends_with('Z')).count()
    }

    /// Does everything once; what is damaged may fail, but no worse.
    fn use_it(state: &State) -> Result<()> {
        let pair = pair(state)?;
        pair.base_after(&RelPath::root(), None, 1000)?;
        pair.agreed()?;
        pair.conflicts()?;
        pair.history(None, 9)?;
        pair.commit(batch(3))?;
        state.jobs()?;
        state.remember_hashes("p", &[(RelPath::root(), Token::new(b"u"), Hash::of(b""))])?;
        state.cached_hash("p", &RelPath::root(), &Token::new(b"u")).map(drop)
    }

    #[test]
    fn what_was_written_is_there_again_and_private() {
        let dir = filled();
        let deep = dir.path().join("a/b");
        drop(State::open(&deep).unwrap());
        let (state, told) = State::open(dir.path()).unwrap();
        assert_eq!(told, [""; 0]);
        assert_eq!(pair(&state).unwrap().agreed().unwrap(), (100, 100));
        assert_eq!(state.jobs().unwrap().len(), 1);
        assert_eq!(state.cached_hash("p", &RelPath::root(), &Token::new(b"t")).unwrap(), Some(Hash::of(b"")));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&deep), 0o700);
        for name in names(dir.path()).iter().filter(|name| *name != "a") {
            assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_scan_goes_on_while_a_batch_is_written() {
        let dir = filled();
        let (state, _) = State::open(dir.path()).unwrap();
        let pair = pair(&state).unwrap();
        let seen = state.shared.state.write(|tx| {
            tx.execute("DELETE FROM base", [])?;
            Ok(pair.base_after(&RelPath::root(), None, 1000).unwrap().len())
        });
        assert_eq!(seen, Ok(100));
        assert_eq!(pair.base_after(&RelPath::root(), None, 1000).unwrap(), []);
    }

    #[test]
    fn one_at_a_time_has_it() {
        let dir = filled();
        let (state, _) = State::open(dir.path()).unwrap();
        let kept = pair(&state).unwrap();
        drop(state);
        let refused = State::open(dir.path()).map(drop).unwrap_err();
        assert_eq!(refused.fault, Fault::Busy);
        assert!(refused.message.contains(&dir.path().display().to_string()), "{refused}");
        drop(kept);
        State::open(dir.path()).unwrap();
    }

    #[test]
    fn a_crash_leaves_whole_batches() {
        let dir = tempdir().unwrap();
        let (state, _) = State::open(dir.path()).unwrap();
        for done in 1..6 {
            pair(&state).unwrap().commit(batch(done)).unwrap();
            let size = fs::metadata(dir.path().join("state.db-wal")).unwrap().len();
            for cut in [0, 100, 5_000, size / 2, size - size / 4] {
                let copy = tempdir().unwrap();
                for name in ["state.db", "state.db-wal"] {
                    fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
                }
                let wal = OpenOptions::new().write(true).open(copy.path().join("state.db-wal")).unwrap();
                wal.set_len(size - cut).unwrap();
                let (after, told) = State::open(copy.path()).unwrap();
                assert_eq!(told, [""; 0], "{done} batches, {cut} bytes lost");
                let pair = pair(&after).unwrap();
                let rows = pair.base_after(&RelPath::root(), None, 1000).unwrap();
                let (files, _) = pair.agreed().unwrap();
                assert_eq!((rows.len() as u64, files % 10), (files, 0), "{done} batches, {cut} bytes lost");
                assert!(rows.iter().all(|row| row.path.name() <= format!("{:03}", files / 10).as_str()));
                assert!(cut > 0 || files == done as u64 * 10);
            }
        }
    }

    #[test]
    fn what_is_no_database_is_set_aside() {
        let damages: [fn(&Path); 6] = [
            |db| fs::write(db, "garbage ".repeat(1000)).unwrap(),
            |db| fs::write(db, "").unwrap(),
            |db| OpenOptions::new().write(true).open(db).unwrap().set_len(5000).unwrap(),
            |db| Connection::open(db).unwrap().execute_batch("DROP TABLE jobs").unwrap(),
            |db| Connection::open(db).unwrap().execute_batch("PRAGMA user_version = 9").unwrap(),
            |db| fs::remove_file(db).and_then(|()| fs::create_dir(db)).unwrap(),
        ];
        for (n, damage) in damages.iter().enumerate() {
            let dir = filled();
            damage(&dir.path().join("state.db"));
            let (state, told) = State::open(dir.path()).unwrap();
            assert!(told.len() == 1 && told[0].contains("nothing is deleted"), "{n}: {told:?}");
            assert_eq!((aside(dir.path()), set_aside_in(dir.path()).len()), (1, 1), "{n}");
            assert_eq!(pair(&state).unwrap().agreed().unwrap(), (0, 0), "{n}");
            use_it(&state).unwrap();
            drop(state);
            assert_eq!(State::open(dir.path()).unwrap().1, [""; 0], "{n}");
        }
    }

    #[test]
    fn a_missing_database_is_made_anew() {
        let dir = filled();
        fs::remove_file(dir.path().join("state.db")).unwrap();
        fs::write(dir.path().join("state.db.damaged"), "").unwrap();
        let (state, told) = State::open(dir.path()).unwrap();
        assert_eq!((told, aside(dir.path())), (Vec::new(), 0));
        use_it(&state).unwrap();
    }

    #[test]
    fn a_damaged_cache_is_made_anew_and_the_base_stays() {
        let dir = filled();
        fs::write(dir.path().join("hashcache.db"), "garbage").unwrap();
        let (state, told) = State::open(dir.path()).unwrap();
        assert!(told.len() == 1 && told[0].contains("hashes every file"), "{told:?}");
        assert_eq!(pair(&state).unwrap().agreed().unwrap(), (100, 100));
        use_it(&state).unwrap();
    }

    #[test]
    fn what_a_newer_wl_wrote_is_left_alone() {
        let dir = filled();
        let db = dir.path().join("state.db");
        let newer = format!("PRAGMA user_version = 9; PRAGMA application_id = {}; CREATE TABLE x (y);", 0x776c_0009);
        Connection::open(&db).unwrap().execute_batch(&newer).unwrap();
        let before = fs::read(&db).unwrap();
        let refused = State::open(dir.path()).map(drop).unwrap_err();
        assert!(refused.fault == Fault::Unsupported && refused.message.contains("a newer wl wrote"), "{refused}");
        assert_eq!((fs::read(&db).unwrap(), aside(dir.path())), (before, 0));
    }

    #[test]
    fn damage_found_later_is_set_aside_by_the_next_opening() {
        let dir = filled();
        let db = dir.path().join("state.db");
        Connection::open(&db)
            .unwrap()
            .execute_batch("UPDATE base SET key = x'2f2f' WHERE key = (SELECT max(key) FROM base)")
            .unwrap();
        let (state, told) = State::open(dir.path()).unwrap();
        assert_eq!(told, [""; 0]);
        let failed = pair(&state).unwrap().base_after(&RelPath::root(), None, 1000).unwrap_err();
        assert!(failed.fault == Fault::Broken && failed.message.contains("restart the daemon"), "{failed}");
        drop(state);
        let (state, told) = State::open(dir.path()).unwrap();
        assert_eq!((told.len(), aside(dir.path())), (1, 1), "{told:?}");
        use_it(&state).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn flipped_bytes_neither_panic_nor_lock_out(
            flips in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.7), 1_u8..), 1..6),
            which in prop::sample::select(vec!["state.db", "hashcache.db"]),
        ) {
            let dir = filled();
            let db = dir.path().join(which);
            let mut bytes = fs::read(&db).unwrap();
            for (at, early, flip) in flips {
                let within = if early { 200 } else { bytes.len() };
                bytes[at.index(within)] ^= flip;
            }
            fs::write(&db, bytes).unwrap();
            let mut last = Ok(());
            for _ in 0..3 {
                let (state, _) = State::open(dir.path()).unwrap();
                last = use_it(&state);
            }
            prop_assert_eq!(last, Ok(()), "{:?}", names(dir.path()));
        }
    }
}
