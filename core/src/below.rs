//! A directory with all that is below it, as one version: what a conflict of kinds is about.

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::backend::{Backend, Listed};
use crate::entry::{Entry, Hash};
use crate::error::{Error, Fault, Result};
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

    /// A hash over the names of all directories, and the names and versions of all files: another one as soon as anything
    /// below is another.
    pub fn digest(&self) -> Hash {
        let mut digest = Sha256::new();
        // No path holds a NUL.
        for dir in &self.dirs {
            digest.update(dir.as_str());
            digest.update([0]);
        }
        for (path, entry) in &self.files {
            let token = entry.token.as_bytes();
            digest.update([0]);
            digest.update(path.as_str());
            digest.update([0]);
            digest.update((token.len() as u64).to_be_bytes());
            digest.update(token);
        }
        Hash(digest.finalize().into())
    }

    /// Whether a file is so young that its next version could look like it.
    pub fn is_young(&self) -> bool {
        self.files.iter().any(|(_, entry)| entry.token.is_racy())
    }
}
