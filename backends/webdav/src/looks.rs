//! Looks at files that many wait for at once, answered by one question about their directory.
//!
//! Who reads a file looks at it afterwards. With a request each that is as many as there are files; but while the server
//! answers one question, others come to wait for the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use tokio::sync::oneshot;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::read::head;
use crate::server::{Depth, Server};
use crate::version::Seen;

/// From so many on, one question about the directory is cheaper than one about each…
const WORTH: usize = 4;
/// …if the directory holds no more than so many times as many…
const MOST: usize = 24;
/// …or than so many times as many where the server is near: Apache answers 35 questions about files in the time that it takes
/// to list a hundred.
const MOST_NEAR: usize = 2;
/// So many directories are remembered as too large.
const REMEMBERED: usize = 10_000;

/// Those who wait, by directory.
#[derive(Default)]
pub struct Looks(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: BTreeMap<RelPath, Vec<Waiting>>,
    /// How many a directory holds that was too large to be asked about.
    large: HashMap<RelPath, usize>,
}

struct Waiting {
    path: RelPath,
    answer: oneshot::Sender<Result<Option<Seen>>>,
}

impl Looks {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is at a path now: the server was asked after this was called.
pub async fn look(server: &Arc<Server>, path: &RelPath) -> Result<Option<Seen>> {
    let dir = path.parent().unwrap_or_else(RelPath::root);
    let (answer, answered) = oneshot::channel();
    let first = {
        let mut state = server.looks.lock();
        let first = !state.waiting.contains_key(&dir);
        state.waiting.entry(dir.clone()).or_default().push(Waiting { path: path.clone(), answer });
        first
    };
    if first {
        // A task of its own: who asked first may be gone before the others have their answers.
        let server = server.clone();
        tokio::spawn(async move { answer_all(&server, &dir).await });
    }
    answered.await.unwrap_or_else(|_| Err(Error::stopped()))
}

/// Answers those who wait for looks into a directory, until nobody does.
async fn answer_all(server: &Arc<Server>, dir: &RelPath) {
    loop {
        let (waiting, large) = {
            let mut state = server.looks.lock();
            let Some(waiting) = state.waiting.get_mut(dir).map(std::mem::take).filter(|waiting| !waiting.is_empty())
            else {
                state.waiting.remove(dir);
                return;
            };
            (waiting, state.large.get(dir).copied())
        };
        let most = waiting.len() * if server.client.distance.is_near() { MOST_NEAR } else { MOST };
        let seen = if waiting.len() < WORTH || large.is_some_and(|count| count >= most) {
            None
        } else {
            all_in(server, dir, most).await
        };
        match seen {
            Some(mut seen) => {
                for Waiting { path, answer } in waiting {
                    // Whoever does not listen any more needs no answer.
                    let _ = answer.send(seen.remove(path.name()).unwrap_or(Ok(None)));
                }
            }
            None => {
                join_all(waiting.into_iter().map(async |Waiting { path, answer }| {
                    let _ = answer.send(head(server, &path).await);
                }))
                .await;
            }
        }
    }
}

/// What is in a directory, by name; none where that cannot be said in one go.
async fn all_in(server: &Server, dir: &RelPath, most: usize) -> Option<HashMap<String, Result<Option<Seen>>>> {
    let mut found = HashMap::new();
    let answered = server.listed(dir, Depth::One, |names, seen| {
        if found.len() >= most {
            return Err(Error::new(Fault::Unsupported, "more is in this directory than is worth asking for"));
        }
        if let [name] = &names[..]
            && let Ok(name) = String::from_utf8(name.clone())
        {
            found.insert(name, seen);
        }
        Ok(())
    });
    let there = matches!(answered.await, Ok(Some(())));
    if found.len() >= most {
        let mut state = server.looks.lock();
        if state.large.len() >= REMEMBERED {
            state.large.clear();
        }
        state.large.insert(dir.clone(), most);
    }
    there.then_some(found)
}
