//! Whether a directory's entity tag changes with everything below it, as ownCloud's and Nextcloud's do: found out by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::change::make_collection;
use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::parts;
use crate::server::Server;
use crate::transfer::{Over, done, move_to};
use crate::version::{ETag, Seen};

/// The four changes of a trial must be done within this. Then two of them fell into one second: tags that all differ do not
/// come from a clock of whole seconds.
const QUICK: Duration = Duration::from_secs(2);

/// What was found out in this process, by place and user.
static KNOWN: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());

/// What was found out before.
pub fn remembered(key: &str) -> Option<bool> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
}

/// Keeps what was found out.
pub fn remember(key: &str, deep: bool) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), deep);
}

/// A directory's entity tag; none where it has none, or a weak one, which may be that of several states.
pub async fn tag_of(server: &Server, dir: &RelPath) -> Result<Option<String>> {
    let seen = server.see(dir).await?.ok_or_else(|| Error::missing(dir))?;
    Ok(strong_tag(&seen))
}

/// The entity tag that tells one state of a directory from another.
pub fn strong_tag(seen: &Seen) -> Option<String> {
    seen.etag.as_ref().filter(|etag| seen.is_dir && !etag.is_weak()).map(|etag: &ETag| etag.opaque().to_owned())
}

/// Changes something two directories down, under a temporary name, in each of the ways there are, and looks whether that
/// shows above.
pub async fn try_out(server: &Server) -> Result<bool> {
    let root = RelPath::root();
    if tag_of(server, &root).await?.is_none() {
        return Ok(false);
    }
    let dir = parts::fresh(&root, false);
    make_collection(server, &dir).await?;
    let found = shows_above(server, &dir).await;
    if let Ok(response) = server.client.send(Ask::new("DELETE", server.client.base.dir(&dir)), None).await {
        drain(response).await;
    }
    found
}

async fn shows_above(server: &Server, dir: &RelPath) -> Result<bool> {
    let at = |path: &str| {
        path.split('/')
            .try_fold(dir.clone(), |path, name| path.join(name))
            .map_err(|_| Error::new(Fault::Broken, "a name of the trial is none"))
    };
    let (outer, inner, old, new) = (at("a")?, at("a/b")?, at("a/b/old")?, at("a/b/new")?);
    make_collection(server, &outer).await?;
    make_collection(server, &inner).await?;
    let mut tags = Tags::default();
    if !tags.take(server, dir).await? {
        return Ok(false);
    }
    let begun = Instant::now();
    for change in 0..4 {
        match change {
            0 => put(server, &old, "one").await?,
            1 => put(server, &old, "two").await?,
            2 => finished(move_to(server, &old, &new, false, &Over::Nothing).await?).await?,
            _ => finished(server.client.send(Ask::new("DELETE", server.client.base.file(&new)), None).await?).await?,
        }
        if !tags.take(server, dir).await? {
            return Ok(false);
        }
    }
    let quick = begun.elapsed() < QUICK;
    // Nor may it be another one each time: then it says nothing.
    let steady = tag_of(server, dir).await? == tags.last;
    Ok(quick && steady)
}

/// The tags of the trial's directory, and those of the root that holds it.
#[derive(Default)]
struct Tags {
    seen: BTreeSet<(bool, String)>,
    last: Option<String>,
}

impl Tags {
    /// Looks at both; whether either has a tag that it did not have before.
    async fn take(&mut self, server: &Server, dir: &RelPath) -> Result<bool> {
        let root = RelPath::root();
        let (of_dir, of_root) = tokio::try_join!(tag_of(server, dir), tag_of(server, &root))?;
        let (Some(of_dir), Some(of_root)) = (of_dir, of_root) else { return Ok(false) };
        self.last = Some(of_dir.clone());
        Ok(self.seen.insert((true, of_dir)) && self.seen.insert((false, of_root)))
    }
}

async fn put(server: &Server, path: &RelPath, text: &'static str) -> Result<()> {
    let ask = Ask::new("PUT", server.client.base.file(path));
    finished(server.client.send(ask, Some(Bytes::from_static(text.as_bytes()))).await?).await
}

async fn finished(response: reqwest::Response) -> Result<()> {
    let error = of_answer(&response);
    if done(drain(response).await) { Ok(()) } else { Err(error) }
}
