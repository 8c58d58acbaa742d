//! What is about to be done: so that a crash between doing it and taking it into the base is no riddle.

use rusqlite::Transaction;

use super::PairState;
use super::columns::{Key, key};
use crate::entry::Hash;
use crate::error::Result;
use crate::job::Which;
use crate::path::RelPath;

/// A change about to be made on one side, which makes it equal to what the other side held when it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The path that changes.
    pub path: RelPath,
    /// The side that changes.
    pub on: Which,
    /// What it becomes.
    pub becomes: Becoming,
}

/// What a path is to become.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Becoming {
    /// Nothing.
    Gone,
    /// A file, known by its sha256, or by size and modification time where it was not hashed before.
    File {
        /// Its bytes.
        size: u64,
        /// When it was modified.
        mtime: Option<jiff::Timestamp>,
        /// Its sha256.
        hash: Option<Hash>,
    },
}

impl Intent {
    /// Whether it can be told for sure whether it was done.
    pub fn is_unmistakable(&self) -> bool {
        !matches!(self.becomes, Becoming::File { hash: None, .. })
    }
}

impl PairState {
    /// What was about to be done and is not known to have been, in path order.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        let rows = self.db().read(|connection| {
            connection
                .prepare_cached("SELECT key, side, becomes FROM intents WHERE pair = ?1 ORDER BY key")?
                .query_map([self.id], |row| {
                    let (Key(path), side): (_, i64) = (row.get(0)?, row.get(1)?);
                    Ok((path, side, row.get::<_, String>(2)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let read = |(path, side, becomes): (RelPath, i64, String)| {
            // One that cannot be read is as one that was lost: safe.
            let becomes = serde_json::from_str(&becomes).ok()?;
            let [on, _] = self.oriented([Which::Source, Which::Target]);
            Some(Intent { path, on: if side == 0 { on } else { on.other() }, becomes })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    pub(super) fn write_intents<'a>(
        &self,
        tx: &Transaction<'_>,
        intents: &[Intent],
        over: impl Iterator<Item = &'a RelPath>,
        all_done: bool,
    ) -> rusqlite::Result<()> {
        if all_done {
            tx.prepare_cached("DELETE FROM intents WHERE pair = ?1")?.execute([self.id])?;
        } else {
            let mut delete = tx.prepare_cached("DELETE FROM intents WHERE pair = ?1 AND key = ?2")?;
            for path in over {
                delete.execute((self.id, key(path)))?;
            }
        }
        let [first, _] = self.oriented([Which::Source, Which::Target]);
        let mut insert =
            tx.prepare_cached("INSERT OR REPLACE INTO intents (pair, key, side, becomes) VALUES (?1, ?2, ?3, ?4)")?;
        for Intent { path, on, becomes } in intents {
            let becomes = serde_json::to_string(becomes)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            insert.execute((self.id, key(path), i64::from(*on != first), becomes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Batch, State};

    #[test]
    fn an_intent_stays_until_the_base_has_it_whichever_way_round() {
        let state = State::in_memory().unwrap();
        let (pair, mirrored) = (state.pair("c", "x", "y").unwrap(), state.pair("c", "y", "x").unwrap());
        let intent = |text: &str, on, becomes| Intent { path: RelPath::parse(text).unwrap(), on, becomes };
        let file =
            Becoming::File { size: 3, mtime: Some("2026-01-02T03:04:05.000000006Z".parse().unwrap()), hash: None };
        let all = [intent("a", Which::Source, Becoming::Gone), intent("b", Which::Target, file.clone())];
        let commit = |batch| pair.commit(batch).unwrap();
        commit(Batch { intents: all.to_vec(), ..Batch::default() });
        assert_eq!(pair.intents().unwrap(), all);
        assert_eq!(
            mirrored.intents().unwrap(),
            [intent("a", Which::Target, Becoming::Gone), intent("b", Which::Source, file)]
        );
        commit(Batch { base: vec![(all[0].path.clone(), None)], ..Batch::default() });
        assert_eq!(pair.intents().unwrap(), all[1..]);
        commit(Batch { intents: all[..1].to_vec(), not_done: vec![all[1].path.clone()], ..Batch::default() });
        assert_eq!(pair.intents().unwrap(), all[..1]);
        commit(Batch { all_done: true, intents: all[1..].to_vec(), ..Batch::default() });
        assert_eq!(pair.intents().unwrap(), all[1..], "what is in doubt stays");
        commit(Batch { all_done: true, ..Batch::default() });
        assert_eq!(pair.intents().unwrap(), []);
    }
}
