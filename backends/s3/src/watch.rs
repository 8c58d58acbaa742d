//! Event notifications.

use std::sync::Arc;

use futures::stream::BoxStream;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};

use crate::Place;

/// Begins to watch.
pub(crate) async fn watch(_place: &Arc<Place>) -> Result<BoxStream<'static, Hint>> {
    Err(Error::new(Fault::Unsupported, "a bucket is watched by listing it"))
}
