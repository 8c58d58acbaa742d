//! A directory with all that is below it, as one version: what a conflict of kinds is about.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::backend::{Backend, Listed};
use crate::entry::{Entry, Hash};
use crate::error::{Error, Fault, Result};
use crate::job::{Pair, Which};
use crate::path::RelPath;

/// What is below a directory, in the order of a listing.
pub(crate) struct Below {
    /// Every file, with the version it is.
    pub files: Vec<(RelPath, Entry)>,
    /// Every directory.
    pub dirs: Vec<RelPath>,
}

impl Below {
    /// Lists it; refuses if anything there cannot be listed, or is neither a file nor a directory.
    pub async fn list(backend: &dyn Backend, top: &RelPath) -> Result<Self> {
        let mut listing = backend.list(top, None);
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        while let Some(chunk) = listing.next().await {
            for item in chunk {
                match item {
                    Listed::Entry(path, entry) if entry.is_dir() => dirs.push(path),
                    Listed::Entry(path, entry) => files.push((path, entry)),
                    Listed::Blocked(path, obstacle) | Listed::Cut(path, obstacle) => {
                        return Err(Error::new(Fault::Refused, obstacle.message).at(&path));
                    }
                    Listed::Nameless(shown, obstacle) => {
                        return Err(Error::new(Fault::Refused, format!("{shown}: {}", obstacle.message)).at(top));
                    }
                }
            }
        }
        Ok(Self { files, dirs })
    }

    /// The sha256 over the names of all directories, and the names and contents of all files: equal only if all is.
    pub async fn digest(&self, pair: &Pair, which: Which) -> Result<Hash> {
        let mut digest = Sha256::new();
        for dir in &self.dirs {
            digest.update(dir.as_str());
            digest.update([0]);
        }
        let hashes: Vec<_> = self.files.iter().map(|(path, entry)| hash_of(pair, which, path, entry)).collect();
        let mut hashes = stream::iter(hashes).buffered(pair.in_flight());
        for (path, _) in &self.files {
            let Some(hash) = hashes.try_next().await? else { break };
            // No path holds a NUL.
            digest.update([0]);
            digest.update(path.as_str());
            digest.update([0]);
            digest.update(hash.0);
        }
        Ok(Hash(digest.finalize().into()))
    }
}

/// What a file holds: the cache knows it unless it is new.
pub(crate) async fn hash_of(pair: &Pair, which: Which, path: &RelPath, entry: &Entry) -> Result<Hash> {
    let side = pair.side(which);
    if let Some(hash) = pair.store.cached_hash(&side.place, path, &entry.token)? {
        return Ok(hash);
    }
    let hash = side.backend.hash(path, &entry.token).await?;
    pair.store.remember_hashes(&side.place, &[(path.clone(), entry.token.clone(), hash)])?;
    Ok(hash)
}
