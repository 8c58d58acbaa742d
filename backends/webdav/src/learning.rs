//! What a server can do, while it is being found out: by tasks of their own, for which nobody waits too long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use wl_core::error::{Error, Fault, Result};

use crate::abilities::{Abilities, Conditions};
use crate::client::TRIES;
use crate::findings::Findings;
use crate::probe;
use crate::server::Server;

/// So long is waited for a trial, counted from its beginning. What is not known then counts as not offered, until it is; but
/// nothing is replaced until it is known how.
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
    running: Mutex<Running>,
}

/// The tasks of trials.
#[derive(Default)]
struct Running {
    tasks: Vec<AbortHandle>,
    /// No other trial is begun.
    over: bool,
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

    /// What the server can do, as far as that was found out in good time. Whether it takes files directly takes longer than
    /// all else, and nobody waits for it.
    pub async fn abilities(&self, server: &Arc<Server>) -> Result<Arc<Abilities>> {
        let known = probe::remembered(&server.key);
        if let Some(known) = known
            && (known.creates_directly.is_some() || self.failed_lately())
        {
            return Ok(known);
        }
        let found = wait(under_way(&self.usual, server, What::Usual), PATIENCE, Findings::are_complete).await;
        let known = probe::remembered(&server.key);
        let found = match (found, &known) {
            (Ok(found), _) => found.abilities(),
            (Err(_), Some(known)) => return Ok(known.clone()),
            (Err(error), None) => return Err(error),
        };
        match known {
            // Nothing more is known of it, or a later, thorough trial has found it.
            Some(known) if found.creates_directly.is_none() || known.creates_directly.is_some() => Ok(known),
            Some(known) => {
                let creates_directly = found.creates_directly;
                Ok(probe::remember(&server.key, Abilities { creates_directly, ..Abilities::clone(&known) }))
            }
            None if found.unfinished => Ok(Arc::new(found)),
            None => Ok(probe::remember(&server.key, found)),
        }
    }

    /// Whether what has to be known in the end need not be tried again just now.
    fn failed_lately(&self) -> bool {
        lock(&self.usual).as_ref().is_some_and(|trial| trial.has_failed() && trial.begun.elapsed() < PATIENCE)
    }

    /// Waits until a trial that is under way has cleared up what it made.
    pub async fn settled(&self) {
        let trial = lock(&self.usual).clone();
        if let Some(trial) = trial {
            // However it ends: it is over.
            let _ = wait(trial, PATIENCE, |_| false).await;
        }
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
        let Some(known) = probe::remembered(&server.key) else { return found.ok_or_else(not_known_yet) };
        if known.conditions.is_none() && found.is_some() {
            probe::remember(&server.key, Abilities { conditions: found, ..Abilities::clone(&known) });
        }
        // A later, thorough trial may have found something else.
        known.conditions.or(found).ok_or_else(not_known_yet)
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

    /// Ends all trials where they are, and begins no other. What they leave is swept.
    pub fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.over = true;
        running.tasks.drain(..).for_each(|task| task.abort());
    }

    /// Ends that task, too, when the trials are to end.
    fn runs(&self, task: AbortHandle) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.over {
            task.abort();
            return;
        }
        running.tasks.retain(|task| !task.is_finished());
        running.tasks.push(task);
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
        let tried = server.clone();
        let task = tokio::spawn(async move {
            let trial = timeout(LONGEST, try_out(&tried, what, &tell)).await;
            let end = trial.unwrap_or_else(|_| Err(Error::new(Fault::Busy, "the server is too slow to be tried out")));
            tell.send_modify(|progress| progress.end = Some(end));
        });
        server.learning.runs(task.abort_handle());
        Self { begun: Instant::now(), progress }
    }

    fn has_failed(&self) -> bool {
        self.progress.has_changed().is_err() && self.progress.borrow().end.is_none()
            || matches!(self.progress.borrow().end, Some(Err(_)))
    }
}

/// The error where something would have to be replaced in a way that is not known yet to be the server's.
pub fn not_known_yet() -> Error {
    Error::new(Fault::Busy, "it is not known yet how this server replaces a file: it is tried again")
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
    use wl_core::backend::{Content, Guard};
    use wl_core::entry::Meta;
    use wl_core::manifest::Storage;
    use wl_core::path::RelPath;
    use wl_test_kit::proxy::Tcp;
    use wl_test_kit::servers::{self, PASSWORD, USER};

    use super::*;
    use crate::config::Settings;
    use crate::findings::Shipping;
    use crate::write;

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
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(found.unfinished && found.creates_directly.is_none());
        assert!(server.known_abilities().is_none(), "others still wait for it");
        // Once it is known, it is offered.
        let found = server.abilities().await.unwrap();
        assert!(!found.unfinished && found.copies == Some(true));
        server.learning.settled().await;
        assert_eq!(server.abilities().await.unwrap().creates_directly, Some(true));
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

    /// A trial that has found nothing, and is as late as one may be.
    fn late(slot: &Mutex<Option<Trial>>) -> watch::Sender<Progress> {
        let (tell, progress) = watch::channel(Progress::default());
        *lock(slot) = Some(Trial { begun: Instant::now().checked_sub(PATIENCE).unwrap(), progress });
        tell
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_replaced_before_it_is_known_how() {
        let apache = servers::apache::start();
        let line = Tcp::start(apache.address());
        let server = server(&line);
        let (usual, conditions) = (late(&server.learning.usual), late(&server.learning.conditions));
        let path = RelPath::parse("file").unwrap();
        let trash = RelPath::parse(".wl-trash/now/file").unwrap();
        let write = async |text: &'static str, guard: &Guard, trash: Option<&RelPath>| {
            let content = Content::of(text.into(), Meta::default());
            let written = write::replace(&server, &path, content, guard, trash).await;
            written.map(|written| Guard::Unchanged(written.entry.token)).map_err(|error| error.fault)
        };
        let there = || std::fs::read_to_string(apache.root().join("file")).unwrap();
        let old = write("old", &Guard::Absent, None).await.unwrap();
        assert_eq!(there(), "old", "what is new is not kept waiting");
        assert_eq!(write("new", &old, None).await, Err(Fault::Busy));
        conditions.send_modify(|progress| progress.found.conditions = Some(Conditions::IfHeader));
        assert_eq!(write("new", &old, Some(&trash)).await, Err(Fault::Busy), "nor whether the old one can be kept");
        assert_eq!(there(), "old");
        let new = write("new", &old, None).await.unwrap();
        usual.send_modify(|progress| {
            progress.found.shipping = Some(Shipping { copies: true, keeps_token: true, keeps_existing: true });
        });
        write("newer", &new, Some(&trash)).await.unwrap();
        assert_eq!(
            (there(), std::fs::read(apache.root().join(trash.as_str())).unwrap()),
            ("newer".into(), "new".into())
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_trial_goes_on_once_it_is_over() {
        let apache = servers::apache::start();
        let line = Tcp::with_round_trip(apache.address(), Duration::from_millis(300));
        let server = server(&line);
        server.learn();
        let waiting = tokio::spawn({
            let server = server.clone();
            async move { server.abilities().await.map(|_| ()) }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.learning.stop();
        let stopped = Err(Fault::Stopped);
        let waited = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!(waited.map_err(|error| error.fault), stopped);
        assert_eq!(server.abilities().await.map(|_| ()).map_err(|error| error.fault), stopped);
        let held = || Arc::strong_count(&server);
        let deadline = Instant::now() + Duration::from_secs(5);
        while held() > 1 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(held(), 1, "a trial still has the server");
    }
}
