//! Racing writers against each other, to learn whether a server looks and writes in one step.
//!
//! A server that does may take its time over it: SeaweedFS has each writer wait for the one before, and look again after a
//! second, then after one and a half. So this is done beside everything else, and until it is over no server is trusted.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use futures::future::{join, join_all};
use wl_core::error::{Error, Fault, Result};

use crate::Place;
use crate::probe::Traits;
use crate::trial::{If, Took, Trial, spelled};

/// How often writers are raced against each other, and how many at once. A server that lets two of them win does so nearly
/// every time: 30 of 30 times, those that are known (four of eight writers at once, measured).
const ROUNDS: usize = 6;
const WRITERS: usize = 3;

/// What was found by trying one after the other, and who wins of several at once.
pub(crate) async fn traits(place: &Place, known: &Traits) -> Result<Traits> {
    let trial = Trial::new(place, once).await?;
    let raced = trial.race(known).await;
    trial.put_away().await;
    if let Ok(raced) = &raced {
        tracing::debug!(traits = ?raced, server = place.config.server_and_bucket(), "who wins of several at once");
    }
    raced
}

/// A request sent again would race against itself.
fn once(client: &Client) -> Client {
    Client::from_conf(client.config().to_builder().retry_config(RetryConfig::disabled()).build())
}

impl Trial<'_> {
    /// Nothing is dropped half-way: what is put must be known when it is put away.
    async fn race(&self, known: &Traits) -> Result<Traits> {
        let unquoted = known.unquoted;
        let (creates, replaces) = join(
            self.rounds(known.create, "creators", |key| Box::pin(self.one_creator_wins(key))),
            self.rounds(known.replace, "writers", |key| Box::pin(self.one_writer_wins(key, unquoted))),
        )
        .await;
        let (deletes, completes, completes_over) = tokio::join!(
            self.rounds(known.delete, "removers", |key| Box::pin(self.remover_or_writer_wins(key, unquoted))),
            self.rounds(known.complete_create, "uploads", |key| Box::pin(self.upload_or_creator_wins(key))),
            self.rounds(known.complete_replace, "reuploads", |key| Box::pin(self.upload_or_writer_wins(key, unquoted))),
        );
        Ok(Traits {
            one_creates: creates?,
            one_replaces: replaces?,
            one_deletes: deletes?,
            one_completes: completes?,
            one_completes_over: completes_over?,
            ..known.clone()
        })
    }

    /// Whether one wins in every round, if the condition is honoured at all.
    async fn rounds<F: Future<Output = Result<Winners>>>(
        &self,
        honoured: bool,
        name: &str,
        round: impl Fn(String) -> F,
    ) -> Result<bool> {
        if !honoured {
            return Ok(false);
        }
        let rounds = join_all((0..ROUNDS).map(|number| round(self.key(&format!("{name}-{number}"))))).await;
        one_wins(rounds.into_iter().collect::<Result<_>>()?)
    }

    async fn one_creator_wins(&self, key: String) -> Result<Winners> {
        self.winners(&key, If::Absent).await
    }

    async fn one_writer_wins(&self, key: String, unquoted: bool) -> Result<Winners> {
        let current = self.begin(&key, unquoted).await?;
        self.winners(&key, If::Match(&current)).await
    }

    async fn remover_or_writer_wins(&self, key: String, unquoted: bool) -> Result<Winners> {
        let current = self.begin(&key, unquoted).await?;
        let both = join(self.delete(&key, &current), self.put(&key, b"two", If::Match(&current))).await;
        Winners::of([both.0, both.1])
    }

    /// An upload that is completed, and a plain write, for one key.
    async fn upload_or_creator_wins(&self, key: String) -> Result<Winners> {
        let Some(upload) = self.upload(&key).await? else { return Ok(Winners::default()) };
        let both = join(self.complete(&key, &upload, If::Absent), self.put(&key, b"two", If::Absent)).await;
        Winners::of([both.0, both.1])
    }

    /// The same over a version that is there.
    async fn upload_or_writer_wins(&self, key: String, unquoted: bool) -> Result<Winners> {
        let current = self.begin(&key, unquoted).await?;
        let Some(upload) = self.upload(&key).await? else { return Ok(Winners::default()) };
        let over = If::Match(&current);
        let both = join(self.complete(&key, &upload, over), self.put(&key, b"two", over)).await;
        Winners::of([both.0, both.1])
    }

    /// Puts the version that all begin with.
    async fn begin(&self, key: &str, unquoted: bool) -> Result<String> {
        self.put(key, b"one", If::Nothing).await?;
        Ok(spelled(&self.etag(key).await?, unquoted))
    }

    /// How several writers fare.
    async fn winners(&self, key: &str, condition: If<'_>) -> Result<Winners> {
        const BODIES: [&[u8]; WRITERS] = [b"a", b"b", b"c"];
        Winners::of(join_all(BODIES.map(|body| self.put(key, body, condition))).await)
    }
}

/// How many in a round were told that they won.
#[derive(Debug, Default)]
struct Winners {
    told: usize,
    /// How many were told that they lost.
    lost: usize,
    /// What others were told instead of an answer.
    failed: Option<Error>,
}

impl Winners {
    /// A server may also refuse the losers for being too many, or for no reason: Ceph answers 500 to those whose condition
    /// no longer holds when their write takes effect.
    fn of(answers: impl IntoIterator<Item = Result<Took>>) -> Result<Self> {
        let mut winners = Self::default();
        for answer in answers {
            match answer {
                Ok(Took::Done) => winners.told += 1,
                Ok(_) => winners.lost += 1,
                Err(error) if error.fault.passes() => {
                    // Who is asked for patience was not in the race.
                    winners.lost += usize::from(error.fault != Fault::Busy);
                    winners.failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(winners)
    }
}

/// Whether nobody ever won beside another. Rounds in which nobody won tell nothing: too many of them are a failure.
fn one_wins(rounds: Vec<Winners>) -> Result<bool> {
    if rounds.iter().any(|round| round.told > 1) {
        return Ok(false);
    }
    let telling = rounds.iter().filter(|round| round.told == 1 && round.lost > 0).count();
    if 2 * telling >= rounds.len() {
        return Ok(true);
    }
    rounds.into_iter().find_map(|round| round.failed).map_or(Ok(false), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_told_nothing_has_not_won() {
        let fails = |fault| Err(Error::new(fault, "500"));
        let of = |answers: Vec<_>| Winners::of(answers).unwrap();
        let (one, none) = (
            || of(vec![Ok(Took::Done), fails(Fault::Offline), Ok(Took::Refused)]),
            || of(vec![fails(Fault::Offline), fails(Fault::Busy)]),
        );
        let two = || of(vec![Ok(Took::Done), Ok(Took::Done)]);
        assert_eq!(one_wins(vec![one(), one(), none()]), Ok(true));
        assert_eq!(one_wins(vec![one(), none(), two()]), Ok(false), "two won in one round");
        assert_eq!(
            one_wins(vec![one(), none(), none()]).map_err(|error| error.fault),
            Err(Fault::Offline),
            "too few tell"
        );
        assert_eq!(one_wins(vec![Winners::default(), Winners::default()]), Ok(false), "it knows no uploads");
        assert!(Winners::of([Ok(Took::Done), fails(Fault::Denied)]).is_err());
    }
}
