//! What a server can do beyond version 3, and what OpenSSH's own requests answer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Garbled;
use super::field::Fields;

/// The extensions a server advertised, with their versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(BTreeMap<String, String>);

impl Extensions {
    pub(super) fn take(fields: &mut Fields) -> Result<Self, Garbled> {
        /// More are remembered of no server.
        const MOST: usize = 64;
        let mut found = BTreeMap::new();
        while !fields.is_empty() {
            let (name, data) = (fields.string()?, fields.string()?);
            if found.len() < MOST && name.len() <= 64 && data.len() <= 64 {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.insert(text(&name), text(&data));
            }
        }
        Ok(Self(found))
    }

    /// Whether it is advertised, in the version wl knows.
    pub fn has(&self, extension: &str) -> bool {
        let wanted = match extension {
            STATVFS | "fstatvfs@openssh.com" => "2",
            _ => "1",
        };
        self.0.get(extension).is_some_and(|version| version == wanted)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// `posix-rename@openssh.com`: from, to. Replaces what is there.
pub const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// `hardlink@openssh.com`: from, to. Refused if the target exists.
pub const HARDLINK: &str = "hardlink@openssh.com";
/// `fsync@openssh.com`: handle.
pub const FSYNC: &str = "fsync@openssh.com";
/// `statvfs@openssh.com`: path.
pub const STATVFS: &str = "statvfs@openssh.com";
/// `limits@openssh.com`: nothing.
pub const LIMITS: &str = "limits@openssh.com";
/// `lsetstat@openssh.com`: path, attributes. Does not follow links.
pub const LSETSTAT: &str = "lsetstat@openssh.com";
/// `copy-data`: handle, offset, length, handle, offset.
pub const COPY_DATA: &str = "copy-data";

/// How much a server takes at once; a zero means that it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest packet.
    pub packet: u64,
    /// The most bytes one READ answers.
    pub read: u64,
    /// The most bytes one WRITE takes.
    pub write: u64,
    /// Handles open at once.
    pub handles: u64,
}

impl Limits {
    /// Reads the answer to `limits@openssh.com`.
    pub fn decode(body: Bytes) -> Result<Self, Garbled> {
        let mut fields = Fields::of(body);
        Ok(Self { packet: fields.u64()?, read: fields.u64()?, write: fields.u64()?, handles: fields.u64()? })
    }
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatVfs {
    /// Bytes in a block.
    pub block_size: u64,
    /// Blocks free for the server's user.
    pub blocks_available: u64,
    /// Files that can still be made by the server's user.
    pub files_available: u64,
    /// Files in all; zero where the file system does not count them.
    pub files: u64,
    /// The file system's id.
    pub id: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

impl StatVfs {
    /// Reads the answer to `statvfs@openssh.com`.
    pub fn decode(body: Bytes) -> Result<Self, Garbled> {
        let mut fields = Fields::of(body);
        let _preferred = fields.u64()?;
        let block_size = fields.u64()?;
        let [_blocks, _free, blocks_available] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let [files, _files_free, files_available] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let [id, flags] = [fields.u64()?, fields.u64()?];
        Ok(Self { block_size, blocks_available, files_available, files, id, read_only: flags & 1 != 0 })
    }
}
