//! What a server can do, while it is being found out: by tasks of their own, for which nobody waits too long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use wl_core::error::{Error, Fault, Result};

use crate::abilities::{Abilities, Conditions};
use crate::client::TRIES;
use crate::findings::Findings;
use crate::probe;
use crate::server::Server;

/// So long is waited for a trial, counted from its beginning. What is not known then counts as not offered, until it is.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same for who asks for everything, with races.
const LONG_PATIENCE: Duration = Duration::from_secs(45);
/// No trial goes on for longer.
const LONGEST: Duration = Duration::from_mins(10);

/// So long is waited before it is tried once more.
const PAUSE: Duration = Duration::from_millis(100);

/// What is tried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What must be known before anything is written.
    Usual,
    /// How a replacement is made conditional. That takes longer than everything else, for Apache's entity tags are weak for
    /// a second after a write, and who only creates files has no need of it.
    Conditions,
    /// Both, and races.
    Everything,
}

/// The trials of a server that were begun.
#[derive(Default)]
pub struct Learning {
    usual: Mutex<Option<Trial>>,
    conditions: Mutex<Option<Trial>>,
}

/// A trial that is under way or was ended.
#[derive(Clone)]
struct Trial {
    begun: Instant,
    progress: watch::Receiver<Progress>,
}

/// What a trial found so far, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub found: Findings,
    end: Option<Result<()>>,
}

impl Learning {
    /// Sees to it that what must be known before anything is written is being found out.
    pub fn begin(&self, server: &Arc<Server>) {
        if probe::remembered(&server.key).is_none() {
            under_way(&self.usual, server, What::Usual);
        }
    }

    /// What the server can do, as far as that was found out in good time.
    pub async fn abilities(&self, server: &Arc<Server>) -> Result<Arc<Abilities>> {
        if let Some(known) = probe::remembered(&server.key) {
            return Ok(known);
        }
        let found = wait(under_way(&self.usual, server, What::Usual), PATIENCE, |_| false).await?;
        if let Some(known) = probe::remembered(&server.key) {
            return Ok(known);
        }
        let found = found.abilities();
        Ok(if found.unfinished { Arc::new(found) } else { probe::remember(&server.key, found) })
    }

    /// Whether what begins with a dot is not listed, which is known before the rest.
    pub async fn hides_dotfiles(&self, server: &Arc<Server>) -> Result<bool> {
        if let Some(known) = probe::remembered(&server.key) {
            return Ok(known.hides_dotfiles());
        }
        let found = wait(under_way(&self.usual, server, What::Usual), PATIENCE, |found| found.unfit.is_some()).await?;
        Ok(found.abilities().hides_dotfiles())
    }

    /// How a replacement is made conditional.
    pub async fn conditions(&self, server: &Arc<Server>) -> Result<Conditions> {
        if let Some(known) = probe::remembered(&server.key).and_then(|abilities| abilities.conditions) {
            return Ok(known);
        }
        let trial = under_way(&self.conditions, server, What::Conditions);
        let found = wait(trial, PATIENCE, |found| found.conditions.is_some()).await?.conditions;
        let Some(known) = probe::remembered(&server.key) else { return Ok(found.unwrap_or(Conditions::LookOnly)) };
        if known.conditions.is_none() && found.is_some() {
            probe::remember(&server.key, Abilities { conditions: found, ..Abilities::clone(&known) });
        }
        // A later, thorough trial may have found something else.
        Ok(known.conditions.or(found).unwrap_or(Conditions::LookOnly))
    }

    /// Everything, tried afresh. What was known before is replaced, unless it takes too long.
    pub async fn afresh(&self, server: &Arc<Server>) -> Result<()> {
        let trial = Trial::begin(server, What::Everything);
        let found = wait(trial.clone(), LONG_PATIENCE, |_| false).await?.abilities();
        if found.unfinished {
            // Others need not begin anew.
            *lock(&self.usual) = Some(trial);
        } else if found.conditions.is_some() || probe::remembered(&server.key).is_none() {
            probe::remember(&server.key, found);
        }
        Ok(())
    }

    /// What was found by a trial that takes too long.
    pub fn so_far(&self) -> Option<Arc<Abilities>> {
        let late = |trial: &Trial| trial.begun.elapsed() >= PATIENCE && !trial.has_failed();
        let trial = lock(&self.usual).clone().filter(late)?;
        let found = trial.progress.borrow().found.abilities();
        Some(Arc::new(found))
    }
}

impl Trial {
    fn begin(server: &Arc<Server>, what: What) -> Self {
        let (tell, progress) = watch::channel(Progress::default());
        let server = server.clone();
        tokio::spawn(async move {
            let trial = timeout(LONGEST, try_out(&server, what, &tell)).await;
            let end = trial.unwrap_or_else(|_| Err(Error::new(Fault::Busy, "the server is too slow to be tried out")));
            tell.send_modify(|progress| progress.end = Some(end));
        });
        Self { begun: Instant::now(), progress }
    }

    fn has_failed(&self) -> bool {
        self.progress.has_changed().is_err() && self.progress.borrow().end.is_none()
            || matches!(self.progress.borrow().end, Some(Err(_)))
    }
}

/// Tries it out, and once more where the server fails in the middle: Nextcloud's database may be locked for too long, and
/// sabre/dav may stumble over what it keeps of a directory while much is changed in that.
async fn try_out(server: &Server, what: What, tell: &watch::Sender<Progress>) -> Result<()> {
    let mut tried = 0;
    loop {
        tried += 1;
        match probe::try_out(server, what, tell).await {
            Err(error) if error.fault == Fault::Broken && tried < TRIES => {
                tell.send_replace(Progress::default());
                tokio::time::sleep(PAUSE * tried).await;
            }
            end => return end,
        }
    }
}

/// The trial that was begun; another one if that failed.
fn under_way(slot: &Mutex<Option<Trial>>, server: &Arc<Server>, what: What) -> Trial {
    let mut slot = lock(slot);
    match slot.as_ref().filter(|trial| !trial.has_failed()) {
        Some(trial) => trial.clone(),
        None => slot.insert(Trial::begin(server, what)).clone(),
    }
}

/// What a trial has found once that is enough, or it has ended, or it takes too long.
async fn wait(trial: Trial, patience: Duration, enough: impl Fn(&Findings) -> bool) -> Result<Findings> {
    let mut progress = trial.progress.clone();
    let ready = progress.wait_for(|progress| progress.end.is_some() || enough(&progress.found));
    let progress = match timeout_at(trial.begun + patience, ready).await {
        Ok(Ok(progress)) => progress.clone(),
        // Nothing runs any more.
        Ok(Err(_)) => return Err(Error::stopped()),
        Err(_) => trial.progress.borrow().clone(),
    };
    match progress {
        Progress { found, .. } if enough(&found) => Ok(found),
        Progress { end: Some(Err(error)), .. } => Err(error),
        Progress { found, .. } => Ok(found),
    }
}

fn lock(slot: &Mutex<Option<Trial>>) -> std::sync::MutexGuard<'_, Option<Trial>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wl_core::manifest::Storage;
    use wl_test_kit::proxy::Tcp;
    use wl_test_kit::servers::{self, PASSWORD, USER};

    use super::*;
    use crate::config::Settings;

    fn server(line: &Tcp) -> Arc<Server> {
        let params = json!({
            "type": "webdav", "backend-id": "dav", "url": format!("http://{}/dav/", line.address()),
            "credentials": {"login": USER, "password": PASSWORD},
        });
        Server::new(Settings::read(&Storage::from_params(params).unwrap()).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_waits_too_long_for_a_slow_server() {
        let apache = servers::apache::start();
        let line = Tcp::with_round_trip(apache.address(), Duration::from_millis(100));
        let server = server(&line);
        let trial = under_way(&server.learning.usual, &server, What::Usual);
        let begun = Instant::now();
        let found = wait(trial, Duration::from_millis(500), |_| false).await.unwrap().abilities();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(found.unfinished && !found.creates_directly);
        assert!(server.known_abilities().is_none(), "others still wait for it");
        // Once it is known, it is offered.
        let found = server.abilities().await.unwrap();
        assert!(!found.unfinished && found.creates_directly && found.copies);
        assert!(server.known_abilities().is_some_and(|known| !known.unfinished));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_failed_is_tried_again() {
        let apache = servers::apache::start();
        let line = Tcp::start(apache.address());
        let server = server(&line);
        let away = apache.root().with_extension("away");
        std::fs::rename(apache.root(), &away).unwrap();
        assert_eq!(server.abilities().await.map_err(|error| error.fault).err(), Some(Fault::Missing));
        std::fs::rename(&away, apache.root()).unwrap();
        assert!(server.abilities().await.is_ok_and(|found| !found.unfinished));
    }
}
