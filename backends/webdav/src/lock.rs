//! Locks (RFC 4918, section 6), for servers that heed them but no conditions.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use wl_core::error::{Error, Result};
use wl_core::path::RelPath;

use crate::client::{Ask, drain};
use crate::error::of_answer;
use crate::server::Server;

/// For how long a lock is asked for: what a crash leaves locked is free after that.
const TIMEOUT: &str = "Second-120";
/// How often a locked file is tried…
const TRIES: u32 = 40;
/// …and how long is waited in between.
const PAUSE: Duration = Duration::from_millis(50);

const REQUEST: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>"#,
    "<locktype><write/></locktype><owner>wl</owner></lockinfo>"
);

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    path: RelPath,
    /// As the header has it: `<urn:…>`.
    token: String,
}

impl Lock {
    /// Locks a file, waiting for a moment for who holds it.
    pub async fn take(server: &Server, path: &RelPath) -> Result<Self> {
        let mut tried = 0;
        loop {
            tried += 1;
            match Self::try_take(server, path).await? {
                Ok(lock) => return Ok(lock),
                Err(held) if tried >= TRIES => return Err(held),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Locks a file; the inner error is that somebody else holds it.
    pub async fn try_take(server: &Server, path: &RelPath) -> Result<Result<Self>> {
        let ask = Ask::new("LOCK", server.client.base.file(path))
            .with("depth", "0")
            .with("timeout", TIMEOUT)
            .with("content-type", "application/xml; charset=utf-8");
        let response = server.client.send(ask, Some(Bytes::from_static(REQUEST.as_bytes()))).await?;
        let error = of_answer(&response).at(path);
        let token = response.headers().get("lock-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
        match (drain(response).await, token) {
            (StatusCode::OK, Some(token)) => Ok(Ok(Self { path: path.clone(), token })),
            (StatusCode::CREATED, Some(token)) => {
                Self { path: path.clone(), token }.undo(server).await;
                Err(Error::missing(path))
            }
            (StatusCode::LOCKED, _) => Ok(Err(error)),
            (StatusCode::NOT_FOUND, _) => Err(Error::missing(path)),
            _ => Err(error),
        }
    }

    /// What an `If` header says to act under this lock.
    pub fn condition(&self, server: &Server) -> String {
        format!("<{}> ({})", server.client.base.file(&self.path), self.token)
    }

    /// Deletes the empty file that a lock on nothing makes (RFC 4918, section 7.3): nobody else can have written to it.
    async fn undo(self, server: &Server) {
        let condition = self.condition(server);
        let ask = Ask::new("DELETE", server.client.base.file(&self.path)).with("if", condition);
        if let Ok(response) = server.client.send(ask, None).await {
            drain(response).await;
        }
        self.release(server).await;
    }

    /// Gives it back. One that cannot be given back times out.
    pub async fn release(self, server: &Server) {
        let ask = Ask::new("UNLOCK", server.client.base.file(&self.path)).with("lock-token", self.token);
        if let Ok(response) = server.client.send(ask, None).await {
            drain(response).await;
        }
    }
}
