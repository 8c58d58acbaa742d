//! Whose turn it is to change a pair: a round's, or the user's, for whom a round gives way.

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Held by whoever changes a pair, or what is remembered of it.
pub type Taken<'a> = MutexGuard<'a, ()>;

/// Turns are given in the order in which they were asked for.
#[derive(Debug)]
pub struct Turn {
    taken: Mutex<()>,
    /// How many users wait.
    waiting: watch::Sender<usize>,
}

/// One user who waits, until this is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self { taken: Mutex::default(), waiting: watch::Sender::new(0) }
    }
}

impl Turn {
    /// For a round, which gives it back soon once it is [`wanted`](Self::wanted).
    pub async fn of_round(&self, stop: &CancellationToken) -> Result<Taken<'_>> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::stopped()),
            taken = self.taken.lock() => Ok(taken),
        }
    }

    /// For what the user asked for. Nothing is done for one who has left meanwhile.
    pub async fn of_user(&self, left: &CancellationToken) -> Result<Taken<'_>> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _waiting = Waiting(&self.waiting);
        self.of_round(left).await
    }

    /// Returns once a user waits.
    pub async fn wanted(&self) {
        // The sender is here: it does not go away meanwhile.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Whether a user waits.
    pub fn is_wanted(&self) -> bool {
        *self.waiting.borrow() > 0
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_user_who_waits_is_heard_of_and_one_who_left_gets_nothing() {
        let (turn, here, gone) = (Turn::default(), CancellationToken::new(), CancellationToken::new());
        let round = turn.of_round(&here).await.unwrap();
        assert!(turn.wanted().now_or_never().is_none());
        let mut user = Box::pin(turn.of_user(&here));
        let mut other = Box::pin(turn.of_user(&gone));
        assert!(user.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        assert!(turn.wanted().now_or_never().is_some());
        gone.cancel();
        assert_eq!(other.await.map(drop), Err(Error::stopped()));
        drop(round);
        drop(user.await.unwrap());
        assert!(!turn.is_wanted());
        assert!(turn.of_user(&gone).await.is_err(), "nobody is there, though the turn is free");
    }
}
