//! How to reach a server, as the manifest has it.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;

/// How to reach a server. What is `None` comes from `~/.ssh/config`, or is what `ssh` would take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A name or an address, or what `~/.ssh/config` calls the host.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
    /// The user there.
    pub user: Option<String>,
    /// The file of a private key: no other is tried then.
    pub identity: Option<PathBuf>,
    /// What the private key is locked with.
    pub passphrase: Option<SecretString>,
    /// For password and keyboard-interactive authentication.
    pub password: Option<SecretString>,
    /// The file of host keys: no other is read then.
    pub known_hosts: Option<PathBuf>,
    /// The user's home directory here, where `.ssh` is.
    pub home: PathBuf,
    /// The file that stands for `~/.ssh/config`; `none` stands for no configuration.
    pub config: Option<PathBuf>,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Connections at once, at most.
    pub connections: usize,
    /// After so much silence a connection is lost.
    pub patience: Duration,
}

impl Settings {
    /// What a manifest says; its secrets are resolved.
    pub fn of(storage: &Storage) -> Result<Self> {
        let text = |key: &str| storage.params().get(key).and_then(Value::as_str);
        let malformed = |message: &str| Error::new(Fault::Malformed, message);
        let host = text("host").filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| malformed("an sftp storage needs a `host`: the name or address of a server"))?;
        let port =
            match storage.params().get("port").map(|port| port.as_u64().and_then(|port| u16::try_from(port).ok())) {
                Some(None | Some(0)) => return Err(malformed("the `port` of an sftp storage must be 1 to 65535")),
                port => port.flatten(),
            };
        let home = std::env::home_dir().ok_or_else(|| malformed("no home directory is known: set HOME"))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            user: text("ssh-user").map(str::to_owned),
            identity: text("ssh-identity").map(PathBuf::from),
            passphrase: text("ssh-identity-passphrase").map(SecretString::from),
            password: text("password").map(SecretString::from),
            known_hosts: text("known-hosts").map(PathBuf::from),
            home,
            config: std::env::var_os("WL_SSH_CONFIG").map(PathBuf::from),
            agent: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            connections: 4,
            patience: Duration::from_secs(40),
        })
    }
}
