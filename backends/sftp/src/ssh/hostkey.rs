//! Whether the server is the one it should be: its key against the known_hosts files, in the format of sshd(8).
//!
//! Read here and not by libssh2, which knows neither patterns nor `@revoked`, and does not say which kinds of keys it has.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use ssh2::Session;
use wl_core::error::{Error, Fault, Result};

use super::config::Target;

/// Kinds of host keys, as libssh2 negotiates them, in the order of OpenSSH; and the names known_hosts has for them.
const KINDS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512,rsa-sha2-256,ssh-rsa", "ssh-rsa"),
];

/// What the known_hosts files say about one host.
pub struct KnownHosts {
    /// What the files call it: `host`, or `[host]:port`.
    name: String,
    /// The file a new key belongs into.
    file: PathBuf,
    shown: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    mark: Mark,
    kind: String,
    key: Vec<u8>,
    file: PathBuf,
    number: usize,
    /// Whether it names the port too, or there is none to name.
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    Revoked,
    Authority,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    Known,
    Revoked(&'a Line),
    /// Another key of this kind is known.
    Changed(&'a Line),
    Unknown,
}

impl KnownHosts {
    /// Reads the files. Those that do not exist say nothing.
    pub fn read(target: &Target) -> Result<Self> {
        let host = target.alias.as_ref().unwrap_or(&target.host).to_lowercase();
        let name = match (&target.alias, target.port) {
            (None, port) if port != 22 => format!("[{host}]:{port}"),
            _ => host.clone(),
        };
        let mut lines = Vec::new();
        for file in &target.known_hosts {
            match std::fs::read(file) {
                Ok(text) => lines.extend(parse(&String::from_utf8_lossy(&text), file, &name, &host)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let text = format!("cannot read the host keys in {}: {error}", file.display());
                    return Err(Error::new(Fault::Denied, text));
                }
            }
        }
        let file = target.known_hosts.first().cloned().unwrap_or_default();
        Ok(Self { name, file, shown: target.shown(), lines })
    }

    /// Kinds of keys to ask the server for: first those that are known, or a server with several would show another.
    pub fn preferred_types(&self) -> String {
        let is_known = |kind: &str| self.lines.iter().any(|line| line.mark == Mark::Plain && line.kind == kind);
        let mut kinds = KINDS;
        kinds.sort_by_key(|(_, kind)| !is_known(kind));
        kinds.map(|(offer, _)| offer).join(",")
    }

    /// Refuses a server whose key is not known.
    pub fn check(&self, session: &Session) -> Result<()> {
        let (key, _) = session.host_key().ok_or_else(|| Error::new(Fault::Denied, "the server shows no key"))?;
        match self.judge(key) {
            Verdict::Known => Ok(()),
            refused => Err(Error::new(Fault::Denied, self.words(&refused, key))),
        }
    }

    fn judge(&self, key: &[u8]) -> Verdict<'_> {
        let find = |mark: Mark| self.lines.iter().find(|line| line.mark == mark && line.key == key);
        if let Some(line) = find(Mark::Revoked) {
            return Verdict::Revoked(line);
        }
        let kind = kind_of(key);
        let plain = || self.lines.iter().filter(|line| line.mark == Mark::Plain);
        let mut exact = plain().filter(|line| line.exact && line.kind == kind).peekable();
        // A line about the host alone says nothing where another is about this port.
        match exact.peek().copied() {
            Some(_) if exact.any(|line| line.key == key) => Verdict::Known,
            Some(line) => Verdict::Changed(line),
            None if find(Mark::Plain).is_some() => Verdict::Known,
            None => Verdict::Unknown,
        }
    }

    fn words(&self, verdict: &Verdict<'_>, key: &[u8]) -> String {
        let (host, print) = (&self.shown, fingerprint(key));
        let file = self.file.display();
        let kind = kind_of(key);
        // Whatever else a server calls its key has no place in a command.
        let add = if KINDS.iter().any(|(_, known)| *known == kind) {
            format!("echo '{} {kind} {}' >> '{file}'", self.name, STANDARD.encode(key))
        } else {
            "nothing can be added: wl does not know this kind of key".to_owned()
        };
        match verdict {
            Verdict::Revoked(line) => format!(
                "the key of {host}, {print}, is marked @revoked in {} line {}: whoever has it is not to be trusted",
                line.file.display(),
                line.number
            ),
            Verdict::Changed(line) => format!(
                "the key of {host} is {print}, but {} line {} has {}: somebody may be in between. If the server was set up \
                 anew: ssh-keygen -R '{}' -f '{}' && {add}",
                line.file.display(),
                line.number,
                fingerprint(&line.key),
                self.name,
                line.file.display(),
            ),
            Verdict::Unknown | Verdict::Known => {
                let authority = self.lines.iter().find(|line| line.mark == Mark::Authority);
                let authority = authority.map_or_else(String::new, |line| {
                    let (file, number) = (line.file.display(), line.number);
                    format!(" ({file} line {number} names a certificate authority for it, which wl cannot check)")
                });
                format!("the key of {host} is not known{authority}: it is {print}. If that is its key, add it: {add}")
            }
        }
    }
}

/// As `ssh-keygen -l` prints it.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{} ({})", STANDARD_NO_PAD.encode(Sha256::digest(key)), kind_of(key))
}

/// A key begins with the name of its kind.
fn kind_of(key: &[u8]) -> String {
    let length = key.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let name = key.get(4..4_usize.saturating_add(length)).unwrap_or_default();
    String::from_utf8_lossy(name).chars().filter(char::is_ascii_graphic).collect()
}

/// Base64, with or without its padding.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// The lines that are about the host.
fn parse(text: &str, file: &Path, name: &str, host: &str) -> Vec<Line> {
    let about = |(number, line): (usize, &str)| {
        let mut fields = line.split_whitespace();
        let mut first = fields.next().filter(|field| !field.starts_with('#'))?;
        let mark = match first {
            "@revoked" => Mark::Revoked,
            "@cert-authority" => Mark::Authority,
            _ if first.starts_with('@') => return None,
            _ => Mark::Plain,
        };
        if mark != Mark::Plain {
            first = fields.next()?;
        }
        let exact = names(first, name);
        if !exact && !names(first, host) {
            return None;
        }
        let kind = fields.next()?.to_owned();
        let key = decode_base64(fields.next()?)?;
        Some(Line { mark, kind, key, file: file.to_owned(), number: number + 1, exact })
    };
    text.lines().enumerate().filter_map(about).collect()
}

/// Whether the first field of a line means that name.
fn names(field: &str, name: &str) -> bool {
    if let Some(hashed) = field.strip_prefix("|1|") {
        return hashed_names(hashed, name).unwrap_or(false);
    }
    let mut named = false;
    for pattern in field.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not.to_lowercase().as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => named |= matches(pattern.to_lowercase().as_bytes(), name.as_bytes()),
        }
    }
    named
}

fn hashed_names(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (decode_base64(salt)?, decode_base64(hash)?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// `*` stands for any characters, `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        (Some((b'?', pattern)), Some((_, name))) => matches(pattern, name),
        (Some((wanted, pattern)), Some((found, name))) if wanted == found => matches(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn known(text: &str) -> KnownHosts {
        let lines = parse(text, Path::new("/k"), "[h.example]:2222", "h.example");
        KnownHosts { name: "[h.example]:2222".into(), file: "/k".into(), shown: "h.example:2222".into(), lines }
    }

    #[test]
    fn lines_mean_what_they_mean_to_ssh() {
        let key = decode_base64(KEY).unwrap();
        for (line, believed) in [
            (format!("[h.example]:2222 ssh-ed25519 {KEY} comment"), true),
            (format!("h.example ssh-ed25519 {KEY}"), true),
            (format!("other,[h.example]:2222 ssh-ed25519 {KEY}"), true),
            (format!("[H.Example]:2222 ssh-ed25519 {KEY}"), true),
            (format!("[*.example]:2222 ssh-ed25519 {KEY}"), true),
            (format!("[?.example]:* ssh-ed25519 {KEY}"), true),
            (format!("[*.example]:2222,![h.*]:2222 ssh-ed25519 {KEY}"), false),
            (format!("[h.example]:22 ssh-ed25519 {KEY}"), false),
            (format!("# [h.example]:2222 ssh-ed25519 {KEY}"), false),
            (format!("@cert-authority [h.example]:2222 ssh-ed25519 {KEY}"), false),
            (format!("@other [h.example]:2222 ssh-ed25519 {KEY}"), false),
            (format!("[h.example]:2222 ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}"), false),
            (format!("[h.example]:2222 ssh-ed25519 {OTHER}"), false),
            (format!("[h.example]:2222 ssh-ed25519 {OTHER}\n[h.example]:2222 ssh-ed25519 {KEY}"), true),
            (format!("h.example ssh-ed25519 {KEY}\n[h.example]:2222 ssh-ed25519 {OTHER}"), false),
            (format!("h.example ssh-ed25519 {KEY}\n[h.example]:2222 ssh-rsa {OTHER}"), true),
            ("[h.example]:2222 ssh-ed25519".to_owned(), false),
            ("[h.example]:2222 ssh-ed25519 !!!".to_owned(), false),
        ] {
            assert_eq!(known(&line).judge(&key) == Verdict::Known, believed, "{line}");
        }
    }

    #[test]
    fn a_key_changed_only_where_the_port_is_the_same() {
        let key = decode_base64(KEY).unwrap();
        let judge = |line: String| matches!(known(&line).judge(&key), Verdict::Changed(_));
        assert!(judge(format!("[h.example]:2222 ssh-ed25519 {OTHER}")));
        assert!(!judge(format!("h.example ssh-ed25519 {OTHER}")));
        assert!(!judge("[h.example]:2222 ssh-rsa AAAAB3NzaC1yc2EAAAAA".to_owned()));
    }

    #[test]
    fn known_kinds_are_asked_for_first() {
        assert!(known("").preferred_types().starts_with("ssh-ed25519,ecdsa"));
        let rsa = known("[h.example]:2222 ssh-rsa AAAAB3NzaC1yc2EAAAAA").preferred_types();
        assert!(rsa.starts_with("rsa-sha2-512,") && rsa.contains("ssh-ed25519"), "{rsa}");
    }

    #[test]
    fn no_key_does_harm() {
        for key in [&b""[..], b"\0\0\0", b"\xff\xff\xff\xffx", b"\0\0\0\x05a'b;c"] {
            let words = known("").words(&Verdict::Unknown, key);
            assert!(words.contains("SHA256:") && !words.contains("echo"), "{words}");
        }
    }
}
