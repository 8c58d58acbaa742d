//! What the system's error numbers mean to a caller, and how they are said to a user.

use rustix::io::Errno;
use wl_core::backend::Obstacle;
use wl_core::error::{Error, Fault};
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;

/// What a caller does about an error number.
pub fn fault(errno: Errno) -> Fault {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Fault::Missing,
        Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::LOOP => Fault::Refused,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Fault::Denied,
        Errno::NOSPC | Errno::DQUOT => Fault::Full,
        Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::BUSY | Errno::TXTBSY | Errno::INTR | Errno::NOMEM => {
            Fault::Busy
        }
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL => Fault::Malformed,
        Errno::STALE
        | Errno::NODEV
        | Errno::NXIO
        | Errno::NOTCONN
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::CONNABORTED
        | Errno::CONNRESET
        | Errno::TIMEDOUT => Fault::Offline,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV | Errno::FBIG | Errno::MLINK => Fault::Unsupported,
        _ => Fault::Broken,
    }
}

/// What happened, and what a user can do about it.
pub fn words(errno: Errno) -> String {
    let fixed = match errno {
        Errno::NOENT | Errno::NOTDIR => "there is nothing under this path",
        Errno::EXIST => "something else is there already",
        Errno::NOTEMPTY => "the directory is not empty",
        Errno::ISDIR => "a directory is in the way",
        Errno::LOOP => "a symbolic link is in the way, and wl passes through none",
        Errno::ACCESS | Errno::PERM => {
            "permission denied: give the user that runs wl read and write access to it and to its directory"
        }
        Errno::ROFS => "the file system is mounted read-only: mount it writable, or mark the storage `read-only: true`",
        Errno::NOSPC => "no space left on the storage: make room",
        Errno::DQUOT => "the disk quota is used up: make room or raise the quota",
        Errno::MFILE | Errno::NFILE => "too many open files: raise the limit on open files (ulimit -n)",
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY | Errno::INTR => "it is in use by another program",
        Errno::NOMEM => "the system is out of memory",
        Errno::NAMETOOLONG => "the name is too long for this file system",
        Errno::ILSEQ | Errno::INVAL => "this file system does not take such a name",
        Errno::STALE => "the network file system has lost this file: it may come back by itself",
        Errno::XDEV => "it lies on another file system",
        Errno::OPNOTSUPP | Errno::NOSYS => "this file system cannot do this",
        Errno::FBIG => "the file is too big for this file system",
        Errno::MLINK => "the directory holds too many entries for this file system",
        Errno::IO => "the disk reports an input/output error: check the disk",
        _ if fault(errno) == Fault::Offline => "the storage does not answer: is it still mounted?",
        _ => return format!("the system reports: {}", std::io::Error::from(errno)),
    };
    fixed.to_owned()
}

/// The error of an operation on a path.
pub fn error(errno: Errno, path: &RelPath) -> Error {
    Error::new(fault(errno), words(errno)).at(path)
}

/// Why a part of a listing, or one path, could not be looked at.
pub fn obstacle(errno: Errno) -> Obstacle {
    let (kind, message) = match (errno, fault(errno)) {
        (Errno::LOOP, _) => (ProblemKind::Skipped, "lies below a symbolic link".to_owned()),
        (Errno::ACCESS | Errno::PERM, _) => (
            ProblemKind::Unreadable,
            "permission denied: give the user that runs wl read access (chmod u+rx on a directory)".to_owned(),
        ),
        (_, Fault::Busy) => (ProblemKind::Busy, words(errno)),
        (_, Fault::Offline) => (ProblemKind::Offline, words(errno)),
        (_, Fault::Malformed) => (ProblemKind::Name, words(errno)),
        _ => (ProblemKind::Unreadable, words(errno)),
    };
    Obstacle { kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_says_what_to_do_next() {
        for (errno, expected, part) in [
            (Errno::NOENT, Fault::Missing, "nothing"),
            (Errno::NOTDIR, Fault::Missing, "nothing"),
            (Errno::EXIST, Fault::Refused, "already"),
            (Errno::NOTEMPTY, Fault::Refused, "not empty"),
            (Errno::ISDIR, Fault::Refused, "directory"),
            (Errno::LOOP, Fault::Refused, "symbolic link"),
            (Errno::ACCESS, Fault::Denied, "permission denied: give"),
            (Errno::PERM, Fault::Denied, "permission denied: give"),
            (Errno::ROFS, Fault::Denied, "read-only"),
            (Errno::NOSPC, Fault::Full, "no space left"),
            (Errno::DQUOT, Fault::Full, "quota"),
            (Errno::MFILE, Fault::Busy, "ulimit"),
            (Errno::BUSY, Fault::Busy, "in use"),
            (Errno::NAMETOOLONG, Fault::Malformed, "too long"),
            (Errno::INVAL, Fault::Malformed, "name"),
            (Errno::STALE, Fault::Offline, "network"),
            (Errno::NODEV, Fault::Offline, "mounted"),
            (Errno::OPNOTSUPP, Fault::Unsupported, "cannot"),
            (Errno::IO, Fault::Broken, "disk"),
            (Errno::BADF, Fault::Broken, "Bad file descriptor"),
        ] {
            let path = RelPath::root();
            let error = error(errno, &path);
            assert_eq!(error.fault, expected, "{errno:?}");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn what_blocks_a_listing_has_its_kind() {
        assert_eq!(obstacle(Errno::ACCESS).kind, ProblemKind::Unreadable);
        assert_eq!(obstacle(Errno::IO).kind, ProblemKind::Unreadable);
        assert_eq!(obstacle(Errno::LOOP).kind, ProblemKind::Skipped);
        assert_eq!(obstacle(Errno::STALE).kind, ProblemKind::Offline);
    }
}
