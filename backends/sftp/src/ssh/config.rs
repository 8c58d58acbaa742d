//! Where and how to connect: the manifest first, then what `ssh` itself makes of `~/.ssh/config`.
//!
//! `ssh -G` reads the configuration: Host, Match, Include and all else mean for wl what they mean for `ssh`.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use tokio::process::Command;
use tokio::time::timeout;
use wl_core::error::{Error, Fault, Result};

use super::Settings;

/// How long `ssh` may take to say what its configuration means: commands that this names may ask somebody.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 30 });

/// Where and how to connect, everything decided.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name or address to connect to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// What known_hosts calls it, where that is another name.
    pub alias: Option<String>,
    /// Private keys to try, in this order. Some may not exist.
    pub identities: Vec<PathBuf>,
    /// Whether no key of the agent is tried that is none of these.
    pub identities_only: bool,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Files of host keys. Some may not exist. A new key belongs into the first.
    pub known_hosts: Vec<PathBuf>,
    /// What to connect through.
    pub proxy: Proxy,
    /// What the private key is locked with.
    pub passphrase: Option<SecretString>,
    /// For password and keyboard-interactive authentication.
    pub password: Option<SecretString>,
    /// The file that stands for `~/.ssh/config`, for the `ssh` of a jump.
    pub config: Option<PathBuf>,
    /// After so much silence the connection is lost.
    pub patience: Duration,
}

/// What to connect through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    #[default]
    Direct,
    /// A command whose input and output are the connection.
    Command(String),
    /// Other hosts, one after the other, as ProxyJump has them.
    Jump(String),
}

impl Target {
    /// Decides where and how to connect.
    pub async fn find(settings: &Settings) -> Result<Self> {
        let said = match ask_ssh(settings).await? {
            Some(output) => Said::parse(&output),
            None => Said::default(),
        };
        Self::decide(settings, said)
    }

    fn decide(settings: &Settings, said: Said) -> Result<Self> {
        let dot_ssh = settings.home.join(".ssh");
        let user = settings.user.clone().or(said.user).or_else(|| std::env::var("USER").ok());
        let user = user.ok_or_else(|| {
            Error::new(
                Fault::Malformed,
                format!("no user is known for {}: set ssh-user in the manifest", settings.host),
            )
        })?;
        let host = said.hostname.unwrap_or_else(|| settings.host.clone());
        let expand = |path: &String| expand(path, &settings.home, &host, &user);
        let mut identities: Vec<_> = said.identities.iter().map(expand).collect();
        if identities.is_empty() {
            identities = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| dot_ssh.join(name)).to_vec();
        }
        let mut known_hosts: Vec<_> = said.known_hosts.iter().map(expand).collect();
        if known_hosts.is_empty() {
            known_hosts = vec![dot_ssh.join("known_hosts"), "/etc/ssh/ssh_known_hosts".into()];
        }
        let agent = match said.agent.as_deref() {
            None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => settings.agent.clone(),
            Some("none") => None,
            Some(path) => Some(expand(&path.to_owned())),
        };
        Ok(Self {
            port: settings.port.or(said.port).unwrap_or(22),
            alias: said.alias,
            identities_only: said.identities_only || settings.identity.is_some(),
            identities: settings.identity.clone().map_or(identities, |only| vec![only]),
            agent,
            known_hosts: settings.known_hosts.clone().map_or(known_hosts, |only| vec![only]),
            proxy: said.proxy,
            passphrase: settings.passphrase.clone(),
            password: settings.password.clone(),
            config: settings.config.clone(),
            patience: settings.patience,
            host,
            user,
        })
    }

    /// The host, and the port where it is not 22, for people.
    pub fn shown(&self) -> String {
        match self.port {
            22 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// What `ssh` would do, in its own words; `None` where there is no configuration.
async fn ask_ssh(settings: &Settings) -> Result<Option<String>> {
    let own = settings.config.clone().unwrap_or_else(|| settings.home.join(".ssh/config"));
    if own.as_os_str() == "none" {
        return Ok(None);
    }
    let mut ssh = Command::new("ssh");
    ssh.arg("-G");
    if let Some(config) = &settings.config {
        ssh.arg("-F").arg(config);
    }
    if let Some(port) = settings.port {
        ssh.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &settings.user {
        ssh.arg("-l").arg(user);
    }
    ssh.arg("--").arg(&settings.host);
    let output = match output_in_time(ssh).await {
        Ok(Some(output)) => output,
        Ok(None) => {
            let text = format!(
                "`ssh -G {}` did not end in {} seconds: does a `Match exec` in {} wait for something?",
                settings.host,
                PATIENCE.as_secs(),
                own.display()
            );
            return Err(Error::new(Fault::Offline, text));
        }
        // Without `ssh`, and without a configuration of the user's, there is nothing to know.
        Err(_) if !own.exists() => return Ok(None),
        Err(error) => {
            let text = format!("{} needs `ssh` to be read ({error}): install openssh-client", own.display());
            return Err(Error::new(Fault::Unsupported, text));
        }
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().lines().next().unwrap_or_default().to_owned();
        let text = format!("ssh does not understand its configuration for {}: {words}", settings.host);
        return Err(Error::new(Fault::Malformed, text));
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What a program prints; none if it did not end in time, and then it is ended, with all that it has begun.
async fn output_in_time(mut program: Command) -> io::Result<Option<Output>> {
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
    let child = program.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut ending = pin!(child.wait_with_output());
    if let Ok(output) = timeout(PATIENCE, &mut ending).await {
        return output.map(Some);
    }
    if let Some(group) = group {
        // Fails only where all of it has ended just now.
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(None)
}

/// What `ssh -G` prints, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    hostname: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    alias: Option<String>,
    identities: Vec<String>,
    identities_only: bool,
    agent: Option<String>,
    known_hosts: Vec<String>,
    proxy: Proxy,
}

impl Said {
    fn parse(output: &str) -> Self {
        let mut said = Self::default();
        let (mut users, mut global) = (Vec::new(), Vec::new());
        for (key, value) in output.lines().filter_map(|line| line.split_once(' ')) {
            let value = value.trim();
            let words = || value.split_whitespace().filter(|word| *word != "none").map(str::to_owned).collect();
            let given = || (value != "none").then(|| value.to_owned());
            match key {
                "hostname" => said.hostname = Some(value.to_owned()),
                "port" => said.port = value.parse().ok(),
                "user" => said.user = Some(value.to_owned()),
                "hostkeyalias" => said.alias = given(),
                "identityfile" => said.identities.extend(given()),
                "identitiesonly" => said.identities_only = value == "yes",
                "identityagent" => said.agent = Some(value.to_owned()),
                "userknownhostsfile" => users = words(),
                "globalknownhostsfile" => global = words(),
                "proxycommand" if value != "none" => said.proxy = Proxy::Command(value.to_owned()),
                "proxyjump" if value != "none" => said.proxy = Proxy::Jump(value.to_owned()),
                _ => {}
            }
        }
        said.known_hosts = users.into_iter().chain(global).collect();
        said
    }
}

/// A path as ssh_config has it: a leading `~`, and the tokens that a file's path usually has.
fn expand(path: &str, home: &Path, host: &str, user: &str) -> PathBuf {
    let home = home.to_string_lossy();
    let path = match path.strip_prefix("~/") {
        Some(below) => format!("{home}/{below}"),
        None => path.to_owned(),
    };
    PathBuf::from(tokens(&path, &[('d', &home), ('h', host), ('r', user), ('u', user)]))
}

/// Replaces `%x` by what stands for x. Others stay.
pub fn tokens(text: &str, known: &[(char, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('%') | None => out.push('%'),
            Some(token) => match known.iter().find(|(name, _)| *name == token) {
                Some((_, value)) => out.push_str(value),
                None => out.extend(['%', token]),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_ssh_says_is_understood() {
        let said = Said::parse(
            "user me\nhostname h.example\nport 2222\nhostkeyalias none\nidentityfile ~/.ssh/a b\nidentityfile /c\n\
             identitiesonly yes\nuserknownhostsfile ~/.ssh/known_hosts /k\nglobalknownhostsfile /g\n\
             proxycommand nc -X 5 \"%h\" %p\nciphers x\nbroken",
        );
        let expected = Said {
            hostname: Some("h.example".into()),
            port: Some(2222),
            user: Some("me".into()),
            alias: None,
            identities: vec!["~/.ssh/a b".into(), "/c".into()],
            identities_only: true,
            agent: None,
            known_hosts: vec!["~/.ssh/known_hosts".into(), "/k".into(), "/g".into()],
            proxy: Proxy::Command("nc -X 5 \"%h\" %p".into()),
        };
        assert_eq!(said, expected);
        assert_eq!(Said::parse("proxycommand none\nproxyjump none").proxy, Proxy::Direct);
        assert_eq!(Said::parse("proxyjump a,b\nproxycommand none").proxy, Proxy::Jump("a,b".into()));
    }

    #[test]
    fn tokens_are_replaced() {
        let home = Path::new("/home/me");
        assert_eq!(expand("~/.ssh/%h-%r", home, "h", "u"), Path::new("/home/me/.ssh/h-u"));
        assert_eq!(expand("%d/100%%/%x%", home, "h", "u"), Path::new("/home/me/100%/%x%"));
    }

    #[tokio::test]
    async fn a_command_of_the_configuration_that_does_not_end_is_ended() {
        let home = tempfile::tempdir().unwrap();
        let (config, began) = (home.path().join("config"), home.path().join("began"));
        fs::write(&config, format!("Match exec \"echo $$ > {}; sleep 99; true\"\n  User me\n", began.display()))
            .unwrap();
        let params = serde_json::json!({ "type": "sftp", "backend-id": "test", "host": "h", "path": "/" });
        let settings = Settings::of(&wl_core::manifest::Storage::from_params(params).unwrap()).unwrap();
        let settings = Settings { home: home.path().to_owned(), config: Some(config), ..settings };
        let error = Target::find(&settings).await.err().unwrap();
        assert!(error.fault == Fault::Offline && error.message.contains("`ssh -G h` did not end"), "{error}");
        let process = PathBuf::from("/proc").join(fs::read_to_string(&began).unwrap().trim());
        let goes_on = || fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z"));
        for _ in 0..500 {
            if !goes_on() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the command goes on");
    }
}
