//! The fields that packets are made of: big-endian numbers, and strings with their length before them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Garbled;

/// What is left to read of a packet. Every length in it is checked before it is believed.
pub struct Fields(Bytes);

impl Fields {
    pub fn of(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn byte(&mut self) -> Result<u8, Garbled> {
        self.0.try_get_u8().map_err(|_| SHORT)
    }

    pub fn u32(&mut self) -> Result<u32, Garbled> {
        self.0.try_get_u32().map_err(|_| SHORT)
    }

    pub fn u64(&mut self) -> Result<u64, Garbled> {
        self.0.try_get_u64().map_err(|_| SHORT)
    }

    pub fn string(&mut self) -> Result<Bytes, Garbled> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(SHORT);
        }
        Ok(self.0.split_to(length))
    }

    pub fn rest(self) -> Bytes {
        self.0
    }
}

const SHORT: Garbled = Garbled("a packet ends before its fields do");

/// Appends a string with its length before it.
pub fn put_string(out: &mut BytesMut, string: &[u8]) {
    // INVARIANT: callers hold strings to what a packet can carry: paths and chunks of a file.
    out.put_u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
    out.put_slice(string);
}
