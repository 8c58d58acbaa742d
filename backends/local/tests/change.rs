//! Changes: what they do, what they refuse, what they keep.

mod kit;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use bytes::Bytes;
use kit::{content, fault, path, storage};
use wl_core::backend::{Backend as _, Body, Content, Guard, Reading};
use wl_core::entry::{Hash, Meta};
use wl_core::error::Fault;
use wl_test_kit::known;

#[tokio::test]
async fn creates_replaces_and_says_what_stands_there() {
    let s = storage();
    let mtime = jiff::Timestamp::new(1_000_000_000, 123_456_789).unwrap();
    let meta = Meta { mtime: Some(mtime), mode: Some(0o640) };
    for bytes in [Bytes::new(), Bytes::from("small"), Bytes::from(vec![7; 3 << 20])] {
        let name = format!("f{}", bytes.len());
        let new = Content::of(bytes.clone(), meta);
        let written = s.local.replace(&path(&name), new, &Guard::Absent, None).await.unwrap();
        assert_eq!(written.hash, Hash::of(&bytes));
        assert_eq!(written.entry, s.entry(&name).await);
        assert_eq!((written.entry.size, written.entry.meta), (bytes.len() as u64, meta));
        let guard = Guard::Unchanged(written.entry.token);
        let again = s.local.replace(&path(&name), content("next"), &guard, None).await.unwrap();
        assert_eq!((again.entry, s.text(&name).as_deref()), (s.entry(&name).await, Some("next")));
        assert_eq!(s.entry(&name).await.meta.mode, Some(0o640), "the replaced file's mode stays");
    }
    assert!(s.is_tidy());
}

#[tokio::test]
async fn every_change_refuses_another_version() {
    let s = storage();
    s.put("f", "old");
    let stale = s.token("f").await;
    s.put("f", "new");
    let (f, to, guard) = (path("f"), path("to"), Guard::Unchanged(stale.clone()));
    assert_eq!(fault(s.create("f", "x").await), Fault::Refused);
    assert_eq!(fault(s.local.replace(&f, content("x"), &guard, None).await), Fault::Refused);
    assert_eq!(fault(s.local.replace(&path("none"), content("x"), &guard, None).await), Fault::Refused);
    assert_eq!(fault(s.local.remove(&f, &stale, None).await), Fault::Refused);
    assert_eq!(fault(s.local.move_within(&f, &stale, &to).await), Fault::Refused);
    assert_eq!(fault(s.local.copy_within(known(&f, &stale, b"old"), &to).await), Fault::Refused);
    assert_eq!(fault(s.local.set_meta(&f, &stale, &Meta::default()).await), Fault::Refused);
    s.put("to", "taken");
    let token = s.token("f").await;
    assert_eq!(fault(s.local.move_within(&f, &token, &to).await), Fault::Refused);
    assert_eq!(fault(s.local.copy_within(known(&f, &token, b"new"), &to).await), Fault::Refused);
    assert_eq!(s.contents(), ["new", "taken"]);
    assert!(s.is_tidy());
}

#[tokio::test]
async fn directories_and_special_files_are_never_replaced() {
    let s = storage();
    s.put("dir/f", "x");
    symlink("dir/f", s.at("link")).unwrap();
    for name in ["dir", "link"] {
        assert_eq!(fault(s.create(name, "y").await), Fault::Refused, "{name}");
        let guard = Guard::Unchanged(s.token("dir/f").await);
        assert_eq!(fault(s.local.replace(&path(name), content("y"), &guard, None).await), Fault::Refused);
    }
    assert_eq!(fault(s.create("none/f", "y").await), Fault::Missing);
    assert_eq!(s.text("dir/f").as_deref(), Some("x"));
}

#[tokio::test]
async fn nothing_passes_through_a_link() {
    let s = storage();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "theirs").unwrap();
    s.put("in/f", "ours");
    let token = s.token("in/f").await;
    fs::rename(s.at("in"), s.at("was")).unwrap();
    symlink(outside.path(), s.at("in")).unwrap();
    let (f, new) = (path("in/f"), path("in/new"));
    assert_eq!(fault(s.create("in/new", "x").await), Fault::Refused);
    assert_eq!(fault(s.local.hash(&f, &token).await), Fault::Refused);
    assert_eq!(fault(s.local.read(&f, &token, 0).await.map(drop)), Fault::Refused);
    assert_eq!(fault(s.local.remove(&f, &token, None).await), Fault::Refused);
    assert_eq!(fault(s.local.make_dir(&path("in/d"), &Meta::default()).await), Fault::Refused);
    assert_eq!(fault(s.local.remove_dir(&path("in")).await), Fault::Refused);
    assert_eq!(fault(s.local.move_within(&path("was/f"), &token, &new).await), Fault::Refused);
    // The trash is no way out either.
    symlink(outside.path(), s.at(".wl-trash")).unwrap();
    let token = s.token("was/f").await;
    let trash = path(".wl-trash/f");
    assert_eq!(fault(s.local.remove(&path("was/f"), &token, Some(&trash)).await), Fault::Refused);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(s.text("was/f").as_deref(), Some("ours"));
}

#[tokio::test]
async fn a_content_that_is_not_what_was_announced_changes_nothing() {
    let s = storage();
    s.put("f", "old");
    let guard = Guard::Unchanged(s.token("f").await);
    let body = |size: u64, hash: Option<Hash>, pieces: &'static [&'static [u8]]| {
        Content::new(size, hash, move |_| {
            let body: Body = Box::pin(futures::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece)))));
            Box::pin(std::future::ready(Ok(Reading { meta: Meta::default(), body })))
        })
    };
    for (what, wrong) in [
        ("short", body(9, None, &[b"four"])),
        ("long", body(3, None, &[b"fo", b"ur"])),
        ("other", body(4, Some(Hash::of(b"five")), &[b"four"])),
        ("short and large", body(9 << 20, None, &[b"four"])),
        ("long and piecemeal", body(3, None, &[b"fo", b"u", b"r"])),
    ] {
        assert_eq!(fault(s.local.replace(&path("f"), wrong, &guard, None).await), Fault::Refused, "{what}");
    }
    assert_eq!(s.contents(), ["old"]);
    assert!(s.is_tidy());
    let right = body(4, Some(Hash::of(b"four")), &[b"fo", b"ur"]);
    assert_eq!(s.local.replace(&path("f"), right, &guard, None).await.unwrap().hash, Hash::of(b"four"));
}

#[tokio::test]
async fn the_trash_keeps_what_went_and_counts_names_up() {
    let s = storage();
    let trash = path(".wl-trash/2026/f.txt");
    let mut token = s.create("f.txt", "v0").await.unwrap().entry.token;
    for version in 1..4 {
        let guard = Guard::Unchanged(token);
        let next = s.local.replace(&path("f.txt"), content(format!("v{version}")), &guard, Some(&trash)).await;
        token = next.unwrap().entry.token;
    }
    s.local.remove(&path("f.txt"), &token, Some(&trash)).await.unwrap();
    assert_eq!(s.text("f.txt"), None);
    for (name, text) in [("f.txt", "v0"), ("f (2).txt", "v1"), ("f (3).txt", "v2"), ("f (4).txt", "v3")] {
        assert_eq!(s.text(&format!(".wl-trash/2026/{name}")).as_deref(), Some(text), "{name}");
    }
    assert_eq!(fs::metadata(s.at(".wl-trash")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(s.is_tidy() && s.names("").await.is_empty());
}

#[tokio::test]
async fn moves_copies_and_dresses() {
    let s = storage();
    s.put("a", "content");
    fs::create_dir(s.at("d")).unwrap();
    fs::set_permissions(s.at("a"), fs::Permissions::from_mode(0o751)).unwrap();
    let first = s.entry("a").await;
    let moved = s.local.move_within(&path("a"), &first.token, &path("d/b")).await.unwrap();
    assert_eq!((moved.meta, &moved), (first.meta, &s.entry("d/b").await));
    let copied = s.local.copy_within(known(&path("d/b"), &moved.token, b"content"), &path("c")).await.unwrap();
    assert_eq!((copied.meta, &copied), (first.meta, &s.entry("c").await));
    assert_eq!((s.text("a"), s.contents()), (None, vec!["content".to_owned(); 2]));
    let meta = Meta { mtime: Some(jiff::Timestamp::UNIX_EPOCH), mode: Some(0o600) };
    let set = s.local.set_meta(&path("c"), &copied.token, &meta).await.unwrap();
    assert_eq!((set.meta, &set), (meta, &s.entry("c").await));
}

#[tokio::test]
async fn directories_are_made_once_and_removed_empty() {
    let s = storage();
    let (d, meta) = (path("d"), Meta { mtime: None, mode: Some(0o750) });
    s.local.make_dir(&d, &meta).await.unwrap();
    s.local.make_dir(&d, &meta).await.unwrap();
    assert_eq!(fs::metadata(s.at("d")).unwrap().mode() & 0o777, 0o750);
    s.put("d/f", "x");
    assert_eq!(fault(s.local.remove_dir(&d).await), Fault::Refused);
    assert_eq!(fault(s.local.make_dir(&path("d/f"), &meta).await), Fault::Refused);
    assert_eq!(fault(s.local.make_dir(&path("no/d"), &meta).await), Fault::Missing);
    assert_eq!(fault(s.local.remove_dir(&path("d/f")).await), Fault::Refused);
    fs::rename(s.at("d/f"), s.at("d/.wl-part-1-10")).unwrap();
    s.local.remove_dir(&d).await.unwrap();
    assert_eq!(fault(s.local.remove_dir(&d).await), Fault::Missing);
}

#[tokio::test]
async fn a_sweep_takes_the_dead_and_leaves_the_living() {
    let s = storage();
    s.put("d/.wl-part-1-10", "half");
    s.put("d/.wl-part-1-11", "half");
    let alive = fs::File::open(s.at("d/.wl-part-1-11")).unwrap();
    rustix::fs::flock(&alive, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(s.local.sweep().await, Ok(0), "only what a listing came across");
    assert_eq!(s.names("").await, ["d/"]);
    assert_eq!(s.local.sweep().await, Ok(1));
    assert_eq!((s.at("d/.wl-part-1-10").exists(), s.at("d/.wl-part-1-11").exists()), (false, true));
    drop(alive);
    assert_eq!(s.local.sweep().await, Ok(1));
}

struct Unmount(std::path::PathBuf);
impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Mounts a small file system there; false, and loudly so, where the test may not.
fn mount_small(at: &std::path::Path) -> Option<Unmount> {
    let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).status();
    if mount.is_ok_and(|status| status.success()) {
        return Some(Unmount(at.to_owned()));
    }
    eprintln!("SKIPPED: only root can mount the small file system this test needs");
    None
}

#[tokio::test]
async fn a_full_disk_says_so_and_changes_nothing() {
    let s = storage();
    let Some(_unmount) = mount_small(s.dir.path()) else { return };
    let token = s.create("f", "old").await.unwrap().entry.token;
    let guard = Guard::Unchanged(token);
    let large = s.local.replace(&path("f"), content(vec![1; 4 << 20]), &guard, None).await;
    assert_eq!(fault(large), Fault::Full);
    s.put("ballast", vec![1; 900 << 10]);
    let small = s.local.replace(&path("f"), content(vec![1; 200 << 10]), &guard, None).await.unwrap_err();
    assert_eq!((small.fault, small.message.contains("no space left")), (Fault::Full, true));
    assert_eq!(s.text("f").as_deref(), Some("old"));
    assert!(s.is_tidy());
}

#[tokio::test]
async fn probing_finds_what_is_known_of_this_system_and_leaves_nothing() {
    let s = storage();
    let facts = s.local.probe().await.unwrap();
    assert_eq!(facts, s.local.facts());
    assert_eq!(fs::read_dir(s.dir.path()).unwrap().count(), 0);
    assert!(facts.trash && facts.mtime && facts.mode && facts.mtime_resolution_ns == 1);
}

#[tokio::test]
async fn a_file_system_mounted_below_keeps_its_trash_at_the_root() {
    let s = storage();
    fs::create_dir(s.at("below")).unwrap();
    let Some(_unmount) = mount_small(&s.at("below")) else { return };
    let token = s.create("below/f", "one").await.unwrap().entry.token;
    let (f, trash) = (path("below/f"), path(".wl-trash/below/f"));
    let written = s.local.replace(&f, content("two"), &Guard::Unchanged(token), Some(&trash)).await.unwrap();
    assert_eq!((s.text("below/f").as_deref(), s.text(".wl-trash/below/f").as_deref()), (Some("two"), Some("one")));
    s.local.remove(&f, &written.entry.token, Some(&trash)).await.unwrap();
    assert_eq!(s.contents(), ["one", "two"]);
    assert_eq!(s.names("").await, ["below/"]);
    let token = s.create("below/f", "three").await.unwrap().entry.token;
    assert_eq!(fault(s.local.move_within(&f, &token, &path("f")).await), Fault::Unsupported);
    assert!(s.is_tidy());
}
