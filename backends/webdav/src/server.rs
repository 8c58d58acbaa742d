//! One storage on one server, and how its resources are looked at.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use reqwest::{Response, StatusCode, Url, header};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::io::StreamReader;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::abilities::{Abilities, Conditions};
use crate::chunks::Uploads;
use crate::client::{Ask, Client, pieces};
use crate::config::Settings;
use crate::deep;
use crate::error::{of_answer, of_status};
use crate::kept::Unsettled;
use crate::learning::Learning;
use crate::looks::Looks;
use crate::multistatus::{self, Item, REQUEST, REQUEST_ALL};
use crate::names;
use crate::parts::{self, Part, Parts};
use crate::place::{Base, Href};
use crate::probe;
use crate::subtree::Trees;
use crate::trash::{Made, make_parents};
use crate::turns::Turns;
use crate::version::{ETag, Precision, Seen, http_date};

/// A storage on a server.
pub struct Server {
    pub client: Client,
    pub parts: Parts,
    /// Directories of the trash that were made.
    pub made: Made,
    pub unsettled: Unsettled,
    pub trees: Trees,
    pub looks: Looks,
    pub turns: Turns,
    /// Where large contents go up in chunks, if that may be.
    pub uploads: Option<Uploads>,
    /// Nothing is ever to be changed there.
    pub read_only: bool,
    /// What abilities are remembered under: place and user.
    pub key: String,
    pub learning: Learning,
    itself: Weak<Server>,
    /// When the last look at the root began, and what it found.
    root_look: Mutex<Option<(Instant, Result<()>)>>,
}

/// How far a question about a collection reaches (RFC 4918, section 10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Zero,
    One,
    Infinity,
}

/// What properties are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that a listing needs.
    Usual,
    /// Those that tell a hash or an identity, too.
    All,
}

impl Server {
    pub fn new(settings: Settings) -> Arc<Self> {
        let (key, read_only) = (settings.key.clone(), settings.read_only);
        let uploads = Uploads::beside(&settings.base, settings.login());
        let client = Client::new(settings);
        let turns = Turns::new(client.distance.clone());
        Arc::new_cyclic(|itself| Self {
            client,
            parts: Parts::default(),
            made: Made::default(),
            unsettled: Unsettled::default(),
            trees: Trees::default(),
            looks: Looks::default(),
            turns,
            uploads,
            read_only,
            key,
            learning: Learning::default(),
            itself: itself.clone(),
            root_look: Mutex::default(),
        })
    }

    /// What the server can do, as far as that is known without asking it anything.
    pub fn known_abilities(&self) -> Option<Arc<Abilities>> {
        probe::remembered(&self.key).or_else(|| self.learning.so_far())
    }

    /// Begins to find out what the server can do, for something is about to be changed.
    pub fn learn(&self) {
        if let Some(itself) = self.itself.upgrade() {
            self.learning.begin(&itself);
        }
    }

    /// What the server can do: found out by trying, once.
    pub async fn abilities(&self) -> Result<Arc<Abilities>> {
        self.learning.abilities(&self.itself()?).await
    }

    /// What the server can do, tried afresh and with races. What was known before is replaced.
    pub async fn try_hard(&self) -> Result<()> {
        self.learning.afresh(&self.itself()?).await
    }

    fn itself(&self) -> Result<Arc<Self>> {
        self.itself.upgrade().ok_or_else(Error::stopped)
    }

    /// Whether a directory's entity tag changes with everything below it: found out by trying, once.
    pub async fn tags_are_deep(&self) -> Result<bool> {
        if self.read_only {
            return Ok(false);
        }
        if let Some(known) = deep::remembered(&self.key) {
            return Ok(known);
        }
        let found = deep::try_out(self).await?;
        deep::remember(&self.key, found);
        Ok(found)
    }

    /// Whether a watcher may be of use, as far as that is known without asking the server anything.
    pub fn may_watch(&self) -> bool {
        !self.read_only && deep::remembered(&self.key).unwrap_or(true)
    }

    pub fn precision(&self) -> Precision {
        self.known_abilities().map_or_else(Precision::default, |abilities| abilities.precision)
    }

    /// A name for something that is being written to that path, or (`held`) is moved aside from there: beside it; or, where
    /// such a name would not be listed, in a directory of its own.
    pub async fn part_for(&self, path: &RelPath, held: bool) -> Result<Part> {
        if !self.learning.hides_dotfiles(&self.itself()?).await? {
            return Ok(parts::fresh(&path.parent().unwrap_or_else(RelPath::root), held));
        }
        let dir = parts_dir();
        let part = parts::fresh(&dir, held);
        make_parents(self, &part).await?;
        Ok(part)
    }

    /// How a replacement is made conditional: found out by trying, once.
    pub async fn conditions(&self) -> Result<Conditions> {
        self.abilities().await?;
        self.learning.conditions(&self.itself()?).await
    }

    /// What headers say, in the terms of a listing: without an entity tag if listings have none.
    pub fn seen_in(&self, response: &Response) -> Seen {
        let seen = Seen::in_headers(response.headers());
        if self.known_abilities().is_some_and(|abilities| !abilities.lists_etags) {
            return Seen { etag: None, ..seen };
        }
        seen
    }

    /// Asks for the properties of a resource and maybe of its children. None if it is not there.
    async fn propfind(&self, url: Url, depth: Depth, wanted: Wanted) -> Result<Option<Response>> {
        let depth = match depth {
            Depth::Zero => "0",
            Depth::One => "1",
            Depth::Infinity => "infinity",
        };
        let ask = Ask::new("PROPFIND", url).with("depth", depth).with("content-type", "application/xml; charset=utf-8");
        let body = if wanted == Wanted::All { REQUEST_ALL } else { REQUEST };
        let response = self.client.send(ask, Some(Bytes::from_static(body.as_bytes()))).await?;
        match response.status() {
            StatusCode::MULTI_STATUS => Ok(Some(response)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => Err(of_answer(&response)),
        }
    }

    /// Looks at one path; none if nothing is there.
    pub async fn see(&self, path: &RelPath) -> Result<Option<Seen>> {
        Ok(self.see_all(path, Wanted::Usual).await?.map(|(seen, _)| seen))
    }

    /// Looks at one path, with everything the server says of it.
    pub fn see_all<'a>(&'a self, path: &'a RelPath, wanted: Wanted) -> BoxFuture<'a, Result<Option<(Seen, Item)>>> {
        Box::pin(async move {
            let url = if path.is_root() { self.client.base.url().clone() } else { self.client.base.file(path) };
            let response = match self.propfind(url, Depth::Zero, wanted).await {
                // Below a file there is nothing, but Apache answers 400 and lighttpd 403.
                Err(error) if matches!(error.fault, Fault::Malformed | Fault::Refused | Fault::Denied) => {
                    return match path.parent() {
                        Some(parent) if self.see(&parent).await?.is_none_or(|parent| !parent.is_dir) => Ok(None),
                        _ => Err(error),
                    };
                }
                answered => answered?,
            };
            let Some(response) = response else { return Ok(None) };
            let mut own = None;
            self.items(response, |date, item| {
                if own.is_none() && self.client.base.href(path, &item.href) == Href::Itself {
                    own = Some(seen_of(&item, date).map(|seen| seen.map(|seen| (seen, item))));
                }
                Ok(())
            })
            .await?;
            own.unwrap_or_else(|| Err(not_about(path)))
        })
    }

    /// Lists a collection's children, or everything below: each href with what is said of it. None if it is not there.
    pub async fn listed(
        &self,
        dir: &RelPath,
        depth: Depth,
        each: impl FnMut(Vec<Vec<u8>>, Result<Option<Seen>>) -> Result<()>,
    ) -> Result<Option<()>> {
        self.listed_at(&self.client.base, dir, depth, each).await
    }

    /// The same below another place of the server.
    pub async fn listed_at(
        &self,
        base: &Base,
        dir: &RelPath,
        depth: Depth,
        mut each: impl FnMut(Vec<Vec<u8>>, Result<Option<Seen>>) -> Result<()>,
    ) -> Result<Option<()>> {
        let Some(response) = self.propfind(base.dir(dir), depth, Wanted::Usual).await? else {
            return self.is_gone(base, dir).await.map(|()| None);
        };
        let mut itself = None;
        self.items(response, |date, item| match base.href(dir, &item.href) {
            Href::Itself => {
                itself = Some(seen_of(&item, date)?.is_some_and(|seen| seen.is_dir));
                Ok(())
            }
            Href::Below(names) => each(names, seen_of(&item, date)),
            Href::Elsewhere => Err(not_about(dir)),
        })
        .await?;
        // An answer that does not speak of the collection itself is no listing of it.
        match itself {
            Some(true) => Ok(Some(())),
            Some(false) => Ok(None),
            None => Err(not_about(dir)),
        }
    }

    /// Fails if a directory that could not be listed is there all the same: sabre/dav says of all that it was asked for that
    /// it is not there if only one child vanishes while it looks at them.
    async fn is_gone(&self, base: &Base, dir: &RelPath) -> Result<()> {
        let Some(response) = self.propfind(base.dir(dir), Depth::Zero, Wanted::Usual).await? else { return Ok(()) };
        let mut is_dir = None;
        self.items(response, |date, item| {
            if base.href(dir, &item.href) == Href::Itself {
                is_dir = Some(seen_of(&item, date)?.is_some_and(|seen| seen.is_dir));
            }
            Ok(())
        })
        .await?;
        match is_dir {
            Some(false) => Ok(()),
            Some(true) => Err(is_changing(dir)),
            None => Err(not_about(dir)),
        }
    }

    async fn items(
        &self,
        response: Response,
        mut each: impl FnMut(Option<jiff::Timestamp>, Item) -> Result<()>,
    ) -> Result<()> {
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(http_date);
        let body = pieces(response).map(|piece| piece.map_err(std::io::Error::other));
        multistatus::read(StreamReader::new(Box::pin(body)), |item| each(date, item)).await
    }

    /// Fails unless the root is there now: what is missing below a missing root is not deleted. Those who ask while a look
    /// is under way share the next one.
    pub async fn root_is_there(&self) -> Result<()> {
        let asked = Instant::now();
        let mut look = self.root_look.lock().await;
        // What was seen before something was found missing does not say that the root was there then.
        if let Some((begun, found)) = &*look
            && *begun >= asked
        {
            return found.clone();
        }
        let begun = Instant::now();
        let found = self.root_id().await.map(drop);
        *look = Some((begun, found.clone()));
        found
    }

    /// Looks at the root now; the server's own name for it, where it has one.
    pub async fn root_id(&self) -> Result<Option<String>> {
        match self.see_all(&RelPath::root(), Wanted::All).await? {
            Some((seen, item)) if seen.is_dir => Ok(item.props.file_id),
            Some(_) => {
                Err(Error::new(Fault::Malformed, "the url of this storage is that of a file: name a collection"))
            }
            None => Err(Error::new(Fault::Missing, "the server has no collection at the url of this storage")),
        }
    }

    /// Fails if the server would take that name but not list it as it is: what it hides would look deleted.
    pub async fn can_hold(&self, path: &RelPath) -> Result<()> {
        if !path.segments().any(names::is_odd) || path.is_ours() {
            return Ok(());
        }
        let abilities = self.abilities().await?;
        let Some(unfit) = &abilities.unfit else {
            let text = "the server is so slow that it is not known yet whether it lists such names: it is tried again";
            return Err(Error::new(Fault::Busy, text).at(path));
        };
        match path.segments().find_map(|step| names::unfit(unfit, step)) {
            None => Ok(()),
            Some(why) => Err(Error::new(Fault::Malformed, why).at(path)),
        }
    }
}

/// Where parts lie on servers that list nothing that begins with a dot.
pub fn parts_dir() -> RelPath {
    // INVARIANT: a constant without a slash or a NUL.
    RelPath::root().join(&format!("{PART_PREFIX}all")).unwrap_or_else(|_| RelPath::root())
}

/// The error of a directory that could not be listed because something in it vanished meanwhile: of this one alone.
pub fn is_changing(dir: &RelPath) -> Error {
    let text = "something in it vanished while it was listed: the next pass sees what became of it";
    Error::new(Fault::Broken, text).at(dir)
}

fn not_about(path: &RelPath) -> Error {
    let text = "the server's answer is about other places than it was asked for: does a proxy on the way change paths?";
    Error::new(Fault::Malformed, text).at(path)
}

/// What an item says; none if it says that nothing is there.
fn seen_of(item: &Item, date: Option<jiff::Timestamp>) -> Result<Option<Seen>> {
    match item.status {
        Some(404 | 410) => return Ok(None),
        Some(status) if !(200..300).contains(&status) => {
            return Err(of_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
        }
        _ => {}
    }
    let props = &item.props;
    let unsaid = |what: &str| Error::new(Fault::Malformed, format!("the server does not say {what}"));
    let is_dir = props.is_dir.ok_or_else(|| unsaid("whether this is a file"))?;
    if !is_dir && props.size.is_none() {
        return Err(unsaid("how long this file is"));
    }
    let etag = props.etag.as_deref().and_then(ETag::parse);
    Ok(Some(Seen { is_dir, size: props.size, modified: props.modified, etag, hash: props.hash, date }))
}
