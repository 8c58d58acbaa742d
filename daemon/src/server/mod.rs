//! The control socket: who may connect, and one task a connection.

mod connection;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wl_core::{Error, Fault, Result};

use crate::lock::Lock;
use crate::service::Service;

/// What a socket's address can hold, without the NUL after it. macOS has 4 bytes less than Linux.
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// How long clients have to take their last answers when the daemon ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// A socket that listens.
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
    lock: Lock,
}

/// Is removed when this is dropped.
struct SocketFile(PathBuf);

impl Server {
    /// Listens at `path`, for this user only. The directory is made, if need be, for this user only; a socket nobody
    /// listens at any more is replaced.
    pub fn bind(path: &Path) -> Result<Self> {
        if let Some(text) = too_long(path) {
            return Err(Error::new(Fault::Malformed, text));
        }
        let broken = |error: io::Error| {
            let text = format!("cannot listen at {}: {error}; choose another place with --socket-path", path.display());
            Error::new(Fault::Broken, text)
        };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(broken)?;
        }
        let lock = Lock::take(&Lock::of_socket(path), path)?;
        make_room(path)?;
        let listener = UnixListener::bind(path).map_err(broken)?;
        // RACE: until this line the mode is what the umask left; whoever connects before is refused by its user id.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(broken)?;
        Ok(Self { listener, file: SocketFile(path.to_owned()), lock })
    }

    /// Serves clients until `end`; then lets them take the answers that are ready.
    pub async fn serve(self, service: Arc<Service>, end: CancellationToken) {
        let Self { listener, file, lock } = self;
        let connections = TaskTracker::new();
        while let Some(accepted) = end.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(welcome(stream, service.clone(), end.clone()));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        // From here on nobody can mistake this daemon for one that answers.
        drop((listener, file));
        connections.close();
        // A client that does not read in time loses its answer; nothing else depends on it.
        let _ = tokio::time::timeout(FAREWELL, connections.wait()).await;
        drop(lock);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever finds it left behind replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why a path cannot be a socket's, if it is too long for that.
pub(crate) fn too_long(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    (length > LONGEST_PATH).then(|| {
        format!(
            "the socket path {} is too long ({length} bytes, at most {LONGEST_PATH}): choose a shorter one with \
             --socket-path",
            path.display()
        )
    })
}

/// Removes a socket nobody listens at; refuses to touch anything else.
fn make_room(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map(|metadata| metadata.file_type().is_socket()),
    };
    let refused = |what: &str| {
        let text = format!("cannot listen at {}: {what}; choose another place with --socket-path", path.display());
        Err(Error::new(Fault::Refused, text))
    };
    match found {
        Err(error) => refused(&error.to_string()),
        Ok(false) => refused("something that is no socket is in the way"),
        Ok(true) if BlockingStream::connect(path).is_ok() => refused("another program listens there"),
        Ok(true) => fs::remove_file(path).or_else(|error| refused(&error.to_string())),
    }
}

async fn welcome(stream: UnixStream, service: Arc<Service>, end: CancellationToken) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own => connection::serve(stream, service, end).await,
        Ok(peer) => {
            tracing::warn!("refused a client of user {}", peer.uid());
            connection::refuse(stream, "this sync daemon serves only the user who started it").await;
        }
        Err(error) => {
            tracing::warn!("refused a client whose user is unknown: {error}");
            connection::refuse(stream, "it is unknown which user asks").await;
        }
    }
}
