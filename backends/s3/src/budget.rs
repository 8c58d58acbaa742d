//! The memory that contents on their way may take, in the whole process.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wl_core::error::{Error, Result};

/// Memory is counted in pieces of this size.
const UNIT: u64 = 64 << 10;
/// For what is read from a content and not yet at the server: parts of large contents, and small ones whole. They have
/// memory of their own, so that large contents from a slow source do not stop small ones.
const WRITING: u64 = 48 << 20;
const WRITING_SMALL: u64 = 16 << 20;
/// What counts as small.
const SMALL: u64 = 1 << 20;
/// For what is read ahead of whoever reads.
const AHEAD: u64 = 32 << 20;

static WRITERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(units(WRITING) as usize)));
static SMALL_WRITERS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(units(WRITING_SMALL) as usize)));
static READERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(units(AHEAD) as usize)));

/// Memory that is taken until this is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

/// Waits for memory to hold so many bytes of a content being written. More than there is at all takes all of it: only
/// parts of objects beyond 480 GB are that large.
///
/// Whoever holds a share waits for nothing but readers and the network; readers never wait for memory.
pub(crate) async fn for_writing(bytes: u64) -> Result<Share> {
    let pool = if bytes <= SMALL { &SMALL_WRITERS } else { &WRITERS };
    Arc::clone(pool).acquire_many_owned(units(bytes.min(WRITING))).await.map_err(|_| Error::stopped())
}

/// Memory to read so many bytes ahead, if there is any to spare now.
pub(crate) fn for_reading_ahead(bytes: u64) -> Option<Share> {
    READERS.clone().try_acquire_many_owned(units(bytes)).ok()
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_large_takes_all_and_readers_are_never_made_to_wait() {
        let all = for_writing(5 << 30).await.unwrap();
        assert_eq!(all.num_permits(), units(WRITING) as usize);
        let small = for_writing(SMALL).await.unwrap();
        assert_eq!(small.num_permits(), units(SMALL) as usize, "small contents do not wait for large ones");
        let ahead: Vec<_> = std::iter::from_fn(|| for_reading_ahead(8 << 20)).collect();
        assert_eq!(ahead.len(), 4);
    }
}
