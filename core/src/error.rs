//! What went wrong, said so that the caller knows what to do next.

use std::fmt;

use crate::path::RelPath;

/// What a caller does next. Every backend maps its library's errors onto these, in one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// There is nothing under that path, or no such root.
    Missing,
    /// The path does not hold what was expected: look again. Nothing was changed.
    Refused,
    /// The storage forbids it: the user must grant it.
    Denied,
    /// The storage cannot be reached: try again later.
    Offline,
    /// The storage asks for patience: try again, slower.
    Busy,
    /// The storage has no room: try again when there is.
    Full,
    /// The storage cannot hold this name, or answered nonsense.
    Malformed,
    /// The storage cannot do this at all.
    Unsupported,
    /// Something broke that none of the others describes.
    Broken,
    /// The job was stopped meanwhile.
    Stopped,
}

impl Fault {
    /// Whether waiting may cure it, without anybody doing anything about it.
    pub fn passes(self) -> bool {
        matches!(self, Self::Offline | Self::Busy | Self::Full)
    }
}

/// One failure: what the caller does next, a sentence for the user, and the path it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the caller does next.
    pub fault: Fault,
    /// What happened, as a sentence without its final stop. Never holds a secret.
    pub message: String,
    /// What it happened to.
    pub path: Option<RelPath>,
}

/// A result whose error says what to do next.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure that is about no path in particular.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), path: None }
    }

    /// The same, about that path.
    #[must_use]
    pub fn at(mut self, path: &RelPath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// The path holds another version than the expected one.
    pub fn changed(path: &RelPath) -> Self {
        Self::new(Fault::Refused, "it changed meanwhile").at(path)
    }

    /// There is nothing under the path.
    pub fn missing(path: &RelPath) -> Self {
        Self::new(Fault::Missing, "there is nothing under this path").at(path)
    }

    /// The job was stopped.
    pub fn stopped() -> Self {
        Self::new(Fault::Stopped, "stopped")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) if !path.is_root() => write!(f, "{path}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
