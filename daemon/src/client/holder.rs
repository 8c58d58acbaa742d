//! The daemon of a place by the lock that it holds, where its socket does not tell.

use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use wl_core::config::Places;

use crate::lock::Lock;

/// So long a daemon may be beginning or ending, when it holds its lock and does not listen.
const BETWEEN: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(10);

/// The process of a daemon that runs in this place and cannot be reached, for its socket was removed; none if nobody runs
/// there, or it can be.
pub async fn unreachable(places: &Places) -> Option<String> {
    let begun = Instant::now();
    loop {
        let (process, _) = holder(places)?;
        if UnixStream::connect(&places.socket).await.is_ok() {
            return None;
        }
        if begun.elapsed() >= BETWEEN {
            return Some(process);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The process of the daemon that holds this place.
pub fn process(places: &Places) -> Option<String> {
    holder(places).map(|(process, _)| process)
}

/// Waits until that process holds this place no more: another one may, by then.
pub async fn has_ended(places: &Places, process: &str) {
    while holder(places).is_some_and(|(holds, _)| holds == process) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Who holds this place and listens at its socket, or did.
fn holder(places: &Places) -> Option<(String, std::path::PathBuf)> {
    Lock::holder(&Lock::of_state(&places.state_dir)).filter(|(_, socket)| *socket == places.socket)
}
