//! What is asked of a server.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::attrs::Attrs;
use super::field::put_string;

/// How a file is opened; the flags of version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(u32);

impl OpenFlags {
    /// For reading.
    pub const READ: Self = Self(0x1);
    /// For writing.
    pub const WRITE: Self = Self(0x2);
    /// Made if it is not there.
    pub const CREATE: Self = Self(0x8);
    /// Refused if it is there already; links are not followed then.
    pub const EXCLUSIVE: Self = Self(0x20);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One request. Paths and handles are bytes, as the server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Opens a file: `Handle`.
    Open { path: Bytes, flags: OpenFlags, attrs: Attrs },
    /// Ends a handle: `Status`.
    Close { handle: Bytes },
    /// `Data`, or the status `Eof`.
    Read { handle: Bytes, offset: u64, length: u32 },
    /// `Status`.
    Write { handle: Bytes, offset: u64, data: Bytes },
    /// `Attrs`; a link is not followed.
    Lstat { path: Bytes },
    /// `Attrs`; links are followed.
    Stat { path: Bytes },
    /// `Attrs`.
    Fstat { handle: Bytes },
    /// `Status`; links are followed.
    Setstat { path: Bytes, attrs: Attrs },
    /// `Status`.
    Fsetstat { handle: Bytes, attrs: Attrs },
    /// Opens a directory: `Handle`.
    Opendir { path: Bytes },
    /// Some names, or the status `Eof`.
    Readdir { handle: Bytes },
    /// Removes a file: `Status`.
    Remove { path: Bytes },
    /// `Status`.
    Mkdir { path: Bytes, attrs: Attrs },
    /// Removes an empty directory: `Status`.
    Rmdir { path: Bytes },
    /// One name: the path made absolute.
    Realpath { path: Bytes },
    /// `Status`; refused if the target exists.
    Rename { from: Bytes, to: Bytes },
    /// Another request, by name: `Status` or `Extended`.
    Extended { name: &'static str, body: Bytes },
}

impl Request {
    /// Appends the packet, with its length before it.
    pub fn encode(&self, id: u32, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(self.number());
        out.put_u32(id);
        self.put(out);
        // INVARIANT: what is written at once and what a path may be is far below 4 GiB.
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The packet that begins a conversation.
    pub fn init() -> [u8; 9] {
        let [a, b, c, d] = super::VERSION.to_be_bytes();
        [0, 0, 0, 5, 1, a, b, c, d]
    }

    /// Bytes it carries there or back, about: what a window is counted in.
    pub fn payload(&self) -> usize {
        match self {
            Self::Read { length, .. } => *length as usize,
            Self::Write { data, .. } => data.len(),
            Self::Readdir { .. } => 16 << 10,
            Self::Rename { from, to } => from.len() + to.len(),
            Self::Extended { body, .. } => body.len(),
            Self::Open { path, .. }
            | Self::Lstat { path }
            | Self::Stat { path }
            | Self::Setstat { path, .. }
            | Self::Opendir { path }
            | Self::Remove { path }
            | Self::Mkdir { path, .. }
            | Self::Rmdir { path }
            | Self::Realpath { path } => path.len(),
            Self::Close { .. } | Self::Fstat { .. } | Self::Fsetstat { .. } => 0,
        }
    }

    fn number(&self) -> u8 {
        match self {
            Self::Open { .. } => 3,
            Self::Close { .. } => 4,
            Self::Read { .. } => 5,
            Self::Write { .. } => 6,
            Self::Lstat { .. } => 7,
            Self::Fstat { .. } => 8,
            Self::Setstat { .. } => 9,
            Self::Fsetstat { .. } => 10,
            Self::Opendir { .. } => 11,
            Self::Readdir { .. } => 12,
            Self::Remove { .. } => 13,
            Self::Mkdir { .. } => 14,
            Self::Rmdir { .. } => 15,
            Self::Realpath { .. } => 16,
            Self::Stat { .. } => 17,
            Self::Rename { .. } => 18,
            Self::Extended { .. } => 200,
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Open { path, flags, attrs } => {
                put_string(out, path);
                out.put_u32(flags.0);
                attrs.put(out);
            }
            Self::Close { handle } | Self::Fstat { handle } | Self::Readdir { handle } => put_string(out, handle),
            Self::Read { handle, offset, length } => {
                put_string(out, handle);
                out.put_u64(*offset);
                out.put_u32(*length);
            }
            Self::Write { handle, offset, data } => {
                put_string(out, handle);
                out.put_u64(*offset);
                put_string(out, data);
            }
            Self::Lstat { path }
            | Self::Stat { path }
            | Self::Opendir { path }
            | Self::Remove { path }
            | Self::Rmdir { path }
            | Self::Realpath { path } => put_string(out, path),
            Self::Setstat { path, attrs } | Self::Mkdir { path, attrs } => {
                put_string(out, path);
                attrs.put(out);
            }
            Self::Fsetstat { handle, attrs } => {
                put_string(out, handle);
                attrs.put(out);
            }
            Self::Rename { from, to } => {
                put_string(out, from);
                put_string(out, to);
            }
            Self::Extended { name, body } => {
                put_string(out, name.as_bytes());
                out.put_slice(body);
            }
        }
    }
}
