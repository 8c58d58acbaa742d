//! What was done, bounded.

use rusqlite::types::Type;
use rusqlite::{Row, Transaction};

use super::PairState;
use super::columns::{Count, Time, Word, integer};
use crate::error::Result;
use crate::path::RelPath;
use crate::report::HistoryEntry;

/// So many entries a pair are kept at least, once there were that many.
const KEPT: i64 = 10_000;
/// Older ones are forgotten once so many have gathered.
const SLACK: i64 = 1_000;

impl PairState {
    /// The last things done, the newest first; to one path if given.
    pub fn history(&self, path: Option<&RelPath>, limit: usize) -> Result<Vec<HistoryEntry>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT at, action, path, origin, destination, hash, bytes FROM history
                     WHERE pair = ?1 AND (?2 IS NULL OR path = ?2 OR action = 'moved' AND ?2 IN (origin, destination))
                     ORDER BY n DESC LIMIT ?3",
                )?
                .query_map((self.id, path.map(RelPath::as_str), limit), entry)?
                .collect()
        })
    }

    pub(super) fn write_history(&self, tx: &Transaction<'_>, entries: &[HistoryEntry]) -> rusqlite::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let edge = |which: &str| -> rusqlite::Result<i64> {
            tx.prepare_cached(&format!("SELECT ifnull({which}(n), 0) FROM history WHERE pair = ?1"))?
                .query_row([self.id], |row| row.get(0))
        };
        let mut insert = tx.prepare_cached(
            "INSERT INTO history (pair, n, at, action, path, origin, destination, hash, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let mut last = edge("max")?;
        for entry in entries {
            last = last.checked_add(1).ok_or_else(|| {
                rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, "the history has no number left".into())
            })?;
            let HistoryEntry { at, action, path, from, to, hash, bytes } = entry;
            insert.execute((self.id, last, Word(at), action, path, from, to, hash, integer(*bytes)))?;
        }
        if last.saturating_sub(edge("min")?) >= KEPT + SLACK {
            tx.prepare_cached("DELETE FROM history WHERE pair = ?1 AND n <= ?2")?.execute((self.id, last - KEPT))?;
        }
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    let Word(at): Time = row.get(0)?;
    Ok(HistoryEntry {
        at,
        action: row.get(1)?,
        path: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        hash: row.get(5)?,
        bytes: row.get::<_, Count>(6)?.0,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::entry::Hash;
    use crate::state::{Batch, State};

    fn done(action: &str, path: &str, from: &str, to: &str, n: i64) -> HistoryEntry {
        HistoryEntry {
            at: Timestamp::new(n, 1).unwrap(),
            action: action.to_owned(),
            path: path.to_owned(),
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            hash: Some(Hash::of(path.as_bytes())),
            bytes: 3,
        }
    }

    fn pair() -> PairState {
        State::in_memory().unwrap().pair("c", "x", "y").unwrap()
    }

    #[test]
    fn the_newest_comes_first_and_a_move_belongs_to_both_its_paths() {
        let pair = pair();
        let entries =
            [done("copied", "a", "b", "c", 1), done("moved", "c", "a", "c", 2), done("deleted", "d", "b", "x", 2)];
        for entry in &entries {
            pair.commit(Batch { history: vec![entry.clone()], ..Batch::default() }).unwrap();
        }
        let [copied, moved, deleted] = &entries;
        let of = |path: &str| pair.history(Some(&RelPath::parse(path).unwrap()), 9).unwrap();
        assert_eq!(pair.history(None, 2).unwrap(), [deleted.clone(), moved.clone()]);
        assert_eq!(of("a"), [moved.clone(), copied.clone()]);
        assert_eq!(of("c"), std::slice::from_ref(moved));
        assert_eq!(of("b"), [], "a backend-id is no path");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (pair, kept) = (pair(), usize::try_from(KEPT).unwrap());
        for batch in 0..13 {
            let history = (0..1_000).map(|n| done("copied", "a", "b", "c", batch * 1_000 + n)).collect();
            pair.commit(Batch { history, ..Batch::default() }).unwrap();
        }
        let left = pair.history(None, usize::MAX).unwrap();
        assert!((kept..=kept + 1_000).contains(&left.len()), "{}", left.len());
        assert!(left.iter().rev().map(|entry| entry.at).is_sorted());
        assert_eq!(left[0].at.as_second(), 12_999);
    }
}
