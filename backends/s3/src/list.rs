//! Listing.

use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use wl_core::backend::{Listing, Prune};
use wl_core::path::RelPath;

use crate::Place;
use crate::token::Version;

/// A part object that a listing came across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub version: Version,
    /// When it was stored, by the server's clock.
    pub stored: Option<Timestamp>,
}

pub(crate) fn list(_place: Arc<Place>, _under: &RelPath, _prune: Option<Prune>) -> Listing {
    futures::stream::empty().boxed()
}
