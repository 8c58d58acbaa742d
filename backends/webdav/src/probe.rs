//! Finding out what a server does by trying it, in a directory of its own under a temporary name.

mod directly;
mod hashes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};
use reqwest::{Body, StatusCode};
use tokio::sync::watch;
use wl_core::backend::Listed;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::abilities::{Abilities, Conditions, Race};
use crate::change::make_collection;
use crate::client::{Ask, Try, drain};
use crate::error::of_answer;
use crate::findings::{Findings, Rewriting, Shipping};
use crate::learning::{Progress, What};
use crate::list::children;
use crate::lock::Lock;
use crate::names::{CLASSES, Class};
use crate::note;
use crate::parts;
use crate::read::head;
use crate::server::Server;
use crate::transfer::{Over, copy_to, done, move_to};
use crate::version::{Precision, Seen};

pub use hashes::Hashes;

/// What was found out in this process, by place and user.
static KNOWN: Mutex<BTreeMap<String, Arc<Abilities>>> = Mutex::new(BTreeMap::new());

/// Rounds of a race, and writers in each.
const ROUNDS: usize = 20;
const RACERS: usize = 6;
/// No round begins later than this.
const RACE_TIME: Duration = Duration::from_secs(10);

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

/// Tries the server out, and tells what is found as it is found.
pub fn try_out<'a>(server: &'a Server, what: What, tell: &'a watch::Sender<Progress>) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        server.root_is_there().await?;
        let dir = parts::fresh(&RelPath::root(), false);
        make_collection(server, &dir).await?;
        let trial = Trial { server, dir: &dir, tell };
        let done = Box::pin(trial.run(what)).await;
        if let Ok(response) = server.client.send(Ask::new("DELETE", server.client.base.dir(&dir)), None).await {
            drain(response).await;
        }
        done
    })
}

struct Trial<'a> {
    server: &'a Server,
    dir: &'a RelPath,
    tell: &'a watch::Sender<Progress>,
}

impl Trial<'_> {
    async fn run(&self, what: What) -> Result<()> {
        if what != What::Conditions {
            Box::pin(self.usual()).await?;
        }
        if what != What::Usual {
            let conditions = self.conditions().await?;
            self.found(|found| found.conditions = Some(conditions));
        }
        if what == What::Everything {
            self.races().await?;
        }
        Ok(())
    }

    /// Each part with files of its own.
    async fn usual(&self) -> Result<()> {
        let rewriting = async {
            let (precision, keeps_mtime) = self.rewrite().await?;
            let headed = head(self.server, &self.at("a")?).await?.unwrap_or_default();
            let rewriting = Rewriting { precision, keeps_mtime, listed: self.see("a").await?, headed };
            self.found(|found| found.rewriting = Some(rewriting));
            Ok(())
        };
        let shipping = async {
            let shipping = self.shipping().await?;
            self.found(|found| found.shipping = Some(shipping));
            Ok(())
        };
        let hashing = async {
            let hashes = hashes::try_out(self).await?;
            self.found(|found| found.hashes = Some(hashes));
            Ok(())
        };
        let naming = async {
            let unfit = self.unfit_names().await?;
            self.found(|found| found.unfit = Some(unfit));
            Ok(())
        };
        let noting = async {
            self.put("noted", "x").await?;
            let kept = note::is_kept(self.server, &self.at("noted")?).await?;
            self.found(|found| found.keeps_notes = Some(kept));
            Ok(())
        };
        let creating = async {
            let directly = directly::try_out(self).await?;
            self.found(|found| found.creates_directly = Some(directly));
            Ok(())
        };
        tokio::try_join!(rewriting, shipping, hashing, naming, noting, creating).map(|_| ())
    }

    async fn races(&self) -> Result<()> {
        let found = self.tell.borrow().found.abilities();
        let created = self.race(None, found.creates_directly == Some(true)).await?;
        self.found(|found| found.create_race = Some(created));
        let conditions = found.conditions.filter(|conditions| *conditions != Conditions::LookOnly);
        if conditions.is_some() {
            let replaced = self.race(conditions, false).await?;
            self.found(|found| found.replace_race = Some(replaced));
        }
        Ok(())
    }

    fn found(&self, find: impl FnOnce(&mut Findings)) {
        self.tell.send_modify(|progress| find(&mut progress.found));
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
        self.put("a", "old").await?;
        self.put("b", "new").await?;
        let stale = Over::If(format!("<{url}> ([\"wl-{}\"])", "stale"));
        let refused = drain(move_to(self.server, &from, &to, false, &stale).await?).await;
        if refused == StatusCode::PRECONDITION_FAILED {
            for _ in 0..8 {
                let Some(etag) = self.see("a").await?.etag else { break };
                let current = Over::If(format!("<{url}> ([{}])", etag.quoted()));
                if done(drain(move_to(self.server, &from, &to, false, &current).await?).await) {
                    return self.in_place().await;
                }
                if !etag.is_weak() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.locks().await
    }

    /// Whether a small file had better be replaced by a PUT: where that heeds its condition, and readers see the old content
    /// until the new one is there. (A MOVE deletes first what it replaces: RFC 4918, section 9.9.3.)
    async fn in_place(&self) -> Result<Conditions> {
        if self.writes_in_place().await? || self.shows_a_part().await? {
            return Ok(Conditions::IfHeader);
        }
        let url = self.server.client.base.file(&self.at("a")?);
        let stale = Ask::new("PUT", url).with("if-match", "\"wl-stale\"");
        let refused = self.put_with(stale, "bad").await.is_err_and(|error| error.fault == Fault::Refused);
        Ok(if refused { Conditions::InPlace } else { Conditions::IfHeader })
    }

    /// sabre/dav as it comes says who it is, and writes into the file itself; ownCloud's descendants do better.
    async fn writes_in_place(&self) -> Result<bool> {
        let root = self.server.client.base.url().clone();
        let options = self.server.client.send(Ask::new("OPTIONS", root), None).await?;
        let says_so = options.headers().contains_key("x-sabre-version");
        drain(options).await;
        Ok(says_so && self.server.root_id().await?.is_none())
    }

    /// Whether a reader sees anything but the old content while half of a new one has been sent.
    async fn shows_a_part(&self) -> Result<bool> {
        const HALF: &[u8] = &[b'x'; 16_000];
        self.put("a", "old").await?;
        let path = self.at("a")?;
        let url = self.server.client.base.file(&path);
        let (looked, wait) = tokio::sync::oneshot::channel::<()>();
        let halves = futures::stream::once(std::future::ready(Ok(Bytes::from_static(HALF)))).chain(
            futures::stream::once(async move {
                // The looker may be gone: the other half is sent all the same.
                let _ = wait.await;
                Ok::<_, std::io::Error>(Bytes::from_static(HALF))
            }),
        );
        let ask = Ask::new("PUT", url);
        let sending = self.server.client.once(&ask, Some((2 * HALF.len() as u64, Body::wrap_stream(halves))), None);
        let looking = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let seen = head(self.server, &path).await;
            let _ = looked.send(());
            seen
        };
        let (sent, seen) = tokio::join!(sending, looking);
        if let Try::Answer(response) = sent? {
            drain(response).await;
        }
        Ok(seen?.is_none_or(|seen| seen.size != Some(3)))
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
    async fn shipping(&self) -> Result<Shipping> {
        let (there, c, d) = (self.at("there")?, self.at("c")?, self.at("d")?);
        self.put("there", "x").await?;
        let answer = drain(copy_to(self.server, &there, &c).await?).await;
        let copies = done(answer) && self.see("c").await.is_ok();
        self.put("c", "moved").await?;
        let before = self.see("c").await?;
        let moved = drain(move_to(self.server, &c, &d, false, &Over::Nothing).await?).await;
        if !done(moved) {
            let text = "this server cannot move a file, which a safe write needs";
            return Err(Error::new(Fault::Unsupported, text));
        }
        let keeps_token = self.see("d").await?.is(&before.token(Precision::Fine));
        let onto = drain(move_to(self.server, &d, &there, false, &Over::Nothing).await?).await;
        let keeps_existing = !done(onto) && self.see("d").await.is_ok();
        Ok(Shipping { copies, keeps_token, keeps_existing })
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

    /// Lets writers race, to create a file or to replace one, and counts the rounds in which more than one was told it won.
    async fn race(&self, replacing: Option<Conditions>, directly: bool) -> Result<Race> {
        let (mut doubles, mut rounds) = (0, 0);
        let begun = Instant::now();
        while rounds < ROUNDS && begun.elapsed() < RACE_TIME {
            let round = rounds;
            rounds += 1;
            let goal = self.at(&format!("goal{round}"))?;
            let mut over = Over::Nothing;
            if replacing.is_some() {
                let name = format!("goal{round}");
                self.put(&name, "old").await?;
                let etag = self.see(&name).await?.etag.map(|etag| etag.quoted()).unwrap_or_default();
                over = Over::If(format!("<{}> ([{etag}])", self.server.client.base.file(&goal)));
            }
            let racers = (0..RACERS).map(|racer| self.run_one(round, racer, &goal, &over, replacing, directly));
            let winners = join_all(racers).await.into_iter().flatten().filter(|won| *won).count();
            doubles += usize::from(winners > 1);
        }
        Ok(Race { doubles, rounds })
    }

    async fn run_one(
        &self,
        round: usize,
        racer: usize,
        goal: &RelPath,
        over: &Over,
        replacing: Option<Conditions>,
        directly: bool,
    ) -> Result<bool> {
        if directly {
            let ask = Ask::new("PUT", self.server.client.base.file(goal)).with("if-none-match", "*");
            return Ok(self.put_with(ask, "mine").await.is_ok());
        }
        if replacing == Some(Conditions::Lock) {
            // What is won is the lock; it is kept until the others have tried.
            let Ok(lock) = Lock::try_take(self.server, goal).await? else { return Ok(false) };
            tokio::time::sleep(Duration::from_millis(20)).await;
            lock.release(self.server).await;
            return Ok(true);
        }
        if replacing == Some(Conditions::InPlace) {
            let Some(etag) = self.server.see(goal).await?.and_then(|seen| seen.etag) else { return Ok(false) };
            let ask = Ask::new("PUT", self.server.client.base.file(goal)).with("if-match", etag.quoted());
            return Ok(self.put_with(ask, "mine").await.is_ok());
        }
        let name = format!("racer{round}-{racer}");
        self.put(&name, "mine").await?;
        Ok(done(drain(move_to(self.server, &self.at(&name)?, goal, false, over).await?).await))
    }
}

fn lists(listed: &[Listed], wanted: &str) -> bool {
    listed.iter().any(|item| matches!(item, Listed::Entry(path, _) if path.name() == wanted))
}
