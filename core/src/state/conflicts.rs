//! What needs the user: open conflicts, and problems.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::columns::{Key, Time, Word, key};
use super::{ConflictRow, Held, PairState};
use crate::entry::Hash;
use crate::error::Result;
use crate::path::RelPath;
use crate::report::Problem;

impl PairState {
    /// All open conflicts, in path order.
    pub fn conflicts(&self) -> Result<Vec<ConflictRow>> {
        self.db().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, kind, since, held0, held1, tree0, tree1 FROM conflicts WHERE pair = ?1 ORDER BY key",
                )?
                .query_map([self.id], |row| self.conflict_row(row))?
                .collect()
        })
    }

    /// The open conflict under one path.
    pub fn conflict_of(&self, path: &RelPath) -> Result<Option<ConflictRow>> {
        self.db().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, kind, since, held0, held1, tree0, tree1 FROM conflicts WHERE pair = ?1 AND key = ?2",
                )?
                .query_row((self.id, key(path)), |row| self.conflict_row(row))
                .optional()
        })
    }

    /// The problems last recorded.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        self.db().read(|connection| {
            connection
                .prepare_cached("SELECT path, storage, kind, message FROM problems WHERE pair = ?1 ORDER BY n")?
                .query_map([self.id], |row| {
                    let Word(kind) = row.get(2)?;
                    Ok(Problem { path: row.get(0)?, storage: row.get(1)?, kind, message: row.get(3)? })
                })?
                .collect()
        })
    }

    /// Records the problems there are now, in place of those before.
    pub fn set_problems(&self, problems: &[Problem]) -> Result<()> {
        self.db().write(|tx| {
            tx.prepare_cached("DELETE FROM problems WHERE pair = ?1")?.execute([self.id])?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO problems (pair, n, path, storage, kind, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (n, problem) in (0_i64..).zip(problems) {
                let Problem { path, storage, kind, message } = problem;
                insert.execute((self.id, n, path, storage, Word(kind), message))?;
            }
            Ok(())
        })
    }

    pub(super) fn write_conflicts(
        &self,
        tx: &Transaction<'_>,
        changes: &[(RelPath, Option<ConflictRow>)],
    ) -> rusqlite::Result<()> {
        let mut set = tx.prepare_cached(
            "INSERT OR REPLACE INTO conflicts (pair, key, kind, since, held0, held1, tree0, tree1)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut close = tx.prepare_cached("DELETE FROM conflicts WHERE pair = ?1 AND key = ?2")?;
        for (path, row) in changes {
            let key = key(path);
            if let Some(ConflictRow { path: _, kind, since, versions, trees }) = row {
                let ([held0, held1], [tree0, tree1]) = (self.oriented(*versions), self.oriented(*trees));
                set.execute((self.id, key, Word(kind), Word(since), held0, held1, tree0, tree1))?;
            } else {
                close.execute((self.id, key))?;
            }
        }
        Ok(())
    }

    fn conflict_row(&self, row: &Row<'_>) -> rusqlite::Result<ConflictRow> {
        let (Key(path), Word(kind), Word(since)): (_, _, Time) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let versions = self.oriented([row.get(3)?, row.get(4)?]);
        let trees = self.oriented([row.get(5)?, row.get(6)?]);
        Ok(ConflictRow { path, kind, since, versions, trees })
    }
}

/// Nothing is NULL, a directory an empty blob, a file its sha256.
impl FromSql for Held {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Absent),
            ValueRef::Blob([]) => Ok(Self::Dir),
            other => Hash::column_result(other).map(Self::File),
        }
    }
}

impl ToSql for Held {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Absent => Ok(ToSqlOutput::Owned(Value::Null)),
            Self::Dir => Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&[]))),
            Self::File(hash) => hash.to_sql(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ConflictKind, ProblemKind};
    use crate::state::{Batch, State};

    #[test]
    fn conflicts_open_change_and_close() {
        let pair = State::in_memory().unwrap().pair("c", "x", "y").unwrap();
        let row = |name, kind, versions: [Held; 2]| ConflictRow {
            path: RelPath::parse(name).unwrap(),
            kind,
            since: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
            versions,
            trees: versions.map(|held| (held == Held::Dir).then(|| Hash::of(b"all of it"))),
        };
        let file = Held::File(Hash::of(b"1"));
        let commit = |changes: Vec<(RelPath, Option<ConflictRow>)>| {
            pair.commit(Batch { conflicts: changes, ..Batch::default() }).unwrap();
        };
        let rows = [
            row("a.txt", ConflictKind::Content, [file, Held::File(Hash::of(b"2"))]),
            row("a", ConflictKind::Kind, [Held::Dir, file]),
            row("a/b", ConflictKind::DeletedModified, [file, Held::Absent]),
        ];
        commit(rows.iter().rev().map(|row| (row.path.clone(), Some(row.clone()))).collect());
        assert_eq!(pair.conflicts().unwrap(), rows);

        let changed = row("a", ConflictKind::Content, [file, file]);
        commit(vec![(rows[0].path.clone(), None), (rows[1].path.clone(), Some(changed.clone()))]);
        assert_eq!(pair.conflicts().unwrap(), [changed.clone(), rows[2].clone()]);
        assert_eq!(pair.conflict_of(&rows[0].path).unwrap(), None);
        assert_eq!(pair.conflict_of(&changed.path).unwrap(), Some(changed));
    }

    #[test]
    fn problems_replace_those_before() {
        let pair = State::in_memory().unwrap().pair("c", "x", "y").unwrap();
        let problem = |path: &str, kind| Problem {
            path: path.to_owned(),
            storage: "id".to_owned(),
            kind,
            message: "why".to_owned(),
        };
        let first = [problem("z", ProblemKind::ReadOnly), problem("z", ProblemKind::ReadOnly)];
        for now in [&first[..], &[problem("a\u{fffd}", ProblemKind::Name)], &[]] {
            pair.set_problems(now).unwrap();
            assert_eq!(pair.problems().unwrap(), now);
        }
    }
}
