//! SFTP version 3, as bytes: what is asked, what is answered. Pure, and safe against whatever a server sends.
//!
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for the extensions.

mod attrs;
pub mod extension;
mod field;
mod frames;
mod reply;
mod request;
mod status;

pub use attrs::{Attrs, FileType};
pub use extension::{Extensions, Limits, StatVfs};
pub use field::put_string;
pub use frames::Frames;
pub use reply::{Name, Packet, Reply};
pub use request::{OpenFlags, Request};
pub use status::{Code, Status};

/// Appends attributes as an extension's request carries them.
pub fn put_attrs(out: &mut bytes::BytesMut, attrs: &Attrs) {
    attrs.put(out);
}

/// The version spoken. OpenSSH speaks no other.
pub const VERSION: u32 = 3;

/// The longest packet taken from a server. OpenSSH sends none above 256 KiB (its `SFTP_MAX_MSG_LENGTH`); a listing of
/// one READDIR stays below it too.
pub const MAX_PACKET: usize = 1 << 20;

/// What a server sent is no SFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled(pub &'static str);

#[cfg(test)]
mod tests;
