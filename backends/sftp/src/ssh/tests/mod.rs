//! The transport against a real server.

mod idle;
mod login;
mod program;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use wl_core::error::Fault;
use wl_test_kit::proxy::Tcp;
use wl_test_kit::servers::Sshd;
use wl_test_kit::servers::sshd::Mode;

use super::{Command, Failure, Link, Pool, Settings};
use crate::wire::{Attrs, OpenFlags};

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn settings(sshd: &Sshd, port: u16) -> Settings {
    Settings {
        host: "127.0.0.1".into(),
        port: Some(port),
        user: Some(sshd.user().into()),
        identity: Some(sshd.identity()),
        passphrase: None,
        password: None,
        known_hosts: Some(sshd.known_hosts_at(port)),
        home: sshd.home(),
        config: Some("none".into()),
        agent: None,
        connections: 4,
        patience: Duration::from_secs(40),
    }
}

fn pool(sshd: &Sshd) -> Pool {
    Pool::new(settings(sshd, sshd.port()))
}

fn path(sshd: &Sshd, name: &str) -> Vec<u8> {
    sshd.remote_root().join(name).into_os_string().into_encoded_bytes()
}

fn creating() -> OpenFlags {
    OpenFlags::WRITE.and(OpenFlags::CREATE).and(OpenFlags::EXCLUSIVE)
}

async fn put(link: &Arc<Link>, path: &[u8], content: Bytes) {
    let file = link.open(path, creating(), Attrs::default()).await.unwrap();
    let size = link.server().write_size();
    let chunks = (0..content.len()).step_by(size).map(|at| {
        let chunk = content.slice(at..content.len().min(at + size));
        link.write(&file, at as u64, chunk)
    });
    try_join_all(chunks).await.unwrap();
}

#[tokio::test]
async fn a_file_is_written_and_read() {
    let sshd = Sshd::start(Mode::Chroot);
    let link = pool(&sshd).link().await.unwrap();
    assert!(link.server().banner.starts_with("SSH-2.0-OpenSSH"));
    assert!(link.server().extensions.has("posix-rename@openssh.com"));
    assert_eq!(link.server().limits.unwrap().write, 261_120);
    let name = path(&sshd, "a");
    let content: Bytes = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    put(&link, &name, content.clone()).await;
    assert_eq!(std::fs::read(sshd.root().join("a")).unwrap(), content);
    let file = link.open(&name, OpenFlags::READ, Attrs::default()).await.unwrap();
    let size = link.server().read_size();
    let chunks = (0..content.len()).step_by(size as usize).map(|at| link.read(&file, at as u64, size));
    let read: Vec<u8> = try_join_all(chunks).await.unwrap().into_iter().flat_map(Option::unwrap).collect();
    assert!(read == content);
    assert_eq!(link.read(&file, content.len() as u64, size).await, Ok(None));
    assert_eq!(link.lstat(&name).await.unwrap().size, Some(4_000_000));
    assert_eq!(link.realpath(b"x").await.unwrap(), &b"/data/x"[..]);
    assert!(link.statvfs(&name).await.unwrap().blocks_available > 0);
}

async fn output(link: &Link, command: &str, stdin: &str) -> (String, Option<i32>, String) {
    let output = link.run(Command::new(command, stdin.to_owned()), 1 << 20, Duration::from_secs(20)).await.unwrap();
    (String::from_utf8(output.stdout.to_vec()).unwrap(), output.ended.status, output.ended.stderr)
}

#[tokio::test]
async fn commands_run() {
    let sshd = Sshd::start(Mode::Exec);
    let link = pool(&sshd).link().await.unwrap();
    assert_eq!(output(&link, "tr a-z A-Z", "hello").await, ("HELLO".into(), Some(0), String::new()));
    assert_eq!(output(&link, "echo no >&2; exit 3", "").await, (String::new(), Some(3), "no".into()));
    assert_eq!(output(&link, "kill -9 $$", "").await.1, None);
    let many = join_all((0..40).map(|n| {
        let link = &link;
        async move { output(link, &format!("echo {n}"), "").await.0 }
    }));
    assert_eq!(many.await, (0..40).map(|n| format!("{n}\n")).collect::<Vec<_>>());
    let long = "x".repeat(3 << 20);
    assert_eq!(output(&link, "wc -c", &long).await.0.trim(), long.len().to_string());
    let silent = link.run(Command::new("sleep 30", ""), 1 << 20, Duration::from_millis(300)).await;
    assert_eq!(silent.unwrap_err().fault, Fault::Busy);
    let excess = link.run(Command::new("yes", ""), 1 << 20, Duration::from_secs(20)).await;
    assert_eq!(excess.unwrap_err().fault, Fault::Broken);
}

#[tokio::test]
async fn output_that_nobody_takes_holds_up_nothing_else() {
    let sshd = Sshd::start(Mode::Exec);
    let link = pool(&sshd).link().await.unwrap();
    let mut slow = link.spawn(Command::new("head -c 50000000 /dev/zero", "")).await.unwrap();
    put(&link, &path(&sshd, "a"), vec![7; 8 << 20].into()).await;
    assert_eq!(output(&link, "cat", "meanwhile").await.0, "meanwhile");
    let mut size = 0;
    while let Some(chunk) = slow.next().await.unwrap() {
        size += chunk.len();
    }
    assert_eq!((size, slow.end().await.unwrap().status), (50_000_000, Some(0)));
}

#[tokio::test]
async fn a_command_whose_input_is_held_ends_with_its_process() {
    let sshd = Sshd::start(Mode::Exec);
    let link = pool(&sshd).link().await.unwrap();
    let over = sshd.root().join("over");
    let command = Command { hold: true, ..Command::new(format!("echo began; cat; echo > {}", over.display()), "") };
    let mut process = link.spawn(command).await.unwrap();
    assert_eq!(process.next().await.unwrap().unwrap(), "began\n");
    assert!(!over.exists());
    drop(process);
    until("the command ends", || over.exists()).await;
}

#[tokio::test]
async fn a_server_without_commands_says_so() {
    for mode in [Mode::SftpOnly, Mode::Chroot] {
        let sshd = Sshd::start(mode);
        let link = pool(&sshd).link().await.unwrap();
        let (said, status, complaint) = output(&link, "echo hello", "").await;
        assert!(!said.contains("hello") && status == Some(1), "{said} {status:?} {complaint}");
        link.lstat(b".").await.unwrap();
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How often any process holds that file open.
fn open_files(path: &std::path::Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let files = processes.filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok());
    files.flatten().flatten().filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path)).count()
}

#[tokio::test]
async fn what_nobody_holds_any_more_is_closed() {
    let sshd = Sshd::start(Mode::Exec);
    let link = pool(&sshd).link().await.unwrap();
    let name = path(&sshd, "a");
    let held = link.open(&name, creating(), Attrs::default()).await.unwrap();
    for _ in 0..20 {
        let opening = link.open(&name, OpenFlags::READ, Attrs::default());
        let _ = tokio::time::timeout(Duration::from_micros(200), opening).await;
    }
    let file = sshd.root().join("a");
    link.lstat(&name).await.unwrap();
    until("only what is held is open", || open_files(&file) == 1).await;
    drop(held);
    until("nothing is open", || open_files(&file) == 0).await;
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_in_flight_and_is_replaced() {
    let sshd = Sshd::start(Mode::Exec);
    let proxy = Tcp::with_round_trip(&sshd.address(), ROUND_TRIP);
    let pool = Pool::new(settings(&sshd, proxy.port()));
    let link = pool.link().await.unwrap();
    let mut process = link.spawn(Command::new("echo; sleep 60", "")).await.unwrap();
    process.next().await.unwrap();
    let asked = join_all((0..100).map(|_| link.lstat(b"/")));
    let (answers, ()) = tokio::join!(asked, async {
        tokio::time::sleep(ROUND_TRIP / 2).await;
        proxy.cut_all();
    });
    for answer in answers {
        let Failure::Link(error) = answer.unwrap_err() else { panic!("no answer came") };
        assert_eq!(error.fault, Fault::Offline, "{error}");
    }
    assert_eq!(process.next().await.unwrap_err().fault, Fault::Offline);
    assert!(link.is_lost());
    assert!(pool.link().await.unwrap().lstat(b"/").await.is_ok());
}

#[tokio::test]
async fn a_silent_server_is_noticed() {
    let sshd = Sshd::start(Mode::Exec);
    let proxy = Tcp::start(&sshd.address());
    let patience = Duration::from_secs(4);
    let pool = Pool::new(Settings { patience, ..settings(&sshd, proxy.port()) });
    let link = pool.link().await.unwrap();
    tokio::time::sleep(patience * 3 / 2).await;
    assert!(!link.is_lost(), "a server that has nothing to say is there");
    proxy.change(|conditions| conditions.stalled = true);
    let began = Instant::now();
    assert!(link.lstat(b"/").await.is_err());
    assert!(began.elapsed() < patience * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_cannot_be_reached_is_offline_and_remembered() {
    let sshd = Sshd::start(Mode::Exec);
    let pool = Pool::new(Settings { port: Some(1), ..settings(&sshd, sshd.port()) });
    let error = pool.link().await.err().unwrap();
    assert!(error.fault == Fault::Offline && error.message.contains("127.0.0.1:1"), "{error}");
    let began = Instant::now();
    assert!(pool.link().await.is_err());
    assert!(began.elapsed() < Duration::from_millis(100));
}

/// Figures are printed: `cargo nextest run --no-capture`.
#[tokio::test(flavor = "multi_thread")]
async fn distance_costs_little() {
    let sshd = Sshd::start(Mode::Exec);
    let proxy = Tcp::with_round_trip(&sshd.address(), ROUND_TRIP);
    let pool = Pool::new(settings(&sshd, proxy.port()));
    pool.link().await.unwrap();
    let began = Instant::now();
    try_join_all((0..1000).map(|n| {
        let (pool, name) = (&pool, path(&sshd, &n.to_string()));
        async move {
            let link = pool.link().await?;
            put(&link, &name, vec![1; 4096].into()).await;
            Ok::<_, wl_core::Error>(())
        }
    }))
    .await
    .unwrap();
    let small = began.elapsed();
    let link = pool.link().await.unwrap();
    let name = path(&sshd, "large");
    let began = Instant::now();
    put(&link, &name, vec![1; 64 << 20].into()).await;
    let up = began.elapsed();
    let file = link.open(&name, OpenFlags::READ, Attrs::default()).await.unwrap();
    let began = Instant::now();
    let size = link.server().read_size();
    try_join_all((0..64 << 20).step_by(size as usize).map(|at| link.read(&file, at, size))).await.unwrap();
    let down = began.elapsed();
    eprintln!("1,000 files {small:?}, 64 MiB up {up:?}, down {down:?}, {} connections", proxy.connections());
    // One request after the other takes 150 s and 100 s.
    assert!(small.max(up).max(down) < Duration::from_secs(10), "{small:?} {up:?} {down:?}");
}

#[tokio::test]
async fn attributes_of_a_link_are_not_set_on_what_it_points_to() {
    let sshd = Sshd::start(Mode::Exec);
    let link = pool(&sshd).link().await.unwrap();
    put(&link, &path(&sshd, "a"), Bytes::new()).await;
    std::os::unix::fs::symlink("a", sshd.root().join("link")).unwrap();
    let attrs = Attrs { times: Some((1, 1)), ..Attrs::default() };
    link.setstat(&path(&sshd, "link"), attrs).await.unwrap();
    assert_ne!(link.lstat(&path(&sshd, "a")).await.unwrap().mtime(), Some(1));
    assert_eq!(link.lstat(&path(&sshd, "link")).await.unwrap().mtime(), Some(1));
    link.setstat(&path(&sshd, "a"), Attrs { permissions: Some(0o600), ..attrs }).await.unwrap();
    let set = link.lstat(&path(&sshd, "a")).await.unwrap();
    assert_eq!((set.mtime(), set.mode()), (Some(1), Some(0o600)));
}

/// OpenSSH changes keys after a gigabyte or more; here after a megabyte, in the midst of everything.
#[tokio::test]
async fn keys_change_while_much_is_in_flight() {
    let sshd = Sshd::start(Mode::Exec);
    let (config, own) = (sshd.home().join("config"), sshd.home().join("sshd_config"));
    let original = std::fs::read_to_string(sshd.server().dir().join("sshd_config")).unwrap();
    std::fs::write(&own, format!("RekeyLimit 1M\n{original}")).unwrap();
    std::fs::write(
        &config,
        format!("Host *\n  ProxyCommand $(command -v sshd || echo /usr/sbin/sshd) -i -f {}\n", own.display()),
    )
    .unwrap();
    let link = Pool::new(Settings { config: Some(config), ..settings(&sshd, sshd.port()) }).link().await.unwrap();
    let content = Bytes::from(vec![5; 24 << 20]);
    let talk = async {
        for n in 0..30 {
            assert_eq!(output(&link, "cat", &n.to_string()).await.0, n.to_string());
        }
    };
    let (a, b) = (path(&sshd, "a"), path(&sshd, "b"));
    let together = async { futures::join!(put(&link, &a, content.clone()), put(&link, &b, content.clone()), talk) };
    tokio::time::timeout(Duration::from_mins(1), together).await.expect("it goes on");
    let file = link.open(&b, OpenFlags::READ, Attrs::default()).await.unwrap();
    let reads = (0..content.len() as u64).step_by(32 << 10).map(|at| link.read(&file, at, 32 << 10));
    let read = tokio::time::timeout(Duration::from_mins(1), try_join_all(reads)).await.expect("it goes on").unwrap();
    assert!(read.into_iter().all(|chunk| chunk.is_some_and(|chunk| chunk == content[..32 << 10])));
}
