//! One database file: how it is reached, and what its errors mean.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Transaction};

use super::schema::{Fit, Schema};
use crate::error::{Error, Fault, Result};

/// How sure a commit is once it returned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sync {
    /// It survives a power cut. A base that fell back by a few commits would take a file that the user has just put back
    /// as it was for one that did not change, and what the other side holds would win.
    Full,
    /// It survives a crash of wl; a power cut may undo the last ones, never a part of one.
    Normal,
}

/// A database: one connection that writes, and one that reads meanwhile. The writer is dropped last, which empties the log.
pub(super) struct Db {
    reader: Option<Mutex<Connection>>,
    writer: Mutex<Connection>,
    path: Option<PathBuf>,
}

/// Why a database cannot be had.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is damaged: set it aside.
    Damaged(String),
    /// A newer wl wrote it.
    Newer,
    /// Something else stands in the way.
    Failed(Error),
}

impl Db {
    /// Opens the file, making it if there is none, and brings its tables up to date.
    pub(super) fn open(path: &Path, schema: &Schema, sync: Sync) -> Result<Self, Unusable> {
        if path.exists() && marker(path).exists() {
            return Err(Unusable::Damaged("an earlier run found it malformed".to_owned()));
        }
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<(Connection, Fit)> {
            let mut writer = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            prepare(&writer)?;
            writer.pragma_update(None, "journal_mode", "wal")?;
            writer.pragma_update(None, "synchronous", sync.word())?;
            let fit = schema.migrate(&mut writer)?;
            // The file was just found writable: if it says otherwise, its header is wrong.
            let fit = if fit == Fit::Current && writer.is_readonly(MAIN_DB)? { Fit::Foreign } else { fit };
            Ok((writer, fit))
        };
        let reading = || {
            let reader = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            prepare(&reader)?;
            Ok(reader)
        };
        let writer = match open() {
            Ok((writer, Fit::Current)) => writer,
            Ok((_, Fit::Newer)) => return Err(Unusable::Newer),
            Ok((_, Fit::Foreign)) => {
                return Err(Unusable::Damaged("it is not as wl writes it".to_owned()));
            }
            Err(cause) => return Err(unusable(path, &cause)),
        };
        let reader = reading().map_err(|cause| unusable(path, &cause))?;
        Ok(Self { writer: Mutex::new(writer), reader: Some(Mutex::new(reader)), path: Some(path.to_owned()) })
    }

    /// A database in memory.
    pub(super) fn in_memory(schema: &Schema) -> Result<Self> {
        let open = || {
            let mut writer = Connection::open_in_memory()?;
            schema.migrate(&mut writer)?;
            Ok(writer)
        };
        let writer = open().map_err(|cause| explain(None, &cause))?;
        Ok(Self { writer: Mutex::new(writer), reader: None, path: None })
    }

    /// Reads. What was committed before is seen.
    pub(super) fn read<T>(&self, what: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = lock(self.reader.as_ref().unwrap_or(&self.writer));
        what(&connection).map_err(|cause| self.fault(&cause))
    }

    /// Writes in one transaction, which an error undoes.
    pub(super) fn write<T>(&self, what: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = lock(&self.writer);
        let transact = || {
            let tx = connection.transaction()?;
            let done = what(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        transact().map_err(|cause| self.fault(&cause))
    }

    /// Explains an error, and remembers damage, so that the next opening sets the file aside.
    fn fault(&self, cause: &rusqlite::Error) -> Error {
        if let Some(path) = &self.path
            && is_damage(cause)
            && let Err(error) = std::fs::write(marker(path), format!("{cause}\n"))
        {
            tracing::error!(path = %path.display(), %error, "cannot mark the damaged database");
        }
        explain(self.path.as_deref(), cause)
    }
}

impl Sync {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// The file whose presence says that the database is damaged.
pub(super) fn marker(path: &Path) -> PathBuf {
    beside(path, ".damaged")
}

/// The file of that name with an ending appended.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Explains why a file cannot be made, opened or renamed.
pub(super) fn cannot(what: &str, path: &Path, cause: &std::io::Error) -> Error {
    let fault = match cause.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Fault::Full,
        _ => Fault::Broken,
    };
    Error::new(fault, format!("cannot {what} {}: {cause}", path.display()))
}

/// SQLite gives its other files the mode of this one.
fn make_private(path: &Path) -> Result<(), Unusable> {
    let failed = |cause| Unusable::Failed(cannot("open", path, &cause));
    match path.metadata() {
        Ok(found) if !found.is_file() => return Err(Unusable::Damaged("it is no file".to_owned())),
        // SQLite takes an empty file for a new database, in silence; wl leaves none.
        Ok(found) if found.len() == 0 => return Err(Unusable::Damaged("it is cut off".to_owned())),
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?,
        // Who removed the file by hand removed the damage too.
        Err(_) => match std::fs::remove_file(marker(path)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        },
    }
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // A malformed page is found when it is read, not when it leads astray.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // Once checkpointed, a large log gives its room back.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A panic rolled its transaction back: what is left is whole.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unusable(path: &Path, cause: &rusqlite::Error) -> Unusable {
    // Opening asks for nothing unusual, so that an answer which does not fit comes from what the file holds.
    match explain(Some(path), cause) {
        error if error.fault == Fault::Broken && !is_io(cause) => Unusable::Damaged(cause.to_string()),
        // Again a header that says otherwise.
        _ if code(cause) == Some(ErrorCode::ReadOnly) => Unusable::Damaged(cause.to_string()),
        error => Unusable::Failed(error),
    }
}

fn code(cause: &rusqlite::Error) -> Option<ErrorCode> {
    match cause {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
        _ => None,
    }
}

fn is_io(cause: &rusqlite::Error) -> bool {
    matches!(code(cause), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory))
}

/// Whether the file holds what wl did not write.
fn is_damage(cause: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match code(cause) {
        Some(code) => {
            matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
        }
        None => matches!(
            cause,
            E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::Utf8Error(..)
                | E::InvalidColumnType(..)
                | E::QueryReturnedNoRows
        ),
    }
}

/// What an error of the database means to the caller: the one place that says so.
fn explain(path: Option<&Path>, cause: &rusqlite::Error) -> Error {
    let name = path.map_or_else(|| "in memory".to_owned(), |path| path.display().to_string());
    if is_damage(cause) {
        let message = format!("the database {name} is damaged ({cause}): restart the daemon, which sets it aside");
        return Error::new(Fault::Broken, message);
    }
    let (fault, advice) = match code(cause) {
        Some(ErrorCode::DiskFull) => (Fault::Full, "make room on its disk"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (Fault::Denied, "make it writable")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Fault::Busy, "end the other program that has it open")
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => (Fault::Broken, "check its directory and its disk"),
        _ => (Fault::Broken, "restart the daemon"),
    };
    Error::new(fault, format!("the database {name} failed ({cause}): {advice}"))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn an_error_says_what_to_do_next() {
        for (result, fault, damage) in [
            (ffi::SQLITE_FULL, Fault::Full, false),
            (ffi::SQLITE_READONLY, Fault::Denied, false),
            (ffi::SQLITE_PERM, Fault::Denied, false),
            (ffi::SQLITE_BUSY, Fault::Busy, false),
            (ffi::SQLITE_IOERR_FSYNC, Fault::Broken, false),
            (ffi::SQLITE_CORRUPT_VTAB, Fault::Broken, true),
            (ffi::SQLITE_NOTADB, Fault::Broken, true),
        ] {
            let cause = rusqlite::Error::SqliteFailure(ffi::Error::new(result), None);
            assert_eq!(explain(None, &cause).fault, fault, "{cause}");
            assert_eq!(is_damage(&cause), damage, "{cause}");
        }
    }
}
