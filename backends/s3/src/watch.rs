//! Event notifications, received through a queue: S3 tells SQS, by itself, through SNS or through EventBridge.
//!
//! They may come late, twice, in any order, or not at all ("Amazon S3 event notifications are designed to be delivered at
//! least once": user guide), so that they are hints, and the bucket is listed from time to time beneath them
//! (`Facts::scan_every_s`).

use std::sync::Arc;

use futures::stream::BoxStream;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};

use crate::Place;

/// Begins to watch.
#[cfg(feature = "notifications")]
pub(crate) async fn watch(place: &Arc<Place>) -> Result<BoxStream<'static, Hint>> {
    match place.config.queue.clone() {
        Some(queue) => crate::queue::watch(place.clone(), queue).await,
        None => Err(by_listing()),
    }
}

/// Begins to watch.
#[cfg(not(feature = "notifications"))]
#[allow(clippy::unused_async, reason = "the other one of this name waits for the queue")]
pub(crate) async fn watch(place: &Arc<Place>) -> Result<BoxStream<'static, Hint>> {
    if place.config.queue.is_some() {
        let text = "this wl was built without `s3-notifications`: rebuild with --features s3-notifications, or remove \
                    `notifications` from the storage";
        return Err(Error::new(Fault::Broken, text));
    }
    Err(by_listing())
}

fn by_listing() -> Error {
    Error::new(Fault::Unsupported, "a bucket is watched by listing it")
}
