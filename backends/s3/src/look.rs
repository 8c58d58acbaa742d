//! Looking at the bucket, at a path, and for a hash.

use std::sync::Arc;

use wl_core::backend::Look;
use wl_core::entry::{Entry, Hash, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

/// Looks at the bucket.
pub(crate) async fn root(_place: &Arc<Place>) -> Result<String> {
    Err(Error::new(Fault::Unsupported, "not yet"))
}

/// Looks at one path.
pub(crate) async fn stat(_place: &Arc<Place>, path: &RelPath) -> Result<Look> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}

/// The file under a path with its version, if a file is there: one HEAD.
pub(crate) async fn file(_place: &Arc<Place>, path: &RelPath) -> Result<Option<Entry>> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}

/// Whether anything lies at `path/` or below it, wl's own leftovers aside: one LIST.
pub(crate) async fn is_dir(_place: &Arc<Place>, path: &RelPath) -> Result<bool> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}

/// The sha256 of that version.
pub(crate) async fn hash(_place: &Arc<Place>, path: &RelPath, _token: &Token) -> Result<Hash> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
