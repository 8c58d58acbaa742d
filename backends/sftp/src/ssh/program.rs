//! The program `ssh` as a second way to a server that is near: it encrypts with what the processor has for it, which
//! libssh2 does not, and on another core. It carries SFTP alone, beside a connection of libssh2's.
//!
//! Host keys are checked as strictly: against the same files, and none is ever added.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wl_core::error::{Error, Fault, Result};

use super::Settings;
use super::config::Target;
use super::link::Server;

/// Farther away a channel of `ssh`, which asks for no more than 2 MiB ahead (`CHAN_SES_WINDOW_DEFAULT` of OpenSSH's
/// channels.h), would be slower than one of libssh2's.
const NEAR: Duration = Duration::from_millis(8);

/// Why it does not pay, or could not log in without asking anybody; none where it may be tried.
pub fn why_not(server: &Server) -> Option<&'static str> {
    if !server.by_bare_key {
        return Some("it was not let in by a key alone");
    }
    match server.round_trip {
        None => Some("how far away the server is is not known"),
        Some(round_trip) if round_trip > NEAR => Some("the server is not near"),
        Some(_) => None,
    }
}

/// The command whose input and output are SFTP.
pub fn command(settings: &Settings, target: &Target) -> Result<Command> {
    let mut ssh = Command::new("ssh");
    if let Some(config) = &settings.config {
        ssh.arg("-F").arg(config);
    }
    if let Some(port) = settings.port {
        ssh.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &settings.user {
        ssh.arg("-l").arg(user);
    }
    // Nobody is there to answer questions, nothing else is carried, and no connection is shared with anybody.
    for option in [
        "BatchMode=yes",
        "PreferredAuthentications=publickey",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "Tunnel=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "ControlMaster=no",
        "ControlPath=none",
        "LogLevel=ERROR",
        "ConnectTimeout=15",
        "ServerAliveCountMax=2",
    ] {
        ssh.arg("-o").arg(option);
    }
    ssh.arg("-o").arg(format!("ServerAliveInterval={}", (target.patience.as_secs() / 3).max(1)));
    if has_aes() {
        ssh.args(["-o", "Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com"]);
    }
    if let Some(identity) = &settings.identity {
        ssh.args(["-o", "IdentitiesOnly=yes", "-o"]).arg(format!("IdentityFile={}", word(identity)?));
    }
    if let Some(known_hosts) = &settings.known_hosts {
        ssh.args(["-o", "GlobalKnownHostsFile=/dev/null", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", word(known_hosts)?));
    }
    let agent = target.agent.as_deref().map_or(Ok("none".to_owned()), word)?;
    ssh.arg("-o").arg(format!("IdentityAgent={agent}"));
    ssh.args(["-s", "--"]).arg(&settings.host).arg("sftp");
    Ok(ssh)
}

/// A path as one word of ssh_config(5), in which nothing is replaced.
fn word(path: &Path) -> Result<String> {
    let plain =
        |text: &&str| path.is_absolute() && !text.contains(['"', '\\', '$']) && !text.contains(char::is_control);
    match path.to_str().filter(plain) {
        Some(text) => Ok(format!("\"{}\"", text.replace('%', "%%"))),
        None => Err(Error::new(Fault::Unsupported, format!("`ssh` cannot be told of {}", path.display()))),
    }
}

/// Whether the processor has instructions for AES; where it has not, the ciphers that `ssh` likes best are faster.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_or_none() {
        assert_eq!(word(Path::new("/a b/100%")).unwrap(), "\"/a b/100%%\"");
        for odd in ["/a\"b", "/a\\b", "/${HOME}", "/a\nb", "relative"] {
            assert_eq!(word(Path::new(odd)).unwrap_err().fault, Fault::Unsupported, "{odd}");
        }
    }
}
