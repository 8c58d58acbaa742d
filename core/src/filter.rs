//! Which paths are left out: the container's `exclude` and the `.wlignore` files of both sides.

use crate::backend::Prune;
use crate::entry::Kind;
use crate::error::Result;
use crate::job::Which;
use crate::path::RelPath;

/// The rules in force. What they exclude is neither copied nor deleted; what is below an excluded directory is excluded too.
#[derive(Clone)]
pub struct Filter {}

/// The pattern that excludes a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The pattern as it was written.
    pub pattern: String,
    /// Where it stands: `exclude` of the container, or the path of a `.wlignore` file and the side it is on.
    pub stands_in: String,
}

impl Filter {
    /// The container's own patterns, in gitignore syntax.
    pub fn new(exclude: &[String]) -> Result<Self> {
        let _ = exclude;
        todo!()
    }

    /// Sets the text of the `.wlignore` in a directory on one side, or says that there is none. Whether anything changed.
    pub fn set_ignores(&mut self, dir: &RelPath, which: Which, text: Option<&str>) -> bool {
        let _ = (dir, which, text);
        todo!()
    }

    /// The pattern that excludes a path, its directories considered.
    pub fn excluded(&self, path: &RelPath, kind: Kind) -> Option<Excluded> {
        let _ = (path, kind);
        todo!()
    }

    /// Whether a path is excluded. Cheap where there are no patterns.
    pub fn excludes(&self, path: &RelPath, kind: Kind) -> bool {
        let _ = (path, kind);
        todo!()
    }

    /// What a listing may leave out because of the container's own patterns; none where there are none.
    pub fn prune(&self) -> Option<Prune> {
        todo!()
    }
}
