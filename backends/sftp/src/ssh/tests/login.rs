//! Who is let in, and which servers are believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use secrecy::SecretString;
use wl_core::error::{Error, Fault};

use super::*;

async fn refused(settings: Settings) -> Error {
    let error = Pool::new(settings).link().await.err().expect("a refusal");
    assert_eq!(error.fault, Fault::Denied, "{error}");
    error
}

async fn let_in(settings: Settings) {
    Pool::new(settings).link().await.unwrap().lstat(b"/").await.unwrap();
}

fn keygen(args: &[&str], file: &Path) {
    let output = Program::new("ssh-keygen").args(args).arg("-f").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The right password lets in; what is said of a wrong one.
async fn refused_password(sshd: &Sshd) -> Error {
    let with = |password: &str| Settings {
        identity: None,
        password: Some(SecretString::from(password)),
        ..settings(sshd, sshd.port())
    };
    let_in(with(sshd.password().unwrap())).await;
    let error = refused(with("hunter2")).await;
    assert!(!error.message.contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_one_does_not() {
    let error = refused_password(&Sshd::with_user(Mode::Exec)).await;
    assert!(error.message.contains("password"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_is_answered_with_the_password() {
    let error = refused_password(&Sshd::that_asks(Mode::Exec)).await;
    assert!(error.message.contains("keyboard-interactive") && !error.message.contains("tried password"), "{error}");
}

#[tokio::test]
async fn a_locked_key_needs_its_passphrase() {
    let sshd = Sshd::start(Mode::Exec);
    let locked = sshd.home().join("locked");
    fs::copy(sshd.identity(), &locked).unwrap();
    keygen(&["-q", "-p", "-P", "", "-N", "hunter2"], &locked);
    let with = |passphrase: Option<&str>| Settings {
        identity: Some(locked.clone()),
        passphrase: passphrase.map(SecretString::from),
        ..settings(&sshd, sshd.port())
    };
    let_in(with(Some("hunter2"))).await;
    for wrong in [None, Some("hunter3")] {
        let error = refused(with(wrong)).await;
        assert!(error.message.contains("ssh-identity-passphrase") && !error.message.contains("hunter3"), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_or_not_known_is_named() {
    let sshd = Sshd::start(Mode::Exec);
    let other = sshd.home().join("other");
    keygen(&["-q", "-t", "ed25519", "-N", ""], &other);
    for file in [other, sshd.home().join("none")] {
        let error = refused(Settings { identity: Some(file.clone()), ..settings(&sshd, sshd.port()) }).await;
        assert!(error.message.contains(file.to_str().unwrap()), "{error}");
    }
}

/// An agent that ends with the test.
struct Agent(std::process::Child, PathBuf);

impl Agent {
    fn start(dir: &Path, key: &Path) -> Self {
        let socket = dir.join("agent");
        let agent = Program::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let add = || Program::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).status().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() || !add().success() {
            assert!(Instant::now() < deadline, "no agent");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(agent, socket)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_agent_lets_in() {
    let sshd = Sshd::start(Mode::Exec);
    let agent = Agent::start(&sshd.home(), &sshd.identity());
    let with = |identity| Settings { identity, agent: Some(agent.1.clone()), ..settings(&sshd, sshd.port()) };
    let_in(with(None)).await;
    // The agent stands in for a key that is locked, if its public half is there; it offers no other key then.
    let locked = sshd.home().join("locked");
    fs::copy(sshd.identity(), &locked).unwrap();
    keygen(&["-q", "-p", "-P", "", "-N", "hunter2"], &locked);
    refused(with(Some(locked.clone()))).await;
    fs::copy(sshd.identity().with_extension("pub"), locked.with_extension("pub")).unwrap();
    let_in(with(Some(locked))).await;
}

#[tokio::test]
async fn only_the_known_key_is_believed() {
    let sshd = Sshd::start(Mode::Exec);
    let port = sshd.port();
    let known = fs::read_to_string(sshd.known_hosts()).unwrap();
    let file = sshd.home().join("known");
    let with = |text: &str| {
        fs::write(&file, text).unwrap();
        Settings { known_hosts: Some(file.clone()), ..settings(&sshd, port) }
    };
    let other = sshd.home().join("other");
    keygen(&["-q", "-t", "ed25519", "-N", ""], &other);
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    let place = format!("[127.0.0.1]:{port}");

    let error = refused(with("")).await;
    let shown =
        String::from_utf8(Program::new("ssh-keygen").arg("-lf").arg(sshd.known_hosts()).output().unwrap().stdout);
    let print = shown.unwrap().split(' ').nth(1).unwrap().to_owned();
    assert!(print.starts_with("SHA256:") && error.message.contains(&print), "{error} {print}");
    // The command it names makes it known.
    let command = &error.message[error.message.find("echo ").unwrap()..];
    assert!(Program::new("sh").arg("-c").arg(command).status().unwrap().success());
    let_in(Settings { known_hosts: Some(file.clone()), ..settings(&sshd, port) }).await;

    let error = refused(with(&format!("# a comment\n{place} {other}"))).await;
    assert!(error.message.contains("line 2") && error.message.contains("ssh-keygen -R"), "{error}");
    let error = refused(with(&format!("{known}@revoked * {}", known.split_once(' ').unwrap().1))).await;
    assert!(error.message.contains("@revoked"), "{error}");
    let error = refused(with(&format!("@cert-authority * {other}"))).await;
    assert!(error.message.contains("certificate authority"), "{error}");

    let_in(with(&format!("elsewhere,{place} {}", known.split_once(' ').unwrap().1))).await;
    with(&known);
    keygen(&["-q", "-H"], &file);
    let hashed = fs::read_to_string(&file).unwrap();
    assert!(hashed.starts_with("|1|"));
    let_in(with(&hashed)).await;
}

/// A configuration in which `near` is the server, and `far` is the server seen from `near`.
fn write_config(sshd: &Sshd, far: &str) -> PathBuf {
    let (config, included) = (sshd.home().join("config"), sshd.home().join("included"));
    let [key, known] = [sshd.identity(), sshd.known_hosts()].map(|file| file.display().to_string());
    fs::write(&included, format!("Host near\n  Port {}\nHost far\n  Port {}\n  {far}\n", sshd.port(), sshd.port()))
        .unwrap();
    let user = sshd.user();
    let common = format!("HostName 127.0.0.1\n  User {user}\n  IdentityFile {key}\n  UserKnownHostsFile {known}\n");
    fs::write(&config, format!("Include {}\nHost near far\n  {common}", included.display())).unwrap();
    config
}

fn configured(sshd: &Sshd, host: &str, config: PathBuf) -> Settings {
    Settings {
        host: host.into(),
        port: None,
        user: None,
        identity: None,
        known_hosts: None,
        config: Some(config),
        ..settings(sshd, 1)
    }
}

#[tokio::test]
async fn the_configuration_of_ssh_holds() {
    let sshd = Sshd::start(Mode::Exec);
    let through = "sh -c 'ssh -F %d -W %h:%p near'";
    for far in [
        "ProxyJump near".to_owned(),
        format!("ProxyCommand {}", through.replace("%d", sshd.home().join("config").to_str().unwrap())),
    ] {
        let config = write_config(&sshd, &far);
        let_in(configured(&sshd, "near", config.clone())).await;
        let_in(configured(&sshd, "far", config)).await;
    }
}

#[tokio::test]
async fn what_a_proxy_complains_about_is_said() {
    let sshd = Sshd::start(Mode::Exec);
    let config = write_config(&sshd, "ProxyCommand echo no way >&2; false");
    let error = Pool::new(configured(&sshd, "far", config)).link().await.err().unwrap();
    assert!(error.fault == Fault::Offline && error.message.contains("no way"), "{error}");
    let config = write_config(&sshd, "Port many");
    let error = Pool::new(configured(&sshd, "far", config)).link().await.err().unwrap();
    assert!(error.fault == Fault::Malformed && error.message.contains("port"), "{error}");
}
