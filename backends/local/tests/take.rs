//! A version of another directory, taken over: by the system's own copying, and by sharing where a file system can.

mod kit;

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kit::{Storage, fault, path};
use wl_backend_local::Local;
use wl_core::backend::{Guard, Written};
use wl_core::entry::{Hash, Token};
use wl_core::error::{Fault, Result};
use wl_test_kit::mounted::{Mounted, SHARING};

/// Two directories, and the file system they are on.
struct Two {
    a: Storage,
    b: Storage,
    shares: bool,
    _around: Option<(Mounted, tempfile::TempDir)>,
}

impl Two {
    fn below(dir: &Path) -> Self {
        let [a, b] = [(); 2].map(|()| {
            let dir = tempfile::tempdir_in(dir).unwrap();
            Storage { local: Local::new(dir.path()).unwrap(), dir }
        });
        Self { a, b, shares: false, _around: None }
    }

    fn plain() -> Self {
        let mut two = Self::below(&std::env::temp_dir());
        two.shares = two.sharing_is_seen();
        two
    }

    /// Whether the temporary directory is on such a file system already.
    fn sharing_is_seen(&self) -> bool {
        self.a.put("try", "x");
        let files = [File::open(self.a.at("try")).unwrap(), File::create(self.b.at("try")).unwrap()];
        let shared = rustix::fs::ioctl_ficlone(&files[1], &files[0]).is_ok();
        for s in [&self.a, &self.b] {
            fs::remove_file(s.at("try")).unwrap();
        }
        shared
    }

    /// On the usual file system, and on those that share where they can be mounted.
    fn everywhere() -> Vec<Self> {
        let mounted = SHARING.into_iter().filter_map(|kind| {
            let around = tempfile::tempdir().unwrap();
            let mounted = Mounted::new(kind, around.path())?;
            let two = Self::below(mounted.path());
            assert!(two.sharing_is_seen(), "{kind} does not share");
            Some(Self { shares: true, _around: Some((mounted, around)), ..two })
        });
        std::iter::once(Self::plain()).chain(mounted).collect()
    }

    async fn take(&self, guard: &Guard) -> Result<Option<Written>> {
        self.take_while(None, guard, |_| {}).await
    }

    async fn take_while(
        &self,
        hash: Option<Hash>,
        guard: &Guard,
        passed: impl Fn(u64) + Send + 'static,
    ) -> Result<Option<Written>> {
        let version = self.a.local.open(&path("f"), &self.a.token("f").await).await?;
        self.b.local.replace_with(&path("f"), (version, hash), guard, Some(&path(".wl-trash/f")), passed).await
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at / 4096 + at % 251) % 256).unwrap()).collect()
}

const SIZE: usize = (3 << 20) + 17;

#[tokio::test]
async fn all_of_it_and_what_travels_beside_it() {
    for two in Two::everywhere() {
        for size in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, SIZE] {
            let content = bytes(size);
            two.a.put("f", &content);
            let mtime = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
            fs::set_permissions(two.a.at("f"), Permissions::from_mode(0o640)).unwrap();
            let file = File::options().write(true).open(two.a.at("f")).unwrap();
            file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
            let passed = Arc::new(std::sync::atomic::AtomicU64::new(0));
            let count = passed.clone();
            let counted = move |bytes| {
                count.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            };
            let written = two.take_while(Some(Hash::of(&content)), &Guard::Absent, counted).await.unwrap().unwrap();
            assert_eq!(written.hash, Hash::of(&content));
            assert!(fs::read(two.b.at("f")).unwrap() == content, "{size}");
            let seen = two.b.entry("f").await;
            assert_eq!((seen.size, seen.meta), (size as u64, two.a.entry("f").await.meta));
            assert!(written.entry.token.same(&seen.token));
            assert_eq!(passed.load(std::sync::atomic::Ordering::Relaxed), size as u64);
            fs::remove_file(two.b.at("f")).unwrap();
            assert!(two.b.is_tidy());
        }
    }
}

#[tokio::test]
async fn shared_content_takes_no_room() {
    for two in Two::everywhere().into_iter().filter(|two| two.shares) {
        two.a.put("f", bytes(32 << 20));
        two.take(&Guard::Absent).await.unwrap().unwrap();
        let used = || {
            File::open(two.b.dir.path()).unwrap().sync_all().unwrap();
            let found = rustix::fs::statvfs(two.b.dir.path()).unwrap();
            (found.f_blocks - found.f_bfree) * found.f_frsize
        };
        let before = used();
        fs::remove_file(two.b.at("f")).unwrap();
        two.take(&Guard::Absent).await.unwrap().unwrap();
        assert!(used() < before + (8 << 20), "{before} {}", used());
    }
}

#[tokio::test]
async fn only_what_is_expected_is_replaced_and_kept() {
    for two in Two::everywhere() {
        two.a.put("f", bytes(SIZE));
        two.b.put("f", "old");
        let seen = two.b.token("f").await;
        assert_eq!(fault(two.take(&Guard::Absent).await), Fault::Refused);
        assert_eq!(fault(two.take(&Guard::Unchanged(Token::new(b"another"))).await), Fault::Refused);
        // Somebody comes while it is copied.
        let at = two.b.at("f");
        let meddle = move |_| fs::write(&at, "user's").unwrap();
        assert_eq!(fault(two.take_while(None, &Guard::Unchanged(seen), meddle).await), Fault::Refused);
        assert_eq!(two.b.text("f").as_deref(), Some("user's"));
        two.take(&Guard::Unchanged(two.b.token("f").await)).await.unwrap().unwrap();
        assert!(fs::read(two.b.at("f")).unwrap() == bytes(SIZE));
        assert_eq!(two.b.text(".wl-trash/f").as_deref(), Some("user's"));
        assert!(two.b.is_tidy());
    }
}

/// Written to while it is read, a copied version is refused; a shared one is that of one moment.
#[tokio::test]
async fn never_a_mixture() {
    for two in Two::everywhere() {
        two.a.put("f", bytes(SIZE));
        let at = two.a.at("f");
        let meddle = move |_| {
            let mut file = File::options().write(true).open(&at).unwrap();
            file.seek(SeekFrom::Start(SIZE as u64 / 2)).unwrap();
            file.write_all(b"user's").unwrap();
        };
        let taken = two.take_while(None, &Guard::Absent, meddle).await;
        if two.shares {
            assert_eq!(taken.unwrap().unwrap().hash, Hash::of(&bytes(SIZE)));
            assert!(fs::read(two.b.at("f")).unwrap() == bytes(SIZE));
        } else {
            assert_eq!(fault(taken), Fault::Refused);
            assert!(!two.b.at("f").exists());
        }
        assert!(two.b.is_tidy());
    }
}

#[tokio::test]
async fn cut_short_while_it_is_copied_it_is_refused() {
    let two = Two::plain();
    two.a.put("f", bytes(SIZE));
    let at = two.a.at("f");
    let cut = move |_| File::options().write(true).open(&at).unwrap().set_len(10).unwrap();
    let taken = two.take_while(None, &Guard::Absent, cut).await;
    assert!(two.shares || fault(taken) == Fault::Refused);
    assert!(two.b.is_tidy());
}

#[tokio::test]
async fn another_content_than_it_should_be_is_refused() {
    let two = Two::plain();
    two.a.put("f", bytes(SIZE));
    let taken = two.take_while(Some(Hash::of(b"another")), &Guard::Absent, |_| {}).await;
    assert_eq!(fault(taken), Fault::Refused);
    assert!(!two.b.at("f").exists() && two.b.is_tidy());
}

#[tokio::test]
async fn holes_are_zeros() {
    for two in Two::everywhere() {
        let size = 40 << 20;
        let mut file = File::create(two.a.at("f")).unwrap();
        file.set_len(size).unwrap();
        file.seek(SeekFrom::Start(20 << 20)).unwrap();
        file.write_all(b"in the middle").unwrap();
        let written = two.take(&Guard::Absent).await.unwrap().unwrap();
        let content = fs::read(two.a.at("f")).unwrap();
        assert!(fs::read(two.b.at("f")).unwrap() == content);
        assert_eq!(written.hash, Hash::of(&content));
    }
}

/// What the system cannot do it says, and nothing has changed.
#[tokio::test]
async fn not_between_file_systems_that_have_nothing_in_common() {
    let around = tempfile::tempdir().unwrap();
    let Some(memory) = Mounted::in_memory(around.path(), 8192) else { return };
    let two = Two { b: Two::below(memory.path()).b, ..Two::plain() };
    two.a.put("f", bytes(SIZE));
    assert_eq!(two.take(&Guard::Absent).await, Ok(None));
    assert!(!two.b.at("f").exists() && two.b.is_tidy());
}

#[tokio::test]
async fn a_full_disk_keeps_nothing() {
    let around = tempfile::tempdir().unwrap();
    let Some(memory) = Mounted::in_memory(around.path(), 5000) else { return };
    let two = Two::below(memory.path());
    two.a.put("f", bytes(SIZE));
    two.b.put("f", "old");
    assert_eq!(fault(two.take(&Guard::Unchanged(two.b.token("f").await)).await), Fault::Full);
    assert_eq!(two.b.text("f").as_deref(), Some("old"));
    assert!(two.b.is_tidy());
}

#[tokio::test(flavor = "multi_thread")]
async fn called_off_it_leaves_nothing() {
    let two = Two::plain();
    two.a.put("f", bytes(SIZE));
    for at in 0..30 {
        let take = two.take(&Guard::Absent);
        let _ = tokio::time::timeout(Duration::from_micros(at * 200), take).await;
        kit::eventually("the part file is gone", || two.b.is_tidy()).await;
        let _ = fs::remove_file(two.b.at("f"));
    }
}
