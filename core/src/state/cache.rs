//! What need not be read again while its token stays: hashes, and the texts of `.wlignore` files.
//!
//! What was remembered a year ago is forgotten, for nobody tells the cache what is there no longer. What is there still is
//! read again then, should anybody ask for it.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction};

use super::State;
use super::columns::{key, lasting};
use crate::entry::{Hash, Token};
use crate::error::Result;
use crate::path::RelPath;

/// So many days what was remembered is kept.
const KEPT: i64 = 365;

impl State {
    /// The sha256 remembered for that version of a file; none for a racy token, which vouches for nothing.
    pub fn cached_hash(&self, place: &str, path: &RelPath, token: &Token) -> Result<Option<Hash>> {
        let Some(token) = lasting(Some(token)) else { return Ok(None) };
        self.shared.cache.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT hash FROM hashes
                     WHERE place = (SELECT id FROM places WHERE place = ?1) AND key = ?2 AND token = ?3",
                )?
                .query_row((place, key(path), token), |row| row.get(0))
                .optional()
        })
    }

    /// Remembers hashes, one a path. Those of racy tokens are not kept.
    pub fn remember_hashes(&self, place: &str, hashes: &[(RelPath, Token, Hash)]) -> Result<()> {
        let mut kept: Vec<_> = hashes.iter().filter(|(_, token, _)| !token.is_racy()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        kept.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let day = today();
        self.shared.cache.write(|tx| {
            self.prune(tx, day)?;
            tx.prepare_cached("INSERT OR IGNORE INTO places (place) VALUES (?1)")?.execute([place])?;
            let id: i64 =
                tx.prepare_cached("SELECT id FROM places WHERE place = ?1")?.query_row([place], |row| row.get(0))?;
            let mut set = tx.prepare_cached(
                "INSERT OR REPLACE INTO hashes (place, key, token, hash, day) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (path, token, hash) in kept {
                set.execute((id, key(path), token.as_bytes(), hash, day))?;
            }
            Ok(())
        })
    }

    /// The text remembered for that version of a `.wlignore`; none for a racy token.
    pub fn cached_rules(&self, place: &str, path: &RelPath, token: &Token) -> Result<Option<String>> {
        let Some(token) = lasting(Some(token)) else { return Ok(None) };
        self.shared.cache.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT text FROM rules
                     WHERE place = (SELECT id FROM places WHERE place = ?1) AND key = ?2 AND token = ?3",
                )?
                .query_row((place, key(path), token), |row| row.get(0))
                .optional()
        })
    }

    /// Remembers the text of that version of a `.wlignore`, one a path. That of a racy token is not kept.
    pub fn remember_rules(&self, place: &str, path: &RelPath, token: &Token, text: &str) -> Result<()> {
        let Some(token) = lasting(Some(token)) else { return Ok(()) };
        let day = today();
        self.shared.cache.write(|tx| {
            self.prune(tx, day)?;
            tx.prepare_cached("INSERT OR IGNORE INTO places (place) VALUES (?1)")?.execute([place])?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO rules (place, key, token, text, day)
                 SELECT id, ?2, ?3, ?4, ?5 FROM places WHERE place = ?1",
            )?
            .execute((place, key(path), token, text, day))
            .map(drop)
        })
    }

    /// Forgets what is old, once a day.
    fn prune(&self, tx: &Transaction<'_>, day: i64) -> rusqlite::Result<()> {
        if self.shared.pruned.swap(day, Ordering::Relaxed) == day {
            return Ok(());
        }
        let forgotten = tx.execute("DELETE FROM hashes WHERE day < ?1", [day - KEPT])?
            + tx.execute("DELETE FROM rules WHERE day < ?1", [day - KEPT])?;
        if forgotten > 0 {
            tx.execute(
                "DELETE FROM places WHERE NOT EXISTS (SELECT 1 FROM hashes WHERE hashes.place = places.id)
                 AND NOT EXISTS (SELECT 1 FROM rules WHERE rules.place = places.id)",
                (),
            )?;
        }
        Ok(())
    }
}

/// Days since 1970.
fn today() -> i64 {
    Timestamp::now().as_second() / (24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn a_hash_is_that_of_one_version_in_one_place() {
        let state = State::in_memory().unwrap();
        let (one, two, hash) = (Token::new(b"1"), Token::new(b"2"), Hash::of(b"x"));
        let cached = |place, token| state.cached_hash(place, &path("a"), token).unwrap();
        state.remember_hashes("p", &[(path("a"), one.clone(), hash)]).unwrap();
        assert_eq!(cached("p", &one), Some(hash));
        assert_eq!([cached("p", &two), cached("q", &one)], [None, None]);
        state.remember_hashes("p", &[(path("a"), two.clone(), hash)]).unwrap();
        assert_eq!([cached("p", &one), cached("p", &two)], [None, Some(hash)]);
    }

    #[test]
    fn a_racy_token_is_neither_kept_nor_trusted() {
        let state = State::in_memory().unwrap();
        let (sure, racy) = (Token::new(b"1"), Token::racy(b"1"));
        state.remember_hashes("p", &[(path("a"), racy.clone(), Hash::of(b"x"))]).unwrap();
        assert_eq!(state.cached_hash("p", &path("a"), &sure).unwrap(), None);
        state.remember_hashes("p", &[(path("a"), sure, Hash::of(b"x"))]).unwrap();
        assert_eq!(state.cached_hash("p", &path("a"), &racy).unwrap(), None);
    }

    #[test]
    fn what_was_remembered_a_year_ago_is_forgotten() {
        let state = State::in_memory().unwrap();
        let (token, hash) = (Token::new(b"1"), Hash::of(b"x"));
        let remember = |place, name| state.remember_hashes(place, &[(path(name), token.clone(), hash)]).unwrap();
        let cached = |place, name| state.cached_hash(place, &path(name), &token).unwrap();
        let put_back = |days: i64| {
            for table in ["hashes", "rules"] {
                let update = format!("UPDATE {table} SET day = day - {days}");
                state.shared.cache.write(|tx| tx.execute(&update, ())).unwrap();
            }
            state.shared.pruned.store(0, Ordering::Relaxed);
        };
        remember("p", "old");
        remember("gone", "old");
        state.remember_rules("p", &path("d/.wlignore"), &token, "*.log").unwrap();
        put_back(KEPT);
        remember("p", "young");
        assert_eq!([cached("p", "old"), cached("gone", "old")], [Some(hash); 2], "not a day more");
        put_back(1);
        remember("p", "new");
        assert_eq!(["old", "young", "new"].map(|name| cached("p", name)), [None, Some(hash), Some(hash)]);
        assert_eq!(state.cached_rules("p", &path("d/.wlignore"), &token).unwrap(), None);
        let places = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT group_concat(place) FROM places", (), |row| row.get::<_, String>(0))
        };
        assert_eq!(state.shared.cache.read(places).unwrap(), "p");
    }

    #[test]
    fn rules_are_those_of_one_version_in_one_place() {
        let state = State::in_memory().unwrap();
        let (one, two, at) = (Token::new(b"1"), Token::new(b"2"), path("d/.wlignore"));
        let cached = |place, token| state.cached_rules(place, &at, token).unwrap();
        state.remember_rules("p", &at, &one, "*.log").unwrap();
        assert_eq!(cached("p", &one).as_deref(), Some("*.log"));
        let racy = Token::racy(b"1");
        assert!([cached("p", &two), cached("q", &one), cached("p", &racy)].iter().all(Option::is_none));
        state.remember_rules("p", &at, &two, "").unwrap();
        state.remember_rules("p", &at, &Token::racy(b"2"), "x").unwrap();
        assert_eq!([cached("p", &one), cached("p", &two)], [None, Some(String::new())]);
    }
}
