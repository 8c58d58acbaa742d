//! The configuration, and where everything is kept.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::document::{Document, fault_of, has_comments, write_atomically};
use crate::error::{Error, Fault, Result};
use crate::lock::Lock;
use crate::manifest::{bytes_a_second, expand_home};
use crate::schema;

/// What `<base-dir>/config.yaml` says, checked. A missing file says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// The control socket.
    pub sync_socket_path: Option<String>,
    /// The log: a path, or `-` for stderr.
    pub log_path: Option<String>,
    /// The target last chosen, by container uuid.
    pub default_remote_for_container: BTreeMap<String, String>,
    /// Parallel transfers a job.
    pub transfers: Option<usize>,
    /// Bytes a second for a whole job.
    pub bandwidth_limit: Option<u64>,
    /// How long a one-shot job waits for a fault to pass.
    pub retry_for: Option<Duration>,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// To stderr.
    Stderr,
    /// To a file.
    File(PathBuf),
}

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What `--base-dir` or `WL_BASE_DIR` says, else `$XDG_CONFIG_HOME/wildland`.
    pub base_dir: PathBuf,
    /// Whether the base dir was given.
    pub base_dir_given: bool,
    /// The databases.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The daemon's log.
    pub log: LogTo,
    /// The configuration.
    pub config_file: PathBuf,
    /// The manifests.
    pub containers_dir: PathBuf,
}

impl Config {
    /// Reads a configuration; an error names file, line and key. A missing or empty file is the default.
    pub fn load(file: &Path) -> Result<Self> {
        let value = read(file)?.map_or(Value::Null, |document| document.value);
        let text = |key: &str| value[key].as_str().map(ToOwned::to_owned);
        let remotes = value["default-remote-for-container"].as_object().into_iter().flatten();
        Ok(Self {
            file: file.to_owned(),
            sync_socket_path: text("sync-socket-path"),
            log_path: text("log-path"),
            default_remote_for_container: remotes
                .filter_map(|(uuid, id)| Some((uuid.clone(), id.as_str()?.to_owned())))
                .collect(),
            transfers: value["transfers"].as_u64().and_then(|count| usize::try_from(count).ok()),
            bandwidth_limit: bytes_a_second(&value["bandwidth-limit"]),
            retry_for: duration(&value["retry-for"]),
        })
    }

    /// Remembers the target chosen for a container. The file's mode and other keys stay; its comments too, unless the
    /// targets are written on one line. Whether any may have been lost.
    pub fn remember_remote(&mut self, container_uuid: &str, backend_id: &str) -> Result<bool> {
        if self.default_remote_for_container.get(container_uuid).is_some_and(|known| known == backend_id) {
            return Ok(false);
        }
        let _lock = Lock::take(self.file.parent().unwrap_or(Path::new(".")))?;
        let document = read(&self.file)?;
        let before = fs::read_to_string(&self.file).unwrap_or_default();
        let mut value = document.as_ref().map_or_else(|| json!({}), |document| document.value.clone());
        value[REMOTES][container_uuid] = json!(backend_id);
        let in_place = with_remote(document.as_ref(), &before, container_uuid, backend_id)
            .filter(|text| Document::parse(&self.file, text).is_ok_and(|changed| changed.value == value));
        let is_lossy = in_place.is_none() && has_comments(&before);
        let text = in_place.map_or_else(|| serde_saphyr::to_string(&value), Ok);
        let text = text.map_err(|error| {
            Error::new(Fault::Broken, format!("cannot write {} as YAML: {error}", self.file.display()))
        })?;
        write_atomically(&self.file, &text)?;
        self.default_remote_for_container.insert(container_uuid.to_owned(), backend_id.to_owned());
        Ok(is_lossy)
    }
}

const REMOTES: &str = "default-remote-for-container";

/// The text with a target and with nothing else changed, as far as its lines tell how.
fn with_remote(document: Option<&Document>, text: &str, container_uuid: &str, backend_id: &str) -> Option<String> {
    let at = |pointer: &str| document.and_then(|document| document.lines_below(pointer));
    // Quoted as JSON quotes, which YAML reads.
    let pair = format!("{}: {}", json!(container_uuid), json!(backend_id));
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let known = at(&schema::child(&format!("/{REMOTES}"), container_uuid));
    match (at(&format!("/{REMOTES}")), known) {
        (None, _) => lines.extend([format!("{REMOTES}:"), format!("  {pair}")]),
        (Some((head, last)), None) => {
            let first = lines.get(head)?;
            let indent = &first[..first.len() - first.trim_start().len()];
            let line = format!("{indent}{pair}");
            lines.insert(last, line);
        }
        (Some(_), Some((line, _))) => {
            let old = lines.get_mut(line - 1)?;
            *old = format!("{}{pair}", &old[..old.len() - old.trim_start().len()]);
        }
    }
    Some(lines.join("\n") + "\n")
}

/// A configuration's document, its shape checked; none where it is missing or empty.
fn read(file: &Path) -> Result<Option<Document>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::new(fault_of(&error), format!("cannot read {}: {error}", file.display()))),
        Ok(bytes) => bytes,
    };
    let document = Document::read(file, &bytes)?;
    if document.value.is_null() {
        return Ok(None);
    }
    let mut violations = schema::validate_config(&document.value).err().unwrap_or_default();
    let limit = &document.value["bandwidth-limit"];
    if violations.is_empty() && !limit.is_null() && bytes_a_second(limit).is_none() {
        let message = "must be bytes a second above 0, such as 10MiB or 500000".to_owned();
        violations.push(schema::Violation { pointer: "/bandwidth-limit".to_owned(), message });
    }
    if violations.is_empty() { Ok(Some(document)) } else { Err(document.error(violations)) }
}

/// A time from seconds, or from a text such as `60s`, `5m` or `1h`.
pub fn duration(value: &Value) -> Option<Duration> {
    let (number, unit) = match value {
        Value::String(text) => {
            let digits = text.trim_end_matches(['s', 'm', 'h']);
            let unit = match &text[digits.len()..] {
                "h" => 3600.0,
                "m" => 60.0,
                _ => 1.0,
            };
            (digits.parse::<f64>().ok()?, unit)
        }
        other => (other.as_f64()?, 1.0),
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

impl Places {
    /// Finds every place from the flags, the environment and the configuration.
    ///
    /// Where there is neither a socket path nor an `XDG_RUNTIME_DIR`, the socket is `wlsync.sock` in the state
    /// directory, which only its owner can enter. Relative paths in the configuration are relative to the base dir, those
    /// of flags and variables to the current directory. Empty variables, and relative `XDG_…` ones, count as unset.
    pub fn find(
        base_dir: Option<&Path>,
        socket: Option<&Path>,
        log: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Config)> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let home = set("HOME").filter(|home| home.starts_with('/'));
        let xdg = |name: &str, below_home: &str| -> Result<PathBuf> {
            let own = set(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
            let usual = home.as_ref().map(|home| Path::new(home).join(below_home));
            own.or(usual).ok_or_else(|| {
                let what = format!(
                    "cannot tell where to keep things: neither HOME nor {name} is set; set HOME or give --base-dir"
                );
                Error::new(Fault::Malformed, what)
            })
        };
        let given = base_dir.map(Path::to_owned).or_else(|| set("WL_BASE_DIR").map(PathBuf::from));
        let base_dir_given = given.is_some();
        let base_dir = match given {
            Some(dir) => absolute(&dir)?,
            None => xdg("XDG_CONFIG_HOME", ".config")?.join("wildland"),
        };
        let config_file = base_dir.join("config.yaml");
        let config = Config::load(&config_file)?;
        let configured = |path: &str| base_dir.join(expand_home(path, home.as_deref()));
        let state_dir = if base_dir_given {
            base_dir.join("state")
        } else {
            xdg("XDG_STATE_HOME", ".local/state")?.join("wildland")
        };
        let socket = match (socket, &config.sync_socket_path) {
            (Some(socket), _) => absolute(socket)?,
            (None, Some(path)) => configured(path),
            (None, None) if base_dir_given => base_dir.join("wlsync.sock"),
            (None, None) => {
                let runtime = set("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/')).map(PathBuf::from);
                runtime.unwrap_or_else(|| state_dir.clone()).join("wlsync.sock")
            }
        };
        let log = match (log.map(ToOwned::to_owned).or_else(|| set("WL_SYNC_LOG_PATH")), &config.log_path) {
            (Some(path), _) if path == "-" => LogTo::Stderr,
            (Some(path), _) => LogTo::File(absolute(Path::new(&path))?),
            (None, Some(path)) if path == "-" => LogTo::Stderr,
            (None, Some(path)) => LogTo::File(configured(path)),
            (None, None) => {
                let usual = home.as_ref().map(|home| Path::new(home).join(".local/share/wildland"));
                LogTo::File(usual.unwrap_or_else(|| state_dir.clone()).join("wl-sync.log"))
            }
        };
        let containers_dir = base_dir.join("containers");
        Ok((Self { base_dir, base_dir_given, state_dir, socket, log, config_file, containers_dir }, config))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::new(Fault::Malformed, format!("cannot make {} an absolute path: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests;
