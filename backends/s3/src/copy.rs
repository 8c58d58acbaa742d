//! Copying on the server.

use std::sync::Arc;

use wl_core::entry::{Entry, Meta, Token};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;

pub(crate) async fn move_within(_place: &Arc<Place>, from: &RelPath, _token: &Token, _to: &RelPath) -> Result<Entry> {
    Err(Error::new(Fault::Unsupported, "not yet").at(from))
}

pub(crate) async fn copy_within(_place: &Arc<Place>, from: &RelPath, _token: &Token, _to: &RelPath) -> Result<Entry> {
    Err(Error::new(Fault::Unsupported, "not yet").at(from))
}

pub(crate) async fn set_meta(_place: &Arc<Place>, path: &RelPath, _token: &Token, _meta: &Meta) -> Result<Entry> {
    Err(Error::new(Fault::Unsupported, "not yet").at(path))
}
