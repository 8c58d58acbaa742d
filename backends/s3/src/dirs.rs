//! Directories: markers.

use std::sync::Arc;

use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

pub(crate) async fn make_dir(_place: &Arc<Place>, path: &RelPath) -> Result<()> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}

pub(crate) async fn remove_dir(_place: &Arc<Place>, path: &RelPath) -> Result<()> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
