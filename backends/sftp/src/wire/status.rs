//! How a server says that something failed.

use std::fmt;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Done.
    Ok,
    /// The end of a file or of a listing.
    Eof,
    /// Nothing is under that path.
    NoSuchFile,
    /// The server's user may not.
    PermissionDenied,
    /// Anything else that went wrong: also "it exists already", "no space left", "the directory is not empty".
    Failure,
    /// The server could not read the request.
    BadMessage,
    /// The server says that it has no connection to what it serves.
    NoConnection,
    /// The server says that it lost its connection to what it serves.
    ConnectionLost,
    /// The server does not know this request.
    OpUnsupported,
    /// Another number; version 3 has no more.
    Other(u32),
}

impl Code {
    pub(super) fn of(number: u32) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Eof,
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            5 => Self::BadMessage,
            6 => Self::NoConnection,
            7 => Self::ConnectionLost,
            8 => Self::OpUnsupported,
            other => Self::Other(other),
        }
    }
}

/// What a request came to, and the server's words about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What a program goes by.
    pub code: Code,
    /// The server's words: short, without control characters. May be empty.
    pub message: String,
}

impl Status {
    /// Words from a server, made fit to be shown.
    pub(super) fn new(code: Code, message: &[u8]) -> Self {
        let text = String::from_utf8_lossy(message);
        let message = text.chars().filter(|c| !c.is_control()).take(200).collect();
        Self { code, message }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{:?}", self.code),
            message => f.write_str(message),
        }
    }
}
