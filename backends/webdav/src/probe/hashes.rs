//! Whether the sha256 that a server tells is one that it computed itself: some store what a client claims.

use bytes::Bytes;
use wl_core::entry::Hash;
use wl_core::error::Result;

use super::Trial;
use crate::checksum::claims;
use crate::client::{Ask, drain};
use crate::read::head;
use crate::server::Wanted;
use crate::transfer::done;

const NAME: &str = "hashed";
const TEXT: &[u8] = b"hashed";

/// Where a server tells a hash that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Of a file that is there.
    pub told: bool,
    /// In its answer to a PUT.
    pub answered: bool,
}

/// Writes a file, honestly and then with every false claim about its hash, and holds what the server tells against the truth.
pub async fn try_out(trial: &Trial<'_>) -> Result<Hashes> {
    let truth = Hash::of(TEXT);
    let (told, answered) = write(trial, None).await?;
    let mut found = Hashes { told: told == Some(truth), answered: answered == Some(truth) };
    for claim in claims(&Hash::of(b"a lie")) {
        if !found.told && !found.answered {
            break;
        }
        let (told, answered) = write(trial, Some(claim)).await?;
        found.told &= told.is_none_or(|told| told == truth);
        found.answered &= answered.is_none_or(|answered| answered == truth);
    }
    Ok(found)
}

/// Writes it, maybe with a claim; the hash that is told of the file then, if one is, and that of the answer.
async fn write(trial: &Trial<'_>, claim: Option<(&'static str, String)>) -> Result<(Option<Hash>, Option<Hash>)> {
    let (server, path) = (trial.server, trial.at(NAME)?);
    let mut ask = Ask::new("PUT", server.client.base.file(&path)).with("x-hash", "sha256");
    if let Some((name, value)) = claim {
        ask = ask.with(name, value);
    }
    let response = server.client.send(ask, Some(Bytes::from_static(TEXT))).await?;
    let answered = server.seen_in(&response).hash;
    let taken = done(drain(response).await);
    let listed = server.see_all(&path, Wanted::All).await?.and_then(|(seen, _)| seen.hash);
    let told = match listed {
        Some(hash) => Some(hash),
        None => head(server, &path).await?.and_then(|seen| seen.hash),
    };
    Ok((told, answered.filter(|_| taken)))
}
