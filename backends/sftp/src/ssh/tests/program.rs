//! The program `ssh` beside libssh2.

use std::fs;
use std::process::Command as Program;

use secrecy::SecretString;

use super::*;

/// Once more while the machine is too busy for its own server to seem near.
async fn wide(settings: &Settings) -> (Pool, Arc<Link>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let pool = Pool::new(settings.clone());
        let link = pool.wide_link().await.unwrap();
        if link.is_by_program() {
            return (pool, link);
        }
        let way = pool.way().await.unwrap();
        assert!(way.contains("not near") && Instant::now() < deadline, "{way}");
    }
}

#[tokio::test]
async fn near_a_program_carries_what_is_much() {
    let sshd = Sshd::start(Mode::Exec);
    let (pool, link) = wide(&settings(&sshd, sshd.port())).await;
    assert!(Arc::ptr_eq(&pool.link().await.unwrap(), &link), "it carries everything then");
    assert_eq!(link.server().limits.unwrap().write, 261_120);
    let (name, content) = (path(&sshd, "a"), Bytes::from(vec![7; 24 << 20]));
    let ((), said) = tokio::join!(put(&link, &name, content.clone()), output(&link, "cat", "meanwhile"));
    assert_eq!(said.0, "meanwhile", "commands run beside it");
    assert!(fs::read(sshd.root().join("a")).unwrap() == content);
    let file = link.open(&name, OpenFlags::READ, Attrs::default()).await.unwrap();
    let reads = (0..content.len() as u64).step_by(32 << 10).map(|at| link.read(&file, at, 32 << 10));
    let read = try_join_all(reads).await.unwrap();
    assert!(read.into_iter().all(|chunk| chunk.is_some_and(|chunk| chunk == content[..32 << 10])));
    assert!(pool.way().await.unwrap().contains("through the program"));
}

#[tokio::test]
async fn far_away_or_with_a_secret_there_is_no_program() {
    let sshd = Sshd::start(Mode::Exec);
    let proxy = Tcp::with_round_trip(&sshd.address(), ROUND_TRIP);
    let locked = Settings { passphrase: Some(SecretString::from("hunter2")), ..settings(&sshd, sshd.port()) };
    for (settings, why) in [(settings(&sshd, proxy.port()), "not near"), (locked, "key alone")] {
        let pool = Pool::new(settings);
        assert!(!pool.wide_link().await.unwrap().is_by_program());
        let way = pool.way().await.unwrap();
        assert!(way.contains(why) && !way.contains("hunter2"), "{way}");
    }
}

#[tokio::test]
async fn a_program_believes_only_the_known_key() {
    let sshd = Sshd::start(Mode::Exec);
    let settings = settings(&sshd, sshd.port());
    let known = settings.known_hosts.clone().unwrap();
    let right = fs::read_to_string(&known).unwrap();
    let other = sshd.home().join("other");
    let made = Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    for wrong in [String::new(), format!("{} {other}", right.split_once(' ').unwrap().0)] {
        fs::write(&known, &right).unwrap();
        let pool = Pool::new(settings.clone());
        pool.link().await.unwrap();
        fs::write(&known, &wrong).unwrap();
        assert!(!pool.wide_link().await.unwrap().is_by_program());
        let way = pool.way().await.unwrap();
        assert!(way.contains("Host key verification failed") || way.contains("not near"), "{way}");
        assert_eq!(fs::read_to_string(&known).unwrap(), wrong, "nothing was added");
    }
}

/// The programs `ssh` that lead to that port.
fn programs(port: u16) -> Vec<String> {
    let marked = format!("-p\0{port}\0");
    let is_one = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"ssh\0") && line.windows(marked.len()).any(|part| part == marked.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.parse::<u32>().is_ok() && is_one(pid)).collect()
}

#[tokio::test]
async fn a_program_that_ends_is_done_without() {
    let sshd = Sshd::start(Mode::Exec);
    let (pool, link) = wide(&settings(&sshd, sshd.port())).await;
    assert!(Program::new("kill").args(programs(sshd.port())).status().unwrap().success());
    until("its end is noticed", || link.is_lost()).await;
    let Failure::Link(error) = link.lstat(b"/").await.unwrap_err() else { panic!("no answer came") };
    assert_eq!(error.fault, Fault::Offline, "{error}");
    let instead = pool.wide_link().await.unwrap();
    assert!(!instead.is_by_program() && instead.lstat(b"/").await.is_ok());
    assert!(pool.way().await.unwrap().contains("its connection was lost"));
}

#[tokio::test]
async fn a_program_ends_with_the_connection_beside_it() {
    let sshd = Sshd::start(Mode::Exec);
    let (pool, link) = wide(&settings(&sshd, sshd.port())).await;
    sshd.kill_connections();
    until("the loss is noticed", || link.is_lost()).await;
    drop(link);
    assert!(pool.link().await.unwrap().lstat(b"/").await.is_ok());
    until("it is gone", || programs(sshd.port()).is_empty()).await;
}
