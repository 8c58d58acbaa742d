//! Being interrupted.

use tokio::signal::unix::{SignalKind, signal};

/// Returns once the user or the system asks this process to end.
pub async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    if waits.len() == 0 {
        return std::future::pending().await;
    }
    futures::future::select_all(waits).await;
}
