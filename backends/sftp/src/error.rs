//! What a server's refusals mean to a caller, and how they are said to a user.

use wl_core::backend::Obstacle;
use wl_core::error::{Error, Fault};
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;

use crate::ssh::Failure;
use crate::wire::{Code, StatVfs, Status};

/// What a caller does about a status.
pub fn fault(code: Code) -> Fault {
    match code {
        Code::NoSuchFile => Fault::Missing,
        Code::PermissionDenied => Fault::Denied,
        // What OpenSSH answers to a name that is too long, or that the file system does not take.
        Code::BadMessage => Fault::Malformed,
        Code::NoConnection | Code::ConnectionLost => Fault::Offline,
        Code::OpUnsupported => Fault::Unsupported,
        Code::Ok | Code::Eof | Code::Failure | Code::Other(_) => Fault::Broken,
    }
}

/// What happened, and what a user can do about it.
pub fn words(status: &Status) -> String {
    let fixed = match fault(status.code) {
        Fault::Missing => "there is nothing under this path",
        Fault::Denied => "permission denied: give the server's user read and write access to it and to its directory",
        Fault::Malformed => NO_NAME,
        Fault::Offline => "the server lost what it serves: it may come back by itself",
        Fault::Unsupported => "the server cannot do this",
        _ => return format!("the server refuses and says only: {status}"),
    };
    fixed.to_owned()
}

/// The error of a request about a path.
pub fn error(failure: &Failure, path: &RelPath) -> Error {
    match failure {
        Failure::Status(status) if is_too_long(status) => Error::new(Fault::Malformed, NO_NAME).at(path),
        Failure::Status(status) => Error::new(fault(status.code), words(status)).at(path),
        Failure::Link(error) => error.clone().at(path),
    }
}

const NO_NAME: &str = "the server does not take such a name";

/// Whether nothing can be under such a name. What else is malformed is no name: a configuration, or what the server says.
pub fn is_no_name(error: &Error) -> bool {
    error.fault == Fault::Malformed && error.message == NO_NAME
}

/// Whether a server without a code of its own for a name that is too long says that it is one.
fn is_too_long(status: &Status) -> bool {
    matches!(status.code, Code::Failure | Code::Other(_)) && status.message.to_lowercase().contains("name too long")
}

/// The error of a write that failed, given what the server says of the file system: version 3 of the protocol has no
/// words for "no space left", "quota" and "read-only".
pub fn write_error(failure: &Failure, room: Option<&StatVfs>, path: &RelPath) -> Error {
    let Failure::Status(Status { code: code @ (Code::Failure | Code::Other(_)), message }) = failure else {
        return error(failure, path);
    };
    let code = *code;
    let said = |text: &str| message.to_lowercase().contains(text);
    let (fault, text) = match room {
        _ if said("read-only") => (Fault::Denied, READ_ONLY),
        _ if said("no space") || code == NO_SPACE_LEFT => (Fault::Full, NO_SPACE),
        _ if said("quota") || code == QUOTA_EXCEEDED => (Fault::Full, QUOTA),
        Some(room) if room.read_only => (Fault::Denied, READ_ONLY),
        // A system without room for a write may still count a few blocks, which it keeps for itself.
        Some(room) if room.blocks_available.saturating_mul(room.block_size) < LITTLE => (Fault::Full, NO_SPACE),
        Some(room) if room.files_available == 0 && room.files > 0 => (Fault::Full, NO_SPACE),
        _ => {
            let text = format!(
                "the server could not write it and says only: {message}: the user's quota may be used up, or the path lies \
                 on another file system than the root"
            );
            return Error::new(Fault::Broken, text).at(path);
        }
    };
    Error::new(fault, text).at(path)
}

/// What later versions of the protocol have for it (section 9.1 of draft-ietf-secsh-filexfer-13), and some servers say in
/// this one.
const NO_SPACE_LEFT: Code = Code::Other(14);
const QUOTA_EXCEEDED: Code = Code::Other(15);

/// Less than this is no room.
const LITTLE: u64 = 1 << 20;

const READ_ONLY: &str =
    "the server's file system is mounted read-only: mount it writable, or mark the storage `read-only: true`";
const NO_SPACE: &str = "no space left on the server: make room";
const QUOTA: &str = "the user's quota on the server is used up: make room";

/// Whether the server said that nothing is there, or that a file is where a directory should be.
pub fn is_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Status(Status { code: Code::NoSuchFile, .. }))
}

/// Whether the server only said no: the name may be taken, among much else.
pub fn is_plain_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Status(Status { code: Code::Failure | Code::Other(_), .. }))
}

/// Why a part of a listing, or one path, could not be looked at.
pub fn obstacle(error: &Error) -> Obstacle {
    let kind = match error.fault {
        Fault::Busy => ProblemKind::Busy,
        Fault::Offline => ProblemKind::Offline,
        Fault::Malformed if is_no_name(error) => ProblemKind::Name,
        _ => ProblemKind::Unreadable,
    };
    let message = match error.fault {
        Fault::Denied => "permission denied: give the server's user read access (chmod u+rx on a directory)".to_owned(),
        _ => error.message.clone(),
    };
    Obstacle { kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str) -> Failure {
        Failure::Status(Status { code, message: message.to_owned() })
    }

    #[test]
    fn every_status_says_what_to_do_next() {
        for (code, expected, part) in [
            (Code::NoSuchFile, Fault::Missing, "nothing"),
            (Code::PermissionDenied, Fault::Denied, "permission denied: give"),
            (Code::BadMessage, Fault::Malformed, "name"),
            (Code::NoConnection, Fault::Offline, "come back"),
            (Code::ConnectionLost, Fault::Offline, "come back"),
            (Code::OpUnsupported, Fault::Unsupported, "cannot"),
            (Code::Failure, Fault::Broken, "says only: Failure"),
            (Code::Other(77), Fault::Broken, "says only"),
        ] {
            let error = error(&failure(code, "Failure"), &RelPath::root());
            assert_eq!(error.fault, expected, "{code:?}");
            assert!(error.message.contains(part), "{}", error.message);
        }
        let long = error(&failure(Code::Failure, "File name too long"), &RelPath::root());
        assert_eq!(long.fault, Fault::Malformed);
        let kind = |error| obstacle(&error).kind;
        let garbled = Failure::Link(Error::new(Fault::Malformed, "the server does not speak SFTP as it should"));
        assert_eq!(kind(long), ProblemKind::Name);
        assert_eq!(kind(error(&garbled, &RelPath::root())), ProblemKind::Unreadable);
        let lost = Failure::Link(Error::new(Fault::Offline, "the connection was lost"));
        assert_eq!(error(&lost, &RelPath::root()).fault, Fault::Offline);
    }

    #[test]
    fn a_failed_write_is_explained_by_the_file_system() {
        let room =
            StatVfs { block_size: 4096, blocks_available: 9000, files_available: 9, files: 9, id: 1, read_only: false };
        for (code, message, room, expected, part) in [
            (Code::Failure, "Failure", Some(StatVfs { blocks_available: 0, ..room }), Fault::Full, "no space"),
            (Code::Failure, "Failure", Some(StatVfs { blocks_available: 9, ..room }), Fault::Full, "no space"),
            (Code::Failure, "Failure", Some(StatVfs { files_available: 0, ..room }), Fault::Full, "no space"),
            (
                Code::Failure,
                "Failure",
                Some(StatVfs { files_available: 0, files: 0, ..room }),
                Fault::Broken,
                "says only",
            ),
            (Code::Failure, "Failure", Some(StatVfs { read_only: true, ..room }), Fault::Denied, "read-only"),
            (Code::Failure, "Failure", Some(room), Fault::Broken, "says only: Failure"),
            (Code::Failure, "Failure", None, Fault::Broken, "says only: Failure"),
            (Code::Failure, "Disk quota exceeded", Some(room), Fault::Full, "quota"),
            (Code::Failure, "dd: error writing x: Disk quota exceeded", None, Fault::Full, "quota"),
            (Code::Other(15), "", None, Fault::Full, "quota"),
            (Code::Other(14), "", None, Fault::Full, "no space"),
            (Code::Failure, "Read-only file system", None, Fault::Denied, "read-only"),
            (Code::Failure, "No space left on device", Some(room), Fault::Full, "no space"),
            (Code::PermissionDenied, "Permission denied", Some(room), Fault::Denied, "give"),
            (Code::NoSuchFile, "No such file", None, Fault::Missing, "nothing"),
        ] {
            let error = write_error(&failure(code, message), room.as_ref(), &RelPath::root());
            assert_eq!(error.fault, expected, "{code:?} {message}");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
