//! Finding out what a server does by trying it, in a directory of its own under a temporary name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use reqwest::StatusCode;
use wl_core::backend::Listed;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

use crate::abilities::{Abilities, Conditions, Race};
use crate::change::make_collection;
use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::list::children;
use crate::lock::Lock;
use crate::names::{CLASSES, Class};
use crate::read::head;
use crate::server::Server;
use crate::transfer::{Over, copy_to, done, move_to};
use crate::version::{Precision, Seen};

/// What was found out in this process, by place and user.
static KNOWN: Mutex<BTreeMap<String, Arc<Abilities>>> = Mutex::new(BTreeMap::new());

/// Rounds of a race, and writers in each.
const ROUNDS: usize = 20;
const RACERS: usize = 6;

/// What was found out before.
pub fn remembered(key: &str) -> Option<Arc<Abilities>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
}

/// Keeps what was found out.
pub fn remember(key: &str, found: Abilities) -> Arc<Abilities> {
    let found = Arc::new(found);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), found.clone());
    found
}

/// Tries the server out; with `races`, lets writers race against each other, too.
pub fn try_out(server: &Server, races: bool) -> BoxFuture<'_, Result<Abilities>> {
    Box::pin(async move {
        server.root_is_there().await?;
        let dir = server.parts.fresh(&RelPath::root(), false);
        make_collection(server, &dir).await?;
        let found = Trial { server, dir: &dir }.run(races).await;
        if let Ok(response) = server.client.send(Ask::new("DELETE", server.client.base.dir(&dir)), None).await {
            drain(response).await;
        }
        found
    })
}

struct Trial<'a> {
    server: &'a Server,
    dir: &'a RelPath,
}

impl Trial<'_> {
    async fn run(&self, races: bool) -> Result<Abilities> {
        let (precision, keeps_mtime) = self.rewrite().await?;
        let listed = self.see("a").await?;
        let headed = head(self.server, &self.at("a")?).await?.unwrap_or_default();
        let heads_agree = match (&listed.etag, listed.modified) {
            (Some(_), _) => {
                headed.etag.as_ref().map(crate::version::ETag::opaque)
                    == listed.etag.as_ref().map(crate::version::ETag::opaque)
            }
            (None, Some(modified)) => headed.modified == Some(modified),
            (None, None) => false,
        };
        let conditions = self.conditions().await?;
        let (copies, move_keeps_token, keeps_existing) = self.shipping().await?;
        let raceable = matches!(conditions, Conditions::IfHeader | Conditions::Lock);
        Ok(Abilities {
            conditions,
            precision,
            lists_etags: listed.etag.is_some(),
            heads_agree,
            keeps_existing,
            deletes_first: self.deletes_first().await?,
            move_keeps_token,
            copies,
            unfit: self.unfit_names().await?,
            keeps_mtime,
            tells_hash: headed.hash.is_some() || self.tells_hash().await?,
            create_race: if races { Some(self.race(None).await?) } else { None },
            replace_race: if races && raceable { Some(self.race(Some(conditions)).await?) } else { None },
        })
    }

    fn at(&self, name: &str) -> Result<RelPath> {
        self.dir.join(name).map_err(|_| Error::new(Fault::Broken, "a name of the trial is none"))
    }

    async fn put(&self, name: &str, text: &'static str) -> Result<()> {
        self.put_with(Ask::new("PUT", self.server.client.base.file(&self.at(name)?)), text).await
    }

    async fn put_with(&self, ask: Ask, text: &'static str) -> Result<()> {
        let response = self.server.client.send(ask, Some(Bytes::from_static(text.as_bytes()))).await?;
        let error = of_answer(&response);
        if done(drain(response).await) { Ok(()) } else { Err(error) }
    }

    async fn see(&self, name: &str) -> Result<Seen> {
        let path = self.at(name)?;
        let gone = || Error::new(Fault::Broken, "a file that was just written is not there: is it another server now?");
        self.server.see(&path).await?.ok_or_else(gone)
    }

    /// Rewrites a file with as many bytes in quick succession: whether its tokens tell, and whether its date was kept.
    async fn rewrite(&self) -> Result<(Precision, bool)> {
        const DATE: i64 = 1_000_000_000;
        let begun = Instant::now();
        let mut names = Vec::new();
        let mut keeps_mtime = false;
        for (number, text) in ["one", "two", "six"].into_iter().enumerate() {
            let mut ask = Ask::new("PUT", self.server.client.base.file(&self.at("a")?));
            if number == 0 {
                ask = ask.with("x-oc-mtime", DATE.to_string());
            }
            self.put_with(ask, text).await?;
            let seen = self.see("a").await?;
            if number == 0 {
                keeps_mtime = seen.modified.is_some_and(|modified| modified.as_second() == DATE);
            } else {
                names.extend(seen.etag.map(|etag| etag.opaque().to_owned()));
            }
        }
        // A clock of whole seconds cannot have told both apart within one of them, unless it was passed once.
        let quick = begun.elapsed() < Duration::from_secs(1);
        self.put("a", "ten").await?;
        names.extend(self.see("a").await?.etag.map(|etag| etag.opaque().to_owned()));
        names.sort();
        names.dedup();
        let fine = quick && names.len() == 3 && begun.elapsed() < Duration::from_secs(1);
        Ok((if fine { Precision::Fine } else { Precision::Coarse }, keeps_mtime))
    }

    /// Whether a MOVE heeds a condition on what it replaces, or else locks are heeded.
    async fn conditions(&self) -> Result<Conditions> {
        let (from, to) = (self.at("b")?, self.at("a")?);
        let url = self.server.client.base.file(&to);
        self.put("b", "new").await?;
        let stale = Over::If(format!("<{url}> ([\"wl-{}\"])", "stale"));
        let refused = drain(move_to(self.server, &from, &to, false, &stale).await?).await;
        if refused == StatusCode::PRECONDITION_FAILED {
            for _ in 0..8 {
                let Some(etag) = self.see("a").await?.etag else { break };
                let current = Over::If(format!("<{url}> ([{}])", etag.quoted()));
                if done(drain(move_to(self.server, &from, &to, false, &current).await?).await) {
                    return if self.is_owncloud().await? { self.in_place().await } else { Ok(Conditions::IfHeader) };
                }
                if !etag.is_weak() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.locks().await
    }

    /// Whether this is one of ownCloud's descendants, whose PUT takes effect at once, but whose MOVE deletes first.
    async fn is_owncloud(&self) -> Result<bool> {
        Ok(self.server.root_id().await?.is_some())
    }

    /// Whether a PUT heeds its condition.
    async fn in_place(&self) -> Result<Conditions> {
        let url = self.server.client.base.file(&self.at("a")?);
        let stale = Ask::new("PUT", url.clone()).with("if-match", "\"wl-stale\"");
        let refused = self.put_with(stale, "bad").await.is_err_and(|error| error.fault == Fault::Refused);
        let Some(etag) = self.see("a").await?.etag else { return Ok(Conditions::IfHeader) };
        let current = Ask::new("PUT", url).with("if-match", etag.quoted());
        let taken = self.put_with(current, "good").await.is_ok();
        Ok(if refused && taken { Conditions::InPlace } else { Conditions::IfHeader })
    }

    /// Whether a MOVE leaves nothing under the name it replaces for a moment. sabre/dav does, and says who it is; of others
    /// it is seen if a look falls into that moment.
    async fn deletes_first(&self) -> Result<bool> {
        const ROUNDS: usize = 6;
        const LOOKS: usize = 6;
        let (from, to) = (self.at("b")?, self.at("a")?);
        let options = self.server.client.send(Ask::new("OPTIONS", self.server.client.base.url().clone()), None).await?;
        let says_so = options.headers().contains_key("x-sabre-version");
        drain(options).await;
        if says_so || self.is_owncloud().await? {
            return Ok(true);
        }
        for _ in 0..ROUNDS {
            self.put("b", "new").await?;
            let moving = async { Ok(drain(move_to(self.server, &from, &to, false, &Over::Seen).await?).await) };
            let looking = join_all((0..LOOKS).map(|_| head(self.server, &to)));
            let (moved, looks): (Result<StatusCode>, _) = tokio::join!(moving, looking);
            moved?;
            if looks.into_iter().any(|look| matches!(look, Ok(None))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a lock keeps others out and lets its holder in.
    async fn locks(&self) -> Result<Conditions> {
        let (from, to) = (self.at("b")?, self.at("a")?);
        self.put("a", "old").await?;
        self.put("b", "new").await?;
        let Ok(Ok(lock)) = Lock::try_take(self.server, &to).await else { return Ok(Conditions::LookOnly) };
        let kept_out = self.put("a", "bad").await.is_err_and(|error| error.fault == Fault::Busy);
        let condition = Over::If(lock.condition(self.server));
        let let_in = done(drain(move_to(self.server, &from, &to, false, &condition).await?).await);
        let replaced = self.see("b").await.is_err();
        lock.release(self.server).await;
        Ok(if kept_out && let_in && replaced { Conditions::Lock } else { Conditions::LookOnly })
    }

    /// Whether it copies, whether a move keeps the token, and whether what exists is kept from a move.
    async fn shipping(&self) -> Result<(bool, bool, bool)> {
        let [a, c, d] = ["a", "c", "d"].map(|name| self.at(name));
        let (a, c, d) = (a?, c?, d?);
        let copied = drain(copy_to(self.server, &a, &c).await?).await;
        let copies = done(copied) && self.see("c").await.is_ok();
        self.put("c", "moved").await?;
        let before = self.see("c").await?;
        let moved = drain(move_to(self.server, &c, &d, false, &Over::Nothing).await?).await;
        if !done(moved) {
            let text = "this server cannot move a file, which a safe write needs";
            return Err(Error::new(Fault::Unsupported, text));
        }
        let keeps_token = self.see("d").await?.is(&before.token(Precision::Fine));
        let onto = drain(move_to(self.server, &d, &a, false, &Over::Nothing).await?).await;
        let keeps_existing = !done(onto) && self.see("d").await.is_ok();
        Ok((copies, keeps_token, keeps_existing))
    }

    /// Gives a directory, and a file in it, each kind of odd name: those that are not listed as they are.
    async fn unfit_names(&self) -> Result<Vec<Class>> {
        self.put("seen", "x").await?;
        let inside = join_all(CLASSES.iter().map(|class| self.holds_inside(class.sample))).await;
        let listed = children(self.server, self.dir, None).await?.unwrap_or_default();
        if !lists(&listed, "seen") {
            return Err(Error::new(
                Fault::Broken,
                "this server does not list a file that it took: nothing can be synced",
            ));
        }
        let mut unfit = Vec::new();
        for (class, inside) in CLASSES.iter().zip(inside) {
            if !inside? || !lists(&listed, class.sample) {
                unfit.push(*class);
            }
        }
        Ok(unfit)
    }

    async fn holds_inside(&self, name: &str) -> Result<bool> {
        let dir = self.at(name)?;
        let file = dir.join(name).map_err(|_| Error::new(Fault::Broken, "a name of the trial is none"))?;
        let put = async {
            make_collection(self.server, &dir).await?;
            self.put_with(Ask::new("PUT", self.server.client.base.file(&file)), "x").await?;
            children(self.server, &dir, None).await.map(Option::unwrap_or_default)
        };
        match put.await {
            Ok(listed) => Ok(lists(&listed, name)),
            Err(error) if error.fault.passes() => Err(error),
            // What is not taken is not hidden, but cannot be held either.
            Err(_) => Ok(false),
        }
    }

    async fn tells_hash(&self) -> Result<bool> {
        let all = self.server.see_all(&self.at("a")?, crate::server::Wanted::All).await?;
        Ok(all.is_some_and(|(seen, _)| seen.hash.is_some()))
    }

    /// Lets writers race, to create a file or to replace one, and counts the rounds in which more than one was told it won.
    async fn race(&self, replacing: Option<Conditions>) -> Result<Race> {
        let mut doubles = 0;
        for round in 0..ROUNDS {
            let goal = self.at(&format!("goal{round}"))?;
            let over = match replacing {
                None => Over::Nothing,
                Some(_) => {
                    self.put(&format!("goal{round}"), "old").await?;
                    let etag = self.see(&format!("goal{round}")).await?.etag;
                    let etag = etag.map(|etag| etag.quoted()).unwrap_or_default();
                    Over::If(format!("<{}> ([{etag}])", self.server.client.base.file(&goal)))
                }
            };
            let racers = (0..RACERS).map(|racer| self.run_one(round, racer, &goal, &over, replacing));
            let winners = join_all(racers).await.into_iter().flatten().filter(|won| *won).count();
            doubles += usize::from(winners > 1);
        }
        Ok(Race { doubles, rounds: ROUNDS })
    }

    async fn run_one(
        &self,
        round: usize,
        racer: usize,
        goal: &RelPath,
        over: &Over,
        replacing: Option<Conditions>,
    ) -> Result<bool> {
        if replacing == Some(Conditions::Lock) {
            let taken = Lock::try_take(self.server, goal).await?;
            // What is won is the lock; it is kept until the others have tried.
            if let Ok(lock) = taken {
                tokio::time::sleep(Duration::from_millis(20)).await;
                lock.release(self.server).await;
                return Ok(true);
            }
            return Ok(false);
        }
        let name = format!("racer{round}-{racer}");
        self.put(&name, "mine").await?;
        Ok(done(drain(move_to(self.server, &self.at(&name)?, goal, false, over).await?).await))
    }
}

fn lists(listed: &[Listed], wanted: &str) -> bool {
    listed.iter().any(|item| matches!(item, Listed::Entry(path, _) if path.name() == wanted))
}

/// Whether a name is that of a trial, or of another directory of wl's own.
pub fn is_own_dir(path: &RelPath) -> bool {
    let rest = path.name().strip_prefix(PART_PREFIX).unwrap_or_default();
    rest.split('-').nth(1).is_some_and(|pid| pid.parse::<u32>().is_ok())
}
