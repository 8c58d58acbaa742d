//! Objects in an archive storage class, which cannot be read until somebody restores them.
//!
//! The engine looks again at what could not be read with every scan, as it must: most of that passes. This does not, for
//! hours or for ever, and every try is a request for each such object. So a version that turned out to be archived is
//! answered for from memory for a while. A listing does not tell: it names a storage class, but not what was restored.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use wl_core::error::{Error, Fault};

use crate::error;
use crate::token::Version;

/// For how long a version is taken for archived. Restoring takes from minutes to two days (Amazon S3 user guide, Archive
/// retrieval options).
const AGAIN: Duration = Duration::from_hours(1);
/// So many are remembered; more are tried each time.
const MOST: usize = 65_536;

/// What an answer says about an object in an archive (Amazon S3 API reference, Error responses).
pub(crate) const CODE: &str = "InvalidObjectState";

/// Versions that turned out to be archived, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Archive(Mutex<BTreeMap<String, Found>>);

#[derive(Debug)]
struct Found {
    version: Version,
    at: Instant,
    /// Whether nothing but reading would tell its hash.
    unproven: bool,
}

impl Archive {
    fn found(&self) -> MutexGuard<'_, BTreeMap<String, Found>> {
        // What was found stays true if somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what reading a version failed with.
    pub fn note<E: ProvideErrorMetadata>(&self, key: &str, version: &Version, failed: &SdkError<E, HttpResponse>) {
        if error::code(failed) == CODE {
            self.add(key, version, Instant::now());
        }
    }

    fn add(&self, key: &str, version: &Version, at: Instant) {
        let mut found = self.found();
        found.retain(|_, found| found.at.elapsed() < AGAIN);
        if found.len() < MOST {
            found.insert(key.to_owned(), Found { version: version.clone(), at, unproven: false });
        }
    }

    /// Takes note that only reading would tell a version's hash, if that version is archived.
    pub fn unproven(&self, key: &str, version: &Version) {
        if let Some(found) = self.found().get_mut(key).filter(|found| found.version == *version) {
            found.unproven = true;
        }
    }

    /// Fails if that version is known to be archived.
    pub fn check(&self, key: &str, version: &Version) -> Result<(), Error> {
        self.is_held(key, version, |_| true)
    }

    /// Fails if that version is known to be archived, and to have no hash but by reading it.
    pub fn check_hash(&self, key: &str, version: &Version) -> Result<(), Error> {
        self.is_held(key, version, |found| found.unproven)
    }

    fn is_held(&self, key: &str, version: &Version, counts: fn(&Found) -> bool) -> Result<(), Error> {
        let found = self.found();
        let held = found
            .get(key)
            .is_some_and(|found| found.version == *version && found.at.elapsed() < AGAIN && counts(found));
        if held { Err(archived()) } else { Ok(()) }
    }
}

/// The object is in an archive.
pub(crate) fn archived() -> Error {
    let text = "it is in an archive storage class and cannot be read: restore it (`aws s3api restore-object`), and it is \
                read within an hour after that, or exclude it";
    Error::new(Fault::Denied, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_version_is_held_and_only_for_a_while() {
        let archive = Archive::default();
        let (version, other) = (Version { etag: "a".to_owned(), size: 1 }, Version { etag: "b".to_owned(), size: 1 });
        archive.add("k", &version, Instant::now());
        assert!(archive.check("k", &version).is_err() && archive.check_hash("k", &version).is_ok());
        assert!(archive.check("k", &other).is_ok() && archive.check("l", &version).is_ok());
        archive.unproven("k", &other);
        assert!(archive.check_hash("k", &version).is_ok());
        archive.unproven("k", &version);
        assert!(archive.check_hash("k", &version).is_err());
        if let Some(long_ago) = Instant::now().checked_sub(AGAIN) {
            archive.add("k", &version, long_ago);
            assert!(archive.check("k", &version).is_ok());
        }
    }
}
