//! A file copied inside the server: by SFTP's copy-data, or where it has none by a command.

use std::ops::Range;

use bytes::Bytes;

use crate::hash;
use crate::part::Part;
use crate::root::{At, Root};
use crate::shell::{after_beginning, script};
use crate::ssh::{Answer, Command, Failure, Handle};
use crate::wire::{Code, Status};

/// What is copied with one request: a server answers nothing else on the connection meanwhile.
pub const STEP: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// What it prints and its complaints are short.
const ANSWER: usize = 1 << 20;

/// Copies a part of a file to the same place in another one, by copy-data. `passed` is told how far it is.
pub async fn in_steps(from: &Handle, range: Range<u64>, to: &Handle, passed: impl Fn(u64)) -> Answer<()> {
    let mut at = range.start;
    while at < range.end {
        // A length of 0 would be "to the end", which may be further by now.
        let step = STEP.min(range.end - at);
        to.link().copy_data(from, at, step, to, at).await?;
        at += step;
        passed(at);
    }
    Ok(())
}

/// Whether commands copy files below this root.
pub fn can(root: &Root) -> bool {
    root.known().shell.is_some_and(|shell| shell.copies)
}

/// Has `cp` fill a part with what stands under a path of the server, which shares the blocks where the file system can.
/// What `cp` complains of is told as SFTP's refusals are.
///
/// RACE: `cp` is told a name. Who puts another file there for so long as it opens it, and the former back, has that copied
/// as the version, unless the sha256 of the version is known. The caller looks at the name before and after.
pub async fn by_command(at: &At, from: &[u8], part: &Part, size: u64) -> Answer<()> {
    let names = [from, b"\0./", part.path().as_str().as_bytes(), b"\0"].concat();
    let patience = hash::patience(size);
    // A part that is there is written into: it stays the file that is open by SFTP.
    let line = format!("timeout {} xargs -0 cp --reflink=auto -T -- && echo copied", patience.as_secs());
    let command = Command::new(script(at.root(), &line), Bytes::from(names));
    let output = at.link.run(command, ANSWER, patience + hash::PATIENCE).await?;
    if after_beginning(&output.stdout).is_some_and(|said| &said[..] == b"copied\n") {
        return Ok(());
    }
    let said: String = output.ended.stderr.chars().filter(|c| !c.is_control()).take(200).collect();
    tracing::debug!(path = %part.path(), said, "a command could not copy a file");
    Err(Failure::Status(Status { code: Code::Failure, message: said }))
}
