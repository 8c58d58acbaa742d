//! The base: what both storages agreed on, path by path.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::columns::{Count, Key, end_of, integer, key, lasting};
use super::{BaseRow, PairState};
use crate::entry::{Hash, Kind, Meta};
use crate::error::Result;
use crate::path::RelPath;

impl PairState {
    /// Base rows below a directory, in path order, after that path, so many at most.
    pub fn base_after(&self, below: &RelPath, after: Option<&RelPath>, limit: usize) -> Result<Vec<BaseRow>> {
        let from = after.map_or_else(|| key(below), |after| key(after.max(below)));
        self.db().read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key, kind, hash, size, mtime, mtime_ns, mode, token0, token1 FROM base
                 WHERE pair = ?1 AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4",
            )?;
            let most = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query((self.id, from, end_of(below), most))?;
            let mut found = Vec::with_capacity(limit.min(1024));
            while let Some(row) = rows.next()? {
                found.push(self.base_row(row)?);
            }
            Ok(found)
        })
    }

    /// The base of one path.
    pub fn base_of(&self, path: &RelPath) -> Result<Option<BaseRow>> {
        self.db().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, kind, hash, size, mtime, mtime_ns, mode, token0, token1 FROM base
                     WHERE pair = ?1 AND key = ?2",
                )?
                .query_row((self.id, key(path)), |row| self.base_row(row))
                .optional()
        })
    }

    /// Whether the base holds a file of that size, as far as sizes are looked up: from 64 KiB on.
    pub fn holds_size(&self, size: u64) -> Result<bool> {
        self.db().read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM base WHERE pair = ?1 AND size = ?2 AND size >= 65536 LIMIT 1")?
                .exists((self.id, integer(size)))
        })
    }

    /// A few files of the base that have that content, as far as sizes are looked up.
    pub fn of_content(&self, hash: &Hash, size: u64) -> Result<Vec<BaseRow>> {
        self.db().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, kind, hash, size, mtime, mtime_ns, mode, token0, token1 FROM base
                     WHERE pair = ?1 AND size = ?2 AND size >= 65536 AND hash = ?3 LIMIT 4",
                )?
                .query_map((self.id, integer(size), hash), |row| self.base_row(row))?
                .collect()
        })
    }

    /// How many files the base holds below a directory.
    pub fn base_count_below(&self, below: &RelPath) -> Result<u64> {
        if below.is_root() {
            return Ok(self.agreed()?.0);
        }
        self.db().read(|connection| {
            connection
                .prepare_cached("SELECT count(*) FROM base WHERE pair = ?1 AND key > ?2 AND key < ?3 AND kind = ?4")?
                .query_row((self.id, key(below), end_of(below), Kind::File), |row| row.get(0))
                .map(|Count(files)| files)
        })
    }

    /// How many files the base holds, and their bytes; at no cost.
    pub fn agreed(&self) -> Result<(u64, u64)> {
        self.db().read(|connection| {
            connection
                .prepare_cached("SELECT files, bytes FROM pairs WHERE id = ?1")?
                .query_row([self.id], |row| Ok((row.get::<_, Count>(0)?.0, row.get::<_, Count>(1)?.0)))
                .optional()
                .map(Option::unwrap_or_default)
        })
    }

    pub(super) fn write_base(
        &self,
        tx: &Transaction<'_>,
        changes: &[(RelPath, Option<BaseRow>)],
    ) -> rusqlite::Result<()> {
        let mut forget = tx.prepare_cached("DELETE FROM base WHERE pair = ?1 AND key = ?2 RETURNING kind, size")?;
        let mut insert = tx.prepare_cached(
            "INSERT INTO base (pair, key, kind, hash, size, mtime, mtime_ns, mode, token0, token1)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let (mut files, mut bytes) = (0_i64, 0_i64);
        for (path, row) in changes {
            let key = key(path);
            let old = forget.query_row((self.id, &key), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if let Some((Kind::File, size)) = old {
                files -= 1;
                bytes = bytes.saturating_sub(size);
            }
            let Some(row) = row else { continue };
            let [token0, token1] = self.oriented(row.tokens.each_ref().map(|token| lasting(token.as_ref())));
            let mtime = row.meta.mtime;
            insert.execute((
                self.id,
                &key,
                row.kind,
                row.hash,
                integer(row.size),
                mtime.map(Timestamp::as_second),
                mtime.map(Timestamp::subsec_nanosecond),
                row.meta.mode,
                token0,
                token1,
            ))?;
            if row.kind == Kind::File {
                files += 1;
                bytes = bytes.saturating_add(integer(row.size));
            }
        }
        if (files, bytes) == (0, 0) { Ok(()) } else { self.count(tx, files, bytes) }
    }

    fn base_row(&self, row: &Row<'_>) -> rusqlite::Result<BaseRow> {
        let Key(path) = row.get(0)?;
        let mtime = match (row.get(4)?, row.get(5)?) {
            (Some(second), Some(nanosecond)) => Some(
                Timestamp::new(second, nanosecond)
                    .map_err(|cause| rusqlite::Error::FromSqlConversionFailure(4, Type::Integer, cause.into()))?,
            ),
            _ => None,
        };
        Ok(BaseRow {
            path,
            kind: row.get(1)?,
            hash: row.get(2)?,
            size: row.get::<_, Count>(3)?.0,
            meta: Meta { mtime, mode: row.get(6)? },
            tokens: self.oriented([row.get(7)?, row.get(8)?]),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Hash, Token};
    use crate::state::{Batch, State};

    pub(in crate::state) fn file(path: &str, size: u64) -> BaseRow {
        BaseRow {
            path: RelPath::parse(path).unwrap(),
            kind: Kind::File,
            hash: Some(Hash::of(path.as_bytes())),
            size,
            meta: Meta { mtime: Some(Timestamp::new(-1, -999_999_999).unwrap()), mode: Some(0o644) },
            tokens: [Some(Token::new(b"1")), None],
        }
    }

    fn dir(path: &str) -> BaseRow {
        BaseRow { kind: Kind::Dir, hash: None, meta: Meta::default(), tokens: [None, None], ..file(path, 0) }
    }

    fn put(rows: impl IntoIterator<Item = BaseRow>) -> Batch {
        Batch { base: rows.into_iter().map(|row| (row.path.clone(), Some(row))).collect(), ..Batch::default() }
    }

    fn pair() -> PairState {
        State::in_memory().unwrap().pair("c", "x", "y").unwrap()
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    const NAMES: [&str; 14] =
        ["", "a0", "é", "a/b", "a", "a-b", "a.txt", "a/b/c", "a/b-c", "a/é", "b", "a/b/c/d", "~", "A"];

    #[test]
    fn rows_come_in_path_order_and_as_they_were_put() {
        let pair = pair();
        let mut rows: Vec<_> = NAMES.map(|name| if name.len() > 3 { dir(name) } else { file(name, 7) }).into();
        pair.commit(put(rows.clone())).unwrap();
        for row in &rows {
            assert_eq!(pair.base_of(&row.path).unwrap().as_ref(), Some(row));
        }
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        rows.remove(0);
        assert_eq!(pair.base_after(&RelPath::root(), None, usize::MAX).unwrap(), rows);
    }

    #[test]
    fn chunks_below_a_directory_add_up_to_what_is_below_it() {
        let pair = pair();
        pair.commit(put(NAMES.map(|name| file(name, 1)))).unwrap();
        let mut sorted: Vec<_> = NAMES.map(path).into();
        sorted.sort();
        for below in NAMES.map(path).into_iter().chain([path("none"), path("a/b/c/d/e")]) {
            let want: Vec<_> = sorted.iter().filter(|path| path.is_below(&below)).cloned().collect();
            for limit in 1..4 {
                let mut found: Vec<RelPath> = Vec::new();
                loop {
                    let chunk = pair.base_after(&below, found.last(), limit).unwrap();
                    assert!(chunk.len() <= limit);
                    if chunk.is_empty() {
                        break;
                    }
                    found.extend(chunk.into_iter().map(|row| row.path));
                }
                assert_eq!(found, want, "below {below:?} by {limit}");
            }
            assert_eq!(pair.base_after(&below, Some(&path("ü")), 9).unwrap(), []);
            assert_eq!(pair.base_after(&below, Some(&RelPath::root()), 99).unwrap().len(), want.len());
        }
        assert_eq!(pair.base_count_below(&path("a")).unwrap(), 5);
        assert_eq!(pair.base_count_below(&path("a-b")).unwrap(), 0);
    }

    #[test]
    fn a_racy_token_vouches_for_nothing() {
        let pair = pair();
        let row = BaseRow { tokens: [Some(Token::racy(b"r")), Some(Token::new(b"t"))], ..file("a", 1) };
        pair.commit(put([row])).unwrap();
        assert_eq!(pair.base_of(&path("a")).unwrap().unwrap().tokens, [None, Some(Token::new(b"t"))]);
    }

    #[test]
    fn the_last_word_on_a_path_holds() {
        let pair = pair();
        let mut batch = put([file("a", 1), file("b", 9), file("a", 2)]);
        batch.base.push((path("b"), None));
        pair.commit(batch).unwrap();
        assert_eq!(pair.base_after(&RelPath::root(), None, 9).unwrap(), [file("a", 2)]);
        assert_eq!(pair.agreed().unwrap(), (1, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_counts_are_those_of_the_rows(
            batches in prop::collection::vec(
                prop::collection::vec((0..NAMES.len(), prop::option::of((any::<bool>(), 0..99_u64))), 0..9), 0..9),
        ) {
            let pair = pair();
            let mut model = BTreeMap::new();
            for changes in batches {
                let mut batch = Batch::default();
                for (at, what) in changes {
                    let row = what.map(|(is_file, size)| if is_file { file(NAMES[at], size) } else { dir(NAMES[at]) });
                    model.insert(path(NAMES[at]), row.clone());
                    batch.base.push((path(NAMES[at]), row));
                }
                pair.commit(batch).unwrap();
                let rows: Vec<_> = model.values().flatten().collect();
                let files: Vec<_> = rows.iter().filter(|row| row.kind == Kind::File).collect();
                prop_assert_eq!(pair.agreed().unwrap(), (files.len() as u64, files.iter().map(|row| row.size).sum()));
                let below: Vec<_> = rows.into_iter().filter(|row| !row.path.is_root()).cloned().collect();
                prop_assert_eq!(pair.base_after(&RelPath::root(), None, 99).unwrap(), below);
            }
        }
    }
}
