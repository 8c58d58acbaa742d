//! What can come of a request: the server's refusal, or no answer.

use std::fmt;

use wl_core::error::Error;

use crate::wire::Status;

/// Why a request was not done, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server answered with this; never with `Ok`.
    Status(Status),
    /// No answer came, or none that can be understood: whether it was done is unknown. Of fault `Offline` where the
    /// connection was lost.
    Link(Error),
}

/// What a request comes to.
pub type Answer<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Link(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Link(error) => error.fmt(f),
        }
    }
}
