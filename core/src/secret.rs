//! Secrets and references to them. A secret's value is held in memory only, and no error or `Debug` shows it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Map, Value};

use crate::error::{Error, Fault, Result};
use crate::manifest::Storage;
use crate::schema::{Holds, StorageKey, storage_keys};

const MASK: &str = "********";
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// No secret has more bytes.
const LONGEST: u64 = 64 << 10;

/// What stands where a secret is wanted.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// The secret itself.
    Inline(String),
    /// An environment variable's name.
    Env(String),
    /// A file's path. A newline at its end does not count.
    File(String),
    /// A line for `sh -c` that prints it. A newline at its end does not count.
    Command(String),
}

impl SecretRef {
    /// Reads a value of a storage's parameters.
    pub fn of(value: &Value) -> Option<Self> {
        if let Some(inline) = value.as_str() {
            return Some(Self::Inline(inline.to_owned()));
        }
        let (kind, what) = value.as_object()?.iter().next()?;
        let what = what.as_str()?.to_owned();
        match kind.as_str() {
            "env" => Some(Self::Env(what)),
            "file" => Some(Self::File(what)),
            "command" => Some(Self::Command(what)),
            _ => None,
        }
    }

    /// The value. `env` stands for the environment.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String> {
        match self {
            Self::Inline(value) => Ok(value.clone()),
            Self::Env(name) => env(name).ok_or_else(|| {
                let what = format!(
                    "the environment variable {name}, which holds a secret, is not set, or not to UTF-8: set it and start the \
                     job again"
                );
                Error::new(Fault::Denied, what)
            }),
            Self::File(path) => {
                let at = crate::manifest::expand_home(path, std::env::var("HOME").ok().as_deref());
                let text = read_file(Path::new(&at));
                let text = text
                    .map_err(|error| Error::new(Fault::Denied, format!("cannot read the secret in {path}: {error}")))?;
                Ok(without_newline(text))
            }
            Self::Command(line) => run(line, COMMAND_TIMEOUT),
        }
    }
}

impl std::fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str(MASK),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Command(line) => write!(f, "command:{line}"),
        }
    }
}

/// The keys of a storage type that hold a secret, or part of one, and may be given by reference.
pub(crate) fn secret_keys(storage_type: &str) -> impl Iterator<Item = StorageKey> {
    let keys = storage_keys(storage_type).into_iter();
    keys.filter(|key| matches!(key.holds, Holds::Secret | Holds::Identifier))
}

impl Storage {
    /// A copy with the values in place of all references, to be kept in memory only. `env` stands for the environment.
    pub fn resolve_secrets(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        self.map_secrets(|key, value| {
            let reference = SecretRef::of(value).ok_or_else(|| {
                Error::new(Fault::Malformed, format!("{} is neither a text nor a reference", key.path.join(".")))
            })?;
            let found = reference.resolve(env);
            let value = found.map_err(|error| {
                let what = format!("{} of storage {}: {}", key.path.join("."), self.backend_id(), error.message);
                Error::new(error.fault, what)
            })?;
            Ok(Some(Value::String(value)))
        })
    }

    /// The environment variables that its references name, with their values, as far as they are set.
    pub fn captured_env(&self, env: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
        let references = secret_keys(self.storage_type()).filter_map(|key| SecretRef::of(self.get(&key)?));
        let names = references.filter_map(|reference| match reference {
            SecretRef::Env(name) => Some(name),
            _ => None,
        });
        names.filter_map(|name| Some((name.clone(), env(&name)?))).collect()
    }

    /// The parameters without inline secrets, for what the daemon keeps on disk: whoever reads them back takes those
    /// from the manifest again, by container and backend-id ([`Self::with_secrets_of`]).
    pub fn for_disk(&self) -> Map<String, Value> {
        let kept = self.map_secrets(|key, value| Ok::<_, Error>((!is_hidden(key, value)).then(|| value.clone())));
        kept.map(|storage| storage.params().clone()).unwrap_or_default()
    }

    /// Takes back what [`Self::for_disk`] left out: parameters read from disk, with the inline secrets of this storage.
    pub fn with_secrets_of(&self, from_disk: Map<String, Value>) -> Result<Self> {
        let mut params = from_disk;
        for (key, value) in self.params() {
            let inner = value.as_object().filter(|_| params.get(key).is_some_and(Value::is_object));
            match (inner, params.get_mut(key)) {
                (Some(inner), Some(Value::Object(kept))) => {
                    for (name, value) in inner {
                        kept.entry(name).or_insert_with(|| value.clone());
                    }
                }
                _ if self.holds_secret(key) => drop(params.entry(key).or_insert_with(|| value.clone())),
                _ => {}
            }
        }
        Self::from_params(Value::Object(params))
    }

    fn holds_secret(&self, key: &str) -> bool {
        secret_keys(self.storage_type()).any(|secret| secret.path.first() == Some(&key))
    }

    /// The parameters with every inline secret replaced by asterisks; references stay visible.
    pub fn masked(&self) -> Value {
        let masked = self.map_secrets(|key, value| {
            Ok::<_, Error>(Some(if is_hidden(key, value) { Value::String(MASK.to_owned()) } else { value.clone() }))
        });
        masked.map(|storage| Value::Object(storage.params().clone())).unwrap_or_default()
    }

    /// The keys of secrets that are needed and not given, by last name: a terminal can be asked for them.
    pub fn missing_secrets(&self) -> Vec<&'static str> {
        let given =
            |name: &str| secret_keys(self.storage_type()).any(|key| key.name() == name && self.get(&key).is_some());
        let needed = match self.storage_type() {
            "webdav" => [("login", "password")],
            "s3" => [("access-key", "secret-key")],
            _ => return Vec::new(),
        };
        needed.into_iter().filter(|(with, secret)| given(with) && !given(secret)).map(|(_, secret)| secret).collect()
    }
}

/// Whether a value is neither shown nor kept: an inline secret, or an access key, which some take for one.
fn is_hidden(key: &StorageKey, value: &Value) -> bool {
    !value.is_object() && (key.holds == Holds::Secret || key.name() == "access-key")
}

fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// The text of a file; one that is none, or too long, is refused, for it may never end.
fn read_file(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
    }
    Ok(text)
}

/// Runs a line with `sh`, without anything to read, and returns what it prints.
fn run(line: &str, timeout: Duration) -> Result<String> {
    let failed =
        |what: String| Error::new(Fault::Denied, format!("the command '{line}', which should print a secret, {what}"));
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // What it starts ends with it.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be run: {error}")))?;
    let Some((output, status)) = ended(&mut child, Instant::now() + timeout) else {
        // Both fail only where it has ended by itself meanwhile.
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
        return Err(failed(format!("took longer than {} s: it must not ask for anything", timeout.as_secs())));
    };
    let status = status.map_err(|error| failed(format!("was lost: {error}")))?;
    if output.as_ref().is_ok_and(|bytes| bytes.len() as u64 > LONGEST) {
        return Err(failed(format!("printed more than {LONGEST} bytes")));
    }
    if !status.success() {
        return Err(failed(format!("failed ({status}): run it in a terminal to see why")));
    }
    let text = output.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(without_newline).ok_or_else(|| failed("printed what is not UTF-8".to_owned()))
}

/// What a child printed, and how it ended; none if that takes until the deadline.
fn ended(child: &mut Child, deadline: Instant) -> Option<(io::Result<Vec<u8>>, io::Result<ExitStatus>)> {
    let mut stdout = child.stdout.take()?.take(LONGEST + 1);
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes).map(|_| bytes);
        // Whoever prints on and on ends by that.
        drop(stdout);
        // Nobody listens any more once the time is up.
        let _ = done.send(read);
    });
    let output = outcome.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
    loop {
        // Usually it ends with its output.
        if let Some(status) = child.try_wait().transpose() {
            return Some((output, status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(left.min(Duration::from_millis(5)));
    }
}

#[cfg(test)]
mod tests;
