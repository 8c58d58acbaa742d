//! What a server answers.

use bytes::Bytes;

use super::attrs::Attrs;
use super::extension::Extensions;
use super::field::Fields;
use super::status::{Code, Status};
use super::{Garbled, VERSION};

/// One packet from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The beginning of the conversation.
    Version(Extensions),
    /// The answer to the request of that id.
    Reply(u32, Reply),
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// How it ended.
    Status(Status),
    /// An open file or directory.
    Handle(Bytes),
    /// Bytes of a file: at least one, maybe fewer than asked for.
    Data(Bytes),
    /// Names.
    Names(Vec<Name>),
    /// Attributes.
    Attrs(Attrs),
    /// What an extension answers.
    Extended(Bytes),
}

/// One name of a listing, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Any bytes but `/` in a listing, as far as a server is honest: check it.
    pub name: Bytes,
    /// Of the thing itself, not of what a link points to.
    pub attrs: Attrs,
}

impl Packet {
    /// Reads a packet without its length.
    pub fn decode(packet: Bytes) -> Result<Self, Garbled> {
        let mut fields = Fields::of(packet);
        let number = fields.byte()?;
        if number == 2 {
            return match fields.u32()? {
                VERSION => Ok(Self::Version(Extensions::take(&mut fields)?)),
                _ => Err(Garbled("the server speaks another version of SFTP than 3")),
            };
        }
        let id = fields.u32()?;
        let reply = match number {
            101 => Reply::Status(status(&mut fields)?),
            102 => Reply::Handle(handle(&mut fields)?),
            103 => Reply::Data(fields.string()?),
            104 => Reply::Names(names(&mut fields)?),
            105 => Reply::Attrs(Attrs::take(&mut fields)?),
            201 => Reply::Extended(fields.rest()),
            _ => return Err(Garbled("a packet of an unknown kind")),
        };
        Ok(Self::Reply(id, reply))
    }
}

/// Some servers leave out the text and its language.
fn status(fields: &mut Fields) -> Result<Status, Garbled> {
    let code = Code::of(fields.u32()?);
    let message = if fields.is_empty() { Bytes::new() } else { fields.string()? };
    Ok(Status::new(code, &message))
}

fn handle(fields: &mut Fields) -> Result<Bytes, Garbled> {
    let handle = fields.string()?;
    // "The length of the handle string MUST NOT exceed 256 data bytes", section 6.3 of the draft.
    if handle.len() > 256 {
        return Err(Garbled("a handle longer than 256 bytes"));
    }
    Ok(handle)
}

fn names(fields: &mut Fields) -> Result<Vec<Name>, Garbled> {
    /// The shortest a name can be: two empty strings and no attributes.
    const SHORTEST: usize = 12;
    let count = fields.u32()? as usize;
    if count > fields.len() / SHORTEST {
        return Err(Garbled("a listing that claims more names than it holds"));
    }
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let name = fields.string()?;
        let _as_ls_shows_it = fields.string()?;
        names.push(Name { name, attrs: Attrs::take(fields)? });
    }
    Ok(names)
}
