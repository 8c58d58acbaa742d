//! A few connections to one server, made when they are needed.

use std::sync::Arc;

use wl_core::error::Result;

use super::{Link, Settings};

/// A few connections to one server. The first is made when one is asked for; more are made when those there are have
/// much to do; a lost one is replaced.
pub struct Pool {
}

impl Pool {
    /// No connection yet.
    pub fn new(settings: Settings) -> Self {
        let _ = settings;
        todo!()
    }

    /// The connection that has the least to do. Tries a few times to make one where there is none; then fails: with
    /// `Offline`, or with `Denied` where the server or its key was refused.
    pub async fn link(&self) -> Result<Arc<Link>> {
        todo!()
    }
}
