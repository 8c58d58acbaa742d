//! Putting content under a path.

use std::sync::Arc;

use wl_core::backend::{Content, Guard, Written};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

pub(crate) async fn replace(
    _place: &Arc<Place>,
    path: &RelPath,
    _content: Content,
    _guard: &Guard,
    _trash: Option<&RelPath>,
) -> Result<Written> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
