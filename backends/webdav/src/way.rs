//! The way to a server: its connections, and what it has said of credentials, kept from one job to the next. To connect and to
//! be asked anew costs more round trips than a pass over what did not change.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Client;
use serde_json::Value;
use wl_core::entry::Hash;
use wl_core::error::Result;
use wl_core::manifest::Storage;

use crate::auth::Wanted;
use crate::turns::Distance;

/// What makes two storages go the same way. Files of certificates are not among them: they may have changed meanwhile.
const ALIKE: [&str; 3] = ["url", "credentials", "bearer-token"];
const FILES: [&str; 3] = ["ca-certificate", "client-certificate", "client-key"];
/// So many ways are kept.
const KEPT: usize = 16;

/// The ways gone last, the last one at the end, by a digest of what makes them alike: no secret is kept here.
static WAYS: Mutex<Vec<(Hash, Way)>> = Mutex::new(Vec::new());

/// Connections to a server as one user.
#[derive(Clone)]
pub struct Way {
    pub http: Client,
    pub wanted: Arc<Wanted>,
    pub distance: Arc<Distance>,
}

impl Way {
    /// The way to a storage: the one gone before, or a new one.
    pub fn to(storage: &Storage, open: impl FnOnce() -> Result<Client>) -> Result<Self> {
        let fresh = || Ok(Self { http: open()?, wanted: Arc::default(), distance: Arc::default() });
        let value = |key: &&str| storage.params().get(*key).cloned().unwrap_or(Value::Null);
        if FILES.iter().map(value).any(|value| !value.is_null()) {
            return fresh();
        }
        let key: Value = ALIKE.iter().map(value).collect();
        let key = Hash::of(key.to_string().as_bytes());
        let mut ways = WAYS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ways.iter().position(|(other, _)| *other == key);
        let (_, way) = match at {
            Some(at) => ways.remove(at),
            None => (key, fresh()?),
        };
        ways.push((key, way.clone()));
        if ways.len() > KEPT {
            ways.remove(0);
        }
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn way(params: Value) -> Way {
        Way::to(&Storage::from_params(params).unwrap(), || Ok(Client::new())).unwrap()
    }

    #[test]
    fn only_the_same_user_goes_the_same_way() {
        let storage = |password: &str, more: Value| {
            let mut params = json!({
                "type": "webdav", "backend-id": "dav", "url": "http://127.0.0.1:1/way/",
                "credentials": {"login": "me", "password": password},
            });
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            way(params)
        };
        let one = storage("secret", json!({}));
        let same = |other: &Way| Arc::ptr_eq(&one.wanted, &other.wanted);
        assert!(same(&storage("secret", json!({"watcher-interval": 5}))));
        assert!(!same(&storage("other", json!({}))));
        assert!(!same(&storage("secret", json!({"ca-certificate": "/ca.pem"}))));
        assert!(same(&storage("secret", json!({}))));
        for other in 0..KEPT {
            storage(&other.to_string(), json!({}));
        }
        assert!(!same(&storage("secret", json!({}))), "only so many are kept");
    }
}
