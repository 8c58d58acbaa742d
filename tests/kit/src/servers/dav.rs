//! What the WebDAV servers have in common.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Server, free_port, fresh_dir, is_root, launch, listens};

/// Who may use a server.
pub const USER: &str = "test";
/// With which password.
pub const PASSWORD: &str = "secret";

/// The line of a password file for both, in the one form that Apache, lighttpd and nginx all read.
const PASSWORDS: &str = "test:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";

/// Who serves when root starts a server: every Debian has this user, and it lacks root's rights on unreadable files.
const SERVING: &str = "www-data";

/// A running WebDAV server.
#[derive(Debug)]
pub struct Dav {
    server: Server,
    url: String,
    root: PathBuf,
}

impl Dav {
    /// Starts a server, given a way to write its configuration into a directory and to say its command line. It serves
    /// `root/` of that directory, whose `dav/` is there, and may write into `temp/`.
    pub(super) fn start(what: &str, command: impl Fn(&Path, u16) -> Command) -> Self {
        launch(what, || {
            let dir = fresh_dir(&std::env::temp_dir());
            let port = free_port();
            let root = dir.join("root/dav");
            fs::create_dir_all(&root).expect("making a directory");
            fs::create_dir(dir.join("temp")).expect("making a directory");
            fs::write(dir.join("passwords"), PASSWORDS).expect("writing a file");
            let command = command(&dir, port);
            if is_root() {
                give_to_serving(&dir);
            }
            open_to_all(&root, true);
            let server = Server::start(dir, &as_serving(&command)).wait(|| listens(port))?;
            Ok(Self { server, url: format!("http://127.0.0.1:{port}/dav/"), root })
        })
    }

    /// The same, to be reached over TLS.
    pub(super) fn over_tls(self) -> Self {
        Self { url: self.url.replacen("http:", "https:", 1), ..self }
    }

    /// The collection that may be used, with a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the server listens, as HOST:PORT.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https:").trim_start_matches("http:").trim_matches('/').trim_end_matches("/dav")
    }

    /// The directory behind the collection, for access past the server.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its processes and logs.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Writes a file past the server, so that the server may change it; so are directories above it made.
    pub fn user_write(&self, relative: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.root.join(&relative);
        if let Some(parent) = relative.as_ref().parent() {
            self.user_mkdir(parent);
        }
        fs::write(&path, bytes).expect("writing a file");
        open_to_all(&path, false);
    }

    /// Makes a directory and those above it past the server, so that the server may write into them.
    pub fn user_mkdir(&self, relative: impl AsRef<Path>) {
        let mut path = self.root.clone();
        for name in relative.as_ref() {
            path.push(name);
            if !path.is_dir() {
                fs::create_dir(&path).expect("making a directory");
                open_to_all(&path, true);
            }
        }
    }
}

fn open_to_all(path: &Path, dir: bool) {
    let mode = if dir { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("setting a mode");
}

fn give_to_serving(dir: &Path) {
    let given = Command::new("chown").args(["-R", &format!("{SERVING}:")]).arg(dir).status();
    assert!(given.is_ok_and(|status| status.success()), "cannot give {} to {SERVING}", dir.display());
}

/// The same command, but not as root.
fn as_serving(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    if is_root() {
        wrapped.args(["--reuid", SERVING, "--regid", SERVING, "--clear-groups", "--"]);
    }
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}
