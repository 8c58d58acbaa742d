//! Large contents go up in chunks where the server takes them, and nothing but the whole of them takes effect.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::SystemTime;

use jiff::Timestamp;
use wl_test_kit::servers::sabre::NEXTCLOUD_FILES;

use super::*;

const MIB: usize = 1 << 20;
const CHUNK: usize = 10 * MIB;
const SIZE: usize = 2 * CHUNK + 12_345;
const DATE: i64 = 1_500_000_000;

fn bytes() -> Bytes {
    static BYTES: LazyLock<Bytes> =
        LazyLock::new(|| (0..SIZE).map(|at| u8::try_from((at / 4096 + at % 251) % 256).unwrap()).collect());
    BYTES.clone()
}

/// A server like Nextcloud, which keeps its users' uploads beside their files.
struct Cloud {
    server: Dav,
    proxy: Http,
    storage: Arc<dyn Backend>,
}

impl Cloud {
    /// With the storage tried out, chunks and all.
    async fn start() -> Self {
        let server = servers::sabre::start_like_nextcloud();
        let proxy = Http::start(server.address());
        let storage = Self::open(&proxy);
        let cloud = Self { server, proxy, storage };
        cloud.write("first", bytes().slice(..=CHUNK), &Guard::Absent).await.unwrap();
        cloud.proxy.take();
        cloud
    }

    fn open(proxy: &Http) -> Arc<dyn Backend> {
        storage(&format!("http://{}{NEXTCLOUD_FILES}", proxy.address()), &login())
    }

    async fn write(&self, at: &str, bytes: Bytes, guard: &Guard) -> Result<Entry, Fault> {
        let meta = Meta { mtime: Timestamp::from_second(DATE).ok(), ..Meta::default() };
        let written = self.storage.replace(&path(at), Content::of(bytes, meta), guard, None).await;
        written.map(|written| written.entry).map_err(|error| error.fault)
    }

    fn uploads(&self) -> PathBuf {
        self.server.root().join("../../temp/uploads")
    }

    /// The chunks of all uploads that are not over, and their sizes.
    fn chunks(&self) -> BTreeMap<PathBuf, u64> {
        let uploads = fs::read_dir(self.uploads()).unwrap().map(|upload| upload.unwrap().path());
        let chunks = uploads.flat_map(|upload| fs::read_dir(upload).unwrap());
        chunks.map(|chunk| chunk.unwrap()).map(|chunk| (chunk.path(), chunk.metadata().unwrap().len())).collect()
    }

    /// What lies under the user's files, with wl's own leftovers.
    fn on_disk(&self) -> Vec<String> {
        let names = fs::read_dir(self.server.root()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".sabredav");
        names.sort();
        names
    }

    /// The chunks that were sent since this was last asked, by their names, but those of a trial.
    fn sent(&self) -> Vec<String> {
        let asked = self.proxy.take().into_iter();
        let chunks = asked.filter(|request| {
            request.method == "PUT" && request.path.contains("/uploads/") && request.header("oc-total-length").is_some()
        });
        let mut names: Vec<_> = chunks.map(|chunk| chunk.path.rsplit('/').next().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// An upload that failed after the first chunk.
    async fn cut_off(&self, by: Action, fault: Fault) {
        self.proxy.decide(move |request| match request.path.rsplit('/').next() {
            Some("00002" | "00003") => by.clone(),
            _ => Action::Pass,
        });
        assert_eq!(self.write("big", bytes(), &Guard::Absent).await, Err(fault));
        self.proxy.decide(|_| Action::Pass);
        assert_eq!(self.chunks().into_values().collect::<Vec<_>>(), [CHUNK as u64]);
        assert_eq!(self.on_disk(), ["first"]);
        self.sent();
    }

    /// It is there, and nothing is left of how it got there.
    fn is_done(&self) {
        assert!(fs::read(self.server.root().join("big")).unwrap() == bytes());
        assert_eq!(self.on_disk(), ["big", "first"]);
        assert_eq!(fs::read_dir(self.uploads()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_gone_on_with() {
    let cloud = Cloud::start().await;
    cloud.cut_off(Action::Close, Fault::Offline).await;
    let cloud = Cloud { storage: Cloud::open(&cloud.proxy), ..cloud };
    let entry = cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
    assert_eq!((entry.size, entry.meta.mtime.map(Timestamp::as_second)), (SIZE as u64, Some(DATE)));
    let gets = cloud.proxy.count(|request| request.method == "GET" && request.path.ends_with("big"));
    assert_eq!(gets, 0, "the server has told its hash");
    assert_eq!(cloud.storage.stat(&path("big")).await, Ok(Look::Entry(entry)));
    assert_eq!(cloud.sent(), ["00002", "00003"]);
    cloud.is_done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_its_own_and_whole_is_begun_again() {
    let cloud = Cloud::start().await;
    for spoil in [
        |chunk: PathBuf| File::options().write(true).open(chunk).unwrap().set_len(1).unwrap(),
        |chunk: PathBuf| fs::write(chunk.with_file_name("00009"), b"more").unwrap(),
        |chunk: PathBuf| fs::write(chunk.with_file_name("note"), b"more").unwrap(),
    ] {
        cloud.cut_off(Action::status(403), Fault::Denied).await;
        spoil(cloud.chunks().into_keys().next().unwrap());
        cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
        assert_eq!(cloud.sent(), ["00001", "00002", "00003"]);
        cloud.is_done();
        fs::remove_file(cloud.server.root().join("big")).unwrap();
    }
    // Other bytes in the same place are found by the hash of the whole.
    cloud.cut_off(Action::status(403), Fault::Denied).await;
    fs::write(cloud.chunks().into_keys().next().unwrap(), vec![0; CHUNK]).unwrap();
    assert_eq!(cloud.write("big", bytes(), &Guard::Absent).await, Err(Fault::Broken));
    assert_eq!((cloud.on_disk(), cloud.chunks().len()), (vec!["first".to_owned()], 0));
    cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
    cloud.is_done();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_stays() {
    let cloud = Cloud::start().await;
    let old = cloud.write("big", Bytes::from_static(b"old"), &Guard::Absent).await.unwrap();
    for guard in [Guard::Absent, Guard::Unchanged(old.token)] {
        let file = cloud.server.root().join("big");
        if guard == Guard::Absent {
            fs::remove_file(&file).unwrap();
        }
        let theirs = file.clone();
        cloud.proxy.decide(move |request| {
            if request.method == "MOVE" && request.path.ends_with("/.file") {
                fs::write(&theirs, b"theirs").unwrap();
            }
            Action::Pass
        });
        assert_eq!(cloud.write("big", bytes(), &guard).await, Err(Fault::Refused), "{guard:?}");
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        // What was tried out meanwhile is told before the directory of that trial goes.
        let deadline = Instant::now() + Duration::from_secs(10);
        while cloud.on_disk() != ["big", "first"] {
            assert!(Instant::now() < deadline, "{:?}", cloud.on_disk());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cloud.proxy.decide(|_| Action::Pass);
        fs::write(&file, b"old").unwrap();
    }
    let entry = cloud.storage.stat(&path("big")).await;
    let Ok(Look::Entry(entry)) = entry else { panic!("{entry:?}") };
    cloud.write("big", bytes(), &Guard::Unchanged(entry.token)).await.unwrap();
    cloud.is_done();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_looked_for() {
    let cloud = Cloud::start().await;
    for lost in [Action::LoseAnswer, Action::Truncate(0)] {
        let action = lost.clone();
        let mut first = true;
        cloud.proxy.decide(move |request| {
            let last = request.method == "MOVE" && request.path.ends_with("/.file");
            if last && std::mem::take(&mut first) { action.clone() } else { Action::Pass }
        });
        cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
        cloud.is_done();
        fs::remove_file(cloud.server.root().join("big")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_together_when_nobody_waited_any_more_is_not_sent_again() {
    let cloud = Cloud::start().await;
    let mut is_dead = false;
    cloud.proxy.decide(move |request| {
        if is_dead {
            return Action::Close;
        }
        is_dead = request.method == "MOVE" && request.path.ends_with("/.file");
        if is_dead { Action::LoseAnswer } else { Action::Pass }
    });
    assert_eq!(cloud.write("big", bytes(), &Guard::Absent).await, Err(Fault::Offline));
    cloud.proxy.decide(|_| Action::Pass);
    cloud.sent();
    let cloud = Cloud { storage: Cloud::open(&cloud.proxy), ..cloud };
    cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
    assert_eq!(cloud.sent(), Vec::<String>::new());
    cloud.is_done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_somebody_on_the_way_goes_up_in_smaller_chunks() {
    for size in [8 * MIB, 12 * MIB] {
        let cloud = Cloud::start().await;
        cloud.proxy.decide(|request| {
            let length = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
            if length.is_some_and(|length| length > 6 * MIB) { Action::status(413) } else { Action::Pass }
        });
        cloud.write("big", bytes().slice(..size), &Guard::Absent).await.unwrap();
        assert!(fs::read(cloud.server.root().join("big")).unwrap() == bytes()[..size]);
        assert_eq!((cloud.on_disk(), cloud.chunks().len()), (vec!["big".to_owned(), "first".to_owned()], 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_goes_on_with_are_swept_and_those_of_others_never() {
    let cloud = Cloud::start().await;
    let long_ago = SystemTime::now() - Duration::from_hours(25);
    let own = |digit: &str| format!("wl-{}", digit.repeat(32));
    let [old, young, busy, foreign] = [own("1"), own("2"), own("3"), "web-file-upload-1".to_owned()];
    for (name, dir_is_old, chunk_is_old) in
        [(&old, true, true), (&young, false, true), (&busy, true, false), (&foreign, true, true)]
    {
        let upload = cloud.uploads().join(name);
        fs::create_dir(&upload).unwrap();
        // The server may be another user, who is to delete it.
        fs::set_permissions(&upload, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let chunk = upload.join("00001");
        fs::write(&chunk, b"chunk").unwrap();
        for (path, is_old) in [(chunk, chunk_is_old), (upload, dir_is_old)] {
            if is_old {
                File::open(path).unwrap().set_modified(long_ago).unwrap();
            }
        }
    }
    assert_eq!(cloud.storage.sweep().await, Ok(1));
    let mut left: Vec<_> = fs::read_dir(cloud.uploads()).unwrap().map(|upload| upload.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [foreign.as_str(), &young, &busy]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_chunks_are_not_taken_a_large_content_goes_up_whole() {
    let server = servers::sabre::start_like_nextcloud();
    let proxy = Http::start(server.address());
    let storage = Cloud::open(&proxy);
    proxy.decide(|request| if request.path.contains("/uploads/") { Action::status(404) } else { Action::Pass });
    let cloud = Cloud { server, proxy, storage };
    cloud.write("first", bytes().slice(..=CHUNK), &Guard::Absent).await.unwrap();
    cloud.write("big", bytes(), &Guard::Absent).await.unwrap();
    cloud.is_done();
    assert_eq!(cloud.sent(), Vec::<String>::new());
    let told = cloud.storage.probe().await.unwrap().windows.concat();
    assert!(told.contains("chunked upload does not work"), "{told}");
}
