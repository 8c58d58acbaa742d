//! Whether a file may be created by one PUT: that must overwrite nothing, and show nothing before all of it is there.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::Body;
use wl_core::error::{Fault, Result};

use super::Trial;
use crate::client::{Ask, Try, drain};

/// As much as may be sent so, in two halves.
const HALF: &[u8] = &[b'x'; 32 << 10];
/// So long a server is given to show a part, or to notice that no more will come.
const PAUSE: Duration = Duration::from_millis(50);
/// How often is looked whether a part appeared after all.
const LOOKS: u32 = 3;

/// Creates a file over another one, one where nothing is, and one whose other half never comes.
pub async fn try_out(trial: &Trial<'_>) -> Result<bool> {
    // One after the other: sabre/dav fails now and then where much is changed in a directory at once.
    Ok(keeps_existing(trial).await?
        && !trial.writes_in_place().await?
        && creates(trial).await?
        && leaves_nothing(trial).await?)
}

async fn keeps_existing(trial: &Trial<'_>) -> Result<bool> {
    trial.put("taken", "old").await?;
    let onto = Ask::new("PUT", trial.server.client.base.file(&trial.at("taken")?)).with("if-none-match", "*");
    let refused = trial.put_with(onto, "worse").await.is_err_and(|error| error.fault == Fault::Refused);
    Ok(refused && trial.see("taken").await?.size == Some(3))
}

async fn creates(trial: &Trial<'_>) -> Result<bool> {
    let free = Ask::new("PUT", trial.server.client.base.file(&trial.at("free")?)).with("if-none-match", "*");
    Ok(trial.put_with(free, "new").await.is_ok() && trial.see("free").await?.size == Some(3))
}

/// Whether nothing is there while half of a content has come, nor after its sender is gone.
async fn leaves_nothing(trial: &Trial<'_>) -> Result<bool> {
    let (server, path) = (trial.server, trial.at("half")?);
    let (looked, wait) = tokio::sync::oneshot::channel::<()>();
    let first = futures::stream::once(std::future::ready(Ok(Bytes::from_static(HALF))));
    let never = futures::stream::once(async move {
        // Whether the looker says so or is gone: this is the end.
        let _ = wait.await;
        Err(std::io::Error::other("the other half does not come"))
    });
    let ask = Ask::new("PUT", server.client.base.file(&path)).with("if-none-match", "*");
    let sending = server.client.once(&ask, Some((2 * HALF.len() as u64, Body::wrap_stream(first.chain(never)))), None);
    let looking = async {
        tokio::time::sleep(PAUSE).await;
        let seen = server.see(&path).await;
        let _ = looked.send(());
        seen
    };
    let (sent, seen) = tokio::join!(sending, looking);
    if let Ok(Try::Answer(response)) = sent {
        // It answered before it had all: it may be anything but a success.
        if drain(response).await.is_success() {
            return Ok(false);
        }
    }
    if seen?.is_some() {
        return Ok(false);
    }
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        if server.see(&path).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
