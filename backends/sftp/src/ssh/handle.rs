//! An open file or directory on the server.

use std::sync::Arc;

use bytes::Bytes;

use super::{Answer, Link};
use crate::wire::Request;

/// An open file or directory. It lives on one connection and ends with it; dropped, it is closed without waiting.
pub struct Handle {
    link: Arc<Link>,
    id: Option<Bytes>,
}

impl Handle {
    pub(super) fn new(link: Arc<Link>, id: Bytes) -> Self {
        Self { link, id: Some(id) }
    }

    /// The connection it lives on.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(super) fn id(&self) -> Bytes {
        self.id.clone().unwrap_or_default()
    }

    /// Closes it. Some file systems report only now that a write failed.
    pub async fn close(mut self) -> Answer<()> {
        match self.id.take() {
            Some(handle) => self.link.done(Request::Close { handle }).await,
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(handle) = self.id.take() {
            self.link.forget(Request::Close { handle });
        }
    }
}
