//! OpenSSH's server, in the shapes that SFTP storages come in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::process::{Server, free_port, fresh_dir, is_root, launch, listens, program};

/// What a server lets its users do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Commands and SFTP.
    Exec,
    /// The same, but its SFTP does not copy files.
    NoCopyData,
    /// SFTP alone; a command is answered with a sentence.
    SftpOnly,
    /// SFTP alone, below a directory of its own. Needs root.
    Chroot,
}

/// Who is let in, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// Whoever runs the tests, by key.
    Key,
    /// A user made for the server, by key or password.
    Password,
    /// The same by key, or by what PAM asks: `keyboard-interactive`.
    Asked,
}

/// A running sshd with a host key, a user's key and a `known_hosts` of its own.
#[derive(Debug)]
pub struct Sshd {
    server: Server,
    port: u16,
    user: String,
    password: Option<&'static str>,
    /// Where files are, seen from outside and by the user.
    root: [PathBuf; 2],
}

/// The password of a user made for a server.
const PASSWORD: &str = "correct horse";

/// Where a chroot may be: sshd_config(5) wants all its parents to be root's and written by nobody else, unlike `/tmp`.
const CHROOTS: &str = "/srv";

impl Sshd {
    /// Starts a server for whoever runs the tests, who logs in by key.
    pub fn start(mode: Mode) -> Self {
        Self::started(mode, Login::Key)
    }

    /// Starts a server for a user made for it, who logs in by key or password and has an empty home. Needs root.
    pub fn with_user(mode: Mode) -> Self {
        assert!(is_root(), "only root can make the user that this test logs in as: run it as root, as the CI does");
        Self::started(mode, Login::Password)
    }

    /// The same, but the password is asked for by PAM, as with one-time codes. Needs root.
    pub fn that_asks(mode: Mode) -> Self {
        assert!(is_root(), "only root can make the user that this test logs in as: run it as root, as the CI does");
        Self::started(mode, Login::Asked)
    }

    fn started(mode: Mode, login: Login) -> Self {
        let own_user = login != Login::Key;
        assert!(mode != Mode::Chroot || is_root(), "only root can change the root of an sshd: run this test as root");
        launch("sshd", || {
            let below = if mode == Mode::Chroot { PathBuf::from(CHROOTS) } else { std::env::temp_dir() };
            let dir = fresh_dir(&below);
            let port = free_port();
            let user = if own_user { format!("wl-test-{port}") } else { whoami() };
            make_keys(&dir, port);
            let home = dir.join("home");
            fs::create_dir(&home).expect("making a directory");
            let root = make_root(&dir, mode);
            fs::write(dir.join("sshd_config"), config(&dir, port, mode, login)).expect("writing a file");
            let mut command = Command::new("sh");
            if own_user {
                make_user(&user, &home);
                give(&user, &home);
                give(&user, &root[0]);
            }
            command.args(["-c", SSHD, "sshd"]).arg(program("sshd")).arg(dir.join("sshd_config"));
            let server = Server::start_with_user(dir, &command, if own_user { &user } else { "" });
            let server = server.wait(|| listens(port))?;
            Ok(Self { server, port, user, password: own_user.then_some(PASSWORD), root })
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server listens, as HOST:PORT.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// With which password, of a server made by [`Sshd::with_user`].
    pub fn password(&self) -> Option<&str> {
        self.password
    }

    /// The user's private key.
    pub fn identity(&self) -> PathBuf {
        self.server.dir().join("id_ed25519")
    }

    /// The file that vouches for the host's key.
    pub fn known_hosts(&self) -> PathBuf {
        self.server.dir().join("known_hosts")
    }

    /// Writes a `known_hosts` for another port, behind which a proxy leads here.
    pub fn known_hosts_at(&self, port: u16) -> PathBuf {
        let path = self.server.dir().join(format!("known_hosts.{port}"));
        write_known_hosts(self.server.dir(), &path, port);
        path
    }

    /// An empty home, where only files of the test's are: what commands find as `$HOME`, and of a user made for the server
    /// also where SFTP begins.
    pub fn home(&self) -> PathBuf {
        self.server.dir().join("home")
    }

    /// The directory that may be used, for access past the server.
    pub fn root(&self) -> &Path {
        &self.root[0]
    }

    /// The same directory, as the user sees it.
    pub fn remote_root(&self) -> &Path {
        &self.root[1]
    }

    /// Its processes and logs.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Cuts all connections by killing the processes behind them; new ones are taken.
    pub fn kill_connections(&self) {
        self.server.kill_children();
    }
}

/// sshd wants its whole path, to start itself anew for each connection, and a directory that is gone after a boot.
const SSHD: &str = r#"[ "$(id -u)" != 0 ] || mkdir -p /run/sshd; exec "$1" -D -e -f "$2""#;

fn config(dir: &Path, port: u16, mode: Mode, login: Login) -> String {
    let forced = match mode {
        Mode::Exec | Mode::NoCopyData => String::new(),
        Mode::SftpOnly => "ForceCommand internal-sftp\n".to_owned(),
        Mode::Chroot => format!("ForceCommand internal-sftp -d /data\nChrootDirectory {}/chroot\n", dir.display()),
    };
    let yes_if = |which: Login| if login == which { "yes" } else { "no" };
    let (passwords, asks) = (yes_if(Login::Password), yes_if(Login::Asked));
    let denied = if mode == Mode::NoCopyData { " -P copy-data" } else { "" };
    // Start-up files of whoever runs the tests would cost each command time: hence the empty home.
    format!(
        r"ListenAddress 127.0.0.1
Port {port}
HostKey {dir}/host_ed25519
PidFile none
AuthorizedKeysFile {dir}/id_ed25519.pub
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication {passwords}
KbdInteractiveAuthentication {asks}
UsePAM {asks}
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions 64
LogLevel VERBOSE
SetEnv HOME={dir}/home
Subsystem sftp internal-sftp{denied}
{forced}",
        dir = dir.display()
    )
}

/// The directory that may be used, from outside and as the user sees it.
fn make_root(dir: &Path, mode: Mode) -> [PathBuf; 2] {
    let root = dir.join(if mode == Mode::Chroot { "chroot/data" } else { "data" });
    fs::create_dir_all(&root).expect("making a directory");
    let seen = if mode == Mode::Chroot { PathBuf::from("/data") } else { root.clone() };
    [root, seen]
}

fn make_keys(dir: &Path, port: u16) {
    for name in ["host_ed25519", "id_ed25519"] {
        let mut command = Command::new(program("ssh-keygen"));
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(dir.join(name));
        run(command.stdin(Stdio::null()));
    }
    write_known_hosts(dir, &dir.join("known_hosts"), port);
}

fn write_known_hosts(dir: &Path, path: &Path, port: u16) {
    let key = fs::read_to_string(dir.join("host_ed25519.pub")).expect("reading a key");
    fs::write(path, format!("[127.0.0.1]:{port} {key}")).expect("writing a file");
}

/// Makes a user who is gone with the server. Only one can be made at a time, system-wide.
fn make_user(user: &str, home: &Path) {
    for _ in 0..100 {
        let mut command = Command::new(program("useradd"));
        command.args(["--no-create-home", "--shell", "/bin/sh", "--home-dir"]).arg(home).arg(user);
        if command.output().is_ok_and(|output| output.status.success()) {
            let line = format!("{user}:{PASSWORD}");
            return run(Command::new("sh").args(["-c", r#"echo "$1" | chpasswd"#, "chpasswd", &line]));
        }
        sleep(Duration::from_millis(50));
    }
    panic!("cannot make the user {user} by useradd");
}

fn give(user: &str, dir: &Path) {
    run(Command::new("chown").arg(user).arg(dir));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("setting a mode");
}

fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().expect("running id");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
