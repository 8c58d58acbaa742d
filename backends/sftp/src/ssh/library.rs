//! What libssh2's error numbers mean.

use std::io;

use ssh2::{BlockDirections, ErrorCode, Session};
use wl_core::error::{Error, Fault};

// libssh2.h
const SOCKET_NONE: i32 = -1;
const KEX_FAILURE: i32 = -5;
const SOCKET_SEND: i32 = -7;
const TIMEOUT: i32 = -9;
const SOCKET_DISCONNECT: i32 = -13;
const METHOD_NONE: i32 = -17;
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;
const CHANNEL_FAILURE: i32 = -21;
const CHANNEL_REQUEST_DENIED: i32 = -22;
const REQUEST_DENIED: i32 = -32;
const METHOD_NOT_SUPPORTED: i32 = -33;
const EAGAIN: i32 = -37;
const SOCKET_RECV: i32 = -43;

/// It would have to wait.
pub fn waits(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(EAGAIN)
}

/// The server said no, and the connection lives on.
pub fn is_refusal(error: &ssh2::Error) -> bool {
    let refusals = [CHANNEL_FAILURE, CHANNEL_REQUEST_DENIED, REQUEST_DENIED];
    matches!(error.code(), ErrorCode::Session(code) if refusals.contains(&code))
}

/// The user was not let in this way; another way may do.
pub fn is_denial(error: &ssh2::Error) -> bool {
    let denials = [AUTHENTICATION_FAILED, PUBLICKEY_UNVERIFIED, METHOD_NONE];
    matches!(error.code(), ErrorCode::Session(code) if denials.contains(&code))
}

/// The connection is over, whatever was going on.
pub fn is_loss(error: &ssh2::Error) -> bool {
    let losses = [SOCKET_NONE, SOCKET_SEND, TIMEOUT, SOCKET_DISCONNECT, SOCKET_RECV];
    matches!(error.code(), ErrorCode::Session(code) if losses.contains(&code))
}

/// The end of a connection, as reads and writes of a channel report it.
pub fn lost(_: &io::Error) -> ssh2::Error {
    ssh2::Error::from_errno(ErrorCode::Session(SOCKET_RECV))
}

/// Whether libssh2 waits to send.
pub fn outbound(session: &Session) -> bool {
    matches!(session.block_directions(), BlockDirections::Outbound | BlockDirections::Both)
}

/// What a caller does about it, with the words of what was going on.
pub fn error(error: &ssh2::Error, doing: &str) -> Error {
    let fault = match error.code() {
        // Not KEY_EXCHANGE_FAILURE (-8): that is also what a connection ends with that is lost at that moment.
        ErrorCode::Session(KEX_FAILURE | METHOD_NOT_SUPPORTED) => Fault::Unsupported,
        code if is_denial(error) || code == ErrorCode::Session(REQUEST_DENIED) => Fault::Denied,
        _ => Fault::Offline,
    };
    Error::new(fault, format!("{doing}: {}", error.message()))
}
