//! What the records of uploads say, read once a version: they are met again by every listing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wl_core::error::{Error, Fault, Result};

use super::Record;
use crate::page::Object;
use crate::token::Version;
use crate::{Place, error};

/// A record is never larger.
pub(super) const LONGEST: usize = 16 << 10;

/// What was read, by its key: a version, and the record that it is, if it is one.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<String, (Version, Option<Record>)>>);

impl Known {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (Version, Option<Record>)>> {
        // What was read stays true if somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is met no more.
    pub fn keep_only(&self, keys: &BTreeSet<&str>) {
        self.all().retain(|key, _| keys.contains(key.as_str()));
    }
}

/// What a record says; none if it is gone, or says nothing.
pub(super) async fn read(place: &Place, object: &Object) -> Result<Option<Record>> {
    if object.size > LONGEST as u64 {
        return Ok(None);
    }
    if let Some((version, record)) = place.records.all().get(&object.key)
        && Some(version) == object.version.as_ref()
    {
        return Ok(record.clone());
    }
    let request = place.client().await?.get_object().bucket(place.bucket()).key(&object.key);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error::status(&error) == 404 => return Ok(None),
        Err(error) => return Err(place.error(&error)),
    };
    let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    let version = Version::new(answer.e_tag(), size);
    let bytes = answer.body.collect().await.map_err(|error| Error::new(Fault::Offline, error.to_string()))?;
    let record: Option<Record> = serde_json::from_slice(&bytes.into_bytes()).ok();
    let record = record.filter(|record| record.key.starts_with(place.config.keys.prefix()));
    if let Some(version) = version {
        place.records.all().insert(object.key.clone(), (version, record.clone()));
    }
    Ok(record)
}
