//! The watcher: it looks at the server from time to time, and where directories' entity tags change with everything below
//! them, only at what changed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};

use crate::abilities::SCAN_EVERY_S;
use crate::server::Server;
use crate::tree::Tree;

/// How often it is looked at, unless the manifest says.
pub const EVERY: Duration = Duration::from_secs(SCAN_EVERY_S);
/// How often everything is looked at all the same: Nextcloud notices what changes on its external storages only when
/// somebody looks at them.
const EVERYTHING: Duration = Duration::from_mins(10);

/// Begins to watch. Fails with `Unsupported` where a look costs a whole listing.
pub async fn watch(server: Arc<Server>, every: Duration) -> Result<BoxStream<'static, Hint>> {
    let tree = match begin(&server).await {
        Ok(tree) => Some(tree),
        // It is looked at again in time.
        Err(error) if error.fault.passes() => None,
        Err(error) if error.fault == Fault::Unsupported => return Err(error),
        Err(error) => return Err(Error::new(Fault::Unsupported, error.message)),
    };
    let watcher = Watcher { server, tree, every, whole: Instant::now() };
    let hints = futures::stream::unfold(watcher, |mut watcher| async {
        let hints = watcher.next().await;
        Some((futures::stream::iter(hints), watcher))
    });
    Ok(hints.flatten().boxed())
}

async fn begin(server: &Server) -> Result<Tree> {
    if server.tags_are_deep().await? {
        return Tree::begin(server).await;
    }
    Err(Error::new(Fault::Unsupported, "a WebDAV server tells nobody what changes: it is listed from time to time"))
}

struct Watcher {
    server: Arc<Server>,
    tree: Option<Tree>,
    every: Duration,
    /// When everything was looked at last.
    whole: Instant,
}

impl Watcher {
    /// Waits until it is time, and looks.
    async fn next(&mut self) -> Vec<Hint> {
        let due = Instant::now() + self.every;
        if let Some(tree) = &mut self.tree {
            // What fails here fails in the look that follows, too.
            let _ = tree.learn(&self.server).await;
        }
        tokio::time::sleep_until(due).await;
        let known = match &mut self.tree {
            Some(tree) => tree.look(&self.server).await.ok(),
            None => None,
        };
        match known {
            Some(hints) if self.whole.elapsed() < EVERYTHING => hints,
            Some(_) => self.everything(),
            None => {
                self.tree = begin(&self.server).await.ok();
                self.everything()
            }
        }
    }

    fn everything(&mut self) -> Vec<Hint> {
        self.whole = Instant::now();
        vec![Hint::Everything]
    }
}
