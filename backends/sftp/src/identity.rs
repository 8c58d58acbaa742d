//! Which directory the root is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::join;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::error::error;
use crate::facts;
use crate::root::Root;
use crate::shell::{PATIENCE, after_beginning, script, shell};
use crate::ssh::Command;

/// What was found out before anything else was asked still holds.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Which directory it is, as was found out when the shell was: told once, while it is fresh.
#[derive(Default)]
pub struct Introduced(Mutex<Option<(Instant, String)>>);

impl Introduced {
    /// Takes note of which directory it is now.
    pub fn says(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), text.to_owned()));
    }

    fn take(&self) -> Option<String> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        said.filter(|(when, _)| when.elapsed() < JUST_NOW).map(|(_, text)| text)
    }
}

/// Whether such a text is of one directory alone: an inode is used again, and for a file system that keeps no time of birth
/// each `stat` says something else, but no number other than 0.
pub fn is_named(text: &str) -> bool {
    let is_time = |born: &str| born.bytes().all(|byte| byte.is_ascii_digit()) && born.bytes().any(|byte| byte != b'0');
    text.split_once(" born ").is_some_and(|(_, born)| is_time(born.trim()))
}

/// The text that tells this directory from any other that may take its place: by inode and birth time where a command can
/// tell them, else by its file system.
pub async fn identity(root: &Arc<Root>) -> Result<String> {
    let at = root.open().await?;
    let (there, met) = join!(root.seen(&at), facts::meet(root));
    there.and(met)?;
    if shell(root).await?.is_some_and(|shell| shell.stats) {
        if let Some(text) = root.introduced.take() {
            return Ok(text);
        }
        let output = root.attempt(|at, _| async move {
            let command = Command::new(script(at.root(), "stat -c \"%i born %W\" ."), Bytes::new());
            at.link.run(command, 1 << 20, PATIENCE).await
        });
        let said = after_beginning(&output.await?.stdout).unwrap_or_default();
        // Without the end of its line it was cut off.
        let said = said.strip_suffix(b"\n").map(|said| String::from_utf8_lossy(said).trim().to_owned());
        let said = said.unwrap_or_default();
        if said.is_empty() {
            // It vanished meanwhile, or the server is out of processes.
            root.seen(&at).await?;
            return Err(Error::new(Fault::Busy, "the server could not look at the root: it is tried again"));
        }
        return Ok(said);
    }
    if !root.known().tells_room {
        return Ok("a directory".to_owned());
    }
    let found = at.link.statvfs(at.root()).await.map_err(|failure| error(&failure, &RelPath::root()))?;
    Ok(format!("on {:x}", found.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_of_birth_names_a_directory() {
        for (text, named) in [
            ("131074 born 1732312345", true),
            ("131074 born 0", false),
            ("131074 born -", false),
            ("131074 born ?", false),
            ("131074 born W", false),
            ("131074 born ", false),
            ("131074 born", false),
            ("on 9f", false),
            ("a directory", false),
        ] {
            assert_eq!(is_named(text), named, "{text}");
        }
    }
}
