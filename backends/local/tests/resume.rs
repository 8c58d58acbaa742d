//! A large content that was cut off is gone on with, if it is the same version.

mod kit;

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use kit::{Storage, path, storage};
use wl_core::backend::{Backend as _, Body, Content, Guard, Reading};
use wl_core::entry::{Hash, Meta, Token};
use wl_core::error::{Error, Fault};

const SIZE: usize = 80 << 20;
const CUT: usize = 70 << 20;
const PIECE: usize = 1 << 20;

/// A content that fails at [`CUT`] with that fault, where one is given, and the offsets it was read from.
fn large(version: &str, fault: Option<Fault>) -> (Content, Arc<Mutex<Vec<u64>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let offsets = asked.clone();
    let content = Content::new(SIZE as u64, None, move |from| {
        offsets.lock().unwrap().push(from);
        let begins = usize::try_from(from).unwrap();
        let ends = if fault.is_some() { CUT } else { SIZE };
        let pieces =
            (begins..ends).step_by(PIECE).map(move |at| Ok(Bytes::from(bytes()[at..ends.min(at + PIECE)].to_vec())));
        let failure = fault.map(|fault| Err(Error::new(fault, "cut off")));
        let body: Body = stream::iter(pieces.chain(failure)).boxed();
        Box::pin(std::future::ready(Ok(Reading { meta: Meta::default(), body })))
    });
    (content.identified("there", &path("f"), &Token::new(version.as_bytes())), asked)
}

fn bytes() -> &'static [u8] {
    static BYTES: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| (0..SIZE).map(|at| u8::try_from((at / 4096 + at % 251) % 256).unwrap()).collect());
    &BYTES
}

fn parts(s: &Storage) -> Vec<String> {
    let names = fs::read_dir(s.dir.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".wl-part-")).collect()
}

/// Writes the content, which must succeed; the offsets it was read from.
async fn completes(s: &Storage, version: &str) -> Vec<u64> {
    let (content, asked) = large(version, None);
    let written = s.local.replace(&path("f"), content, &Guard::Absent, None).await.unwrap();
    assert_eq!(written.hash, Hash::of(bytes()));
    assert!(fs::read(s.at("f")).unwrap() == bytes());
    asked.lock().unwrap().clone()
}

async fn cut_off(s: &Storage, fault: Fault) {
    let (content, _) = large("1", Some(fault));
    let error = s.local.replace(&path("f"), content, &Guard::Absent, None).await.unwrap_err();
    assert_eq!(error.fault, fault);
}

#[tokio::test]
async fn the_same_version_is_gone_on_with() {
    let s = storage();
    cut_off(&s, Fault::Offline).await;
    s.items("").await;
    s.local.sweep().await.unwrap();
    assert_eq!(parts(&s).len(), 2, "the content and its note are kept for a while");
    assert_eq!(completes(&s, "1").await, [64 << 20]);
    assert_eq!(parts(&s), [""; 0]);
}

#[tokio::test]
async fn what_is_no_longer_what_was_written_is_not() {
    let s = storage();
    cut_off(&s, Fault::Stopped).await;
    let part = parts(&s).into_iter().find(|name| !name.contains(".at")).unwrap();
    let mut file = File::options().write(true).open(s.at(&part)).unwrap();
    file.seek(SeekFrom::Start(1000)).unwrap();
    file.write_all(b"damage").unwrap();
    assert_eq!(completes(&s, "1").await, [0]);
}

#[tokio::test]
async fn another_version_begins_again() {
    let s = storage();
    cut_off(&s, Fault::Offline).await;
    assert_eq!(completes(&s, "2").await, [0]);
}

#[tokio::test]
async fn what_can_never_be_gone_on_with_is_not_kept() {
    let s = storage();
    for fault in [Fault::Refused, Fault::Missing, Fault::Full] {
        cut_off(&s, fault).await;
        // A full disk at the other end passes; this one's own is another matter.
        assert_eq!(parts(&s).is_empty(), !fault.passes(), "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_kept_does_not_keep_a_directory() {
    let s = storage();
    fs::create_dir(s.at("d")).unwrap();
    let (content, _) = large("1", Some(Fault::Offline));
    s.local.replace(&path("d/f"), content, &Guard::Absent, None).await.unwrap_err();
    s.local.remove_dir(&path("d")).await.unwrap();
    assert!(!s.at("d").exists());
}
