//! The tables, and the steps from each version of them to the next.

use rusqlite::Connection;

/// What a database file is made of.
pub(super) struct Schema {
    /// Marks the file as one of these, in the upper half of its application id; the lower half repeats the version.
    tag: u16,
    /// Step n makes version n + 1 out of version n. Only ever append.
    steps: &'static [&'static str],
}

/// `state.db`.
pub(super) const STATE: Schema = Schema {
    tag: 0x776c,
    steps: &[
        "
        CREATE TABLE pairs (
            id INTEGER PRIMARY KEY,
            container TEXT NOT NULL, place0 TEXT NOT NULL, place1 TEXT NOT NULL,
            root0 TEXT, root1 TEXT,
            files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
            UNIQUE (container, place0, place1)
        ) STRICT;
        CREATE TABLE base (
            pair INTEGER NOT NULL, key BLOB NOT NULL,
            kind INTEGER NOT NULL, hash BLOB, size INTEGER NOT NULL,
            mtime INTEGER, mtime_ns INTEGER, mode INTEGER,
            token0 BLOB, token1 BLOB,
            PRIMARY KEY (pair, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE conflicts (
            pair INTEGER NOT NULL, key BLOB NOT NULL,
            kind TEXT NOT NULL, since TEXT NOT NULL, held0 BLOB, held1 BLOB,
            PRIMARY KEY (pair, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE problems (
            pair INTEGER NOT NULL, n INTEGER NOT NULL,
            path TEXT NOT NULL, storage TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
            PRIMARY KEY (pair, n)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE history (
            pair INTEGER NOT NULL, n INTEGER NOT NULL,
            at TEXT NOT NULL, action TEXT NOT NULL, path TEXT NOT NULL, origin TEXT, destination TEXT,
            hash BLOB, bytes INTEGER NOT NULL,
            PRIMARY KEY (pair, n)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE intents (
            pair INTEGER NOT NULL, key BLOB NOT NULL,
            side INTEGER NOT NULL, becomes TEXT NOT NULL,
            PRIMARY KEY (pair, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE jobs (
            job_id TEXT NOT NULL PRIMARY KEY, definition TEXT NOT NULL, paused INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
        "
        CREATE INDEX base_size ON base (pair, size) WHERE size >= 65536;
    ",
        "
        ALTER TABLE conflicts ADD COLUMN tree0 BLOB;
        ALTER TABLE conflicts ADD COLUMN tree1 BLOB;
    ",
        "
        ALTER TABLE pairs ADD COLUMN id0 TEXT;
        ALTER TABLE pairs ADD COLUMN id1 TEXT;
    ",
    ],
};

/// `hashcache.db`.
pub(super) const CACHE: Schema = Schema {
    tag: 0x776d,
    steps: &[
        "
        CREATE TABLE places (id INTEGER PRIMARY KEY, place TEXT NOT NULL UNIQUE) STRICT;
        CREATE TABLE hashes (
            place INTEGER NOT NULL, key BLOB NOT NULL,
            token BLOB NOT NULL, hash BLOB NOT NULL,
            PRIMARY KEY (place, key)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        CREATE TABLE rules (
            place INTEGER NOT NULL, key BLOB NOT NULL,
            token BLOB NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (place, key)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        ALTER TABLE hashes ADD COLUMN day INTEGER NOT NULL DEFAULT 0;
        UPDATE hashes SET day = unixepoch() / 86400;
        ALTER TABLE rules ADD COLUMN day INTEGER NOT NULL DEFAULT 0;
        UPDATE rules SET day = unixepoch() / 86400;
    ",
    ],
};

/// What a database turns out to be once it has been brought up to date.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has the tables it should have.
    Current,
    /// A newer wl wrote it.
    Newer,
    /// It is not what any wl writes.
    Foreign,
}

impl Schema {
    /// Takes the steps that the database lacks, together or not at all.
    pub(super) fn migrate(&self, connection: &mut Connection) -> rusqlite::Result<Fit> {
        let (known, current) = (self.steps.len(), self.version());
        let tx = connection.transaction()?;
        let (version, id) = (pragma(&tx, "user_version")?, pragma(&tx, "application_id")?);
        // The version stands in two places, so that a flipped bit is not taken for a newer wl.
        let Some(version) = u16::try_from(version).ok().filter(|version| id == self.stamp(*version)).map(usize::from)
        else {
            return Ok(Fit::Foreign);
        };
        if version > known {
            return Ok(Fit::Newer);
        }
        if version < known {
            for step in &self.steps[version..] {
                tx.execute_batch(step)?;
            }
            tx.pragma_update(None, "user_version", current)?;
            tx.pragma_update(None, "application_id", self.stamp(current))?;
        }
        let fits = tables(&tx)? == self.expected()?;
        tx.commit()?;
        Ok(if fits { Fit::Current } else { Fit::Foreign })
    }

    fn version(&self) -> u16 {
        // Nobody writes so many steps.
        u16::try_from(self.steps.len()).unwrap_or(u16::MAX)
    }

    /// The application id of a version; a file that was never written has none.
    fn stamp(&self, version: u16) -> i64 {
        if version == 0 { 0 } else { i64::from(self.tag) << 16 | i64::from(version) }
    }

    fn expected(&self) -> rusqlite::Result<Vec<String>> {
        let fresh = Connection::open_in_memory()?;
        for step in self.steps {
            fresh.execute_batch(step)?;
        }
        tables(&fresh)
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection
        .prepare("SELECT type || ' ' || name || ' ' || tbl_name || ' ' || ifnull(sql, '') FROM sqlite_master")?;
    let mut tables = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    tables.sort_unstable();
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_made_once_and_then_fits() {
        let mut db = Connection::open_in_memory().unwrap();
        assert_eq!(STATE.migrate(&mut db), Ok(Fit::Current));
        assert_eq!(STATE.migrate(&mut db), Ok(Fit::Current));
        assert_eq!(CACHE.migrate(&mut db), Ok(Fit::Foreign));
    }

    #[test]
    fn each_step_is_taken_once() {
        let two = Schema { tag: 1, steps: &["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y"] };
        let one = Schema { tag: 1, steps: &two.steps[..1] };
        let mut db = Connection::open_in_memory().unwrap();
        assert_eq!(one.migrate(&mut db), Ok(Fit::Current));
        assert_eq!(two.migrate(&mut db), Ok(Fit::Current));
        db.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
        assert_eq!(one.migrate(&mut db), Ok(Fit::Newer));
    }

    #[test]
    fn a_version_or_a_table_that_does_not_add_up_is_foreign() {
        for damage in ["PRAGMA user_version = 9", "PRAGMA application_id = 7", "DROP TABLE base", "CREATE TABLE x (y)"]
        {
            let mut db = Connection::open_in_memory().unwrap();
            STATE.migrate(&mut db).unwrap();
            db.execute_batch(damage).unwrap();
            assert_eq!(STATE.migrate(&mut db), Ok(Fit::Foreign), "{damage}");
        }
    }
}
