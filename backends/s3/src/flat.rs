//! All keys below a prefix in one flat listing, several pages at once where an earlier listing tells where pages begin.
//!
//! A page says only at its end where the next one begins, so that a listing waits for one answer after the other. A
//! storage therefore remembers where the pages of its last listing began: one key of a thousand. The next listing asks for
//! the pages behind those keys before it comes there. What it gives out is what one page after the other would give: of
//! each page only what lies behind everything given out before, and where keys were added, so that a page ends before the
//! next one begins, it goes on from there.
//!
//! A page that was asked for and brings little, because keys came or went meanwhile, costs money. So it is asked ahead only
//! as long as, whatever those pages bring, the listing needs no more than [`SPARE`] requests more than one page after the
//! other would.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::AbortOnDropHandle;
use wl_core::error::{Error, Result};

use crate::Place;
use crate::page::{From, Object, Page, page};
use crate::shape::Shape;

/// The greatest text that is sure to sort after every key that anybody gives: what is behind a directory begins there.
const GREATEST: char = '\u{10ffff}';
/// So many requests a listing may need more than without asking ahead.
const SPARE: usize = 2;
/// Of so many prefixes it is remembered where their pages began.
const PREFIXES: usize = 8;

/// Where the pages of the last listings began, by their prefixes; the youngest last.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Vec<(String, Vec<String>)>>);

impl Marks {
    fn all(&self) -> MutexGuard<'_, Vec<(String, Vec<String>)>> {
        // Nothing rests on them but speed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, prefix: &str) -> VecDeque<String> {
        let all = self.all();
        let found = all.iter().find(|(of, _)| of == prefix).map(|(_, marks)| marks.clone());
        found.unwrap_or_default().into()
    }

    fn learn(&self, prefix: &str, marks: Vec<String>) {
        let mut all = self.all();
        all.retain(|(of, _)| of != prefix);
        if !marks.is_empty() {
            if all.len() >= PREFIXES {
                all.remove(0);
            }
            all.push((prefix.to_owned(), marks));
        }
    }
}

/// A page that was asked for, and is not waited for any more when this is dropped.
pub(crate) type Asked = AbortOnDropHandle<Result<Page>>;

/// Asks for a page.
pub(crate) fn ask(place: &Arc<Place>, prefix: &str, flat: bool, from: From) -> Asked {
    let (place, prefix) = (place.clone(), prefix.to_owned());
    AbortOnDropHandle::new(tokio::spawn(async move { page(&place, &prefix, flat, &from, None).await }))
}

/// Waits for a page that was asked for.
pub(crate) async fn arrived(asked: Asked) -> Result<Page> {
    asked.await.unwrap_or_else(|_| Err(Error::stopped()))
}

/// All keys below a prefix, as the server orders them.
pub(crate) struct Flat {
    place: Arc<Place>,
    prefix: String,
    /// Pages that were asked for, in the order of their keys. The first begins no later than `behind`.
    coming: VecDeque<Coming>,
    /// Where pages began in the last listing, as far as nobody asked for them yet.
    marks: VecDeque<String>,
    /// Everything up to here was given out, or is left out.
    behind: String,
    /// How many keys were given out, and how many pages asked for.
    given: usize,
    asked: usize,
    /// How many keys a page has that is not the last; 0 until one has come.
    full: usize,
    /// Where the pages of the next listing are to begin.
    found: Vec<String>,
}

/// A page that is not there yet.
struct Coming {
    /// It holds the keys behind this.
    behind: String,
    page: Asked,
}

impl Flat {
    pub fn new(place: &Arc<Place>, prefix: String) -> Self {
        let marks = place.marks.of(&prefix);
        let (place, coming, found) = (place.clone(), VecDeque::new(), Vec::new());
        let mut flat = Self { place, prefix, coming, marks, behind: String::new(), given: 0, asked: 0, full: 0, found };
        flat.go_on(From::Start);
        flat
    }

    /// The next objects, which may be none at all; nothing after the last. What `shape` leaves out need not be listed.
    pub async fn next(&mut self, shape: &Shape) -> Result<Option<Vec<Object>>> {
        let Some(coming) = self.coming.pop_front() else { return Ok(None) };
        let Page { mut objects, next, .. } = arrived(coming.page).await?;
        let number = objects.len();
        // A page in no order, or with keys from before where it was to begin, is given out as it is: who gets it must see
        // that.
        let first = std::iter::once(&coming.behind);
        if first.chain(objects.iter().map(|object| &object.key)).is_sorted_by(|one, other| one < other) {
            objects.drain(..objects.partition_point(|object| object.key <= self.behind));
        }
        let Some(next) = next else {
            self.coming.clear();
            self.note(&objects, None);
            self.place.marks.learn(&self.prefix, std::mem::take(&mut self.found));
            return Ok(Some(objects));
        };
        self.full = self.full.max(number);
        let last = objects.last().map(|object| object.key.clone());
        let skipped = last.as_deref().and_then(|last| self.after_left_out(last, shape));
        let from = match (&skipped, &last) {
            (Some(end), _) => From::After(end.clone()),
            // All of it was given out before, from pages that reach further.
            (None, None) if number > 0 => From::After(self.behind.clone()),
            _ => next,
        };
        if let Some(behind) = skipped.or(last) {
            self.behind = behind;
        }
        let behind = self.behind.clone();
        self.note(&objects, Some(&behind));
        self.go_on(from);
        Ok(Some(objects))
    }

    /// Where to go on after a key whose directory is left out.
    fn after_left_out(&self, last: &str, shape: &Shape) -> Option<String> {
        let dir = self.place.config.keys.dir(&shape.left_out(last)?).ok()?;
        let end = format!("{dir}{GREATEST}");
        (end.as_str() > last).then_some(end)
    }

    /// Counts what is given out, and notes where pages are to begin next time: behind each full page of it. `next` is where
    /// it goes on behind these objects, if it does.
    fn note(&mut self, objects: &[Object], next: Option<&str>) {
        let before = self.given;
        self.given += objects.len();
        if self.full == 0 {
            return;
        }
        let ends = (before / self.full + 1..=self.given / self.full).map(|number| number * self.full - before);
        for end in ends {
            if end < objects.len() {
                self.found.push(objects[end - 1].key.clone());
            } else {
                self.found.extend(next.map(str::to_owned));
            }
        }
    }

    /// Sees to it that the next page is on its way, and others ahead of it.
    fn go_on(&mut self, from: From) {
        while self.coming.get(1).is_some_and(|second| second.behind <= self.behind) {
            self.coming.pop_front();
        }
        if self.coming.front().is_none_or(|first| first.behind > self.behind) {
            let page = self.ask(from);
            self.coming.push_front(Coming { behind: self.behind.clone(), page });
        }
        while self.may_ask_ahead()
            && let Some(mark) = self.marks.pop_front()
        {
            if self.coming.iter().all(|coming| coming.behind < mark) && self.behind < mark {
                let page = self.ask(From::After(mark.clone()));
                self.coming.push_back(Coming { behind: mark, page });
            }
        }
    }

    fn ask(&mut self, from: From) -> Asked {
        self.asked += 1;
        ask(&self.place, &self.prefix, true, from)
    }

    /// Whether one page more may be asked for, even if it and all those on their way bring nothing. The first of them is
    /// full, or the last, if it begins just where the listing goes on.
    fn may_ask_ahead(&self) -> bool {
        let exact = usize::from(self.coming.front().is_some_and(|first| first.behind == self.behind));
        let wasted = ((self.asked - exact) * self.full).saturating_sub(self.given);
        if self.full == 0 { self.asked - exact < SPARE } else { wasted + self.full <= SPARE * self.full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_those_of_the_last_listings() {
        let marks = Marks::default();
        let some = || vec!["k".to_owned()];
        for number in 0..=PREFIXES {
            marks.learn(&number.to_string(), some());
        }
        assert_eq!((marks.of("0").len(), marks.of("1").len(), marks.all().len()), (0, 1, PREFIXES));
        marks.learn("1", Vec::new());
        assert_eq!((marks.of("1").len(), marks.all().len()), (0, PREFIXES - 1));
    }
}
