//! Listing by one command: `find` tells, `sort` puts it into the order of a listing, however much it is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use tokio::time::timeout;
use wl_core::error::{Error, Fault};
use wl_core::path::RelPath;

use crate::list::{Gone, Out};
use crate::root::At;
use crate::seen::{Seen, What};
use crate::shell::{after_beginning, quoted, script};
use crate::ssh::{Command, Process};

/// A command that says nothing for so long has stalled: what it did not say is unknown. Each directory it comes to is
/// something said.
const SILENCE: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_mins(5) };

/// More bytes than one record has: a path has 4,096 on Linux, and no record is believed that is longer than this.
const LONGEST: usize = 64 << 10;

/// Every record is `TYPE SIZE MTIME MODE/PATH`, a directory's with a slash behind it and a NUL at the end of each. Sorted
/// by what follows the first slash, in bytes, they stand in the order of a listing. A directory that cannot be read is of
/// type `X`. The record with no path, which comes first, says how `find` ended: if it came across anything else that it
/// could not do, the listing is made in the other way, which knows what to say about it. The last record, with no path
/// either, is of type `Z`: without it the listing was cut off, whatever status the server tells.
///
/// Sorted, nothing comes before the end of `find`. So it writes a dot past `sort` for each directory, which shows that it
/// lives; with its complaints they stand before the first record.
fn command(at: &At, under: &RelPath) -> Command {
    let (start, but) = if under.is_root() {
        (".".to_owned(), "-path ./.wl-trash -prune -o ")
    } else {
        (quoted(&[b"./", under.as_str().as_bytes()].concat()), "")
    };
    let tell = |kind: &str, end: &str| format!("-printf \"{kind} %s %T@ %m/%P{end}\\0\"");
    let (dir, shut, other) = (tell("d", "/"), tell("X", "/"), tell("%y", ""));
    let find = format!(
        "find {start} -ignore_readdir_race -mindepth 1 {but}\
         \\( -type d -fprintf /dev/stderr . \\( -readable -executable {dir} -o {shut} -prune \\) -o {other} \\)"
    );
    let line = format!(
        "{{ {{ {find}; printf \"E $? 0 0/\\0\"; }} 2>&3 | sort -z -s -t/ -k2 2>/dev/null; }} 3>&1 && printf \"Z 0 0 0/\\0\""
    );
    Command::new(script(at.root(), &line), Bytes::new())
}

/// Lists everything below the directory that `out` is about; false, and nothing is listed, if it cannot be done in this
/// way now.
pub async fn find(out: &mut Out) -> Result<bool, Gone> {
    let mut records = match Records::begin(out).await {
        Ok(Some(records)) => records,
        // Another way to list would wait for the same.
        Err(error) if error.fault == Fault::Busy => {
            out.blocked(out.under.clone(), &error).await?;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    // One record is kept back: if the listing breaks off, that is where.
    let mut next = records.next().await;
    let mut skip: Option<Vec<u8>> = None;
    let mut last = out.under.clone();
    loop {
        let record = match next {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(true),
            Err(error) => {
                out.cut(last, &error).await?;
                return Ok(true);
            }
        };
        // What is not waited for is sent on: the first chunk is not to wait for a slow disk.
        next = if let Some(next) = records.next().now_or_never() {
            next
        } else {
            out.flush().await?;
            records.next().await
        };
        if let (Err(error), Some(path)) = (&next, record.rel_path(&out.under)) {
            out.cut(path, error).await?;
            return Ok(true);
        }
        if skip.as_ref().is_some_and(|dir| record.path.starts_with(dir)) {
            continue;
        }
        let (parent, name) = record.split();
        let seen = record.seen();
        let Some(dir) = below(&out.under, parent) else {
            out.nameless(&out.under.clone(), &record.path).await?;
            continue;
        };
        let inside = out.take(&dir, name, &seen).await?;
        if let Some(path) = record.rel_path(&out.under) {
            last = path;
        }
        match inside {
            Some(path) if record.kind == b'X' => {
                out.blocked(path, &Error::new(Fault::Denied, "permission denied")).await?;
            }
            None if seen.what == What::Dir => skip = Some([&record.path[..], b"/"].concat()),
            _ => {}
        }
    }
}

/// The path of something below a directory; none if it is not UTF-8.
fn below(under: &RelPath, path: &[u8]) -> Option<RelPath> {
    RelPath::from_bytes(path).ok().map(|path| under.join_path(&path))
}

/// What `find` says of one path.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    kind: u8,
    size: u64,
    mtime: u32,
    mode: u32,
    /// Below the directory listed, without slashes at its ends.
    path: Vec<u8>,
}

impl Record {
    /// None if it is no record.
    fn parse(record: &[u8]) -> Option<Self> {
        let slash = record.iter().position(|byte| *byte == b'/')?;
        let (fields, path) = (std::str::from_utf8(&record[..slash]).ok()?, &record[slash + 1..]);
        let mut fields = fields.split(' ');
        let mut field = || fields.next();
        let (kind, size, mtime, mode) = (field()?, field()?, field()?, field()?);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        Some(Self {
            kind: *kind.as_bytes().first()?,
            size: size.parse().ok()?,
            mtime: whole_seconds(mtime)?,
            mode: u32::from_str_radix(mode, 8).ok()?,
            path: path.to_vec(),
        })
    }

    fn is_last(&self) -> bool {
        self.kind == b'Z' && self.path.is_empty()
    }

    fn rel_path(&self, under: &RelPath) -> Option<RelPath> {
        below(under, &self.path)
    }

    /// The directory it is in, and its name there.
    fn split(&self) -> (&[u8], &[u8]) {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.path[..slash], &self.path[slash + 1..]),
            None => (&[], &self.path),
        }
    }

    fn seen(&self) -> Seen {
        let what = match self.kind {
            b'd' | b'X' => What::Dir,
            b'f' => What::File,
            b'l' => What::Special("symbolic link"),
            b'p' | b's' | b'b' | b'c' | b'D' => What::Special("named pipe, socket or device"),
            _ => What::Special("the server does not say what it is"),
        };
        let mode = Some(self.mode & 0o777);
        Seen { what, size: self.size, mtime: self.mtime, mode, owner: None, read: 0 }
    }
}

/// Seconds since 1970 as SFTP has them: without their fraction, which is cut off downwards, in 32 bits.
fn whole_seconds(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let negative = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as OpenSSH's own cast to 32 bits
    Some((seconds - i64::from(negative)) as u32)
}

/// The records of a listing that runs.
struct Records {
    process: Option<Process>,
    bytes: BytesMut,
    /// Whether the last record was there.
    whole: bool,
}

impl Records {
    /// Waits until `find` has ended; none if it could not do everything.
    async fn begin(out: &Out) -> wl_core::error::Result<Option<Self>> {
        let at = out.root.open().await?;
        let process = at.link.spawn(command(&at, &out.under)).await?;
        let mut records = Self { process: Some(process), bytes: BytesMut::new(), whole: false };
        let mut said = Bytes::new();
        let rest = loop {
            said = [&said[..], &records.more().await?.ok_or_else(cut_off)?].concat().into();
            if let Some(rest) = after_beginning(&said) {
                break rest;
            }
            if said.len() > 1 << 20 {
                return Err(cut_off());
            }
        };
        records.bytes.extend_from_slice(&rest);
        loop {
            if let Some(end) = records.bytes.iter().position(|byte| *byte == 0) {
                let said = records.bytes.split_to(end + 1);
                return Ok(said.ends_with(b"E 0 0 0/\0").then_some(records));
            }
            // Only its end matters.
            let before = records.bytes.len().saturating_sub(LONGEST);
            let _ = records.bytes.split_to(before);
            let more = records.more().await?.ok_or_else(cut_off)?;
            records.bytes.extend_from_slice(&more);
        }
    }

    /// What it says next; none at its end.
    async fn more(&mut self) -> wl_core::error::Result<Option<Bytes>> {
        let Some(process) = self.process.as_mut() else { return Ok(None) };
        timeout(SILENCE, process.next()).await.unwrap_or_else(|_| Err(stalled()))
    }

    /// The next one; none at the end of a listing that was not cut off.
    async fn next(&mut self) -> wl_core::error::Result<Option<Record>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == 0) {
                let record = self.bytes.split_to(end + 1);
                let record = Record::parse(&record[..end]).filter(|_| !self.whole).ok_or_else(cut_off)?;
                if record.is_last() {
                    self.whole = true;
                    continue;
                }
                return Ok(Some(record));
            }
            if self.bytes.len() > LONGEST {
                return Err(cut_off());
            }
            if let Some(more) = self.more().await? {
                self.bytes.extend_from_slice(&more);
                continue;
            }
            let ended = match self.process.take() {
                Some(process) => timeout(SILENCE, process.end()).await.unwrap_or_else(|_| Err(stalled()))?,
                None => return Ok(None),
            };
            // A status that a server did not tell looks like 0.
            if ended.status != Some(0) || !self.bytes.is_empty() || !self.whole {
                return Err(cut_off());
            }
        }
    }
}

fn stalled() -> Error {
    Error::new(Fault::Busy, "the listing stalled on the server: it is tried again; does a disk there not answer?")
}

fn cut_off() -> Error {
    Error::new(Fault::Broken, "the listing was cut off on the server: it is tried again")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use futures::StreamExt as _;
    use wl_core::backend::Listed;
    use wl_core::report::ProblemKind;
    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::tests::storage_on;

    /// A `find` that says something and then nothing any more, as where a disk does not answer.
    #[tokio::test]
    async fn a_listing_that_stalls_is_unknown_and_not_empty() {
        let sshd = Sshd::start(Mode::Exec);
        let storage = storage_on(&sshd);
        storage.root().await.unwrap();
        let bin = sshd.home().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("find"), "#!/bin/sh\nprintf . >&2\nexec sleep 20\n").unwrap();
        fs::set_permissions(bin.join("find"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(sshd.home().join(".bashrc"), format!("export PATH={}:$PATH\n", bin.display())).unwrap();
        let listed: Vec<_> = storage.list(&RelPath::root(), None).concat().await;
        assert!(
            matches!(&listed[..], [Listed::Blocked(path, why)] if path.is_root() && why.kind == ProblemKind::Busy),
            "{listed:?}"
        );
    }

    #[test]
    fn a_record_says_what_find_said() {
        let record = Record::parse(b"f 12 1700000000.9876543210 644/d e/f\ng").unwrap();
        assert_eq!((record.kind, record.size, record.mtime, record.mode), (b'f', 12, 1_700_000_000, 0o644));
        assert_eq!(record.split(), (&b"d e"[..], &b"f\ng"[..]));
        let dir = Record::parse(b"d 4096 1.0 2755/d/").unwrap();
        assert_eq!((&dir.path[..], dir.seen().mode), (&b"d"[..], Some(0o755)));
        assert_eq!(Record::parse(b"E 1 0 0/").map(|end| (end.size, end.path)), Some((1, Vec::new())));
        let last = |record| Record::parse(record).is_some_and(|record| record.is_last());
        assert!(last(b"Z 0 0 0/") && !last(b"E 0 0 0/") && !last(b"f 0 0 0/Z"));
        for nonsense in [&b""[..], b"f", b"f 1 2/x", b"f x 1.0 644/x", b"f 1 1.0 999/x"] {
            assert_eq!(Record::parse(nonsense), None);
        }
    }

    #[test]
    fn seconds_are_those_of_sftp() {
        for (text, expected) in [
            ("1.0000000000", 1),
            ("1.9999999999", 1),
            ("0.5", 0),
            ("-1.0000000000", u32::MAX),
            ("-0.5000000000", u32::MAX),
            ("-1.5000000000", u32::MAX - 1),
            ("4294967296.0", 0),
        ] {
            assert_eq!(whole_seconds(text), Some(expected), "{text}");
        }
    }
}
