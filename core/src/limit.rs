//! Bytes a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use crate::backend::Body;

/// Lets so many bytes pass a second, shared by all that hold a clone.
#[derive(Clone)]
pub struct Limit {
    bytes_per_second: u64,
    /// When the bytes that passed so far are paid for.
    paid: Arc<Mutex<Instant>>,
}

impl Limit {
    /// A limit; at least one byte a second.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits until bytes that passed before are paid for, then books these.
    pub async fn pass(&self, bytes: u64) {
        let wait_until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*paid).max(Instant::now());
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
            *paid = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            begins
        };
        sleep_until(wait_until).await;
    }

    /// The body, slowed down.
    pub fn slow(self, body: Body) -> Body {
        Box::pin(body.then(move |chunk| {
            let limit = self.clone();
            async move {
                if let Ok(bytes) = &chunk {
                    limit.pass(bytes.len() as u64).await;
                }
                chunk
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_at_the_rate() {
        let (limit, begun) = (Limit::new(1000), Instant::now());
        for _ in 0..5 {
            limit.clone().pass(500).await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }
}
