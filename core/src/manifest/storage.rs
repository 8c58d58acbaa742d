//! One storage of a container.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::place::Place;
use super::site::Site;
use crate::error::{Error, Fault, Result};
use crate::schema::{self, StorageKey, key_of};

/// One storage of a container: its parameters, as the manifest or the socket has them, checked. Its secrets do not show in
/// `Debug`.
#[derive(Clone, PartialEq)]
pub struct Storage {
    params: Map<String, Value>,
}

impl Storage {
    /// Checks parameters against the schema. Keys that the type does not know are dropped, and null ones too: the
    /// Wildland client sends more than wl needs. (A manifest with unknown keys is refused when it is loaded.)
    pub fn from_params(params: Value) -> Result<Self> {
        let mut params = params;
        schema::drop_unknown_keys(&mut params);
        schema::write_whole_numbers(&mut params);
        schema::validate_storage(&params).map_err(|violations| {
            let all: Vec<_> =
                violations.iter().map(|v| format!("{} {}", key_of(&v.pointer, "it"), v.message)).collect();
            Error::new(Fault::Malformed, format!("the storage's parameters are wrong: {}", all.join("; ")))
        })?;
        let Value::Object(params) = params else {
            return Err(Error::new(Fault::Malformed, "the storage's parameters must be an object"));
        };
        let storage = Self::of(params);
        match storage.flaw() {
            Some((key, why)) => Err(Error::new(Fault::Malformed, format!("the storage's {key} {why}"))),
            None => Ok(storage),
        }
    }

    /// Takes parameters whose shape was checked; makes paths of this machine absolute.
    pub(super) fn of(params: Map<String, Value>) -> Self {
        let mut storage = Self { params };
        for key in ["location", "ssh-identity", "known-hosts", "client-certificate", "client-key", "ca-certificate"] {
            if let Some(Value::String(path)) = storage.params.get_mut(key) {
                *path = expand_home(path, std::env::var("HOME").ok().as_deref());
            }
        }
        storage
    }

    /// What a schema cannot say: the key that is wrong, and why.
    pub(super) fn flaw(&self) -> Option<(&'static str, &'static str)> {
        let limited = self.params.contains_key("bandwidth-limit");
        if limited && self.bandwidth_limit().is_none() {
            return Some(("bandwidth-limit", "must be bytes a second above 0, such as 10MiB or 500000"));
        }
        // A directory has a place in any case; its file system, which may not answer, is not asked for it.
        if self.local_path().is_none() && Place::of(self).is_none() {
            return Some(("url", "cannot be read as a URL: correct it"));
        }
        None
    }

    /// The parameters.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// `local`, `s3`, `sftp` or `webdav`.
    pub fn storage_type(&self) -> &str {
        self.text("type")
    }

    /// The backend-id.
    pub fn backend_id(&self) -> &str {
        self.text("backend-id")
    }

    /// A text under that key; empty where there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.params.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Where it is, for people, without secrets.
    pub fn location(&self) -> String {
        match self.storage_type() {
            "s3" => self.text("s3-url").to_owned(),
            "sftp" => {
                let path = self.text("path");
                let path = if path.starts_with('~') { format!("/{path}") } else { path.to_owned() };
                let port = self.params.get("port").map_or_else(String::new, |port| format!(":{port}"));
                let host = self.text("host");
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("sftp://{host}{port}{path}")
            }
            "webdav" => self.text("url").to_owned(),
            _ => self.text("location").to_owned(),
        }
    }

    /// The keys, by last name, that are given here and that another storage at the same place has otherwise.
    pub fn given_otherwise(&self, other: &Self) -> Vec<&'static str> {
        /// What says where it is, maybe in other words, and what every storage has of its own.
        const PLACE: [&str; 10] =
            ["object", "type", "backend-id", "location", "s3-url", "endpoint-url", "host", "port", "path", "url"];
        let differs = |key: &StorageKey| match (self.get(key), other.get(key)) {
            (None, _) | (Some(Value::Bool(false)), None) => false,
            (given, there) => given != there,
        };
        let keys = schema::storage_keys(self.storage_type()).into_iter();
        keys.filter(|key| !PLACE.contains(&key.name()) && differs(key)).map(|key| key.name()).collect()
    }

    /// The directory of a local storage.
    pub fn local_path(&self) -> Option<PathBuf> {
        (self.storage_type() == "local").then(|| PathBuf::from(self.text("location")))
    }

    /// Type and place in a normal form: two storages at one place have the same. A local path is looked at, to see
    /// through links.
    pub fn place(&self) -> String {
        Site::of(self).into_text()
    }

    /// How the two are at one place, or one inside the other; none if they are apart.
    pub fn overlap(&self, other: &Self) -> Option<&'static str> {
        Site::of(self).overlap(&Site::of(other))
    }

    /// Whether it is only read.
    pub fn read_only(&self) -> bool {
        self.params.get("read-only") == Some(&Value::Bool(true))
    }

    /// The same, but only to be read: its backend then writes nothing, not even to find out what the storage can do.
    pub fn only_read(&self) -> Self {
        let mut storage = self.clone();
        storage.params.insert("read-only".to_owned(), Value::Bool(true));
        storage
    }

    /// Whether it is the container's primary storage.
    pub fn primary(&self) -> bool {
        self.params.get("primary") == Some(&Value::Bool(true))
    }

    /// How often to scan it, where it is to be scanned.
    pub fn watcher_interval(&self) -> Option<Duration> {
        let seconds = self.params.get("watcher-interval")?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Bytes a second.
    pub fn bandwidth_limit(&self) -> Option<u64> {
        bytes_a_second(self.params.get("bandwidth-limit")?)
    }

    /// The same with another value under a key, named by its last name (`password`) or in full
    /// (`credentials.password`); unchanged where its type has no such key. Not checked again.
    pub fn with_param(mut self, key: &str, value: Value) -> Self {
        let known = schema::storage_keys(self.storage_type());
        if let Some(found) = known.iter().find(|known| known.name() == key || known.path.join(".") == key) {
            self.set(found, value);
        }
        self
    }

    pub(super) fn set(&mut self, key: &StorageKey, value: Value) {
        let (mut at, mut value) = (&mut self.params, Some(value));
        for (index, step) in key.path.iter().enumerate() {
            if index + 1 == key.path.len() {
                at.insert((*step).to_owned(), value.take().unwrap_or_default());
                return;
            }
            let inner = at.entry(*step).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            at = inner;
        }
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &StorageKey) -> Option<&Value> {
        let (first, below) = key.path.split_first()?;
        below.iter().try_fold(self.params.get(*first)?, |value, step| value.get(*step))
    }

    /// Replaces or (none) removes every value that may be a secret or a reference to one.
    pub(crate) fn map_secrets<E>(
        &self,
        mut map: impl FnMut(&StorageKey, &Value) -> Result<Option<Value>, E>,
    ) -> Result<Self, E> {
        let mut mapped = self.clone();
        for key in crate::secret::secret_keys(self.storage_type()) {
            let Some(value) = self.get(&key) else { continue };
            match map(&key, value)? {
                Some(value) => mapped.set(&key, value),
                None => mapped.remove(&key),
            }
        }
        Ok(mapped)
    }

    fn remove(&mut self, key: &StorageKey) {
        let mut at = &mut self.params;
        for (index, step) in key.path.iter().enumerate() {
            if index + 1 == key.path.len() {
                at.shift_remove(*step);
                return;
            }
            let Some(Value::Object(inner)) = at.get_mut(*step) else { return };
            at = inner;
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.masked())
    }
}

/// Bytes a second from a number or a text such as `10MiB`; none where it is none, or zero.
pub fn bytes_a_second(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::String(text) => text.parse::<bytesize::ByteSize>().ok()?.as_u64(),
        other => other.as_u64()?,
    };
    (bytes > 0).then_some(bytes)
}

/// A path with a leading `~` replaced, where there is a home directory.
pub(crate) fn expand_home(path: &str, home: Option<&str>) -> String {
    let Some(home) = home.filter(|home| home.starts_with('/')) else { return path.to_owned() };
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(below) if below.starts_with('/') => format!("{}{below}", home.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}
