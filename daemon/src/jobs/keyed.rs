//! Turns by name: whoever has the turn of one name does not hold up the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Turns are given in the order in which they were asked for.
pub struct Keyed<Name> {
    turns: Mutex<HashMap<Name, Arc<Turn<()>>>>,
}

impl<Name> Default for Keyed<Name> {
    fn default() -> Self {
        Self { turns: Mutex::default() }
    }
}

impl<Name: Eq + Hash> Keyed<Name> {
    /// Waits for the turn of that name.
    pub async fn take(&self, name: impl Into<Name>) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(name.into()).or_default().clone()
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
        let keyed = Keyed::<String>::default();
        let first = keyed.take("a").await;
        assert!(keyed.take("a").now_or_never().is_none());
        let _other = keyed.take("b").now_or_never().expect("another name is free");
        drop(first);
        assert!(keyed.take("a").now_or_never().is_some());
    }
}
