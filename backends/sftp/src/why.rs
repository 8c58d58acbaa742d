//! Why a change failed: version 3 of the protocol has no words for a full disk, a quota or a read-only file system.

use std::time::Duration;

use bytes::Bytes;
use wl_core::error::{Error, Fault};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::error::{is_plain_refusal, write_error};
use crate::root::At;
use crate::shell::{after_beginning, script};
use crate::ssh::{Command, Failure};
use crate::wire::Status;
use crate::wire::extension::STATVFS;

/// How much a command's complaint may be, and how long it may take to come.
const ANSWER: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

impl At {
    /// The error of a change that failed, with its cause as far as it can be found out.
    pub async fn why(&self, failure: &Failure, path: &RelPath) -> Error {
        let room = if is_plain_refusal(failure) && self.has(STATVFS) {
            self.link.statvfs(self.root()).await.ok()
        } else {
            None
        };
        let error = write_error(failure, room.as_ref(), path);
        if error.fault != Fault::Broken || !is_plain_refusal(failure) {
            return error;
        }
        match (failure, self.complaint(path).await) {
            (Failure::Status(status), Some(message)) => {
                let explained = write_error(&Failure::Status(Status { message, ..status.clone() }), None, path);
                if explained.fault == Fault::Broken { error } else { explained }
            }
            _ => error,
        }
    }

    /// What a command says that cannot write beside a path: it has the system's own words for it. None where it can, or
    /// no command runs.
    async fn complaint(&self, path: &RelPath) -> Option<String> {
        let dir = path.parent().unwrap_or_else(RelPath::root);
        // The shell's number keeps those apart that try at once.
        let name = format!("./{PART_PREFIX}u$$-why");
        let line = format!(
            "dd if=/dev/zero of={name} bs=64k count=4 conv=excl,fsync 2>&1 >/dev/null | grep -v -e records; rm -f {name}"
        );
        let command = Command::new(script(&self.full(&dir), &line), Bytes::new());
        let said = after_beginning(&self.link.run(command, ANSWER, PATIENCE).await.ok()?.stdout)?;
        Some(String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).take(200).collect())
    }
}
