//! A connection that its job is done with, kept for a moment for the next job: to connect anew costs more round trips than
//! a pass over what did not change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use wl_core::entry::Hash;

use super::Link;
use super::config::Target;

/// How long it is kept.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Nobody stays logged in by being handed on for longer: a server may have shut the user out since.
const LOGIN: Duration = Duration::from_mins(1);
/// So many are kept.
const KEPT: usize = 8;
/// One that answers nothing for so long is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(2);

static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());

struct Idle {
    number: u64,
    login: Login,
    link: Arc<Link>,
}

/// Who logged in where, and when.
#[derive(Debug, Clone)]
pub struct Login {
    /// A digest of the target: no secret is kept here.
    target: Hash,
    /// The files that vouched for either side, as they were.
    files: Arc<[(PathBuf, Stamp)]>,
    when: Instant,
}

/// Which file it is: its inode, size and times of change; none where there is no file.
type Stamp = Option<(u64, u64, [i64; 4])>;

impl Login {
    /// To be taken before the files are read.
    pub fn to(target: &Target) -> Self {
        let mut digest = Sha256::new();
        digest.update(format!("{target:?}"));
        for secret in [&target.passphrase, &target.password] {
            let secret = secret.as_ref().map(ExposeSecret::expose_secret);
            digest.update([u8::from(secret.is_some())]);
            digest.update(secret.map_or(0, str::len).to_le_bytes());
            digest.update(secret.unwrap_or_default());
        }
        let files = target.identities.iter().chain(&target.known_hosts);
        let files = files.map(|file| (file.clone(), stamp(file))).collect();
        Self { target: Hash(digest.finalize().into()), files, when: Instant::now() }
    }
}

fn stamp(file: &Path) -> Stamp {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.ino(), seen.size(), [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()]))
}

/// Keeps a connection for a moment. Not one on which something goes on: what was asked of it would still be done after its
/// job has ended.
pub fn keep(login: Login, link: Arc<Link>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Without somebody to end it, it would last for ever.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if link.is_lost() || !link.is_quiet() || login.when.elapsed() > LOGIN {
        return;
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let oldest = {
        let mut idle = lock();
        idle.push(Idle { number, login, link });
        (idle.len() > KEPT).then(|| idle.remove(0))
    };
    drop(oldest);
    let ending = Ending(number);
    runtime.spawn(async move {
        tokio::time::sleep(KEPT_FOR).await;
        drop(ending);
    });
}

/// Takes one that leads to the same target, if the files that vouch are untouched and the server answers.
pub async fn take(wanted: &Login) -> Option<(Login, Arc<Link>)> {
    let Idle { login, link, .. } = {
        let mut idle = lock();
        let at = idle.iter().position(|idle| idle.login.target == wanted.target)?;
        idle.swap_remove(at)
    };
    if login.files != wanted.files || !link.runs_nothing() {
        return None;
    }
    let answer = timeout(PATIENCE, link.realpath(b".")).await;
    matches!(answer, Ok(Ok(_))).then_some((login, link))
}

/// Ends what is still kept under a number.
struct Ending(u64);

impl Drop for Ending {
    fn drop(&mut self) {
        let ended = {
            let mut idle = lock();
            let at = idle.iter().position(|idle| idle.number == self.0);
            at.map(|at| idle.swap_remove(at))
        };
        drop(ended);
    }
}

fn lock() -> MutexGuard<'static, Vec<Idle>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}
