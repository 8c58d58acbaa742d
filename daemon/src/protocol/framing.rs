//! Messages on a byte stream: each ends with an empty line.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::MAX_MESSAGE;

/// What comes out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One message, without the empty line.
    Message(Bytes),
    /// A message longer than [`MAX_MESSAGE`]; it is passed over up to its empty line.
    TooLong,
}

/// Cuts a stream into messages at empty lines and writes messages with one after them. Lines may end with CRLF; empty
/// lines before a message are passed over; the end of the stream ends a message too. Holds never more than one message.
#[derive(Debug, Default)]
pub struct Framing {
    /// How far the buffer is known to hold no empty line.
    searched: usize,
    /// Whether the message at hand is too long and being passed over.
    skipping: bool,
}

impl Decoder for Framing {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        loop {
            if self.searched == 0 && !self.skipping {
                pass_over_empty_lines(buffer);
            }
            let Some((length, gap)) = empty_line(buffer, self.searched) else {
                return Ok(self.wait(buffer));
            };
            let message = buffer.split_to(length).freeze();
            buffer.advance(gap);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Ok(Some(whole(message)));
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        let rest = buffer.split().freeze();
        let blank = self.skipping || rest.iter().all(u8::is_ascii_whitespace);
        *self = Self::default();
        Ok((!blank).then_some(whole(rest)))
    }
}

impl Framing {
    /// Keeps what an empty line may still begin with, and says so once if the message has become too long.
    fn wait(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        if self.skipping {
            buffer.advance(buffer.len().saturating_sub(TAIL));
        }
        self.searched = buffer.len().saturating_sub(TAIL);
        if self.skipping || buffer.len() <= MAX_MESSAGE + TAIL {
            return None;
        }
        buffer.advance(buffer.len() - TAIL);
        (self.searched, self.skipping) = (0, true);
        Some(Frame::TooLong)
    }
}

fn whole(message: Bytes) -> Frame {
    if message.len() > MAX_MESSAGE { Frame::TooLong } else { Frame::Message(message) }
}

/// The longest beginning of `\r\n\r\n` that is not yet an empty line.
const TAIL: usize = 3;

/// Where the first empty line stands: the length of the message before it, and of the line ends between.
fn empty_line(buffer: &[u8], from: usize) -> Option<(usize, usize)> {
    let ends = buffer.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n');
    for (at, _) in ends {
        let line_end = match buffer.get(at + 1..) {
            Some([b'\n', ..]) => 1,
            Some([b'\r', b'\n', ..]) => 2,
            _ => continue,
        };
        let length = if at > 0 && buffer[at - 1] == b'\r' { at - 1 } else { at };
        return Some((length, at + 1 + line_end - length));
    }
    None
}

fn pass_over_empty_lines(buffer: &mut BytesMut) {
    loop {
        match buffer.as_ref() {
            [b'\n', ..] => buffer.advance(1),
            [b'\r', b'\n', ..] => buffer.advance(2),
            _ => return,
        }
    }
}

impl Encoder<Bytes> for Framing {
    type Error = io::Error;

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> io::Result<()> {
        buffer.reserve(message.len() + 2);
        buffer.extend_from_slice(&message);
        buffer.extend_from_slice(b"\n\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the chunks one after the other, then the end.
    fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut framing, mut buffer, mut found) = (Framing::default(), BytesMut::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = framing.decode(&mut buffer).unwrap() {
                found.push(frame);
            }
        }
        while let Some(frame) = framing.decode_eof(&mut buffer).unwrap() {
            found.push(frame);
        }
        found
    }

    fn message(text: &str) -> Frame {
        Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    const STREAM: &[u8] =
        b"\n\n{\"a\":\n 1}\n\n\r\n{\r\n \"b\": 2\r\n}\r\n\r\n\n{\"c\":3}\n\r\n{\"d\":4}\r\n\n{\"e\":5}\n\n";

    fn expected() -> Vec<Frame> {
        ["{\"a\":\n 1}", "{\r\n \"b\": 2\r\n}", "{\"c\":3}", "{\"d\":4}", "{\"e\":5}"].map(message).to_vec()
    }

    #[test]
    fn a_stream_is_cut_alike_wherever_it_is_split() {
        assert_eq!(frames([STREAM]), expected());
        for first in 0..STREAM.len() {
            let (one, rest) = STREAM.split_at(first);
            assert_eq!(frames([one, rest]), expected(), "split at {first}");
            for second in 0..rest.len() {
                let (two, three) = rest.split_at(second);
                assert_eq!(frames([one, two, three]), expected(), "split at {first} and {second} after");
            }
        }
        assert_eq!(frames(STREAM.chunks(1)), expected());
    }

    #[test]
    fn the_end_of_the_stream_ends_a_message() {
        assert_eq!(frames([&b"{\"a\":1}"[..]]), [message("{\"a\":1}")]);
        assert_eq!(frames([&b"{\"a\":1}\n\n{\"b\":2}\n"[..]]), [message("{\"a\":1}"), message("{\"b\":2}\n")]);
        assert_eq!(frames([&b" \n \n"[..]]), []);
    }

    #[test]
    fn a_message_that_is_too_long_is_told_once_and_passed_over() {
        let long = vec![b'x'; MAX_MESSAGE + 1];
        for size in [61, 4096, 3 * MAX_MESSAGE] {
            for end in ["\n\n", "\r\n\r\n", "\n\r\n"] {
                let mut stream = b"{}\n\n".to_vec();
                stream.extend_from_slice(&long);
                stream.extend_from_slice(&long);
                stream.extend_from_slice(end.as_bytes());
                stream.extend_from_slice(b"{}\n\n");
                assert_eq!(
                    frames(stream.chunks(size)),
                    [message("{}"), Frame::TooLong, message("{}")],
                    "{size} {end:?}"
                );
            }
        }
        assert_eq!(frames([long.as_slice()]), [Frame::TooLong]);
    }

    #[test]
    fn the_longest_message_passes() {
        let longest = vec![b'x'; MAX_MESSAGE];
        let stream = [longest.as_slice(), b"\r\n\r\n"].concat();
        for size in [1 << 16, MAX_MESSAGE, MAX_MESSAGE + 1, MAX_MESSAGE + 2, MAX_MESSAGE + 4] {
            assert_eq!(frames(stream.chunks(size)), [Frame::Message(Bytes::from(longest.clone()))], "{size}");
        }
    }

    #[test]
    fn memory_stays_bounded_while_passing_over() {
        let (mut framing, mut buffer) = (Framing::default(), BytesMut::new());
        for _ in 0..64 {
            buffer.extend_from_slice(&vec![b'x'; 1 << 17]);
            while framing.decode(&mut buffer).unwrap().is_some() {}
            assert!(buffer.len() <= MAX_MESSAGE + TAIL);
        }
    }
}
