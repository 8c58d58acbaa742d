//! A few connections to one server, made when they are needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OnceCell};
use wl_core::error::{Error, Fault, Result};

use super::config::Target;
use super::connect::{connect, connect_by_program};
use super::idle::{self, Login};
use super::link::WINDOW;
use super::{Link, Settings, program};

/// A connection whose window is used that far has much to do: 64 small requests, or 1 MiB.
const BUSY: usize = WINDOW / 8;
/// How often a connection is tried before the caller is told, within how much time, and how long is waited between,
/// doubled each time.
const ATTEMPTS: u32 = 4;
const ALL_ATTEMPTS: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long a failure is remembered, so that not everybody tries again: servers shut out who fails too often.
const REMEMBERED: Duration = Duration::from_secs(3);
/// How long a server that would not have one more connection is left alone with those there are.
const NO_MORE: Duration = Duration::from_mins(1);
/// How long after the program `ssh` made a connection it makes no other: exchanging keys costs the processors here and there
/// as much as half a gigabyte of what it is to carry.
const WORTH_KEYS: Duration = Duration::from_secs(3);
/// How long the program `ssh` is done without after it made no connection or lost one.
const NO_PROGRAM: Duration = Duration::from_mins(10);

/// A few connections to one server. The first is made when one is asked for; more are made when those there are have
/// much to do; a lost one is replaced. The first waits a moment for the next pool when this one is done with it.
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    target: OnceCell<Arc<Target>>,
    links: Lock<Vec<Arc<Link>>>,
    /// The latest of libssh2's, and its login.
    logged_in: Lock<Option<(Login, Arc<Link>)>>,
    /// Whether none that was left by others will do.
    anew: AtomicBool,
    /// Held by who makes a connection.
    making: Mutex<Made>,
    /// When the program `ssh` last failed, and why.
    no_program: Lock<Option<(Instant, Error)>>,
}

/// How making connections went of late.
#[derive(Default)]
struct Made {
    failed: Option<(Instant, Error)>,
    no_more: Option<Instant>,
    by_program: Option<Instant>,
}

impl Pool {
    /// No connection yet.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner {
            settings,
            target: OnceCell::new(),
            links: Lock::default(),
            logged_in: Lock::default(),
            anew: AtomicBool::new(false),
            making: Mutex::default(),
            no_program: Lock::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has no use for connections that there are: whether one can be made is the question.
    pub fn begin_anew(&self) {
        self.inner.anew.store(true, Ordering::Relaxed);
        let left = std::mem::take(&mut *self.inner.links());
        let logged_in = self.inner.logged_in().take();
        drop((left, logged_in));
    }

    /// Whether both lead to one server as one user, as far as the settings say.
    pub fn is_alike(&self, other: &Self) -> bool {
        let (a, b) = (&self.inner.settings, &other.inner.settings);
        (&a.host, a.port, &a.user) == (&b.host, b.port, &b.user)
    }

    /// The connection that has the least to do. Tries a few times to make one where there is none; then fails: with
    /// `Offline`, or with `Denied` where the server or its key was refused.
    pub async fn link(&self) -> Result<Arc<Link>> {
        if let Some(link) = self.inner.best() {
            if link.load() >= BUSY {
                self.grow();
            }
            return Ok(link);
        }
        let mut made = self.inner.making.lock().await;
        // Somebody else may have made one, or failed to, meanwhile.
        if let Some(link) = self.inner.best() {
            return Ok(link);
        }
        if let Some((when, error)) = &made.failed
            && when.elapsed() < REMEMBERED
        {
            return Err(error.clone());
        }
        let outcome = self.inner.make_patiently().await;
        made.failed = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        outcome
    }

    /// A connection for much: by the program `ssh`, made now if need be, where that pays and can be; else as
    /// [`Self::link`].
    pub async fn wide_link(&self) -> Result<Arc<Link>> {
        let link = self.link().await?;
        if link.is_by_program() || program::why_not(link.server()).is_some() {
            return Ok(link);
        }
        let mut made = self.inner.making.lock().await;
        match self.inner.best() {
            // Somebody else may have made one meanwhile.
            Some(best) if best.is_by_program() => Ok(best),
            _ => Ok(self.inner.make_by_program(&mut made).await.unwrap_or(link)),
        }
    }

    /// What much travels by, for people.
    pub async fn way(&self) -> Result<String> {
        let link = self.wide_link().await?;
        let failed = self.inner.failure_of_program().map(|error| format!("`ssh` failed: {}", error.message));
        let why_not = program::why_not(link.server()).map(str::to_owned).or(failed).unwrap_or_default();
        Ok(if link.is_by_program() {
            "contents travel through the program `ssh`, which encrypts faster than libssh2".to_owned()
        } else {
            format!("contents travel through libssh2, not through the program `ssh`: {why_not}")
        })
    }

    /// A connection that is none of these, to share a large work with; none if there is no other yet.
    pub fn another(&self, than: &[Arc<Link>]) -> Option<Arc<Link>> {
        self.grow();
        let links = self.inner.links();
        // One of libssh2's would slow down what has one of `ssh`.
        let by_program = than.iter().any(|link| link.is_by_program());
        let is_another = |link: &&Arc<Link>| {
            !link.is_lost()
                && (link.is_by_program() || !by_program)
                && !than.iter().any(|known| Arc::ptr_eq(known, link))
        };
        links.iter().find(is_another).cloned()
    }

    /// Makes one more connection beside what goes on, if there may be one more.
    fn grow(&self) {
        if self.inner.links().len() >= self.inner.settings.connections {
            return;
        }
        let inner = self.inner.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            // One at a time.
            let Ok(mut made) = inner.making.try_lock() else {
                return;
            };
            let enough = inner.links().len() >= inner.settings.connections;
            if enough || made.no_more.is_some_and(|when| when.elapsed() < NO_MORE) {
                return;
            }
            let young = made.by_program.is_some_and(|when| when.elapsed() < WORTH_KEYS);
            if (young && inner.has_one_by_program()) || inner.make_by_program(&mut made).await.is_some() {
                return;
            }
            if let Err(error) = inner.make().await {
                tracing::debug!("no more connections for now: {error}");
                made.no_more = Some(Instant::now());
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let logged_in = self.inner.logged_in().take();
        if let Some((login, link)) = logged_in {
            idle::keep(login, link);
        }
    }
}

impl Inner {
    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logged_in(&self) -> MutexGuard<'_, Option<(Login, Arc<Link>)>> {
        self.logged_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that has the least to do, of those by the program `ssh` where there are any; forgets the lost ones.
    fn best(&self) -> Option<Arc<Link>> {
        let mut links = self.links();
        links.retain(|link| {
            if link.lost_its_program() {
                self.rest_from_program(Error::new(Fault::Offline, "its connection was lost"));
            }
            !link.is_lost()
        });
        links.iter().min_by_key(|link| (!link.is_by_program(), link.load())).cloned()
    }

    fn has_one_by_program(&self) -> bool {
        self.links().iter().any(|link| link.is_by_program() && !link.is_lost())
    }

    fn rest_from_program(&self, why: Error) {
        tracing::debug!("the program `ssh` is done without for a while: {why}");
        *self.no_program.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), why));
    }

    /// Why it is done without for now.
    fn failure_of_program(&self) -> Option<Error> {
        let failed = self.no_program.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(when, _)| when.elapsed() < NO_PROGRAM).map(|(_, why)| why.clone())
    }

    /// One more by the program `ssh`, beside another; none where that does not pay or cannot be.
    async fn make_by_program(&self, made: &mut Made) -> Option<Arc<Link>> {
        if self.failure_of_program().is_some() {
            return None;
        }
        let target = self.target.get()?;
        let may = |link: &&Arc<Link>| !link.is_by_program() && program::why_not(link.server()).is_none();
        let beside = self.links().iter().find(may).cloned()?;
        match connect_by_program(&self.settings, target, beside).await {
            Ok(link) => {
                self.links().push(link.clone());
                made.by_program = Some(Instant::now());
                Some(link)
            }
            Err(error) => {
                self.rest_from_program(error);
                None
            }
        }
    }

    async fn make_patiently(&self) -> Result<Arc<Link>> {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        for _ in 1..ATTEMPTS {
            match self.make().await {
                Err(error) if error.fault == Fault::Offline && began.elapsed() < ALL_ATTEMPTS => {
                    tokio::time::sleep(wait).await;
                }
                made => return made,
            }
            wait *= 2;
        }
        self.make().await
    }

    async fn make(&self) -> Result<Arc<Link>> {
        let target = self.target.get_or_try_init(|| async { Target::find(&self.settings).await.map(Arc::new) }).await?;
        let login = Login::to(target);
        let none_yet = self.links().is_empty() && !self.anew.load(Ordering::Relaxed);
        let left = if none_yet { idle::take(&login).await } else { None };
        let (login, link) = match left {
            Some(left) => left,
            None => (login, connect(target.clone()).await?),
        };
        *self.logged_in() = Some((login, link.clone()));
        self.links().push(link.clone());
        Ok(link)
    }
}
