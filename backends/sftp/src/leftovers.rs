//! Part files that listings come across: those whose writer is dead are cleared away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use wl_core::error::Result;
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::{error, is_missing};
use crate::part::{Names, Verdict};
use crate::root::{At, Found, Root};
use crate::seen::{Seen, What};
use crate::trash::recover;

/// Part files judged at once.
const AT_ONCE: usize = 64;

/// What may be done with a part file of a date, at a time.
type Judge = fn(&Names, &RelPath, u32, u32) -> Verdict;

/// Part files seen and not judged yet.
#[derive(Default)]
pub struct Leftovers {
    seen: Mutex<BTreeSet<RelPath>>,
}

impl Leftovers {
    /// Remembers a part file until the next sweep.
    pub fn came_across(&self, path: RelPath) {
        self.lock().insert(path);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<RelPath>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes those that were come across and whose writer is dead; a user's version that a crash left under a held name
/// goes to the trash.
pub async fn sweep(root: &Arc<Root>) -> Result<usize> {
    let seen = std::mem::take(&mut *root.leftovers.lock());
    if seen.is_empty() {
        return Ok(0);
    }
    let judged = futures::stream::iter(seen).map(|path| async move {
        let look = |at: At, _| {
            let path = &path;
            async move {
                match at.look(path).await? {
                    Found::Seen(seen) => clear(root, &at, path, &seen, Names::judge).await.map(Some),
                    _ => Ok(None),
                }
            }
        };
        match root.attempt(look).await {
            Ok(Some(true)) => return 1,
            Ok(None) => return 0,
            Ok(Some(false)) => {}
            Err(error) => tracing::debug!(%error, "a part file could not be swept"),
        }
        root.leftovers.came_across(path);
        0
    });
    Ok(judged.buffer_unordered(AT_ONCE).fold(0, |sum, one| async move { sum + one }).await)
}

/// Removes every dead part file in a directory that is to go.
pub async fn sweep_dir(root: &Arc<Root>, at: &At, dir: &RelPath) -> Result<()> {
    for name in crate::walk::names_in(at, dir).await.map_err(|failure| error(&failure, dir))? {
        let text = std::str::from_utf8(&name.name).ok().filter(|text| text.starts_with(PART_PREFIX));
        if let Some(path) = text.and_then(|text| dir.join(text).ok()) {
            clear(root, at, &path, &Seen::of(&name.attrs), Names::judge_in_the_way).await?;
        }
    }
    Ok(())
}

/// Removes a part file if its writer is dead; whether it was.
async fn clear(root: &Arc<Root>, at: &At, path: &RelPath, seen: &Seen, judge: Judge) -> Result<bool> {
    if seen.what != What::File {
        return Ok(false);
    }
    match judge(&root.names, path, seen.mtime, root.clock.seconds()) {
        Verdict::Alive => Ok(false),
        Verdict::Rescue => recover(root, at, path).await.map(|()| true),
        Verdict::Dead => match at.link.remove(&at.full(path)).await {
            Err(failure) if !is_missing(&failure) => Err(error(&failure, path)),
            _ => Ok(true),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use wl_core::error::Fault;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::change::remove_dir;
    use crate::maker::mark;
    use crate::tests::root_on;

    /// As a daemon that was killed in the middle of an upload leaves it, and its user then removes the directory.
    #[tokio::test]
    async fn what_a_killed_process_left_keeps_no_directory() {
        let sshd = Sshd::start(Mode::SftpOnly);
        let (root, dir) = (root_on(&sshd), RelPath::parse("d").unwrap());
        let here = sshd.root().join("d");
        fs::create_dir(&here).unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let now = jiff::Timestamp::now().as_second();
        let its = here.join(format!("{PART_PREFIX}u{now}-{}.0123456789ab-7", mark(other.id()).unwrap()));
        let again = here.join(format!("{PART_PREFIX}again-00"));
        fs::write(&its, "half of it").unwrap();
        fs::write(&again, "half of it").unwrap();
        let refused = remove_dir(&root, &dir).await.map_err(|error| error.fault);
        assert_eq!((refused, its.exists(), again.exists()), (Err(Fault::Refused), true, true), "they may be written");

        other.kill().unwrap();
        other.wait().unwrap();
        let ago = SystemTime::now() - Duration::from_mins(2);
        File::options().write(true).open(&again).unwrap().set_modified(ago).unwrap();
        assert_eq!(remove_dir(&root, &dir).await, Ok(()));
        assert!(!here.exists());
    }
}
