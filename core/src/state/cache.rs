//! What need not be read again while its token stays: hashes, and the texts of `.wlignore` files.

use rusqlite::OptionalExtension as _;

use super::State;
use super::columns::{key, lasting};
use crate::entry::{Hash, Token};
use crate::error::Result;
use crate::path::RelPath;

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
        self.shared.cache.write(|tx| {
            tx.prepare_cached("INSERT OR IGNORE INTO places (place) VALUES (?1)")?.execute([place])?;
            let id: i64 =
                tx.prepare_cached("SELECT id FROM places WHERE place = ?1")?.query_row([place], |row| row.get(0))?;
            let mut set =
                tx.prepare_cached("INSERT OR REPLACE INTO hashes (place, key, token, hash) VALUES (?1, ?2, ?3, ?4)")?;
            for (path, token, hash) in kept {
                set.execute((id, key(path), token.as_bytes(), hash))?;
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
        self.shared.cache.write(|tx| {
            tx.prepare_cached("INSERT OR IGNORE INTO places (place) VALUES (?1)")?.execute([place])?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO rules (place, key, token, text)
                 SELECT id, ?2, ?3, ?4 FROM places WHERE place = ?1",
            )?
            .execute((place, key(path), token, text))
            .map(drop)
        })
    }
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
