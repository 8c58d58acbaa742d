//! An open file or directory on the server.

use std::sync::Arc;

use bytes::Bytes;

use super::Link;
use crate::wire::Request;

/// An open file or directory. It lives on one connection and ends with it; dropped, it is closed without waiting.
pub struct Handle {
    link: Arc<Link>,
    id: Bytes,
}

impl Handle {
    pub(super) fn new(link: Arc<Link>, id: Bytes) -> Self {
        Self { link, id }
    }

    /// The connection it lives on.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(super) fn id(&self) -> Bytes {
        self.id.clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.forget(Request::Close { handle: self.id() });
    }
}
