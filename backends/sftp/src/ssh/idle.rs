//! Connections that nobody uses any more, kept for a moment for the next job: to connect anew costs more round trips than
//! a pass over what did not change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wl_core::entry::Hash;
use wl_core::error::Result;

use super::config::Target;
use super::{Link, Settings};

/// How long they are kept. Whom a server or a user shuts out meanwhile is out after that.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// So many storages' are kept.
const KEPT: usize = 8;

static IDLE: Mutex<Vec<Arc<Idle>>> = Mutex::new(Vec::new());

/// The connections of one storage.
pub struct Idle {
    /// A digest of the settings: no secret is kept here.
    settings: Hash,
    pub decided: Decided,
    pub links: Vec<Arc<Link>>,
}

/// Which file it is: its inode, size and times of change; none where there is no file.
type Stamp = Option<(u64, u64, [i64; 4])>;

/// Where and how to connect, and the files that decided it, as they were then.
#[derive(Clone)]
pub struct Decided {
    pub target: Arc<Target>,
    files: Arc<[(PathBuf, Stamp)]>,
}

impl Decided {
    /// By settings and the files that they lead to.
    pub async fn by(settings: &Settings) -> Result<Self> {
        let target = Target::find(settings).await?;
        let own = settings.config.clone().unwrap_or_else(|| settings.home.join(".ssh/config"));
        let read = [own, "/etc/ssh/ssh_config".into()].into_iter();
        let files = read.chain(target.identities.clone()).chain(target.known_hosts.clone());
        let files = files.map(|file| (file.clone(), stamp(&file))).collect();
        Ok(Self { target: Arc::new(target), files })
    }

    fn still_holds(&self) -> bool {
        self.files.iter().all(|(file, was)| stamp(file) == *was)
    }
}

fn stamp(file: &Path) -> Stamp {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.ino(), seen.size(), [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()]))
}

/// Keeps connections for a moment.
pub fn keep(settings: Hash, decided: Decided, mut links: Vec<Arc<Link>>) {
    links.retain(|link| !link.is_lost());
    // Without somebody to end them they would last for ever.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if links.is_empty() {
        return;
    }
    let kept = Ending(Arc::new(Idle { settings, decided, links }));
    let mut idle = lock();
    idle.push(kept.0.clone());
    let too_many = idle.len().saturating_sub(KEPT);
    idle.drain(..too_many);
    drop(idle);
    runtime.spawn(async move {
        tokio::time::sleep(KEPT_FOR).await;
        drop(kept);
    });
}

/// Takes those that were made by the same settings, if the files that decided are still the same.
pub fn take(settings: Hash) -> Option<Arc<Idle>> {
    let mut idle = lock();
    let at = idle.iter().position(|idle| idle.settings == settings)?;
    let idle = idle.swap_remove(at);
    idle.decided.still_holds().then_some(idle)
}

/// What is kept no longer than this.
struct Ending(Arc<Idle>);

impl Drop for Ending {
    fn drop(&mut self) {
        lock().retain(|idle| !Arc::ptr_eq(idle, &self.0));
    }
}

fn lock() -> MutexGuard<'static, Vec<Arc<Idle>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}
