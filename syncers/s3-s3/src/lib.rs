//! The syncer for two buckets or prefixes of one server, which copies by itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use wl_backend_s3::{Offer, S3, Taken};
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

/// How long a server that does not copy between two places is not asked again: rights may be given meanwhile.
const CLOSED_FOR: Duration = Duration::from_mins(5);

/// Serves two buckets or prefixes, in both modes and directions.
#[derive(Debug, Default)]
pub struct S3S3 {
    /// From where to where the server did not copy, and when.
    closed: Mutex<BTreeMap<[String; 2], Instant>>,
}

const TYPES: &[&str] = &["s3"];

#[async_trait]
impl Carrier for S3S3 {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        if let Some(written) = self.taken(&parcel).await? {
            return Ok(written);
        }
        parcel.read_and_write().await
    }
}

impl S3S3 {
    /// Lets the server copy; none where it does not, and nothing has changed.
    async fn taken(&self, parcel: &Parcel<'_>) -> Result<Option<Written>> {
        let Parcel { path, entry, content, from, to, guard, trash, limited, monitor } = parcel;
        let way = [&from.place, &to.place].map(String::clone);
        let (Some(source), Some(target)) = (from.known_as::<S3>(), to.known_as::<S3>()) else { return Ok(None) };
        if self.is_closed(&way) {
            return Ok(None);
        }
        // What the server copies takes nothing of a limited line; what is read only for its hash would.
        let offer = Offer { at: source, path, token: &entry.token, content, may_read: !limited };
        let passed = |bytes| monitor.transferred(bytes);
        match target.take(path, offer, guard, *trash, &passed).await? {
            Taken::Written(written) => Ok(Some(written)),
            Taken::NotThis => Ok(None),
            Taken::Closed => {
                tracing::debug!(from = way[0], to = way[1], "the server does not copy: it is read and written");
                self.close(way);
                Ok(None)
            }
        }
    }

    fn is_closed(&self, way: &[String; 2]) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.get(way).is_some_and(|since| since.elapsed() < CLOSED_FOR)
    }

    fn close(&self, way: [String; 2]) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.retain(|_, since| since.elapsed() < CLOSED_FOR);
        closed.insert(way, Instant::now());
    }
}

impl EngineSyncer for S3S3 {
    const TRAITS: Traits = Traits::of_engine("s3-s3", TYPES, TYPES);
}
