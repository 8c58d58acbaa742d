//! Reading a version.

use std::sync::Arc;

use wl_core::backend::Body;
use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

/// Reads that version from an offset on.
pub(crate) async fn read(_place: &Arc<Place>, path: &RelPath, _token: &Token, _from: u64) -> Result<Body> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
