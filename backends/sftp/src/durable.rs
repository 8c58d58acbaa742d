//! Many writes made durable at once: a command on the server syncs the file system, again and again, for all that wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use wl_core::error::{Error, Fault, Result};

use crate::root::Root;
use crate::shell::{after_beginning, quoted, script, shell};
use crate::ssh::{Command, Process};

/// From so many writers on one sync of a file system is cheaper than an `fsync` for each.
const MANY: usize = 8;
/// So long it is waited until most of those who write wait for a sync: each one costs processes on the server.
const GATHERING: Duration = Duration::from_millis(25);
/// The command ends when nobody needed it for so long.
const IDLE: Duration = Duration::from_secs(2);
/// A sync may take so long: a disk may have gigabytes to write.
const PATIENCE: Duration = Duration::from_mins(3);
/// Where it failed it is not tried again for so long.
const REST: Duration = Duration::from_mins(1);

/// Those who wait for a sync.
#[derive(Default)]
pub struct Commits {
    state: Mutex<State>,
    woken: Notify,
    writers: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: Vec<oneshot::Sender<bool>>,
    runs: bool,
    failed: Option<Instant>,
}

/// Somebody who writes now.
pub struct Writer<'a>(&'a Commits);

impl Commits {
    /// Counts a writer for as long as this is held.
    pub fn writer(&self) -> Writer<'_> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        Writer(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether there are so many writers that a sync for all of them pays, and a command can make one.
pub fn pays(root: &Root) -> bool {
    let resting = || root.commits.lock().failed.is_some_and(|when| when.elapsed() < REST);
    root.commits.writers.load(Ordering::Relaxed) >= MANY && root.known().shell.is_some() && !resting()
}

/// Makes everything durable that was answered on any connection, if that pays; false if it was not done. A server that
/// was started anew meanwhile would have forgotten it: the caller goes on on the connection it wrote on, which then is
/// lost.
///
/// A disk that fails tells this to whoever syncs first, which may be somebody else.
pub async fn commit(root: &Arc<Root>) -> bool {
    if !pays(root) {
        return false;
    }
    let told = {
        let mut state = root.commits.lock();
        let (tell, told) = oneshot::channel();
        state.waiting.push(tell);
        if !std::mem::replace(&mut state.runs, true) {
            tokio::spawn(work(root.clone()));
        }
        told
    };
    root.commits.woken.notify_one();
    told.await.unwrap_or(false)
}

/// Syncs for those who wait, until nobody does for a while.
async fn work(root: Arc<Root>) {
    let mut command = None;
    loop {
        gather(&root.commits).await;
        let batch = std::mem::take(&mut root.commits.lock().waiting);
        if batch.is_empty() {
            if timeout(IDLE, root.commits.woken.notified()).await.is_ok() {
                continue;
            }
            let mut state = root.commits.lock();
            if state.waiting.is_empty() {
                state.runs = false;
                return;
            }
            continue;
        }
        let mut synced = Err(Error::stopped());
        for _ in 0..2 {
            synced = timeout(PATIENCE, sync(&root, &mut command)).await.unwrap_or_else(|_| Err(ended()));
            match &synced {
                Ok(()) => break,
                Err(error) => {
                    command = None;
                    if error.fault != Fault::Offline {
                        break;
                    }
                }
            }
        }
        if let Err(error) = &synced {
            tracing::debug!(%error, "files are made durable one by one for a while");
            root.commits.lock().failed = Some(Instant::now());
        }
        for tell in batch {
            let _ = tell.send(synced.is_ok());
        }
    }
}

/// Waits until most of those who write wait for a sync, or for as long as that is worth it.
async fn gather(commits: &Commits) {
    let most = || {
        let waiting = commits.lock().waiting.len();
        waiting == 0 || waiting * 4 >= commits.writers.load(Ordering::Relaxed) * 3
    };
    let gathered = async {
        while !most() {
            commits.woken.notified().await;
        }
    };
    let _ = timeout(GATHERING, gathered).await;
}

async fn sync(root: &Arc<Root>, command: &mut Option<Process>) -> Result<()> {
    let begun = command.is_some();
    let process = match command {
        Some(process) => process,
        None => command.insert(begin(root).await?),
    };
    process.feed(&b"sync\n"[..]);
    let mut said = Vec::new();
    loop {
        let more = process.next().await?.ok_or_else(ended)?;
        said.extend_from_slice(&more);
        let said = if begun { Some(said.clone().into()) } else { after_beginning(&said.clone().into()) };
        if said.is_some_and(|said| &said[..] == b"synced\n") {
            return Ok(());
        }
    }
}

/// It says `synced` after each line it reads, if the root is on a file system of which it is known that a sync of it
/// keeps what was written, and no other one is mounted below.
async fn begin(root: &Arc<Root>) -> Result<Process> {
    if shell(root).await?.is_none() {
        return Err(ended());
    }
    let at = root.open().await?;
    let dir = quoted(at.root());
    // Looked at again only where the directory or what is mounted anywhere has changed: a process each costs more than
    // the sync of a few small files.
    let line = format!(
        "known=; while read -r line; do \
         cd -- {dir} || exit 8; \
         here=$(pwd -P); \
         now=\"$here $(cat /proc/self/mountinfo)\" || exit 8; \
         if test \"$now\" = \"$known\"; then :; else \
         case $(stat -f -c %T .) in ext2/ext3|xfs|btrfs|f2fs|zfs|tmpfs|overlayfs) ;; *) exit 8;; esac; \
         case $here in /) exit 8;; esac; \
         if test -n \"$(printf %s \"$here\" | tr -d a-zA-Z0-9/._-)\"; then exit 8; fi; \
         grep -q -F -e \" $here/\" /proc/self/mountinfo; \
         test $? -eq 1 || exit 8; \
         known=$now; \
         fi; \
         sync -f . || exit 8; \
         echo synced; \
         done"
    );
    at.link.spawn(Command { hold: true, ..Command::new(script(at.root(), &line), &b""[..]) }).await
}

fn ended() -> Error {
    Error::new(Fault::Broken, "the server cannot sync the root's file system by a command")
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::tests::root_on;

    #[tokio::test]
    async fn many_are_made_durable_together_and_few_are_not() {
        let sshd = Sshd::start(Mode::Exec);
        let root = root_on(&sshd);
        crate::facts::meet(&root).await.unwrap();
        assert!(!commit(&root).await);
        let _writers: Vec<_> = (0..MANY).map(|_| root.commits.writer()).collect();
        assert_eq!(join_all((0..MANY).map(|_| commit(&root))).await, [true; MANY]);
        assert!(commit(&root).await, "by the command that runs already");
        sshd.kill_connections();
        assert!(commit(&root).await, "by another one");
    }

    #[tokio::test]
    async fn without_commands_nothing_is_made_durable_together() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let root = root_on(&sshd);
        crate::facts::meet(&root).await.unwrap();
        let _writers: Vec<_> = (0..MANY).map(|_| root.commits.writer()).collect();
        assert!(!commit(&root).await);
    }
}
