//! One side's listing, in path order, with what is unknown about it.

use std::collections::VecDeque;

use futures::StreamExt as _;

use crate::backend::{Listed, Listing, Obstacle};
use crate::entry::Entry;
use crate::path::RelPath;
use crate::report::Problem;

/// What a listing says of one path.
#[derive(Debug)]
pub(super) enum Said {
    Entry(Entry),
    Blocked(Obstacle),
}

/// Reads a listing and puts it into path order: the listing has a file `a` before `a-b`, but a directory `a` after it.
pub(super) struct Cursor {
    listing: Listing,
    storage: String,
    /// Files that must wait until the listing has passed the place where a directory of their name would stand. Each is a
    /// prefix of the next: no more than a path has characters.
    held: Vec<(RelPath, Said)>,
    ready: VecDeque<(RelPath, Said)>,
    /// The directory that was made ready last.
    last_dir: Option<RelPath>,
    ended: bool,
    cut: Option<RelPath>,
    blocked: Option<RelPath>,
    /// What cannot be listed.
    pub problems: Vec<Problem>,
}

impl Cursor {
    pub fn new(listing: Listing, storage: &str) -> Self {
        Self {
            listing,
            storage: storage.to_owned(),
            held: Vec::new(),
            ready: VecDeque::new(),
            last_dir: None,
            ended: false,
            cut: None,
            blocked: None,
            problems: Vec::new(),
        }
    }

    /// Makes sure that [`Cursor::peek`] sees the next path, if there is one; and whatever is said after a directory's own
    /// entry about what is below it.
    pub async fn fill(&mut self) {
        while self.ready.len() < 2 && !self.ended {
            if let Some(chunk) = self.listing.next().await {
                for item in chunk {
                    self.push(item);
                }
            } else {
                self.ended = true;
                self.ready.extend(self.held.drain(..).rev());
            }
        }
    }

    pub fn peek(&self) -> Option<&RelPath> {
        self.ready.front().map(|(path, _)| path)
    }

    /// Takes what is said of a path, if it is the next one, and notes what is blocked there.
    pub fn take(&mut self, path: &RelPath) -> Option<Entry> {
        let mut entry = None;
        while self.peek() == Some(path) {
            match self.ready.pop_front() {
                Some((_, Said::Entry(listed))) => entry = Some(listed),
                Some((path, Said::Blocked(obstacle))) => {
                    self.note(path.as_str(), obstacle);
                    self.blocked = Some(path);
                }
                None => {}
            }
        }
        entry
    }

    /// From where on nothing was listed, if it was cut off.
    pub fn cut(&self) -> Option<&RelPath> {
        self.cut.as_ref()
    }

    /// Whether nothing is known about a path that was not listed.
    pub fn is_unknown(&self, path: &RelPath) -> bool {
        let after_cut = |cut: &RelPath| {
            // Where a directory of that name would have stood: the later of its two places.
            let place = path.as_str().bytes().chain(*b"/");
            place.ge(cut.as_str().bytes())
        };
        self.blocked.as_ref().is_some_and(|top| path.is_at_or_below(top)) || self.cut.as_ref().is_some_and(after_cut)
    }

    fn push(&mut self, item: Listed) {
        match item {
            Listed::Entry(path, entry) => {
                let is_dir = entry.is_dir();
                self.arrange(path, Said::Entry(entry), is_dir);
            }
            Listed::Blocked(path, obstacle) => {
                let after_its_entry = self.last_dir.as_ref() == Some(&path) || path.is_root();
                if !after_its_entry {
                    // A file of that name was listed, and is not all there is: as in a bucket with `a` and `a/b`.
                    self.held.retain(|(waiting, _)| *waiting != path);
                }
                self.arrange(path, Said::Blocked(obstacle), after_its_entry);
            }
            Listed::Nameless(shown, obstacle) => self.note(&shown, obstacle),
            Listed::Cut(path, obstacle) => {
                self.note(path.as_str(), obstacle);
                self.cut = Some(path);
            }
        }
    }

    fn arrange(&mut self, path: RelPath, said: Said, at_once: bool) {
        while let Some(waiting) = self.held.pop_if(|(waiting, _)| *waiting <= path) {
            self.ready.push_back(waiting);
        }
        if at_once {
            self.last_dir = Some(path.clone());
            self.ready.push_back((path, said));
        } else {
            self.held.push((path, said));
        }
    }

    fn note(&mut self, path: &str, obstacle: Obstacle) {
        let (path, storage) = (path.to_owned(), self.storage.clone());
        self.problems.push(Problem { path, storage, kind: obstacle.kind, message: obstacle.message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Meta, Token};
    use crate::report::ProblemKind;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn listed(text: &str) -> Listed {
        let (name, kind) = text.strip_suffix('/').map_or((text, Kind::File), |name| (name, Kind::Dir));
        Listed::Entry(path(name), Entry { kind, size: 0, meta: Meta::default(), token: Token::new(b"") })
    }

    fn obstacle() -> Obstacle {
        Obstacle { kind: ProblemKind::Unreadable, message: String::new() }
    }

    async fn order(mut items: Vec<Listed>, chunk: usize) -> Vec<String> {
        let mut chunks = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(chunk.min(items.len()));
            chunks.push(std::mem::replace(&mut items, rest));
        }
        let mut cursor = Cursor::new(Box::pin(futures::stream::iter(chunks)), "id");
        let mut seen = Vec::new();
        loop {
            cursor.fill().await;
            let Some(next) = cursor.peek().cloned() else { return seen };
            cursor.take(&next);
            seen.push(next.to_string());
        }
    }

    #[tokio::test]
    async fn a_listing_is_put_into_path_order() {
        let names = ["a", "a-b", "a-b.c", "a-b/", "a-b/x", "a.txt", "a/", "a/b", "a/b!", "a/b/", "a0", "b"];
        for chunk in 1..=names.len() {
            // A storage holds a name once: leave out the files that stand beside a directory of their name.
            let items =
                names.iter().filter(|name| !["a", "a-b", "a/b"].contains(name)).map(|name| listed(name)).collect();
            assert_eq!(order(items, chunk).await, ["a-b.c", "a-b", "a-b/x", "a.txt", "a", "a/b!", "a/b", "a0", "b"]);
            let items = ["a", "a-b", "a-b-c", "a.txt", "a0", "b"].map(listed).to_vec();
            assert_eq!(order(items, chunk).await, ["a-b-c", "a-b", "a.txt", "a", "a0", "b"]);
        }
    }

    #[tokio::test]
    async fn a_file_that_turns_out_to_be_a_directory_too_is_unknown() {
        let items = [listed("a"), listed("a-b"), Listed::Blocked(path("a"), obstacle()), listed("b")];
        for chunk in 1..=items.len() {
            let chunks: Vec<_> = items.chunks(chunk).map(<[Listed]>::to_vec).collect();
            let mut cursor = Cursor::new(Box::pin(futures::stream::iter(chunks)), "id");
            for (name, is_listed) in [("a-b", true), ("a", false), ("b", true)] {
                cursor.fill().await;
                assert_eq!(cursor.take(&path(name)).is_some(), is_listed, "{name}");
                assert_eq!(cursor.is_unknown(&path(name)), !is_listed, "{name}");
            }
            assert_eq!(cursor.problems.len(), 1);
        }
    }

    #[tokio::test]
    async fn what_was_not_listed_is_unknown_and_never_absent() {
        let items =
            vec![listed("a/"), Listed::Blocked(path("a"), obstacle()), listed("b"), Listed::Cut(path("m"), obstacle())];
        let mut cursor = Cursor::new(Box::pin(futures::stream::iter([items])), "id");
        cursor.fill().await;
        assert!(cursor.take(&path("a")).is_some());
        assert!(cursor.is_unknown(&path("a/x")) && !cursor.is_unknown(&path("aa")) && !cursor.is_unknown(&path("b")));
        cursor.fill().await;
        assert!(cursor.take(&path("b")).is_some());
        for (text, unknown) in [("c", false), ("l", false), ("m", true), ("m-", true), ("z/a", true)] {
            assert_eq!(cursor.is_unknown(&path(text)), unknown, "{text}");
        }
        assert_eq!(cursor.problems.len(), 2);
    }
}
