//! What is written is as the standard has it, and nothing that is read does harm.

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::extension::POSIX_RENAME;
use super::*;

fn encoded(request: &Request) -> Vec<u8> {
    let mut out = BytesMut::new();
    request.encode(7, &mut out);
    out.to_vec()
}

fn packet(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

const ALL: Attrs = Attrs { size: Some(5), owner: Some((1, 2)), permissions: Some(0o100_644), times: Some((3, 4)) };

#[test]
fn requests_are_as_the_standard_has_them() {
    let path = Bytes::from_static(b"a\xff");
    let attrs = Attrs { permissions: Some(0o644), ..Attrs::default() };
    let flags = OpenFlags::WRITE.and(OpenFlags::CREATE).and(OpenFlags::EXCLUSIVE);
    let open = encoded(&Request::Open { path: path.clone(), flags, attrs });
    assert_eq!(open, b"\0\0\0\x17\x03\0\0\0\x07\0\0\0\x02a\xff\0\0\0\x2a\0\0\0\x04\0\0\x01\xa4");
    let read = encoded(&Request::Read { handle: path.clone(), offset: 1 << 40, length: 9 });
    assert_eq!(read, b"\0\0\0\x17\x05\0\0\0\x07\0\0\0\x02a\xff\0\0\x01\0\0\0\0\0\0\0\0\x09");
    let write = encoded(&Request::Write { handle: path.clone(), offset: 1, data: Bytes::from_static(b"xyz") });
    assert_eq!(write, b"\0\0\0\x1a\x06\0\0\0\x07\0\0\0\x02a\xff\0\0\0\0\0\0\0\x01\0\0\0\x03xyz");
    let mut body = BytesMut::new();
    put_string(&mut body, b"a");
    put_string(&mut body, b"b");
    let rename = encoded(&Request::Extended { name: POSIX_RENAME, body: body.freeze() });
    assert_eq!(rename, b"\0\0\0\x2b\xc8\0\0\0\x07\0\0\0\x18posix-rename@openssh.com\0\0\0\x01a\0\0\0\x01b");
    assert_eq!(Request::init(), *b"\0\0\0\x05\x01\0\0\0\x03");
}

#[test]
fn answers_are_understood() {
    let status = |code, message: &str| Reply::Status(Status { code, message: message.into() });
    let mut attrs = BytesMut::new();
    put_attrs(&mut attrs, &ALL);
    for (bytes, reply) in [
        (packet(&[b"\x65\0\0\0\x09\0\0\0\0\0\0\0\x02ok\0\0\0\0"]), status(Code::Ok, "ok")),
        (packet(&[b"\x65\0\0\0\x09\0\0\0\x04"]), status(Code::Failure, "")),
        (packet(&[b"\x65\0\0\0\x09\0\0\0\x63\0\0\0\x03a\x1b["]), status(Code::Other(99), "a[")),
        (packet(&[b"\x66\0\0\0\x09\0\0\0\x02\0\x01"]), Reply::Handle(Bytes::from_static(b"\0\x01"))),
        (packet(&[b"\x67\0\0\0\x09\0\0\0\x01x"]), Reply::Data(Bytes::from_static(b"x"))),
        (packet(&[b"\x69\0\0\0\x09", &attrs]), Reply::Attrs(ALL)),
        (
            packet(&[b"\x68\0\0\0\x09\0\0\0\x01\0\0\0\x01n\0\0\0\x02-r", &attrs]),
            Reply::Names(vec![Name { name: Bytes::from_static(b"n"), attrs: ALL }]),
        ),
        (packet(&[b"\xc9\0\0\0\x09zz"]), Reply::Extended(Bytes::from_static(b"zz"))),
    ] {
        assert_eq!(Packet::decode(bytes), Ok(Packet::Reply(9, reply)));
    }
}

#[test]
fn a_beginning_names_extensions() {
    let hello = b"\x02\0\0\0\x03\0\0\0\x09copy-data\0\0\0\x011\0\0\0\x13statvfs@openssh.com\0\0\0\x011";
    let Ok(Packet::Version(extensions)) = Packet::decode(Bytes::from_static(hello)) else { panic!("no beginning") };
    assert!(extensions.has("copy-data"));
    assert!(!extensions.has("statvfs@openssh.com"), "wl knows version 2 of it");
    assert!(!extensions.has("fsync@openssh.com"));
    assert!(Packet::decode(Bytes::from_static(b"\x02\0\0\0\x06")).unwrap_err().0.contains("version"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bytes in [
        &b""[..],
        b"\x65",
        b"\x65\0\0\0\x09",
        b"\x65\0\0\0\x09\0\0\0\x04\0\0\0\x05ab",
        b"\x67\0\0\0\x09\xff\xff\xff\xffx",
        b"\x68\0\0\0\x09\xff\xff\xff\xff",
        b"\x68\0\0\0\x09\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x69\0\0\0\x09\x80\0\0\0\xff\xff\xff\xff",
        b"\x63\0\0\0\x09",
    ] {
        assert!(Packet::decode(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
    }
    let long = [&b"\x66\0\0\0\x09\0\0\x01\x01"[..], &[0; 257]].concat();
    assert!(Packet::decode(long.into()).is_err());
    for length in [0, u32::try_from(MAX_PACKET).unwrap() + 1, u32::MAX] {
        let mut frames = Frames::default();
        frames.push(&length.to_be_bytes());
        assert!(frames.next().is_err());
    }
}

#[test]
fn kinds_are_told_apart() {
    for (permissions, kind) in [
        (Some(0o100_644), FileType::File),
        (Some(0o040_755), FileType::Dir),
        (Some(0o120_777), FileType::Link),
        (Some(0o140_755), FileType::Special),
        (Some(0o060_600), FileType::Special),
        (Some(0o644), FileType::Unknown),
        (None, FileType::Unknown),
    ] {
        assert_eq!(Attrs { permissions, ..Attrs::default() }.file_type(), kind);
    }
}

fn any_attrs() -> impl Strategy<Value = Attrs> {
    let parts = (any::<Option<u64>>(), any::<Option<(u32, u32)>>(), any::<Option<u32>>(), any::<Option<(u32, u32)>>());
    parts.prop_map(|(size, owner, permissions, times)| Attrs { size, owner, permissions, times })
}

/// The beginning of a packet that looks right, and then anything.
fn almost_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![Just(2), Just(101), Just(102), Just(103), Just(104), Just(105), Just(201), any::<u8>()];
    let small = prop_oneof![Just(0_u32), 0..16_u32, any::<u32>()];
    let fields =
        prop::collection::vec(prop_oneof![small.prop_map(|n| n.to_be_bytes().to_vec()), any::<Vec<u8>>()], 0..20);
    (number, any::<u32>(), fields)
        .prop_map(|(number, id, fields)| [vec![number], id.to_be_bytes().to_vec(), fields.concat()].concat())
}

proptest! {
    #[test]
    fn attributes_come_back(attrs in any_attrs(), rest in any::<Vec<u8>>()) {
        let mut bytes = BytesMut::from(&b"\x68\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0"[..]);
        put_attrs(&mut bytes, &attrs);
        bytes.put_slice(&rest);
        let names = Reply::Names(vec![Name { name: Bytes::new(), attrs }]);
        prop_assert_eq!(Packet::decode(bytes.freeze()), Ok(Packet::Reply(1, names)));
    }

    #[test]
    fn nothing_does_harm(bytes in almost_a_packet()) {
        let size = bytes.len();
        if let Ok(Packet::Reply(_, Reply::Names(names))) = Packet::decode(Bytes::from(bytes.clone())) {
            prop_assert!(names.len() <= size);
        }
        let _ = StatVfs::decode(Bytes::from(bytes.clone()));
        let _ = Limits::decode(Bytes::from(bytes));
    }

    #[test]
    fn any_stream_is_cut_alike_however_it_arrives(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20),
        pieces in prop::collection::vec(1..40_usize, 1..50),
    ) {
        let mut stream = BytesMut::new();
        for packet in &packets {
            put_string(&mut stream, packet);
        }
        let (mut frames, mut found, mut pieces) = (Frames::default(), Vec::new(), pieces.into_iter().cycle());
        while !stream.is_empty() {
            let piece = pieces.next().unwrap_or(1).min(stream.len());
            frames.push(&stream.split_to(piece));
            while let Some(packet) = frames.next().unwrap() {
                found.push(packet.to_vec());
            }
        }
        prop_assert_eq!(found, packets);
    }
}
