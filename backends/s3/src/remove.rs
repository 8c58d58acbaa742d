//! Deleting a version.

use std::sync::Arc;

use wl_core::entry::Token;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

pub(crate) async fn remove(
    _place: &Arc<Place>,
    path: &RelPath,
    _token: &Token,
    _trash: Option<&RelPath>,
) -> Result<()> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
