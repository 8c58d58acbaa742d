//! Clearing away uploads that nobody went on with. Nextcloud does the same once a day, where its background jobs run (its
//! `UploadCleanup`).

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use wl_core::error::Result;
use wl_core::path::RelPath;

use super::session::{delete, listed, under_way};
use super::{Chunks, Uploads, is_own};
use crate::server::Server;
use crate::version::Seen;

/// What got no chunk for so long is not gone on with.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);
/// How often is looked.
const EVERY: Duration = Duration::from_hours(6);

/// Deletes wl's own uploads that got no chunk for a day; how many. Those of others stay.
pub async fn sweep(server: &Server) -> usize {
    let Some(uploads) = &server.uploads else { return 0 };
    if !matches!(uploads.known(), Some(Chunks::Taken { .. })) || !is_time(uploads) {
        return 0;
    }
    clear(server, uploads).await.unwrap_or_else(|error| {
        tracing::debug!("uploads that nobody goes on with could not be looked for: {error}");
        0
    })
}

async fn clear(server: &Server, uploads: &Uploads) -> Result<usize> {
    let mut swept = 0;
    for (name, seen) in listed(server, uploads, &RelPath::root()).await?.unwrap_or_default() {
        if is_own(&name)
            && is_forgotten(&seen)
            && !under_way().contains(&name)
            && is_left(server, uploads, &name).await?
        {
            delete(server, uploads, &name).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn is_time(uploads: &Uploads) -> bool {
    let mut swept = uploads.swept.lock().unwrap_or_else(PoisonError::into_inner);
    let due = swept.is_none_or(|swept| swept.elapsed() > EVERY);
    if due {
        *swept = Some(Instant::now());
    }
    due
}

/// Whether its date is long ago by the server's own clock.
fn is_forgotten(seen: &Seen) -> bool {
    let now = seen.date.unwrap_or_else(Timestamp::now);
    seen.modified.is_some_and(|modified| now.duration_since(modified) > FORGOTTEN)
}

/// Whether nothing in it is younger than itself.
async fn is_left(server: &Server, uploads: &Uploads, name: &str) -> Result<bool> {
    let Ok(dir) = RelPath::root().join(name) else { return Ok(false) };
    Ok(listed(server, uploads, &dir).await?.is_some_and(|chunks| chunks.values().all(is_forgotten)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_by_the_servers_clock_is_forgotten() {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let of = |age: i64| Seen {
            date: Some(now),
            modified: Some(now - SignedDuration::from_secs(age)),
            ..Seen::default()
        };
        assert!(is_forgotten(&of(25 * 3600)) && !is_forgotten(&of(23 * 3600)) && !is_forgotten(&of(-3600)));
        assert!(!is_forgotten(&Seen { date: Some(now), ..Seen::default() }), "it has no date");
    }
}
