//! Turns by name: whoever has the turn of one name does not hold up the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Turns are given in the order in which they were asked for.
#[derive(Default)]
pub struct Keyed {
    turns: Mutex<HashMap<String, Arc<Turn<()>>>>,
}

impl Keyed {
    /// Waits for the turn of that name.
    pub async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(name.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_name_waits_and_another_does_not() {
        let keyed = Keyed::default();
        let first = keyed.take("a").await;
        assert!(keyed.take("a").now_or_never().is_none());
        let _other = keyed.take("b").now_or_never().expect("another name is free");
        drop(first);
        assert!(keyed.take("a").now_or_never().is_some());
    }
}
