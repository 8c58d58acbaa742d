//! Cuts a stream of bytes into packets.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Garbled, MAX_PACKET};

/// Bytes that arrived and are no whole packet yet.
#[derive(Default)]
pub struct Frames {
    held: BytesMut,
}

impl Frames {
    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole packet without its length. After an error the stream cannot be understood any more.
    pub fn next(&mut self) -> Result<Option<Bytes>, Garbled> {
        let Some(length) = self.held.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > MAX_PACKET {
            return Err(Garbled("a packet of an impossible length"));
        }
        if self.held.len() < 4 + length {
            self.held.reserve(4 + length - self.held.len());
            return Ok(None);
        }
        self.held.advance(4);
        Ok(Some(self.held.split_to(length).freeze()))
    }
}
