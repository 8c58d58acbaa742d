//! Whether large contents are taken in chunks: put together rightly, and listed only if they are whole.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::{Body, StatusCode, Url};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use super::{Chunks, Uploads, name_of_a_trial};
use crate::change::make_collection;
use crate::checksum::claims;
use crate::client::{Ask, TRIES, Try, drain};
use crate::error::of_status;
use crate::parts;
use crate::server::{Depth, Server};
use crate::transfer::{done, get_whole};
use crate::version::Seen;

/// One chunk: an object store behind the server would take no short one before others.
const TEXT: &[u8] = b"in a chunk";
/// Half of a chunk that is never whole.
const HALF: &[u8] = &[b'x'; 32 << 10];
/// So long a server is given to take in what was sent, or to notice that no more will come.
const PAUSE: Duration = Duration::from_millis(100);

/// Uploads a content in one chunk and puts it under a name in a directory of its own, beside a chunk that was cut off.
pub async fn try_out(server: &Server, uploads: &Uploads) -> Result<Chunks> {
    let mut tried = 0;
    loop {
        tried += 1;
        let upload = RelPath::root().join(&name_of_a_trial()).map_err(|_| no_name())?;
        let goal = parts::fresh(&RelPath::root(), false);
        make_collection(server, &goal).await?;
        let found = put_together(server, uploads, &upload, &goal).await;
        // The upload is gone already if all went well.
        for dir in [server.client.base.dir(&goal), uploads.base.dir(&upload)] {
            if let Ok(response) = server.client.send(Ask::new("DELETE", dir), None).await {
                drain(response).await;
            }
        }
        match found {
            // Nextcloud's database may have been locked for too long.
            Err(error) if error.fault == Fault::Broken && tried < TRIES => tokio::time::sleep(PAUSE * tried).await,
            Err(error) if !error.fault.passes() => {
                tracing::debug!("chunks are not taken: {error}");
                return Ok(Chunks::Refused);
            }
            found => return found,
        }
    }
}

async fn put_together(server: &Server, uploads: &Uploads, dir: &RelPath, goal: &RelPath) -> Result<Chunks> {
    let goal = goal.join("together").map_err(|_| no_name())?;
    let destination = uploads.files.file(&goal).to_string();
    let ask = |method, url: Url| Ask::new(method, url).with("destination", destination.clone());
    let url = |name: &str| Ok::<_, Error>(uploads.base.file(&dir.join(name).map_err(|_| no_name())?));
    let made = drain(server.client.send(ask("MKCOL", uploads.base.dir(dir)), None).await?).await;
    if made != StatusCode::CREATED {
        return Err(of_status(made));
    }
    let sent = server.client.send(ask("PUT", url("00001")?), Some(Bytes::from_static(TEXT))).await?;
    let sent = drain(sent).await;
    if !done(sent) {
        return Err(of_status(sent));
    }
    cut_off(server, &ask("PUT", url("00002")?)).await?;
    let mut listed = Vec::new();
    let listing = server.listed_at(&uploads.base, dir, Depth::One, |names, seen| {
        if let Some(seen) = seen?
            && names.iter().all(|name| !name.starts_with(b"."))
        {
            listed.push((names.concat(), seen.size));
        }
        Ok(())
    });
    listing.await?;
    let number = |name: &[u8]| std::str::from_utf8(name).ok()?.parse::<u64>().ok();
    let whole = matches!(&listed[..], [(name, size)] if number(name) == Some(1) && *size == Some(TEXT.len() as u64));
    if !whole {
        return Ok(Chunks::Refused);
    }
    let mut last = ask("MOVE", url(".file")?)
        .with("overwrite", "F")
        .with("oc-total-length", TEXT.len().to_string())
        .with("x-hash", "sha256");
    for (name, lie) in claims(&Hash::of(b"a lie")) {
        last = last.with(name, lie);
    }
    let moved = server.client.send(last, None).await?;
    let told = Seen::in_headers(moved.headers()).hash;
    let truth = Hash::of(TEXT);
    let moved = drain(moved).await;
    if !done(moved) {
        return Err(of_status(moved));
    }
    if get_whole(server, &goal).await?.is_none_or(|(_, held)| held != truth) {
        return Ok(Chunks::Refused);
    }
    Ok(Chunks::Taken { tells_hash: told == Some(truth) })
}

/// Announces a chunk and sends half of it.
async fn cut_off(server: &Server, ask: &Ask) -> Result<()> {
    let half = futures::stream::once(std::future::ready(Ok(Bytes::from_static(HALF))));
    let never = futures::stream::once(async {
        // The first half is on its way by then.
        tokio::time::sleep(PAUSE).await;
        Err(std::io::Error::other("the other half does not come"))
    });
    let body = Body::wrap_stream(half.chain(never));
    // What it answers to that, if anything, says nothing.
    if let Ok(Try::Answer(response)) = server.client.once(ask, Some((2 * HALF.len() as u64, body)), None).await {
        drain(response).await;
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

fn no_name() -> Error {
    Error::new(Fault::Broken, "a name of the trial is none")
}
