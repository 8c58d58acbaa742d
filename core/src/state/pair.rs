//! One pair of places: which way round it is kept, and what is committed together.

use rusqlite::{OptionalExtension as _, Transaction, named_params};

use super::db::Db;
use super::{Batch, State};
use crate::error::Result;

/// What is known about one pair.
#[derive(Clone)]
pub struct PairState {
    store: State,
    pub(super) id: i64,
    /// Whether the source is the database's side 1.
    swapped: bool,
}

/// The id of no pair: they are counted from one.
const NOBODY: i64 = 0;

impl State {
    /// The state of one pair of places of one container (`owner|container-uuid`). The same two places the other way
    /// round are the same pair.
    pub fn pair(&self, container: &str, source_place: &str, target_place: &str) -> Result<PairState> {
        let swapped = target_place < source_place;
        let [place0, place1] = oriented(swapped, [source_place, target_place]);
        let id = self.shared.state.write(|tx| {
            let names = named_params! {":container": container, ":place0": place0, ":place1": place1};
            tx.execute(
                "INSERT OR IGNORE INTO pairs (container, place0, place1) VALUES (:container, :place0, :place1)",
                names,
            )?;
            tx.query_one(
                "SELECT id FROM pairs WHERE container = :container AND place0 = :place0 AND place1 = :place1",
                names,
                |row| row.get(0),
            )
        })?;
        Ok(PairState { store: self.clone(), id, swapped })
    }

    /// What is remembered of a pair, for one who only looks: a pair that no job ever had is not remembered for it.
    pub fn known_pair(&self, container: &str, source_place: &str, target_place: &str) -> Result<PairState> {
        let swapped = target_place < source_place;
        let [place0, place1] = oriented(swapped, [source_place, target_place]);
        let id = self.shared.state.read(|connection| {
            connection
                .prepare_cached("SELECT id FROM pairs WHERE container = ?1 AND place0 = ?2 AND place1 = ?3")?
                .query_row((container, place0, place1), |row| row.get(0))
                .optional()
        })?;
        Ok(PairState { store: self.clone(), id: id.unwrap_or(NOBODY), swapped })
    }
}

impl PairState {
    /// Takes a batch in one transaction.
    pub fn commit(&self, batch: Batch) -> Result<()> {
        if batch == Batch::default() {
            return Ok(());
        }
        let Batch { mut base, conflicts, history, intents, not_done, all_done } = batch;
        // In key order a batch costs a tenth of what it does at random. The sort is stable: the last word on a path holds.
        base.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.db().write(|tx| {
            self.write_base(tx, &base)?;
            self.write_conflicts(tx, &conflicts)?;
            self.write_history(tx, &history)?;
            let over = base.iter().map(|(path, _)| path).chain(&not_done);
            self.write_intents(tx, &intents, over, all_done)
        })
    }

    /// The identity of each root as it was when the base last grew, the source's first.
    pub fn roots(&self) -> Result<[Option<String>; 2]> {
        let roots = self.db().read(|connection| {
            connection
                .prepare_cached("SELECT root0, root1 FROM pairs WHERE id = ?1")?
                .query_row([self.id], |row| Ok([row.get(0)?, row.get(1)?]))
                .optional()
        })?;
        Ok(self.oriented(roots.unwrap_or_default()))
    }

    /// Remembers the identity of each root.
    pub fn set_roots(&self, roots: [&str; 2]) -> Result<()> {
        let [first, second] = self.oriented(roots);
        self.db().write(|tx| {
            tx.prepare_cached("UPDATE pairs SET root0 = ?2, root1 = ?3 WHERE id = ?1")?
                .execute((self.id, first, second))
                .map(drop)
        })
    }

    /// The same pair with nothing remembered of it.
    #[must_use]
    pub fn blank(&self) -> Self {
        Self { id: NOBODY, ..self.clone() }
    }

    pub(super) fn db(&self) -> &Db {
        &self.store.shared.state
    }

    /// Turns source and target into the database's sides, and back.
    pub(super) fn oriented<T>(&self, sides: [T; 2]) -> [T; 2] {
        oriented(self.swapped, sides)
    }

    /// Adds to the counts of files and bytes.
    pub(super) fn count(&self, tx: &Transaction<'_>, files: i64, bytes: i64) -> rusqlite::Result<()> {
        tx.prepare_cached("UPDATE pairs SET files = files + ?2, bytes = bytes + ?3 WHERE id = ?1")?
            .execute((self.id, files, bytes))
            .map(drop)
    }
}

fn oriented<T>(swapped: bool, [source, target]: [T; 2]) -> [T; 2] {
    if swapped { [target, source] } else { [source, target] }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::entry::{Hash, Token};
    use crate::path::RelPath;
    use crate::report::ConflictKind;
    use crate::state::base::tests::file;
    use crate::state::{ConflictRow, Held};

    #[test]
    fn the_other_way_round_is_the_same_pair_turned() {
        let state = State::in_memory().unwrap();
        let path = RelPath::parse("a").unwrap();
        let [there, back] =
            [("local:/x", "s3://y"), ("s3://y", "local:/x")].map(|(a, b)| state.pair("c", a, b).unwrap());

        let mut row = file("a", 3);
        row.tokens = [Some(Token::new(b"local")), Some(Token::new(b"s3"))];
        let conflict = ConflictRow {
            path: path.clone(),
            kind: ConflictKind::DeletedModified,
            since: Timestamp::UNIX_EPOCH,
            versions: [Held::Absent, Held::File(Hash::of(b"s3"))],
            trees: [None, Some(Hash::of(b"below"))],
        };
        let batch = Batch {
            base: vec![(path.clone(), Some(row.clone()))],
            conflicts: vec![(path.clone(), Some(conflict.clone()))],
            ..Batch::default()
        };
        back.commit(batch).unwrap();
        back.set_roots(["s3 root", "local root"]).unwrap();

        assert_eq!(back.base_of(&path).unwrap(), Some(row.clone()));
        assert_eq!(back.conflict_of(&path).unwrap(), Some(conflict.clone()));
        row.tokens.reverse();
        assert_eq!(there.base_of(&path).unwrap(), Some(row.clone()));
        assert_eq!(there.base_after(&RelPath::root(), None, 9).unwrap(), [row]);
        let versions = [Held::File(Hash::of(b"s3")), Held::Absent];
        let turned = ConflictRow { versions, trees: [Some(Hash::of(b"below")), None], ..conflict };
        assert_eq!(there.conflict_of(&path).unwrap(), Some(turned.clone()));
        assert_eq!(there.conflicts().unwrap(), [turned]);
        assert_eq!(there.roots().unwrap(), [Some("local root".to_owned()), Some("s3 root".to_owned())]);
    }

    #[test]
    fn looking_at_a_pair_leaves_nothing_of_it() {
        let state = State::in_memory().unwrap();
        let looked = state.known_pair("c", "x", "y").unwrap();
        assert_eq!((looked.agreed().unwrap(), looked.roots().unwrap()), ((0, 0), [None, None]));
        assert_eq!(looked.base_after(&RelPath::root(), None, 9).unwrap(), []);
        assert_eq!(
            (looked.conflicts().unwrap(), looked.problems().unwrap(), looked.intents().unwrap()),
            Default::default()
        );
        let pairs = state
            .shared
            .state
            .read(|connection| connection.query_row("SELECT count(*) FROM pairs", (), |row| row.get(0)));
        assert_eq!(pairs, Ok(0));
        let kept = state.pair("c", "y", "x").unwrap();
        kept.set_roots(["root y", "root x"]).unwrap();
        let known = state.known_pair("c", "x", "y").unwrap();
        assert_eq!(known.roots().unwrap(), ["root x", "root y"].map(|root| Some(root.to_owned())));
    }

    #[test]
    fn other_pairs_are_others() {
        let state = State::in_memory().unwrap();
        let pair = state.pair("c", "x", "y").unwrap();
        let batch = Batch { base: vec![(RelPath::parse("a").unwrap(), Some(file("a", 1)))], ..Batch::default() };
        pair.commit(batch).unwrap();
        for (container, source, target) in [("d", "x", "y"), ("c", "x", "z"), ("c", "y", "z")] {
            let other = state.pair(container, source, target).unwrap();
            assert_eq!(other.agreed().unwrap(), (0, 0));
            assert_eq!(other.base_after(&RelPath::root(), None, 9).unwrap(), []);
            assert_eq!(other.roots().unwrap(), [None, None]);
            other.set_storages(["p", container]).unwrap();
        }
        assert_eq!(state.pair("c", "x", "y").unwrap().agreed().unwrap(), (1, 1));
    }
}
