//! What the command line calls a STORAGE: a path or a URL.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::place::{lexical, percent_decode};
use super::storage::{Storage, expand_home};
use crate::error::{Error, Fault, Result};
use crate::schema::{self, Holds, StorageKey, key_of};

impl Storage {
    /// Reads what the command line calls a STORAGE: a path or a URL. A fresh backend-id.
    ///
    /// A path may be followed by a query, `?read-only=true`: what follows a `?` is one if nothing is under the whole path
    /// and every key in it is one that local storages have.
    pub fn from_argument(text: &str) -> Result<Self> {
        // One that was deleted is missed only where a path begins in it.
        let cwd = std::env::current_dir().unwrap_or_default();
        Self::from_argument_in(text, &cwd, std::env::var("HOME").ok().as_deref())
    }

    /// The same with a secret that was typed: `env:NAME`, `file:PATH` or `command:LINE` is a reference, anything else is
    /// the secret itself, but for nothing at all, which is none.
    pub fn with_typed_secret(self, key: &str, typed: &str) -> Result<Self> {
        if typed.is_empty() {
            return Err(Error::new(Fault::Malformed, format!("an empty {key} is none")));
        }
        let value = reference(typed).map_or_else(|| json!(typed), |(kind, what)| json!({ kind: what }));
        self.with_param(key, value).checked()
    }

    pub(super) fn from_argument_in(text: &str, cwd: &Path, home: Option<&str>) -> Result<Self> {
        let named = |error: Error| Error::new(error.fault, format!("{} is no storage: {}", shown(text), error.message));
        Self::read_argument(text, cwd, home).map_err(named)
    }

    fn read_argument(text: &str, cwd: &Path, home: Option<&str>) -> Result<Self> {
        let (storage_type, rest) = match text.split_once("://") {
            Some(("s3", rest)) => ("s3", rest),
            Some(("sftp", rest)) => ("sftp", rest),
            Some(("webdav+http" | "webdav+https", rest)) => ("webdav", rest),
            Some((scheme, _)) if !scheme.contains('/') && !scheme.contains('.') => {
                let known = "a path, s3://, sftp://, webdav+http:// and webdav+https://";
                return Err(wrong(&format!("no storage begins with {scheme}://; known are {known}")));
            }
            _ => ("local", text),
        };
        let (rest, query) = match storage_type {
            "local" => split_local_query(rest, cwd, home),
            _ => rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query))),
        };
        let mut storage = Self::of(Map::new());
        storage.set_text("object", "storage".into());
        storage.set_text("type", storage_type.into());
        storage.set_text("backend-id", uuid::Uuid::new_v4().to_string());
        match storage_type {
            "local" => storage.set_text("location", absolute(rest, cwd, home)?),
            "s3" => storage.read_s3(rest)?,
            "sftp" => storage.read_sftp(rest)?,
            _ => storage.read_webdav(text, rest)?,
        }
        query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .try_for_each(|pair| storage.read_pair(pair))?;
        storage.checked()
    }

    fn set_text(&mut self, key: &'static str, text: String) {
        self.set(&StorageKey { path: vec![key], holds: Holds::Text }, Value::String(text));
    }

    fn read_s3(&mut self, rest: &str) -> Result<()> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(wrong(
                "an S3 URL has no user in it: name access-key and secret-key as query keys, or use the AWS chain",
            ));
        }
        let prefix = decoded(prefix)?;
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        self.set_text("s3-url", format!("s3://{bucket}/{prefix}{slash}"));
        Ok(())
    }

    fn read_sftp(&mut self, rest: &str) -> Result<()> {
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = split_user(server)?;
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (server, None),
        };
        self.set_text("host", host.trim_start_matches('[').trim_end_matches(']').to_owned());
        if let Some(port) = port {
            let port: u16 =
                port.parse().map_err(|_| wrong(&format!("'{port}' is no port: give one from 1 to 65535")))?;
            self.set(&StorageKey { path: vec!["port"], holds: Holds::Number }, json!(port));
        }
        let path = decoded(path)?;
        let at_home = path == "~" || path.starts_with("~/");
        self.set_text("path", if at_home { path } else { format!("/{path}") });
        if let Some(user) = user {
            self.set_text("ssh-user", decoded(user)?);
        }
        Ok(())
    }

    fn read_webdav(&mut self, text: &str, rest: &str) -> Result<()> {
        if rest.contains(char::is_whitespace) {
            return Err(wrong("a URL has no blanks in it: write each as %20"));
        }
        let scheme = if text.starts_with("webdav+https") { "https" } else { "http" };
        let (server, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (user, server) = split_user(server)?;
        let slash = if path.ends_with('/') { "" } else { "/" };
        self.set_text("url", format!("{scheme}://{server}{path}{slash}"));
        if let Some(user) = user {
            let login = StorageKey { path: vec!["credentials", "login"], holds: Holds::Identifier };
            self.set(&login, Value::String(decoded(user)?));
        }
        Ok(())
    }

    /// Takes one `key=value` of a query.
    fn read_pair(&mut self, pair: &str) -> Result<()> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let (name, value) = (decoded(name)?, decoded(value)?);
        let keys = query_keys(self.storage_type());
        let full_name = if name == "endpoint" { "endpoint-url" } else { &name };
        let Some(key) = keys.iter().find(|key| key.name() == full_name) else {
            let known = keys.iter().map(StorageKey::name).collect::<Vec<_>>().join(", ");
            let what = format!("{} storages have no key '{name}'; known are {known}", self.storage_type());
            return Err(wrong(&what));
        };
        if key.name() != "backend-id" && self.get(key).is_some() {
            return Err(wrong(&format!("it says '{full_name}' twice: leave one of them out")));
        }
        let value = read_value(key, value)?;
        self.set(key, value);
        Ok(())
    }

    /// Checks what was read, as if the secrets that are still to be asked for were there.
    fn checked(self) -> Result<Self> {
        let whole =
            self.missing_secrets().iter().fold(self.clone(), |storage, key| storage.with_param(key, json!("?")));
        schema::validate_storage(&Value::Object(whole.params().clone())).map_err(|violations| {
            let one = |v: &schema::Violation| format!("{} {}", key_of(&v.pointer, "the storage"), v.message);
            wrong(&violations.iter().map(one).collect::<Vec<_>>().join("; "))
        })?;
        let storage = Self::of(self.params().clone());
        match storage.flaw() {
            Some((key, why)) => Err(wrong(&format!("{key} {why}"))),
            None => Ok(storage),
        }
    }
}

/// The keys that a query may have: all but those that the argument itself says.
fn query_keys(storage_type: &str) -> Vec<StorageKey> {
    const SAID: [&str; 5] = ["object", "type", "location", "s3-url", "url"];
    let keys = schema::storage_keys(storage_type).into_iter();
    let said = |key: &StorageKey| {
        SAID.contains(&key.name()) || storage_type == "sftp" && matches!(key.name(), "host" | "path")
    };
    keys.filter(|key| !said(key)).collect()
}

fn read_value(key: &StorageKey, value: String) -> Result<Value> {
    let name = key.name();
    match (key.holds, reference(&value)) {
        (Holds::Secret | Holds::Identifier, Some((kind, what))) => Ok(json!({ kind: what })),
        (Holds::Secret, None) => Err(no_secret_here(name)),
        (Holds::Identifier | Holds::Text, _) => Ok(Value::String(value)),
        (Holds::Flag, _) => match value.as_str() {
            "true" => Ok(json!(true)),
            "false" => Ok(json!(false)),
            _ => Err(wrong(&format!("{name} must be true or false"))),
        },
        (Holds::Number, _) => {
            let whole = value.parse::<u64>().ok().map(|number| json!(number));
            let number = || value.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| json!(number));
            whole.or_else(number).ok_or_else(|| wrong(&format!("{name} must be a number")))
        }
    }
}

/// `env:NAME` and the like.
fn reference(value: &str) -> Option<(&'static str, &str)> {
    let kinds = ["env", "file", "command"].into_iter();
    kinds
        .filter_map(|kind| Some((kind, value.strip_prefix(kind)?.strip_prefix(':')?)))
        .find(|(_, what)| !what.is_empty())
}

fn no_secret_here(name: &str) -> Error {
    let what = format!(
        "{name} is a secret, which others could read on a command line: \
         give a reference ({name}=env:NAME, {name}=file:PATH or {name}=command:LINE)"
    );
    wrong(&what)
}

fn split_user(server: &str) -> Result<(Option<&str>, &str)> {
    match server.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(no_secret_here("password")),
        Some((user, server)) => Ok((Some(user), server)),
        None => Ok((None, server)),
    }
}

/// A path, and the query behind it if it is one.
fn split_local_query<'a>(text: &'a str, cwd: &Path, home: Option<&str>) -> (&'a str, Option<&'a str>) {
    let exists = |text: &str| absolute(text, cwd, home).is_ok_and(|path| Path::new(&path).symlink_metadata().is_ok());
    let keys = query_keys("local");
    let known = |pair: &str| keys.iter().any(|key| pair.split('=').next() == Some(key.name()));
    match text.rsplit_once('?') {
        Some((path, query)) if !path.is_empty() && query.split('&').all(known) && !exists(text) => (path, Some(query)),
        _ => (text, None),
    }
}

fn absolute(text: &str, cwd: &Path, home: Option<&str>) -> Result<String> {
    if text.is_empty() {
        return Err(wrong("an empty text is no storage: give a path or a URL"));
    }
    let path = cwd.join(expand_home(text, home));
    if !path.is_absolute() {
        return Err(wrong(
            "it begins in the current directory, and nobody can tell which that is, as after it was deleted: change to \
             another one, or give the whole path",
        ));
    }
    let path = lexical(&path);
    path.into_os_string().into_string().map_err(|_| wrong("its absolute path is not UTF-8: choose another directory"))
}

fn decoded(text: &str) -> Result<String> {
    percent_decode(text).ok_or_else(|| {
        wrong("a % in a URL must be followed by two hex digits, which together stand for UTF-8: write % itself as %25")
    })
}

/// As much of an argument as can hold no secret: no query, and of a URL nothing that may be before an `@`.
fn shown(text: &str) -> String {
    let bare = text.split('?').next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, server)) => format!("`{scheme}://…@{server}`"),
            None => format!("`{bare}`"),
        },
        None => format!("`{bare}`"),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(Fault::Malformed, what)
}
