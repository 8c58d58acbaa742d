//! The local `rsync`, made to speak with one on the server through a connection that it does not know.
//!
//! It starts a remote shell (`--rsh`) to reach the other end: that is a small script here, which hands over to this program
//! the arguments of the other end and then all that is said. It needs no socket, and no secret.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wl_backend_sftp::Peer;

/// The script that becomes `rsync`: its own input and output are kept for the other one, and what `rsync` prints is not
/// mixed with them.
const BEGIN: &str = r#"exec 3<&0 4>&1 </dev/null >/dev/null; exec rsync "$@""#;
/// The remote shell: tells each argument and an empty one, then carries what is said. It ends when the other end does.
const SHELL: &str =
    r#"sh -c 'printf "%s\0" "$@" "" >&4; exec 5<&0; cat <&5 >&4 & exec cat <&3 4>&- 5<&-' remote-shell"#;
/// Whatever its name and whenever it was modified, the one file is compared, and changed in place: nothing else is made.
/// The time is for a server that makes its copy of a huge file first.
const OPTIONS: &[&str] =
    &["--quiet", "--ignore-times", "--copy-links", "--inplace", "--no-whole-file", "--existing", "--timeout=3600"];
/// More bytes than its arguments are.
const ARGUMENTS: usize = 4096;
/// Who complains more than that is not listened to.
const COMPLAINTS: u64 = 4096;
/// How long it may take to begin, and to end once all is said.
const PATIENCE: Duration = Duration::from_secs(20);

/// An `rsync` that runs. Dropped, it is killed, and what it started ends as nobody listens any more.
pub struct Rsync {
    child: Child,
    /// The beginning of what it complains of.
    said: JoinHandle<Vec<u8>>,
}

impl Rsync {
    /// One that tells a file that is open here.
    pub async fn tell(file: &Path) -> Option<(Self, Peer)> {
        let mut command = Command::new("sh");
        command.args(["-c", BEGIN, "rsync"]).args(OPTIONS).args(["--rsh", SHELL]).arg(file).arg("there:part");
        Self::start(command).await
    }

    /// One that makes a copy in a directory what the other one tells.
    pub async fn change(dir: &Path, name: &str) -> Option<(Self, Peer)> {
        let mut command = Command::new("sh");
        command.args(["-c", BEGIN, "rsync"]).args(OPTIONS).args(["--rsh", SHELL, "there:/dev/fd/3"]);
        command.arg(format!("./{name}")).current_dir(dir);
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Option<(Self, Peer)> {
        // So that the other end is told its arguments as arguments.
        command.env("RSYNC_PROTECT_ARGS", "0").kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
        let (hears, mut says, stderr) = (child.stdin.take()?, child.stdout.take()?, child.stderr.take()?);
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = stderr.take(COMPLAINTS).read_to_end(&mut said).await;
            said
        });
        let rsync = Self { child, said };
        let begun = timeout(PATIENCE, arguments(&mut says)).await;
        let Some(mut options) = begun.ok().flatten() else {
            drop((hears, says));
            rsync.ended_well().await;
            return None;
        };
        // The name of the other one's file.
        options.pop();
        Some((rsync, Peer { options, says, hears }))
    }

    /// Whether it came to its end as it should.
    pub async fn ended_well(mut self) -> bool {
        let Ok(Ok(status)) = timeout(PATIENCE, self.child.wait()).await else { return false };
        if status.success() {
            return true;
        }
        let said = timeout(PATIENCE, self.said).await.ok().and_then(Result::ok).unwrap_or_default();
        tracing::info!("rsync ended with {status}: {}", String::from_utf8_lossy(&said).trim());
        false
    }
}

/// What the other one is to be started with; none if it never came to that.
async fn arguments(says: &mut ChildStdout) -> Option<Vec<String>> {
    let mut said = Vec::new();
    while !said.ends_with(b"\0\0") {
        // Not a byte more: what follows is for the other one.
        said.push(says.read_u8().await.ok()?);
        if said.len() > ARGUMENTS {
            return None;
        }
    }
    said.truncate(said.len() - 2);
    let words = String::from_utf8(said).ok()?;
    // The host and the program's name go before.
    Some(words.split('\0').skip(2).map(str::to_owned).collect())
}
