//! A storage for jobs that never touch theirs.

use async_trait::async_trait;
use futures::stream::BoxStream;
use wl_core::backend::{
    Backend, Content, Facts, Guard, HashBy, Hint, Known, Listing, Look, Prune, Reading, Swap, Vouch, WatchBy, Written,
};
use wl_core::entry::{Entry, Hash, Meta, Token};
use wl_core::path::RelPath;
use wl_core::{Error, Fault, Result};

/// A storage that is there and can do nothing.
pub struct Nowhere;

fn cannot<T>() -> Result<T> {
    Err(Error::new(Fault::Unsupported, "this storage can do nothing"))
}

#[async_trait]
impl Backend for Nowhere {
    fn facts(&self) -> Facts {
        Facts {
            hash: HashBy::Read,
            token: Vouch::Weak,
            replace: Swap::Checked,
            create: Swap::Checked,
            delete: Swap::Checked,
            watcher: WatchBy::Scan,
            scan_every_s: None,
            server_copy: false,
            server_move: false,
            trash: false,
            mtime: false,
            mode: false,
            mtime_resolution_ns: 1,
            in_flight: 1,
            windows: Vec::new(),
        }
    }

    async fn root(&self) -> Result<String> {
        Ok("nowhere".to_owned())
    }

    async fn make_root(&self) -> Result<()> {
        cannot()
    }

    async fn can_make_root(&self) -> Result<()> {
        cannot()
    }

    async fn probe(&self) -> Result<Facts> {
        Ok(self.facts())
    }

    fn list(&self, _: &RelPath, _: Option<Prune>) -> Listing {
        Box::pin(futures::stream::empty())
    }

    async fn stat(&self, _: &RelPath) -> Result<Look> {
        Ok(Look::Absent)
    }

    async fn hash(&self, _: &RelPath, _: &Token) -> Result<Hash> {
        cannot()
    }

    async fn read(&self, _: &RelPath, _: &Token, _: u64) -> Result<Reading> {
        cannot()
    }

    async fn replace(&self, _: &RelPath, _: Content, _: &Guard, _: Option<&RelPath>) -> Result<Written> {
        cannot()
    }

    async fn remove(&self, _: &RelPath, _: &Token, _: Option<&RelPath>) -> Result<()> {
        cannot()
    }

    async fn make_dir(&self, _: &RelPath, _: &Meta) -> Result<()> {
        cannot()
    }

    async fn remove_dir(&self, _: &RelPath) -> Result<()> {
        cannot()
    }

    async fn move_within(&self, _: &RelPath, _: &Token, _: &RelPath) -> Result<Entry> {
        cannot()
    }

    async fn copy_within(&self, _: Known<'_>, _: &RelPath) -> Result<Entry> {
        cannot()
    }

    async fn set_meta(&self, _: &RelPath, _: &Token, _: &Meta) -> Result<Entry> {
        cannot()
    }

    async fn watch(&self) -> Result<BoxStream<'static, Hint>> {
        cannot()
    }

    async fn sweep(&self) -> Result<usize> {
        Ok(0)
    }
}
