//! Watching: `inotifywait` on the server tells, for as long as the connection lives.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::facts::meet;
use crate::root::Root;
use crate::shell::{CHATTER, after_beginning, script, shell};
use crate::ssh::{Command, Process};

/// What makes a hint of `inotifywait`: for each event its names, a NUL, the path, a NUL. Its messages come in the same
/// form, with `!` for the names. When its input ends, or the watcher does, all of it ends: it must not outlive the
/// connection.
const WATCH: &str = "\
    exec 3>&1; \
    { inotifywait -m -r -P --no-newline --format \"%e%0%w%f%0\" \
      -e modify,attrib,close_write,move,create,delete,delete_self,move_self,unmount @./.wl-trash . 2>&1 >&3 \
      | while IFS= read -r line; do printf \"message\\0%s\\0\" \"$line\"; done; kill 0; } & \
    cat >/dev/null; kill 0";

/// How long a large tree may take to be watched.
const PATIENCE: Duration = Duration::from_mins(10);
const NONSENSE: &str = "what the server's inotifywait says is not understood";
/// More bytes than one event has: a path has 4,096 on Linux, and what is longer than this is none.
const LONGEST: usize = 64 << 10;
/// After this time what appeared in a new directory, before that was watched, is looked for once more.
const AGAIN: Duration = Duration::from_millis(1500);

/// Begins to watch. Everything that changes after this returned leads to a hint. The stream ends with the connection.
pub async fn watch(root: &std::sync::Arc<Root>) -> Result<BoxStream<'static, Hint>> {
    meet(root).await?;
    if !shell(root).await?.is_some_and(|shell| shell.watches) {
        let text = "the server can only be scanned: to be told of changes, install inotify-tools there, and keep the \
                    files on a file system of its own, not on one of the network";
        return Err(Error::new(Fault::Unsupported, text));
    }
    let at = root.open().await?;
    let command = Command { line: script(at.root(), WATCH), stdin: Bytes::new(), hold: true };
    let mut watcher = Watcher { process: at.link.spawn(command).await?, bytes: BytesMut::new(), again: Vec::new() };
    let established = tokio::time::timeout(PATIENCE, watcher.begin()).await;
    established
        .unwrap_or_else(|_| Err(Error::new(Fault::Broken, "the server took too long to watch the directory")))?;
    let hints = futures::stream::unfold(Then::Listens(watcher), |then| async move {
        let mut watcher = match then {
            Then::Listens(watcher) => watcher,
            Then::Ends => return None,
            // Who began anew would be told the same.
            Then::Rests => std::future::pending().await,
        };
        match watcher.next().await {
            Some(hints) => Some((hints, Then::Listens(watcher))),
            None if watcher.is_nonsense() => Some((vec![Hint::Degraded(NONSENSE.to_owned())], Then::Rests)),
            None => Some((vec![Hint::Everything], Then::Ends)),
        }
    });
    Ok(hints.flat_map(futures::stream::iter).boxed())
}

/// What comes after what was said.
enum Then {
    Listens(Watcher),
    Ends,
    Rests,
}

struct Watcher {
    process: Process,
    bytes: BytesMut,
    /// New directories that are to be looked through once more, and when.
    again: Vec<(Instant, RelPath)>,
}

impl Watcher {
    /// Waits until everything is watched.
    async fn begin(&mut self) -> Result<()> {
        let mut said = Bytes::new();
        let mut begun = false;
        loop {
            let Some(more) = self.process.next().await? else {
                return Err(Error::new(Fault::Broken, "the server could not begin to watch the directory"));
            };
            if begun {
                self.bytes.extend_from_slice(&more);
            } else {
                said = [&said[..], &more].concat().into();
                let Some(rest) = after_beginning(&said) else {
                    if said.len() > CHATTER {
                        return Err(Error::new(
                            Fault::Broken,
                            "the server's shell says too much to watch the directory",
                        ));
                    }
                    continue;
                };
                self.bytes.extend_from_slice(&rest);
                begun = true;
            }
            while let Some((names, path)) = self.event() {
                match std::str::from_utf8(&path) {
                    Ok(text) if *names == *b"message" && text.starts_with("Watches established") => return Ok(()),
                    Ok(text) if *names == *b"message" && is_limit(text) => {
                        let text = "the server allows too few watches: raise fs.inotify.max_user_watches there";
                        return Err(Error::new(Fault::Broken, text));
                    }
                    _ => {}
                }
            }
            if self.is_nonsense() {
                return Err(Error::new(Fault::Broken, NONSENSE));
            }
        }
    }

    /// Whether what it says comes to no end of an event: it is not waited for.
    fn is_nonsense(&self) -> bool {
        self.bytes.len() > LONGEST
    }

    /// What is worth saying next; none when it ended.
    async fn next(&mut self) -> Option<Vec<Hint>> {
        loop {
            let due = self.again.first().map(|(due, _)| *due);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                more = self.process.next() => self.bytes.extend_from_slice(&more.ok()??),
                () = wait => {
                    let now = Instant::now();
                    let (due, rest) = std::mem::take(&mut self.again).into_iter().partition(|(at, _)| *at <= now);
                    self.again = rest;
                    let due: Vec<(Instant, RelPath)> = due;
                    return Some(vec![Hint::LookBelow(due.into_iter().map(|(_, dir)| dir).collect())]);
                }
            }
            let mut noticed = Noticed::default();
            while let Some((names, path)) = self.event() {
                noticed.take(&names, &path);
            }
            if noticed.ended || self.is_nonsense() {
                return None;
            }
            let due = Instant::now() + AGAIN;
            self.again.extend(noticed.below.iter().map(|dir| (due, dir.clone())));
            let hints = noticed.hints();
            if !hints.is_empty() {
                return Some(hints);
            }
        }
    }

    /// The next whole event.
    fn event(&mut self) -> Option<(BytesMut, BytesMut)> {
        let mut ends = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
        let (first, second) = (ends.next()?, ends.next()?);
        let mut event = self.bytes.split_to(second + 1);
        let mut path = event.split_off(first + 1);
        event.truncate(first);
        path.truncate(second - first - 1);
        Some((event, path))
    }
}

/// Whether a message says that no more can be watched.
fn is_limit(message: &str) -> bool {
    message.contains("max_user_watches") || message.contains("upper limit") || message.contains("No space left")
}

/// What a few events come to.
#[derive(Debug, Default, PartialEq)]
struct Noticed {
    look: BTreeSet<RelPath>,
    below: BTreeSet<RelPath>,
    gone: BTreeSet<RelPath>,
    everything: bool,
    degraded: Option<String>,
    ended: bool,
}

impl Noticed {
    fn take(&mut self, names: &[u8], path: &[u8]) {
        let names = String::from_utf8_lossy(names);
        if names == "message" {
            let text = String::from_utf8_lossy(path);
            if is_limit(&text) {
                let text = "the server allows too few watches: raise fs.inotify.max_user_watches there";
                self.degraded = Some(text.to_owned());
            }
            // A directory that vanished before it could be watched, most of all: its deletion is an event, too.
            return;
        }
        let has = |name: &str| names.split(',').any(|event| event == name);
        if has("Q_OVERFLOW") {
            self.everything = true;
            return;
        }
        let path = path.strip_prefix(b".").unwrap_or(path);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        // A name that is not UTF-8 is found by looking at the directory; it cannot be synced anyway.
        let Ok(path) = RelPath::from_bytes(path) else { return };
        if path.is_root() {
            self.ended |= has("DELETE_SELF") || has("MOVE_SELF") || has("UNMOUNT");
            return;
        }
        if path.is_ours() {
            return;
        }
        let is_dir = has("ISDIR");
        if has("DELETE") || has("MOVED_FROM") || has("DELETE_SELF") {
            self.gone.insert(path);
        } else if is_dir && (has("CREATE") || has("MOVED_TO")) {
            self.below.insert(path);
        } else if !has("MOVE_SELF") && !has("IGNORED") {
            self.look.insert(path);
        }
    }

    fn hints(self) -> Vec<Hint> {
        let mut hints = Vec::new();
        let list = |paths: BTreeSet<RelPath>| paths.into_iter().collect::<Vec<_>>();
        for (paths, hint) in [
            (self.gone, Hint::Gone as fn(Vec<RelPath>) -> Hint),
            (self.below, Hint::LookBelow),
            (self.look, Hint::Look),
        ] {
            if !paths.is_empty() {
                hints.push(hint(list(paths)));
            }
        }
        hints.extend(self.everything.then_some(Hint::Everything));
        hints.extend(self.degraded.map(Hint::Degraded));
        hints
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use crate::tests::root_on;

    use super::*;

    fn paths(texts: &[&str]) -> Vec<RelPath> {
        texts.iter().map(|text| RelPath::parse(text).unwrap()).collect()
    }

    #[test]
    fn events_become_hints() {
        for (names, path, expected) in [
            ("MODIFY", "./a b", Some(Hint::Look(paths(&["a b"])))),
            ("ATTRIB", "./d/x\ny", Some(Hint::Look(paths(&["d/x\ny"])))),
            ("CREATE,ISDIR", "./d", Some(Hint::LookBelow(paths(&["d"])))),
            ("MOVED_TO,ISDIR", "./d", Some(Hint::LookBelow(paths(&["d"])))),
            ("MOVED_FROM", "./d/x", Some(Hint::Gone(paths(&["d/x"])))),
            ("DELETE,ISDIR", "./d", Some(Hint::Gone(paths(&["d"])))),
            ("Q_OVERFLOW", "", Some(Hint::Everything)),
            ("CREATE", "./d/.wl-part-1", None),
            ("CREATE", "./.wl-trash/x", None),
            ("message", "Couldn't watch new directory ./d: No such file or directory", None),
            ("ATTRIB,ISDIR", "./", None),
        ] {
            let mut noticed = Noticed::default();
            noticed.take(names.as_bytes(), path.as_bytes());
            assert_eq!(noticed.hints(), Vec::from_iter(expected), "{names} {path}");
        }
        let mut noticed = Noticed::default();
        noticed.take(b"DELETE_SELF", b"./");
        assert!(noticed.ended, "it ends with its root");
    }

    /// A server whose `inotifywait` does this.
    fn root_whose_watcher(does: &str) -> (Sshd, Arc<Root>) {
        let sshd = Sshd::start(Mode::Exec);
        let bin = sshd.home().join("bin");
        fs::create_dir(&bin).unwrap();
        let help = "case \"$1\" in --help) echo --no-newline; exit;; esac";
        fs::write(bin.join("inotifywait"), format!("#!/bin/sh\n{help}\n{does}\n")).unwrap();
        fs::set_permissions(bin.join("inotifywait"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(sshd.home().join(".bashrc"), format!("export PATH={}:$PATH\n", bin.display())).unwrap();
        let root = root_on(&sshd);
        (sshd, root)
    }

    #[tokio::test]
    async fn a_watcher_that_says_no_end_of_an_event_is_left_alone() {
        let (_sshd, root) = root_whose_watcher("exec yes");
        let error = watch(&root).await.err().unwrap();
        assert!(error.fault == Fault::Broken && error.message.contains("not understood"), "{error:?}");
        let (_sshd, root) = root_whose_watcher("echo Watches established. >&2; sleep 1; exec yes");
        let hints =
            tokio::time::timeout(Duration::from_secs(30), watch(&root).await.unwrap().take(1).collect::<Vec<_>>());
        assert_eq!(hints.await.expect("it is told"), [Hint::Degraded(NONSENSE.to_owned())]);
    }
}
