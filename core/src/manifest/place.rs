//! Where a storage is, in a form that can be compared.

use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::storage::Storage;

/// A storage's place: two at one place are equal, and one inside another has the other's steps before its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Type and server.
    scope: String,
    /// The way from there on.
    steps: Vec<String>,
}

impl Place {
    /// None where the parameters hold no place that can be read.
    pub(super) fn of(storage: &Storage) -> Option<Self> {
        match storage.storage_type() {
            "s3" => {
                let steps = steps(storage.text("s3-url").strip_prefix("s3://")?, false);
                let endpoint = storage.text("endpoint-url");
                let endpoint = if endpoint.is_empty() { "aws".to_owned() } else { server(endpoint)?.0 };
                Some(Self { scope: format!("s3:{endpoint}"), steps })
            }
            "sftp" => {
                let port = storage.params().get("port").and_then(serde_json::Value::as_u64).unwrap_or(22);
                let scope = format!("sftp:{}:{port}", storage.text("host").to_lowercase());
                Some(Self { scope, steps: steps(storage.text("path"), true) })
            }
            "webdav" => {
                let (server, path) = server(storage.text("url"))?;
                Some(Self { scope: format!("webdav:{server}"), steps: steps(&percent_decode(path)?, true) })
            }
            "local" => {
                let path = canonical(Path::new(storage.text("location")));
                let steps = path.components().filter_map(|part| match part {
                    Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                    _ => None,
                });
                Some(Self { scope: "local:".to_owned(), steps: steps.collect() })
            }
            _ => None,
        }
    }

    pub(super) fn same_or_nested(&self, other: &Self) -> bool {
        let common = self.steps.len().min(other.steps.len());
        self.scope == other.scope && self.steps[..common] == other.steps[..common]
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.steps.join("/"))
    }
}

/// A path's steps, without the empty ones. Where `dots` mean something, they are walked.
fn steps(path: &str, dots: bool) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for step in path.split('/') {
        match step {
            "" => {}
            "." if dots => {}
            ".." if dots => drop(steps.pop()),
            _ => steps.push(step.to_owned()),
        }
    }
    steps
}

/// A URL's scheme, host and port, in normal form, and its path.
fn server(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (scheme, host) = (scheme.to_lowercase(), host.to_lowercase());
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(usual).unwrap_or(&host);
    (!host.is_empty()).then(|| (format!("{scheme}://{host}"), path))
}

/// A text with its `%XX` replaced; none where they are wrong or do not make UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(valid.then(|| u8::from_str_radix(digits, 16).ok())??);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// An absolute path with its `.` and `..` walked, without looking at the disk.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut walked = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => walked.push(name),
            Component::ParentDir => drop(walked.pop()),
            _ => {}
        }
    }
    walked
}

/// More links on one path than any system follows.
const MOST_LINKS: usize = 40;

/// The path with all links seen through, also those that lead to what is not there now, such as a disk that is not mounted
/// yet: a path is the same before and after. What does not exist is taken as it is written.
pub(super) fn canonical(path: &Path) -> PathBuf {
    let followed = followed(&lexical(path));
    let mut at = followed.clone();
    let mut missing: Vec<OsString> = Vec::new();
    loop {
        if let Ok(found) = at.canonicalize() {
            return missing.iter().rev().fold(found, |path, name| path.join(name));
        }
        match (at.file_name().map(ToOwned::to_owned), at.pop()) {
            (Some(name), true) => missing.push(name),
            _ => return followed,
        }
    }
}

/// Walks an absolute path step by step and follows each link, wherever it leads.
fn followed(path: &Path) -> PathBuf {
    let mut at = PathBuf::from("/");
    let mut ahead = steps_back(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(step);
        match next.read_link() {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                ahead.extend(steps_back(&target));
            }
            _ => at = next,
        }
    }
    at
}

/// The steps of a path, the last one first.
fn steps_back(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    steps.rev().map(|part| part.as_os_str().to_owned()).collect()
}
