//! What a server says about a file, or is told to set.

use bytes::{BufMut as _, BytesMut};

use super::Garbled;
use super::field::Fields;

const SIZE: u32 = 0x1;
const OWNER: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const TIMES: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// The type bits of `permissions`, as POSIX has them.
const TYPE_MASK: u32 = 0o170_000;

/// Attributes of a file; those that are `None` were not given, or are to stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attrs {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group, by number.
    pub owner: Option<(u32, u32)>,
    /// Mode bits, and the type bits of POSIX where a server says them.
    pub permissions: Option<u32>,
    /// Access and modification time, in seconds since 1970. The protocol has 32 bits for each.
    pub times: Option<(u32, u32)>,
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A socket, a device or a named pipe.
    Special,
    /// The server does not say.
    Unknown,
}

impl Attrs {
    /// The kind of thing, by the type bits.
    pub fn file_type(&self) -> FileType {
        match self.permissions.map(|bits| bits & TYPE_MASK) {
            Some(0o100_000) => FileType::File,
            Some(0o040_000) => FileType::Dir,
            Some(0o120_000) => FileType::Link,
            Some(0) | None => FileType::Unknown,
            Some(_) => FileType::Special,
        }
    }

    /// The mode without the type bits.
    pub fn mode(&self) -> Option<u32> {
        self.permissions.map(|bits| bits & 0o7777)
    }

    /// The modification time, in seconds since 1970.
    pub fn mtime(&self) -> Option<u32> {
        self.times.map(|(_, modified)| modified)
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        out.put_u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            out.put_u32(user);
            out.put_u32(group);
        }
        if let Some(permissions) = self.permissions {
            out.put_u32(permissions);
        }
        if let Some((accessed, modified)) = self.times {
            out.put_u32(accessed);
            out.put_u32(modified);
        }
    }

    pub(super) fn take(fields: &mut Fields) -> Result<Self, Garbled> {
        let flags = fields.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let mut attrs = Self::default();
        if has(SIZE) {
            attrs.size = Some(fields.u64()?);
        }
        if has(OWNER) {
            attrs.owner = Some((fields.u32()?, fields.u32()?));
        }
        if has(PERMISSIONS) {
            attrs.permissions = Some(fields.u32()?);
        }
        if has(TIMES) {
            attrs.times = Some((fields.u32()?, fields.u32()?));
        }
        if has(EXTENDED) {
            for _ in 0..fields.u32()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Ok(attrs)
    }
}
