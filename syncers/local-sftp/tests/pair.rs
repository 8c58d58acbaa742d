//! A local directory and one of an SSH server come to the same end as with the generic syncer, either way; and of a large
//! file that changed only the difference travels.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::json;
use wl_backend_local::Local;
use wl_core::backend::Backend;
use wl_core::entry::Hash;
use wl_core::job::Which;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_core::report::Summary;
use wl_syncer_local_sftp::LocalSftp;
use wl_test_kit::conformance::Bench;
use wl_test_kit::directory::Directory;
use wl_test_kit::pairs::{self, World};
use wl_test_kit::proxy::Tcp;
use wl_test_kit::servers::sshd::{Mode, Sshd};

const UP: [&str; 2] = ["local", "sftp"];
const DOWN: [&str; 2] = ["sftp", "local"];
/// As large as a difference needs, or a little larger.
const SIZE: usize = 10 << 20;

fn server() -> &'static Sshd {
    static SERVER: OnceLock<Sshd> = OnceLock::new();
    SERVER.get_or_init(|| Sshd::start(Mode::Exec))
}

fn sftp(sshd: &Sshd, port: u16, root: &Path) -> Arc<dyn Backend> {
    let params = json!({
        "type": "sftp", "backend-id": "test", "host": "127.0.0.1", "port": port, "ssh-user": sshd.user(),
        "ssh-identity": sshd.identity(), "known-hosts": sshd.known_hosts_at(port), "path": root,
    });
    wl_backend_sftp::open(&Storage::from_params(params).unwrap()).unwrap()
}

/// A directory for each type. What is below `here` and the server's root is all there is.
fn two(types: [&str; 2], here: &Path, sshd: &Sshd, port: u16) -> [Box<dyn Bench>; 2] {
    types.map(|storage_type| {
        Box::new(match storage_type {
            "local" => Directory::below(here, |root| Local::new(root).unwrap()),
            _ => Directory::below(sshd.root(), |root| sftp(sshd, port, root)),
        }) as Box<dyn Bench>
    })
}

mod up {
    use super::*;

    wl_test_kit::pairs_scenarios!(UP, LocalSftp, two(UP, &std::env::temp_dir(), server(), server().port());
        edits_and_deletions, no_deletion_is_lost_in_a_copy, the_source_changes_before, the_source_changes_meanwhile,
        the_target_changes_before, the_target_changes_meanwhile);
}

mod down {
    use super::*;

    wl_test_kit::pairs_scenarios!(DOWN, LocalSftp, two(DOWN, &std::env::temp_dir(), server(), server().port());
        no_deletion_is_lost_in_a_copy, the_source_changes_before, the_source_changes_meanwhile,
        the_target_changes_before, the_target_changes_meanwhile);
}

/// The same with other bytes at some places, and longer or shorter.
fn edited(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(length, 7);
    for at in (0..length).step_by(5 << 20) {
        bytes[at] ^= 1;
    }
    bytes
}

/// A pair with a large file on both sides, whose name means something to a shell, and a way to see what travels.
struct Large {
    // Ends before the directories that it syncs.
    world: World,
    types: [&'static str; 2],
    proxy: Tcp,
    here: tempfile::TempDir,
    sshd: Sshd,
    at: RelPath,
    bytes: Vec<u8>,
}

impl Large {
    async fn begin(types: [&'static str; 2], size: usize) -> Self {
        let (here, sshd) = (tempfile::tempdir().unwrap(), Sshd::start(Mode::Exec));
        let proxy = Tcp::start(&sshd.address());
        let world = World::new(types, two(types, here.path(), &sshd, proxy.port())).await;
        let (at, bytes) = (RelPath::parse("a d/-$(x) 'f'\"\\\n").unwrap(), pairs::noise(size, 1));
        let large = Self { world, types, proxy, here, sshd, at, bytes };
        large.world.user(Which::Source).user_write(&large.at, &large.bytes).await;
        large.sync().await;
        large
    }

    /// Once; what was done, and how many bytes travelled.
    async fn sync(&self) -> (Summary, u64) {
        let before = self.proxy.up() + self.proxy.down();
        let (summary, monitor) = self.world.once(&LocalSftp).await;
        assert!(monitor.status().transferred_bytes >= summary.bytes);
        (summary, self.proxy.up() + self.proxy.down() - before)
    }

    /// The same after an edit at the source, which must arrive.
    async fn edit(&mut self, length: usize) -> u64 {
        let newer = edited(&self.bytes, length);
        let old = std::mem::replace(&mut self.bytes, newer);
        self.world.user(Which::Source).user_write(&self.at, &self.bytes).await;
        let (summary, travelled) = self.sync().await;
        assert_eq!((summary.copied, summary.bytes), (1, length as u64));
        assert!(self.world.user(Which::Target).user_read(&self.at).await.as_ref() == Some(&self.bytes));
        let kept = self.files(Which::Target).into_iter().filter(|file| file.to_str().unwrap().contains(".wl-trash"));
        assert!(kept.map(|file| Hash::of(&fs::read(file).unwrap())).any(|hash| hash == Hash::of(&old)));
        travelled
    }

    fn root(&self, on: Which) -> &Path {
        if self.types[on as usize] == "local" { self.here.path() } else { self.sshd.root() }
    }

    /// Every file on a side, none of which may be a part.
    fn files(&self, on: Which) -> Vec<PathBuf> {
        let (mut todo, mut files) = (vec![self.root(on).to_owned()], Vec::new());
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                assert!(
                    !path.file_name().unwrap().to_str().unwrap().contains(".wl-part"),
                    "{} is left",
                    path.display()
                );
                files.push(path);
            }
        }
        files
    }

    /// The large file as it is on the disk.
    fn file(&self, on: Which) -> PathBuf {
        let files = self.files(on);
        files
            .into_iter()
            .find(|file| file.ends_with(self.at.as_str()) && !file.to_str().unwrap().contains(".wl-trash"))
            .unwrap()
    }

    /// Puts a script before the server's `rsync`. What it is called with is noted.
    fn rsync(&self, script: &str) {
        let bin = self.sshd.home().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let program = bin.join("rsync");
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n{script}\n", self.calls().display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(self.sshd.home().join(".bashrc"), format!("export PATH={}:$PATH\n", bin.display())).unwrap();
    }

    fn calls(&self) -> PathBuf {
        self.sshd.home().join("calls")
    }

    fn called(&self) -> usize {
        fs::read_to_string(self.calls()).map_or(0, |calls| calls.lines().count())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_difference_travels() {
    let size = 32 << 20;
    for (types, length) in [(UP, size + 100_000), (DOWN, size - 4097)] {
        let mut large = Large::begin(types, size).await;
        let travelled = large.edit(length).await;
        assert!(travelled < 2 << 20, "{types:?} {length}: {travelled} bytes");
        let mtime = |on| fs::metadata(large.file(on)).unwrap().modified().unwrap();
        let apart = mtime(Which::Source).duration_since(mtime(Which::Target)).unwrap();
        assert!(apart.as_secs() < 1, "SFTP knows whole seconds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rsync_on_the_server_all_of_it_travels() {
    for types in [UP, DOWN] {
        let mut large = Large::begin(types, SIZE).await;
        large.rsync("exit 127");
        for _ in 0..2 {
            assert!(large.edit(SIZE).await > SIZE as u64);
        }
        assert_eq!(large.called(), 1, "{types:?}: it is not asked for again at once");
    }
}

/// Whatever the other one does to the copy: what takes the name has the hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_rsync_made_is_not_believed() {
    for spoilt in ["rsync \"$@\"; for last; do :; done; echo spoilt >> $last", "exit 0", "echo nonsense; exec cat"] {
        let mut large = Large::begin(UP, SIZE).await;
        large.rsync(&format!("PATH=/usr/bin:/bin\n{spoilt}"));
        assert!(large.edit(SIZE).await > SIZE as u64, "{spoilt}");
        assert_eq!(large.called(), 1);
    }
}

/// Somebody comes while the programs speak with each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_the_middle_is_nowhere_overwritten() {
    for types in [UP, DOWN] {
        for on in Which::BOTH {
            let large = Large::begin(types, SIZE).await;
            let theirs = large.here.path().join("theirs");
            fs::write(&theirs, b"theirs").unwrap();
            let (theirs, file) = (theirs.display(), large.here.path().join("link"));
            std::os::unix::fs::symlink(large.file(on), &file).unwrap();
            let edit = format!("test -e {0}.done || cat {0} > {1}; touch {0}.done", theirs, file.display());
            large.rsync(&format!("PATH=/usr/bin:/bin\n{edit}\nexec rsync \"$@\""));
            large.world.user(Which::Source).user_write(&large.at, &edited(&large.bytes, SIZE)).await;
            large.world.once(&LocalSftp).await;
            assert!(large.called() > 0);
            assert_eq!(fs::read(large.file(on)).unwrap(), b"theirs", "{types:?} {on:?}");
            large.world.once(&LocalSftp).await;
            let kept: Vec<_> =
                Which::BOTH.iter().flat_map(|on| large.files(*on)).map(|f| fs::read(f).unwrap()).collect();
            assert!(kept.contains(&b"theirs".to_vec()));
        }
    }
}

/// The only file of a name below a directory of directories that are storages.
fn modified(below: &Path, name: &str) -> SystemTime {
    let files = fs::read_dir(below).unwrap().map(|dir| dir.unwrap().path().join("root").join(name));
    let file = files.into_iter().find(|file| file.exists()).unwrap();
    fs::metadata(file).unwrap().modified().unwrap()
}

/// SFTP has 32 bits for a time: what it makes of one that needs more is not carried back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_sftp_cannot_hold_is_left_as_it_is() {
    let times = ["1950-01-02T03:04:05Z", "2200-01-02T03:04:05Z"].map(|time| time.parse::<Timestamp>().unwrap());
    for types in [UP, DOWN] {
        let (here, sshd) = (tempfile::tempdir().unwrap(), Sshd::start(Mode::Exec));
        let world = World::new(types, two(types, here.path(), &sshd, sshd.port())).await;
        let (home, away) = if types == UP { (Which::Source, Which::Target) } else { (Which::Target, Which::Source) };
        for (time, size) in times.iter().flat_map(|time| [(time, 10), (time, 1 << 20)]) {
            let path = RelPath::parse(&format!("{}-{size}", time.strftime("%Y"))).unwrap();
            world.user(home).user_write(&path, &pairs::noise(size, 1)).await;
            world.user(home).user_set_mtime(&path, *time).await;
        }
        let theirs = RelPath::parse("theirs").unwrap();
        world.user(away).user_write(&theirs, b"theirs").await;
        world.user(away).user_set_mtime(&theirs, times[0]).await;
        let begun = SystemTime::now() - Duration::from_mins(1);
        // The second is made while what was written on the server is young, the last one when it is old.
        for wait in [0, 0, 3] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            world.once(&LocalSftp).await;
            for (time, size) in times.iter().flat_map(|time| [(time, 10), (time, 1 << 20)]) {
                let name = format!("{}-{size}", time.strftime("%Y"));
                assert_eq!(modified(here.path(), &name), SystemTime::from(*time), "{types:?} {name}");
            }
            assert_eq!(modified(sshd.root(), "theirs"), SystemTime::from(times[0]));
            let arrived = modified(here.path(), "theirs");
            assert!((begun..SystemTime::now() + Duration::from_mins(1)).contains(&arrived), "{arrived:?}");
        }
        let usual: Timestamp = "2001-02-03T04:05:06Z".parse().unwrap();
        world.user(home).user_set_mtime(&RelPath::parse("1950-10").unwrap(), usual).await;
        world.once(&LocalSftp).await;
        assert_eq!(modified(sshd.root(), "1950-10"), SystemTime::from(usual), "a time that it holds travels");
    }
}
