//! Large content in parts.

use std::sync::Arc;

use wl_core::error::{Error, Fault, Result};

use crate::Place;

pub(crate) async fn sweep(_place: &Arc<Place>) -> Result<usize> {
    Err(Error::new(Fault::Unsupported, "not yet"))
}
