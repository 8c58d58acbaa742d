//! What the manifest says of a bucket.

use std::fmt;

use serde_json::Value;
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;

use crate::key::Keys;

/// A bucket, a prefix in it, and how to reach them.
pub(crate) struct Config {
    pub bucket: String,
    pub keys: Keys,
    /// The server, where it is not AWS.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// A file with the certificate of who signed the server's.
    pub ca_certificate: Option<String>,
    /// None for the usual chain: environment, profile, SSO, container, instance metadata.
    pub credentials: Option<Inline>,
    /// Whether nothing may ever be written, not even for trying what the server can do.
    pub read_only: bool,
    /// The queue that tells of changes.
    pub queue: Option<String>,
}

/// Credentials of the manifest, resolved.
pub(crate) struct Inline {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inline(…)")
    }
}

impl Config {
    /// Reads the parameters of a storage whose secrets are resolved.
    pub fn of(storage: &Storage) -> Result<Self> {
        let params = storage.params();
        let text = |key: &str| params.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let url = text("s3-url").unwrap_or_default();
        let place = url.strip_prefix("s3://").filter(|place| !place.is_empty() && !place.starts_with('/'));
        let (bucket, prefix) = place
            .map(|place| place.split_once('/').unwrap_or((place, "")))
            .ok_or_else(|| malformed("an s3 storage needs an `s3-url` such as s3://bucket/prefix/"))?;
        let credentials = params.get("credentials").map(credentials).transpose()?;
        let queue = params.get("notifications").and_then(|at| at.get("sqs")).and_then(Value::as_str);
        Ok(Self {
            bucket: bucket.to_owned(),
            keys: Keys::new(prefix)?,
            endpoint: text("endpoint-url").map(|url| url.trim_end_matches('/').to_owned()),
            region: text("region").map(str::to_owned),
            ca_certificate: text("ca-certificate").map(str::to_owned),
            credentials,
            read_only: storage.read_only(),
            queue: queue.map(str::to_owned),
        })
    }

    /// Server and bucket, in one text.
    pub fn server_and_bucket(&self) -> String {
        format!("{}/{}", self.endpoint.as_deref().unwrap_or("aws"), self.bucket)
    }
}

fn credentials(given: &Value) -> Result<Inline> {
    let text = |key: &str| given.get(key).and_then(Value::as_str).map(str::to_owned);
    let needed = |key: &str| {
        let message = format!("`credentials` need `{key}` as a text: a reference to a secret must be resolved first");
        text(key).ok_or_else(|| malformed(&message))
    };
    Ok(Inline {
        access_key: needed("access-key")?,
        secret_key: needed("secret-key")?,
        session_token: text("session-token"),
    })
}

fn malformed(message: &str) -> Error {
    Error::new(Fault::Malformed, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(more: &Value) -> Result<Config> {
        let mut params = json!({ "type": "s3", "backend-id": "b" });
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        Config::of(&Storage::from_params(params)?)
    }

    #[test]
    fn a_url_is_a_bucket_and_a_prefix() {
        for (url, bucket, dir) in
            [("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://b/p", "b", "p/"), ("s3://b/p/q r/", "b", "p/q r/")]
        {
            let config = config(&json!({ "s3-url": url })).unwrap();
            assert_eq!((&*config.bucket, config.keys.prefix()), (bucket, dir), "{url}");
        }
        for url in ["s3://b//p", "s3://b/p//q", "s3://b/../p", "s3://b/./p"] {
            assert!(config(&json!({ "s3-url": url })).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_do_not_show() {
        let secrets = json!({ "s3-url": "s3://b", "credentials": { "access-key": "AK", "secret-key": "hunter2" } });
        let inline = config(&secrets).unwrap().credentials.unwrap();
        assert_eq!((&*inline.access_key, &*inline.secret_key), ("AK", "hunter2"));
        assert!(!format!("{inline:?}").contains("hunter2"));
    }
}
