//! Commands on the server: which there are, and how names are handed to them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::join;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::part::Part;
use crate::root::{At, Root};
use crate::seen::Seen;
use crate::ssh::{Command, Ended};

/// What the server's shell can do for wl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shell {
    /// GNU `find` and a `sort` of records that end with a NUL.
    pub lists: bool,
    /// GNU `sha256sum`, fed by `xargs`.
    pub hashes: bool,
    /// `openssl`, which uses what the processor has for it: several times as fast as `sha256sum`.
    pub digests: bool,
    /// `inotifywait`, on a file system that nobody changes but through this server.
    pub watches: bool,
    /// GNU `cp`, fed by `xargs`.
    pub copies: bool,
    /// `stat -c`, which names the root.
    pub stats: bool,
}

/// What a script prints before anything that counts: start-up files of a shell may print what they like.
const BEGIN: &[u8] = b"wl-begins\0";

/// What a script ends with where the directory that it is to run in is not there.
const NO_SUCH_ROOT: i32 = 9;

/// More bytes than what comes before [`BEGIN`] can have.
pub const CHATTER: usize = 256 << 10;

/// The command line that runs a script in a directory. The script must hold neither a single quote, nor a newline, nor an
/// exclamation mark, so that every login shell hands it over as it is; names go into it by [`quoted`] only.
pub fn script(dir: &[u8], script: &str) -> String {
    let dir = quoted(dir);
    format!(
        "exec sh -c 'LC_ALL=C; export LC_ALL; cd -- {dir} || exit {NO_SUCH_ROOT}; printf \"wl-begins\\0\"; {script}'"
    )
}

/// A path as a word of a script. Every byte that could mean anything to a shell is written as a number. The path ends in
/// `/.`, because a newline at its end would be lost.
pub fn quoted(path: &[u8]) -> String {
    let mut word = String::from("\"$(printf %b \"");
    for byte in path.iter().chain(b"/.") {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => word.push(char::from(*byte)),
            // INVARIANT: writing to a `String` does not fail.
            other => drop(write!(word, "\\0{other:03o}")),
        }
    }
    word + "\")\""
}

/// What a script printed, from its beginning on; none if it never began.
pub fn after_beginning(output: &Bytes) -> Option<Bytes> {
    let at = output.windows(BEGIN.len()).take(CHATTER).position(|window| window == BEGIN)?;
    Some(output.slice(at + BEGIN.len()..))
}

/// One script tells what is there, and which directory this is.
const ASK: &str = "\
    if find --version 2>/dev/null | grep -q GNU && printf \"b\\0a\\0\" | sort -z -s -t/ -k2 >/dev/null 2>&1; then echo lists; fi; \
    if printf \"/dev/null\\0\" | timeout 9 xargs -0 sha256sum -z -- >/dev/null 2>&1; then echo hashes; fi; \
    if printf x | timeout 9 openssl dgst -sha256 -r 2>/dev/null | grep -q ^2d711642b726b044; then echo digests; fi; \
    if command -v inotifywait >/dev/null 2>&1 && inotifywait --help 2>/dev/null | grep -q -e --no-newline; then echo watches; fi; \
    echo \"kind $(stat -f -c %t . 2>/dev/null)\"; \
    if cp --help 2>/dev/null | grep -q -e --reflink; then echo copies; fi; \
    if stat -c %i . >/dev/null 2>&1; then echo stats; fi; \
    echo \"here $(stat -c \"%Y %a %u %g\" .)\"; \
    echo \"root $(stat -c \"%i born %W\" .)\"; \
    echo ended";

/// How much it may say.
const ANSWER: usize = 1 << 20;
/// How long a command that only looks may say nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The server's shell; none where commands cannot be run, or where they see other files than SFTP shows. Found out once.
pub async fn shell(root: &Arc<Root>) -> Result<Option<Shell>> {
    let find_out = || async {
        let found = root.attempt(|at, _| async move { ask(root, &at).await }).await?;
        root.note(|known| {
            known.shell = found;
            known.copies |= found.is_some_and(|shell| shell.copies);
        });
        Ok(found)
    };
    root.shell.get_or_try_init(find_out).await.copied()
}

/// How often a directory is looked at in both ways before it is believed that commands do not see it.
const LOOKS: usize = 3;

/// What a command said of the directory that SFTP shows.
enum Heard {
    /// It sees the same one.
    Here(Shell),
    /// It sees another one, or none.
    Elsewhere,
    /// The directory changed between the two looks.
    Changing,
    /// Commands cannot be run.
    Nothing,
}

/// Only what will stay so is told as none: what passes is an error, or the root would seem to be another one later.
async fn ask(root: &Arc<Root>, at: &At) -> Result<Option<Shell>> {
    let mut elsewhere = 0;
    // A directory that somebody works in, or that is away for a moment, may change between the two looks.
    for _ in 0..LOOKS {
        match hear(root, at).await? {
            Heard::Here(shell) => return Ok(Some(shell)),
            Heard::Elsewhere => elsewhere += 1,
            Heard::Changing => {}
            Heard::Nothing => return Ok(None),
        }
    }
    if elsewhere == LOOKS {
        tracing::info!("commands on the server see another directory than SFTP shows: none is used");
        return Ok(None);
    }
    Err(Error::new(Fault::Busy, "the root changes all the time: which directory commands see is looked at again"))
}

async fn hear(root: &Arc<Root>, at: &At) -> Result<Heard> {
    let (witness, seen) = join!(witness(root, at), root.seen(at));
    let (witness, seen) = (witness?, seen?);
    let line = match &witness {
        Some(part) => format!("if test -f ./{}; then echo same; fi; {ASK}", part.path().name()),
        None => ASK.to_owned(),
    };
    let output = at.link.run(Command::new(script(at.root(), &line), Bytes::new()), ANSWER, PATIENCE).await;
    let proven = witness.is_some();
    if let Some(part) = witness {
        // Whoever goes on may end the connection: a removal that nobody waited for would go with it.
        part.discard().await;
    }
    let output = match output {
        Ok(output) => output,
        Err(error) if matches!(error.fault, Fault::Unsupported | Fault::Broken) => return Ok(Heard::Nothing),
        Err(error) => return Err(error),
    };
    let Some(said) = after_beginning(&output.stdout) else {
        return match &output.ended {
            ended if passes(ended) => Err(busy()),
            // Unless it is gone, which passes.
            ended if ended.status == Some(NO_SUCH_ROOT) => root.seen(at).await.map(|_| Heard::Elsewhere),
            _ => Ok(Heard::Nothing),
        };
    };
    let said = String::from_utf8_lossy(&said);
    let has = |what: &str| said.lines().any(|line| line == what);
    if !has("ended") {
        return Err(busy());
    }
    let here = said.lines().any(|line| line.strip_prefix("here ").is_some_and(|here| is_here(here, &seen)));
    if if proven { has("same") } else { here } {
        if let Some(text) = said.lines().find_map(|line| line.strip_prefix("root ")).filter(|text| !text.is_empty()) {
            root.introduced.says(text);
        }
        let (lists, hashes) = (has("lists"), has("hashes"));
        // The same `xargs` hands over the names.
        let copies = hashes && has("copies");
        let (digests, stats) = (has("digests"), has("stats"));
        let kind = said.lines().find_map(|line| line.strip_prefix("kind ")).unwrap_or_default();
        let watches = has("watches") && is_of_the_server(kind);
        return Ok(Heard::Here(Shell { lists, hashes, digests, watches, copies, stats }));
    }
    let still = root.seen(at).await?.same(&seen);
    Ok(if proven || still { Heard::Elsewhere } else { Heard::Changing })
}

/// Kinds of file systems, as `stat -f -c %t` tells them, that nobody changes but through the server: all of what changes
/// raises an event there. Of NFS, SMB, FUSE and whatever else is not among them that is not known.
const OF_THE_SERVER: [(&str, &str); 18] = [
    ("ef53", "ext2, ext3, ext4"),
    ("58465342", "XFS"),
    ("9123683e", "Btrfs"),
    ("2fc12fc1", "ZFS"),
    ("f2f52010", "F2FS"),
    ("ca451a4e", "bcachefs"),
    ("1021994", "tmpfs"),
    ("858458f6", "ramfs"),
    ("794c7630", "overlayfs"),
    ("52654973", "ReiserFS"),
    ("3153464a", "JFS"),
    ("3434", "NILFS"),
    ("24051905", "UBIFS"),
    ("72b6", "JFFS2"),
    ("2011bab0", "exFAT"),
    ("4d44", "FAT"),
    ("7366746e", "NTFS"),
    ("482b", "HFS+"),
];

fn is_of_the_server(kind: &str) -> bool {
    OF_THE_SERVER.iter().any(|(known, _)| *known == kind)
}

/// A file that SFTP made, which commands must see; none where nothing can be written.
async fn witness(root: &Arc<Root>, at: &At) -> Result<Option<Part>> {
    if root.read_only {
        return Ok(None);
    }
    let here = RelPath::root();
    let beside = here.join("shell").unwrap_or(here);
    match Part::create(root, at, &beside).await {
        Ok(part) => Ok(Some(part)),
        Err(error) if matches!(error.fault, Fault::Offline | Fault::Busy | Fault::Missing) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether a command that said nothing may say something the next time.
fn passes(ended: &Ended) -> bool {
    ended.status.is_none() || ended.stderr.contains("fork") || ended.stderr.contains("temporarily unavailable")
}

fn busy() -> Error {
    Error::new(Fault::Busy, "the server could not run a command to its end: it is tried again")
}

/// Takes note of the server's time as a command tells it, where nothing can be written to learn it.
pub async fn tell_time(root: &Arc<Root>) -> Result<()> {
    if shell(root).await?.is_none() {
        return Ok(());
    }
    let ask = |at: At, _| async move {
        let begun = Instant::now();
        let command = Command::new(script(at.root(), "date +%s%3N"), Bytes::new());
        let said = after_beginning(&at.link.run(command, ANSWER, PATIENCE).await?.stdout).unwrap_or_default();
        if let Some(now) = String::from_utf8_lossy(&said).strip_suffix('\n').and_then(|now| now.parse().ok()) {
            root.clock.stood(now, 0, begun);
        }
        Ok(())
    };
    root.attempt(ask).await
}

/// Whether date, mode and owner are those that SFTP showed.
fn is_here(said: &str, seen: &Seen) -> bool {
    let mut words = said.split(' ');
    let mut number = |radix| words.next().and_then(|word| i64::from_str_radix(word, radix).ok());
    let (mtime, mode, user, group) = (number(10), number(8), number(10), number(10));
    let owner = user.zip(group).map(|(user, group)| (u32::try_from(user).ok(), u32::try_from(group).ok()));
    mtime == Some(i64::from(seen.mtime))
        && mode.map(|mode| mode & 0o777) == seen.mode.map(i64::from)
        && seen.owner.is_none_or(|(user, group)| owner == Some((Some(user), Some(group))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use wl_test_kit::servers::Sshd;
    use wl_test_kit::servers::sshd::Mode;

    use super::*;
    use crate::identity::{identity, is_named};
    use crate::seen::What;
    use crate::tests::root_on;

    /// Such a root must not seem to be another one than before for as long as the program runs.
    #[tokio::test]
    async fn a_root_that_is_away_for_a_moment_says_nothing_of_commands() {
        let sshd = Sshd::start(Mode::Exec);
        let (root, away) = (root_on(&sshd), sshd.root().with_extension("away"));
        // Between the witness and the first command.
        let once = format!("mkdir ~/once 2>/dev/null && mv {} {}\n", sshd.root().display(), away.display());
        fs::write(sshd.home().join(".bashrc"), once).unwrap();
        assert_eq!(identity(&root).await.map_err(|error| error.fault), Err(Fault::Missing));
        fs::rename(&away, sshd.root()).unwrap();
        let found = identity(&root).await.unwrap();
        assert!(is_named(&found), "{found}");
    }

    /// As `doctor` does it: what was asked for on a connection that nobody needs any more is not done.
    #[tokio::test]
    async fn a_witness_is_gone_before_connections_are_made_anew() {
        let sshd = Sshd::start(Mode::Exec);
        for _ in 0..5 {
            let root = root_on(&sshd);
            shell(&root).await.unwrap();
            root.begin_anew();
            drop(root);
            assert_eq!(fs::read_dir(sshd.root()).unwrap().count(), 0, "a witness was left");
        }
    }

    #[tokio::test]
    async fn a_root_that_commands_never_see_is_told_by_sftp_alone() {
        let sshd = Sshd::start(Mode::Exec);
        let (root, bin) = (root_on(&sshd), sshd.home().join("bin"));
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("sh"), format!("#!/bin/bash\nexit {NO_SUCH_ROOT}\n")).unwrap();
        fs::set_permissions(bin.join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(sshd.home().join(".bashrc"), format!("export PATH={}:$PATH\n", bin.display())).unwrap();
        assert_eq!(shell(&root).await, Ok(None));
        assert_eq!(fs::read_dir(sshd.root()).unwrap().count(), 0, "a witness was left");
    }

    /// As on macOS and FreeBSD: it would be asked again for ever.
    #[tokio::test]
    async fn a_stat_that_takes_no_format_is_done_without() {
        let sshd = Sshd::start(Mode::Exec);
        let (root, bin) = (root_on(&sshd), sshd.home().join("bin"));
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("stat"), "#!/bin/sh\necho \"stat: illegal option -- c\" >&2; exit 1\n").unwrap();
        fs::set_permissions(bin.join("stat"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(sshd.home().join(".bashrc"), format!("export PATH={}:$PATH\n", bin.display())).unwrap();
        for _ in 0..2 {
            let found = identity(&root).await.unwrap();
            assert!(found.starts_with("on ") && !is_named(&found), "{found}");
        }
        assert!(shell(&root).await.unwrap().is_some_and(|shell| shell.hashes), "the other commands are used");
    }

    /// Every byte that a path can hold, through a real shell.
    #[test]
    fn a_quoted_path_is_that_path() {
        let mut nasty: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        nasty.extend(b"\n\n");
        for path in [&nasty[..], b"plain", b"-dash", b"$(false)`false`\"'!\\0101", b"end\n"] {
            let line = format!("printf %s {}", quoted(path));
            for shell in ["sh", "bash"] {
                let output = std::process::Command::new(shell).arg("-c").arg(&line).output().unwrap();
                assert_eq!(output.stdout, [path, b"/."].concat(), "{shell}");
            }
            assert!(!quoted(path).contains(['\'', '\n', '!']));
        }
    }

    #[test]
    fn what_a_start_up_file_prints_is_not_heard() {
        let output = |text: &'static str| after_beginning(&Bytes::from_static(text.as_bytes()));
        assert_eq!(output("Welcome!\nwl-begins\0x"), Some(Bytes::from_static(b"x")));
        assert_eq!(output("This service allows sftp connections only.\n"), None);
    }

    #[test]
    fn only_a_file_system_of_the_server_s_own_is_watched() {
        for (kind, own) in [("ef53", true), ("1021994", true), ("6969", false), ("65735546", false), ("", false)] {
            assert_eq!(is_of_the_server(kind), own, "{kind}");
        }
    }

    #[test]
    fn a_shell_elsewhere_is_noticed() {
        let seen = Seen { what: What::Dir, size: 0, mtime: 5, mode: Some(0o755), owner: Some((0, 7)), read: 0 };
        for (said, here) in [
            ("5 755 0 7", true),
            ("5 2755 0 7", true),
            ("6 755 0 7", false),
            ("5 700 0 7", false),
            ("5 755 1 7", false),
            ("", false),
        ] {
            assert_eq!(is_here(said, &seen), here, "{said}");
        }
    }
}
