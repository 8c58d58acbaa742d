//! Which storages a pair is of: what was agreed with one says nothing of another that is at its place later.

use rusqlite::OptionalExtension as _;

use super::PairState;
use crate::error::Result;

impl PairState {
    /// Remembers the backend-ids of the two storages, the source's first. If one of them is another than before, what was
    /// agreed is forgotten, and what rests on it: a storage that was taken out and added again may have been used for other
    /// things meanwhile, so the next pass goes by the rules of first contact. History stays. Whether it was forgotten.
    pub fn set_storages(&self, ids: [&str; 2]) -> Result<bool> {
        let are_others = !self.is_of(ids)?;
        let [id0, id1] = self.oriented(ids.map(known));
        self.db().write(|tx| {
            if are_others {
                for table in ["base", "conflicts", "problems", "intents"] {
                    tx.execute(&format!("DELETE FROM {table} WHERE pair = ?1"), [self.id])?;
                }
                tx.execute(
                    "UPDATE pairs SET files = 0, bytes = 0, root0 = NULL, root1 = NULL, id0 = NULL, id1 = NULL WHERE id = ?1",
                    [self.id],
                )?;
            }
            tx.execute(
                "UPDATE pairs SET id0 = ifnull(?2, id0), id1 = ifnull(?3, id1) WHERE id = ?1",
                (self.id, id0, id1),
            )
        })?;
        Ok(are_others)
    }

    /// Whether what is remembered is of these two storages, as far as is known whose it is: who wrote it may not have said.
    pub fn is_of(&self, ids: [&str; 2]) -> Result<bool> {
        let before: Option<[Option<String>; 2]> = self.db().read(|connection| {
            connection
                .prepare_cached("SELECT id0, id1 FROM pairs WHERE id = ?1")?
                .query_row([self.id], |row| Ok([row.get(0)?, row.get(1)?]))
                .optional()
        })?;
        let before = self.oriented(before.unwrap_or_default());
        let is_same = |before: Option<String>, now| before.zip(known(now)).is_none_or(|(before, now)| before == now);
        Ok(before.into_iter().zip(ids).all(|(before, now)| is_same(before, now)))
    }
}

/// An id, if there is one.
fn known(id: &str) -> Option<&str> {
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::path::RelPath;
    use crate::report::ConflictKind;
    use crate::state::base::tests::file;
    use crate::state::{Batch, ConflictRow, Held, PairState, State};

    /// A pair that agreed on a file and has an open conflict.
    fn used(state: &State) -> PairState {
        let pair = state.pair("c", "x", "y").unwrap();
        let [a, b] = ["a", "b"].map(|name| RelPath::parse(name).unwrap());
        let conflict = ConflictRow {
            path: b.clone(),
            kind: ConflictKind::Content,
            since: Timestamp::UNIX_EPOCH,
            versions: [Held::Absent; 2],
            trees: [None; 2],
        };
        let batch =
            Batch { base: vec![(a, Some(file("a", 1)))], conflicts: vec![(b, Some(conflict))], ..Batch::default() };
        pair.commit(batch).unwrap();
        pair.set_roots(["root x", "root y"]).unwrap();
        pair
    }

    fn is_first_contact(pair: &PairState) -> bool {
        let rows = pair.base_after(&RelPath::root(), None, 9).unwrap();
        let agreed = pair.agreed().unwrap();
        assert_eq!(rows.len() as u64, agreed.0);
        assert_eq!(rows.is_empty(), pair.conflicts().unwrap().is_empty());
        assert_eq!(rows.is_empty(), pair.roots().unwrap() == [None, None]);
        rows.is_empty()
    }

    #[test]
    fn another_storage_at_the_same_place_begins_anew() {
        for others in [["p", "r"], ["r", "q"], ["q", "p"]] {
            let state = State::in_memory().unwrap();
            let pair = used(&state);
            assert_eq!(pair.set_storages(["p", "q"]), Ok(false), "whose it was is not known");
            assert_eq!(pair.set_storages(["p", "q"]), Ok(false));
            assert_eq!(state.pair("c", "y", "x").unwrap().set_storages(["q", "p"]), Ok(false), "turned");
            assert!(!is_first_contact(&pair));
            assert_eq!((pair.is_of(others), pair.set_storages(others)), (Ok(false), Ok(true)));
            assert!(is_first_contact(&pair));
            assert_eq!((pair.is_of(others), pair.set_storages(others)), (Ok(true), Ok(false)));
        }
    }

    #[test]
    fn one_who_gives_no_id_changes_nothing() {
        let pair = used(&State::in_memory().unwrap());
        for (ids, forgotten) in [(["", ""], false), (["p", ""], false), (["", "q"], false), (["p", "r"], true)] {
            assert_eq!(pair.set_storages(ids), Ok(forgotten), "{ids:?}");
        }
        assert!(is_first_contact(&pair));
    }
}
