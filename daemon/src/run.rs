//! The daemon from its beginning to its end.

use std::fs::DirBuilder;
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wl_core::config::{Config, LogTo, Places};
use wl_core::job::Options;
use wl_core::state::State;
use wl_core::{Error, Fault, Result};

use crate::jobs::{Defaults, Jobs};
use crate::lock::Lock;
use crate::log;
use crate::rooms::Rooms;
use crate::server::Server;
use crate::service::Service;

/// Set in the environment of a daemon that is to leave the terminal it was started from.
pub const DETACHED: &str = "WL_DAEMON_DETACHED";

/// How long a daemon that is ending may take for it before the next one gives up.
const ENDING: Duration = Duration::from_secs(4);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// What a daemon runs with.
pub struct RunOptions {
    /// Where everything is kept.
    pub places: Places,
    /// What the configuration says.
    pub config: Config,
    /// The storages and syncers there are.
    pub rooms: Arc<dyn Rooms>,
}

/// Runs the daemon until it is told to end: by `shutdown`, SIGTERM or SIGINT. Jobs end at once and are remembered.
/// Fails if another daemon is running in the same place.
pub async fn run(options: RunOptions) -> Result<()> {
    let RunOptions { places, config, rooms } = options;
    let detached = std::env::var_os(DETACHED).is_some();
    if detached {
        // It fails only for the leader of a process group, which a terminal does not end either.
        let _ = rustix::process::setsid();
    }
    raise_file_limit();
    make_private(&places.state_dir)?;
    let lock = after_another(&places, || Lock::take(&Lock::of_state(&places.state_dir), &places.socket)).await?;
    // Let go by the system once the process has ended: until then the state may be open.
    let _lock = ManuallyDrop::new(lock);
    let _log = log::begin(&places.log)?;
    let end = CancellationToken::new();
    end_on_signals(&end)?;
    let outcome = serve(&places, &config, rooms, end, detached).await;
    if let Err(error) = &outcome {
        tracing::error!("the daemon ends: {error}");
    }
    outcome
}

/// Takes as many open files as the system grants: writes share their syncs, so many are open at once.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without it fewer writes share a sync.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Serves until `end`, and stops what runs.
pub(crate) async fn serve(
    places: &Places,
    config: &Config,
    rooms: Arc<dyn Rooms>,
    end: CancellationToken,
    detached: bool,
) -> Result<()> {
    let server = after_another(places, || Server::bind(&places.socket)).await?;
    let (state, notices) = after_another(places, || State::open(&places.state_dir)).await?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let defaults = Defaults {
        transfers: config.transfers,
        bandwidth_limit: config.bandwidth_limit,
        retry_for: config.retry_for.unwrap_or_else(|| Options::default().retry_for),
    };
    let jobs = Arc::new(Jobs::new(rooms, state, places.base_dir.clone(), defaults));
    jobs.take_up()?;
    let service = Arc::new(Service::new(jobs.clone(), end.clone()));
    tracing::info!("listening at {} (process {})", places.socket.display(), std::process::id());
    if !detached && places.log != LogTo::Stderr {
        eprintln!("wl: the sync daemon listens at {}", places.socket.display());
    }
    server.serve(service, end).await;
    jobs.halt_all().await;
    tracing::info!("ended");
    Ok(())
}

/// Takes what another daemon may be about to let go: one that answers no more is ending, and is given time for it.
async fn after_another<T>(places: &Places, take: impl Fn() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match take() {
            Err(error) if error.fault == Fault::Busy && begun.elapsed() < ENDING => {
                if UnixStream::connect(&places.socket).await.is_ok() {
                    return Err(error);
                }
                tokio::time::sleep(LOOK).await;
            }
            outcome => return outcome,
        }
    }
}

/// Makes a directory for this user only, if it is not there yet.
fn make_private(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        let text = format!("cannot make the state directory {}: {error}", dir.display());
        Error::new(Fault::Broken, text)
    })
}

/// Cancels `end` at SIGTERM or SIGINT.
fn end_on_signals(end: &CancellationToken) -> Result<()> {
    let listen =
        |kind| signal(kind).map_err(|error| Error::new(Fault::Broken, format!("cannot listen to signals: {error}")));
    let (mut term, mut int, mut hup) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    let end = end.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => tracing::info!("SIGTERM"),
                _ = int.recv() => tracing::info!("SIGINT"),
                // The terminal it was started from is gone, which is no reason to end.
                _ = hup.recv() => continue,
            }
            end.cancel();
        }
    });
    Ok(())
}
