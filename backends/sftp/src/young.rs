//! Versions so young that a rewrite may have the same size and second: what is known of their content decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wl_core::entry::{Hash, Token};
use wl_core::error::Result;
use wl_core::path::RelPath;

use crate::hash::of_content;
use crate::root::Root;
use crate::seen::size_in;

/// From so many on the old ones are forgotten.
const MANY: usize = 1 << 16;
/// Old enough: no job acts on a look so long ago.
const OLD: Duration = Duration::from_hours(1);

/// The sha256 of young versions, as they were told to whoever acts on them.
#[derive(Default)]
pub struct Young {
    told: Mutex<HashMap<RelPath, Told>>,
}

struct Told {
    token: Token,
    hash: Hash,
    at: Instant,
}

impl Young {
    /// Takes note that this hash was told of that version. Of one that is young no longer its token says enough.
    pub fn told(&self, path: &RelPath, token: &Token, hash: Hash) {
        if !token.is_racy() {
            return;
        }
        let mut told = self.lock();
        if told.len() >= MANY {
            told.retain(|_, told| told.at.elapsed() < OLD);
        }
        told.insert(path.clone(), Told { token: token.clone(), hash, at: Instant::now() });
    }

    /// What that version must contain; none if its token says enough, or nobody asked for its hash.
    pub fn expected(&self, path: &RelPath, token: &Token) -> Option<Hash> {
        let told = self.lock();
        told.get(path).filter(|told| token.is_racy() && told.token.same(token)).map(|told| told.hash)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RelPath, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what has the name `now` still is that version of `path`, given that size and date say so.
pub async fn is_still(root: &Arc<Root>, path: &RelPath, token: &Token, now: &RelPath) -> Result<bool> {
    match (root.young.expected(path, token), size_in(token)) {
        (Some(expected), Some(size)) => Ok(of_content(root, now, size).await? == expected),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_young_version_is_held_to_its_hash() {
        let (young, path, hash) = (Young::default(), RelPath::parse("x").unwrap(), Hash::of(b"x"));
        young.told(&path, &Token::new(b"1"), hash);
        assert_eq!(young.expected(&path, &Token::racy(b"1")), None, "its token said enough");
        young.told(&path, &Token::racy(b"1"), hash);
        assert_eq!(young.expected(&path, &Token::racy(b"1")), Some(hash));
        assert_eq!(young.expected(&path, &Token::racy(b"2")), None);
        assert_eq!(young.expected(&path, &Token::new(b"1")), None);
        assert_eq!(young.expected(&RelPath::root(), &Token::racy(b"1")), None);
    }
}
