//! Keys in byte order, made into a listing: what the keys imply, what they contradict, and what is nobody's business.

use wl_core::backend::{Listed, Obstacle, Prune};
use wl_core::entry::{Entry, Kind, Meta};
use wl_core::path::{PART_PREFIX, RelPath, TRASH_DIR};
use wl_core::report::ProblemKind;

use crate::key::{Keys, Named};
use crate::list::Leftover;
use crate::meta::directory;
use crate::page::Object;

/// Takes objects in byte order of their keys, gives what is to be listed.
pub(crate) struct Shape {
    keys: Keys,
    under: RelPath,
    prune: Option<Prune>,
    /// The directories around the last path, from the top; those below `under`.
    open: Vec<RelPath>,
    /// Files that a directory of their name may still follow: each begins the last path.
    files: Vec<RelPath>,
    /// The last directory that is not descended.
    closed: Option<RelPath>,
    /// The last path that was seen, listed or not.
    pub last: Option<RelPath>,
    out: Vec<Listed>,
    /// Part objects that came by, with their keys.
    pub leftovers: Vec<(String, Leftover)>,
}

impl Shape {
    pub fn new(keys: Keys, under: RelPath, prune: Option<Prune>) -> Self {
        Self {
            keys,
            under,
            prune,
            open: Vec::new(),
            files: Vec::new(),
            closed: None,
            last: None,
            out: Vec::new(),
            leftovers: Vec::new(),
        }
    }

    /// What was made of the objects so far.
    pub fn take(&mut self) -> Vec<Listed> {
        std::mem::take(&mut self.out)
    }

    pub fn push(&mut self, object: Object) {
        match self.keys.named(&object.key) {
            Named::Root => {}
            Named::File(path) => self.file(path, object),
            Named::Dir(path) => self.marker(&path, &object),
            Named::Nothing { shown, dir, obstacle } => {
                if self.enter(&dir) {
                    self.out.push(Listed::Nameless(shown, obstacle));
                }
            }
        }
    }

    /// The directory, if any, that a key lies in and that is left out with all that is below it.
    pub fn left_out(&self, key: &str) -> Option<RelPath> {
        let path = match self.keys.named(key) {
            Named::File(path) => path.parent()?,
            Named::Dir(path) | Named::Nothing { dir: path, .. } => path,
            Named::Root => return None,
        };
        let mut around: Vec<_> = std::iter::once(path.clone()).chain(path.ancestors()).collect();
        around.retain(|dir| dir.is_below(&self.under));
        around.reverse();
        around.into_iter().find(|dir| self.is_left_out(dir) || self.closed.as_ref() == Some(dir))
    }

    fn file(&mut self, path: RelPath, object: Object) {
        if path.name().starts_with(PART_PREFIX) {
            self.leftovers.extend(leftover(&object).map(|leftover| (object.key, leftover)));
            return;
        }
        let Some(dir) = path.parent() else { return };
        if !self.enter(&dir) {
            return;
        }
        self.last = Some(path.clone());
        if self.hides(&path) || self.prune.as_ref().is_some_and(|prune| prune(&path, Kind::File)) {
            return;
        }
        self.files.retain(|file| path.as_str().starts_with(file.as_str()));
        self.files.push(path.clone());
        self.out.push(match object.version {
            Some(version) => {
                let token = version.token();
                Listed::Entry(path, Entry { kind: Kind::File, size: object.size, meta: Meta::default(), token })
            }
            None => Listed::Blocked(path, no_etag()),
        });
    }

    fn marker(&mut self, path: &RelPath, object: &Object) {
        if self.enter(path) && object.size > 0 {
            let message =
                "the key ends in `/` and the object holds content, which no directory does: rename or empty it";
            let obstacle = Obstacle { kind: ProblemKind::Name, message: message.to_owned() };
            self.out.push(Listed::Nameless(path.to_string(), obstacle));
        }
    }

    /// Lists the directories down to one, as far as they were not listed before; whether what is in it is to be listed.
    fn enter(&mut self, dir: &RelPath) -> bool {
        self.open.retain(|open| dir.is_at_or_below(open));
        if self.closed.as_ref().is_some_and(|closed| dir.is_at_or_below(closed)) {
            return false;
        }
        let mut missing: Vec<_> = std::iter::once(dir.clone()).chain(dir.ancestors()).collect();
        missing.retain(|dir| dir.is_below(&self.under) && !self.open.contains(dir));
        for dir in missing.into_iter().rev() {
            self.last = Some(dir.clone());
            if self.is_left_out(&dir) {
                self.closed = Some(dir);
                return false;
            }
            if self.files.contains(&dir) {
                self.out.push(Listed::Blocked(dir.clone(), two_kinds(&dir)));
                self.closed = Some(dir);
                return false;
            }
            self.out.push(Listed::Entry(dir.clone(), directory()));
            self.open.push(dir);
        }
        true
    }

    /// Whether a directory is neither listed nor descended.
    fn is_left_out(&self, dir: &RelPath) -> bool {
        self.hides(dir) || self.prune.as_ref().is_some_and(|prune| prune(dir, Kind::Dir))
    }

    /// Whether a path is wl's own: a part, or in the trash where that was not asked for.
    fn hides(&self, path: &RelPath) -> bool {
        let trash = |path: &RelPath| path.segments().next() == Some(TRASH_DIR);
        path.name().starts_with(PART_PREFIX) || (trash(path) && !trash(&self.under))
    }
}

fn leftover(object: &Object) -> Option<Leftover> {
    Some(Leftover { version: object.version.clone()?, stored: object.stored })
}

/// A key and another one below it.
pub(crate) fn two_kinds(path: &RelPath) -> Obstacle {
    let message = format!(
        "the bucket holds an object {path} and objects below {path}/, and in no other place one name is a file and a directory: \
         none of them is synced until you rename or delete the one or the others; everything else is"
    );
    Obstacle { kind: ProblemKind::Name, message }
}

/// An object that nothing tells from its next version.
pub(crate) fn no_etag() -> Obstacle {
    let message = "the server names no ETag for it, so that its versions cannot be told apart";
    Obstacle { kind: ProblemKind::Failed, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::token::Version;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn shaped(under: &str, prune: Option<Prune>, keys: &[&str]) -> (Shape, Vec<String>) {
        let mut shape = Shape::new(Keys::new("p").unwrap(), path(under), prune);
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        for key in sorted {
            let key = format!("p/{key}");
            shape.push(Object { key, size: 0, version: Version::new(Some("e"), 0), stored: None });
        }
        let shown = shape.take().into_iter().map(|item| match item {
            Listed::Entry(path, entry) if entry.is_dir() => format!("{path}/"),
            Listed::Entry(path, _) => path.to_string(),
            Listed::Blocked(path, _) => format!("{path}!"),
            Listed::Nameless(shown, _) => format!("?{shown}"),
            Listed::Cut(path, _) => format!("{path}…"),
        });
        let shown = shown.collect();
        (shape, shown)
    }

    #[test]
    fn directories_are_implied_once_before_what_they_hold() {
        let keys = ["", "a-b", "a/b/c", "a/b/d", "a/b-c", "a/", "e/", "f/g/"];
        let (_, shown) = shaped("", None, &keys);
        assert_eq!(shown, ["a-b", "a/", "a/b-c", "a/b/", "a/b/c", "a/b/d", "e/", "f/", "f/g/"]);
        assert_eq!(shaped("a", None, &["a/", "a/b/c", "a/d"]).1, ["a/b/", "a/b/c", "a/d"]);
    }

    #[test]
    fn a_file_and_a_directory_of_one_name_are_a_conflict_of_kinds() {
        let (shape, shown) = shaped("", None, &["a", "a-b", "a/", "a/x", "a/y/z", "a0", "d/e", "d/e/f"]);
        assert_eq!(shown, ["a", "a-b", "a!", "a0", "d/", "d/e", "d/e!"]);
        assert_eq!(shape.left_out("p/d/e/f/g"), Some(path("d/e")));
    }

    #[test]
    fn what_is_no_path_is_said_and_hides_nothing_else() {
        let (_, shown) = shaped("", None, &["/x", "a//b", "b/../c", "c", "d/e//"]);
        assert_eq!(shown, ["?/x", "a/", "?a//b", "b/", "?b/../c", "c", "d/", "d/e/", "?d/e//"]);
    }

    #[test]
    fn what_is_ours_is_left_out_and_remembered() {
        let keys = [".wl-part-1", ".wl-trash/1/x", "d/.wl-part-2", "d/.wl-part-3/x", "d/.wl-trash/x", "e/.wl-part-4"];
        let (shape, shown) = shaped("", None, &keys);
        assert_eq!(shown, ["d/", "d/.wl-trash/", "d/.wl-trash/x"]);
        let left: Vec<_> = shape.leftovers.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(left, ["p/.wl-part-1", "p/d/.wl-part-2", "p/e/.wl-part-4"]);
        assert_eq!(shape.left_out("p/.wl-trash/2"), Some(path(".wl-trash")));
        let (_, shown) = shaped(".wl-trash", None, &[".wl-trash/1/x", ".wl-trash/1/.wl-part-1"]);
        assert_eq!(shown, [".wl-trash/1/", ".wl-trash/1/x"]);
    }

    #[test]
    fn what_is_pruned_is_not_descended() {
        let prune: Prune = Arc::new(|path, kind| path.name() == "no" && kind == Kind::Dir || path.name() == "x");
        let (shape, shown) = shaped("", Some(prune), &["a/no/y", "a/no/z/", "a/x", "a/yes", "no"]);
        assert_eq!(shown, ["a/", "a/yes", "no"]);
        assert_eq!(shape.left_out("p/a/no/z/q"), Some(path("a/no")));
        assert_eq!(shape.left_out("p/a/yes"), None);
    }
}
