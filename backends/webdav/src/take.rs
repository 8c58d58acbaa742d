//! Safe replace with a version that another collection of the same server holds: the server copies it under the part name,
//! and it is read once, for its hash. Everything else is as for a content that is uploaded.

use std::sync::Arc;

use tokio::time::Instant;
use wl_core::backend::{Guard, Written};
use wl_core::entry::{Hash, Token};
use wl_core::error::Result;
use wl_core::path::RelPath;

use crate::WebDav;
use crate::abilities::Conditions;
use crate::change::discard;
use crate::client::{Ask, drain};
use crate::inplace;
use crate::server::Server;
use crate::transfer::{Uploaded, done, read_back};
use crate::version::{ETag, Seen};
use crate::write::{holds, publish};

/// A version of a file of another collection.
pub struct Offer<'a> {
    /// Where it is.
    pub at: &'a WebDav,
    /// Its path there.
    pub path: &'a RelPath,
    /// Which version of it.
    pub token: &'a Token,
    /// Its size.
    pub size: u64,
    /// Its sha256, where it is known already.
    pub hash: Option<Hash>,
}

impl WebDav {
    /// Replaces what `guard` expects with a version that another storage of this server holds, as `replace` does with a
    /// content; none where the server does not copy it, and nothing has changed. `passed` is told of bytes that were copied.
    pub async fn take(
        &self,
        path: &RelPath,
        offer: Offer<'_>,
        guard: &Guard,
        trash: Option<&RelPath>,
        passed: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<Written>> {
        let server = &self.server;
        if !server.client.is_alike(&offer.at.server.client) {
            return Ok(None);
        }
        server.can_hold(path).await?;
        let abilities = server.abilities().await?;
        // What such a server replaces by a PUT is safer so.
        let replaces = match guard {
            Guard::Absent => None,
            Guard::Unchanged(_) => Some(server.conditions().await?),
        };
        let by_put = replaces == Some(Conditions::InPlace) && offer.size <= inplace::LARGEST;
        if abilities.copies != Some(true) || by_put {
            return Ok(None);
        }
        holds(server, path, guard).await?;
        let part = server.part_for(path, false).await?;
        let result = async {
            let Some(copied) = copy(server, &part, &offer).await.map_err(|error| error.at(path))? else {
                return Ok(None);
            };
            passed(offer.size);
            publish(server, &part, path, &copied, guard, trash).await.map(Some)
        }
        .await;
        if !matches!(result, Ok(Some(_))) {
            discard(server, &part).await;
        }
        result
    }
}

/// Copies a version under a part name and proves its hash; none if the server does not, or it is another version. Whatever
/// fails at the source fails for whoever reads it, too, and is told as the source's then.
async fn copy(server: &Arc<Server>, part: &RelPath, offer: &Offer<'_>) -> Result<Option<Uploaded>> {
    let source = &offer.at.server;
    let Some(version) = settled(source, offer).await else { return Ok(None) };
    let ask = Ask::new("COPY", source.client.base.file(offer.path))
        .with("destination", server.client.base.file(part).as_str())
        .with("overwrite", "F");
    let ask = match ETag::of(offer.token).filter(|_| !offer.token.is_racy() && !version.is_weak()) {
        Some(etag) => ask.with("if-match", etag.quoted()),
        None => ask,
    };
    let response = server.client.send(ask, None).await?;
    if !done(drain(response).await) {
        return Ok(None);
    }
    let at = Instant::now();
    // Not every server heeds the condition: what was copied is the version that is there both before and after.
    if !source.see(offer.path).await.is_ok_and(|seen| seen.is_some_and(|seen| seen.is(offer.token))) {
        return Ok(None);
    }
    let (seen, hash) = read_back(server, part).await?;
    let same_time = seen.modified == version.modified || !server.abilities().await?.keeps_mtime;
    let same = seen.size.is_none_or(|size| size == offer.size) && offer.hash.is_none_or(|known| known == hash);
    Ok((same && same_time).then_some(Uploaded { seen, hash, at }))
}

/// The version once it is so old that every change of it has another token; none if it is not there.
async fn settled(source: &Server, offer: &Offer<'_>) -> Option<Seen> {
    let see = async || source.see(offer.path).await.ok().flatten().filter(|seen| seen.is(offer.token));
    let seen = see().await?;
    let Some(wait) = seen.settles_in(offer.token, source.precision()) else { return Some(seen) };
    tokio::time::sleep(wait).await;
    see().await
}
