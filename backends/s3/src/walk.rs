//! Listing directory by directory, for servers whose flat listing is in another order than that of the keys.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use wl_core::error::Result;

use crate::Place;
use crate::flat::{Asked, arrived, ask};
use crate::page::{From, Object, Page};
use crate::shape::Shape;

/// Directories whose first page is asked for before it is their turn.
const AHEAD: usize = 8;

/// All keys below a prefix, in byte order, whatever the order the server has within a directory: by name or by key.
pub(crate) struct Walk {
    place: Arc<Place>,
    /// The directory that is listed now, and those it is in.
    around: Vec<Dir>,
}

/// One directory on its way.
struct Dir {
    prefix: String,
    next: Option<Asked>,
    ready: VecDeque<Item>,
    /// Directories, with a `/`, that must wait for files whose keys come before theirs: `a/` for `a-b`.
    held: BTreeSet<String>,
}

enum Item {
    Object(Object),
    Dir(String, Option<Asked>),
}

impl Walk {
    pub fn new(place: &Arc<Place>, prefix: String) -> Self {
        let asked = ask(place, &prefix, false, From::Start);
        Self { place: place.clone(), around: vec![Dir::new(prefix, asked)] }
    }

    /// The next objects; none after the last. What `shape` leaves out is not descended.
    pub async fn next(&mut self, shape: &Shape) -> Result<Option<Vec<Object>>> {
        while let Some(dir) = self.around.last_mut() {
            let objects = dir.objects();
            if !objects.is_empty() {
                return Ok(Some(objects));
            }
            if let Some(Item::Dir(below, asked)) = dir.ready.pop_front() {
                if shape.left_out(&below).is_none() {
                    dir.look_ahead(&self.place, shape);
                    let asked = asked.unwrap_or_else(|| ask(&self.place, &below, false, From::Start));
                    self.around.push(Dir::new(below, asked));
                }
            } else if let Some(asked) = dir.next.take() {
                let mut page = arrived(asked).await?;
                dir.next = page.next.take().map(|from| ask(&self.place, &dir.prefix, false, from));
                dir.take(page);
                dir.look_ahead(&self.place, shape);
            } else {
                self.around.pop();
            }
        }
        Ok(None)
    }
}

impl Dir {
    fn new(prefix: String, first: Asked) -> Self {
        Self { prefix, next: Some(first), ready: VecDeque::new(), held: BTreeSet::new() }
    }

    /// The objects up to the next directory.
    fn objects(&mut self) -> Vec<Object> {
        let mut objects = Vec::new();
        while let Some(Item::Object(_)) = self.ready.front() {
            if let Some(Item::Object(object)) = self.ready.pop_front() {
                objects.push(object);
            }
        }
        objects
    }

    fn take(&mut self, page: Page) {
        self.take_part(page);
        if self.next.is_none() {
            self.release(None);
        }
    }

    fn take_part(&mut self, page: Page) {
        let dirs = page.prefixes.into_iter().map(|prefix| Item::Dir(prefix, None));
        let mut items: Vec<_> = page.objects.into_iter().map(Item::Object).chain(dirs).collect();
        items.sort_by(|one, other| one.name().cmp(other.name()));
        for item in items {
            self.release(Some(item.name()));
            match item {
                Item::Dir(prefix, _) if prefix != self.prefix => {
                    self.held.insert(prefix);
                }
                Item::Dir(..) => {}
                Item::Object(object) => self.ready.push_back(Item::Object(object)),
            }
        }
    }

    /// Lets go of the directories that come before a key; of all, after the last.
    fn release(&mut self, before: Option<&str>) {
        while self.held.first().is_some_and(|held| before.is_none_or(|before| held.as_str() < before)) {
            let first = self.held.pop_first();
            self.ready.extend(first.map(|prefix| Item::Dir(prefix, None)));
        }
    }

    fn look_ahead(&mut self, place: &Arc<Place>, shape: &Shape) {
        let dirs = self.ready.iter_mut().filter_map(|item| match item {
            Item::Dir(prefix, asked) => Some((prefix, asked)),
            Item::Object(_) => None,
        });
        for (prefix, asked) in dirs.take(AHEAD) {
            if asked.is_none() && shape.left_out(prefix).is_none() {
                *asked = Some(ask(place, prefix, false, From::Start));
            }
        }
    }
}

impl Item {
    /// What both orders, by name and by key, agree about: a directory without its slash comes no later than it may.
    fn name(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::Dir(prefix, _) => prefix.strip_suffix('/').unwrap_or(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str) -> Object {
        Object { key: key.to_owned(), size: 0, version: None, stored: None }
    }

    fn order(pages: &[(&[&str], &[&str])]) -> Vec<String> {
        let mut dir = Dir { prefix: String::new(), next: None, ready: VecDeque::new(), held: BTreeSet::new() };
        for (objects, prefixes) in pages {
            let objects = objects.iter().map(|key| object(key)).collect();
            let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
            // Only a page that is the last lets go of everything.
            let held = Page { objects, prefixes, next: None };
            dir.take_part(held);
        }
        dir.release(None);
        let items = dir.ready.iter().map(|item| match item {
            Item::Object(object) => object.key.clone(),
            Item::Dir(prefix, _) => prefix.clone(),
        });
        items.collect()
    }

    #[test]
    fn directories_wait_for_what_comes_before_them() {
        let wanted = ["a", "a!", "a-b", "a-b.c/", "a-b/", "a.txt", "a/", "a0", "b/"];
        // By name, as SeaweedFS has it; by key, as S3 has it; all at once.
        let by_name: &[(&[&str], &[&str])] =
            &[(&["a", "a!"], &["a/"]), (&["a-b"], &["a-b/"]), (&["a.txt"], &["a-b.c/"]), (&["a0"], &["b/"])];
        let by_key: &[(&[&str], &[&str])] =
            &[(&["a", "a!", "a-b"], &["a-b.c/"]), (&["a.txt"], &["a-b/", "a/"]), (&["a0"], &["b/"])];
        let at_once: &[(&[&str], &[&str])] = &[(&["a", "a!", "a-b", "a.txt", "a0"], &["a-b.c/", "a-b/", "a/", "b/"])];
        for pages in [by_name, by_key, at_once] {
            assert_eq!(order(pages), wanted);
        }
    }
}
