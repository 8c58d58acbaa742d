//! How many files are written at once: fewer while connections are being lost, so that some get done before the next is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ssh::Link;

const MOST: usize = 256;
const LEAST: usize = 2;

/// Lets so many write at once as get done: halved when a connection is lost, slowly more again while none is.
pub struct Width {
    turns: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    width: usize,
    /// Turns still out that are not to come back.
    too_many: usize,
    /// Done since the width was last changed.
    done: usize,
    /// Connections known to be lost, while somebody still holds them: many report the same.
    lost: Vec<Weak<Link>>,
}

/// The right to write one file.
pub struct Turn<'a> {
    width: &'a Width,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Width {
    fn default() -> Self {
        let state = State { width: MOST, too_many: 0, done: 0, lost: Vec::new() };
        Self { turns: Arc::new(Semaphore::new(MOST)), state: Mutex::new(state) }
    }
}

impl Width {
    /// Waits for a turn.
    pub async fn turn(&self) -> Turn<'_> {
        loop {
            // Never closed, it always gives one.
            let permit = self.turns.clone().acquire_owned().await.ok();
            let mut state = self.state();
            match permit {
                Some(permit) if state.too_many > 0 => {
                    state.too_many -= 1;
                    permit.forget();
                }
                permit => return Turn { width: self, permit },
            }
        }
    }

    /// A connection was lost with work on it.
    pub fn lost(&self, link: &Arc<Link>) {
        let mut state = self.state();
        // What is held weakly keeps its address: no other connection is taken for it.
        if state.lost.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(link))) {
            return;
        }
        state.lost.retain(|known| known.strong_count() > 0);
        state.lost.push(Arc::downgrade(link));
        state.narrow();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn narrow(&mut self) {
        let narrower = (self.width / 2).max(LEAST);
        self.too_many += self.width - narrower;
        self.width = narrower;
        self.done = 0;
    }

    /// One more got done; how many more may begin than before.
    fn widen(&mut self) -> usize {
        self.done += 1;
        if self.done < self.width || self.width == MOST {
            return 0;
        }
        let wider = (self.width + self.width.div_ceil(4)).min(MOST);
        let (more, forgiven) = (wider - self.width, self.too_many.min(wider - self.width));
        (self.width, self.done) = (wider, 0);
        self.too_many -= forgiven;
        more - forgiven
    }
}

impl Turn<'_> {
    /// The file was written.
    pub fn done(self) {
        let more = self.width.state().widen();
        self.width.turns.add_permits(more);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.width.state();
        if let Some(permit) = self.permit.take()
            && state.too_many > 0
        {
            state.too_many -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn losses_make_it_narrow_and_work_done_makes_it_wide_again() {
        let width = Width::default();
        let mut out = Vec::new();
        for _ in 0..MOST {
            out.push(width.turn().await);
        }
        for _ in 0..10 {
            width.state().narrow();
        }
        drop(out);
        assert_eq!(width.turns.available_permits(), LEAST);
        width.turn().await.done();
        assert_eq!(width.turns.available_permits(), LEAST);
        for _ in 0..3000 {
            width.turn().await.done();
        }
        assert_eq!(width.turns.available_permits(), MOST);
    }

    #[tokio::test]
    async fn what_is_out_and_is_wanted_again_comes_back() {
        let width = Width::default();
        let out = [width.turn().await, width.turn().await];
        width.state().narrow();
        for _ in 0..1000 {
            let more = width.state().widen();
            width.turns.add_permits(more);
        }
        drop(out);
        assert_eq!(width.turns.available_permits(), MOST);
    }
}
