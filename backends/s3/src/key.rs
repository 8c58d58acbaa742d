//! Paths and keys.

use wl_core::backend::Obstacle;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;
use wl_core::report::ProblemKind;

/// The longest key, in bytes of UTF-8: "Object key name … can't be longer than 1,024 bytes" (Amazon S3 user guide,
/// Naming Amazon S3 objects).
const LONGEST: usize = 1024;

/// The keys below one prefix of a bucket, as paths.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// Empty, or ends with `/`.
    prefix: String,
}

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The prefix itself.
    Root,
    File(RelPath),
    /// `name/`, the marker of a directory.
    Dir(RelPath),
    /// What no path can name. The directory it lies in, as far as that can be named.
    Nothing {
        shown: String,
        dir: RelPath,
        obstacle: Obstacle,
    },
}

impl Keys {
    pub fn new(prefix: &str) -> Result<Self> {
        let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
        RelPath::parse(trimmed).map_err(|bad| {
            Error::new(Fault::Malformed, format!("the prefix of `s3-url`, {prefix:?}, {bad}: correct it"))
        })?;
        Ok(Self { prefix: if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") } })
    }

    /// The prefix: empty, or ends with `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A file's key; `Malformed` where it would be too long.
    pub fn file(&self, path: &RelPath) -> Result<String> {
        checked(path, format!("{}{path}", self.prefix))
    }

    /// The marker of a directory, which is also the prefix of everything below it.
    pub fn dir(&self, path: &RelPath) -> Result<String> {
        if path.is_root() { Ok(self.prefix.clone()) } else { checked(path, format!("{}{path}/", self.prefix)) }
    }

    /// What a key below the prefix names.
    pub fn named(&self, key: &str) -> Named {
        let Some(below) = key.strip_prefix(&self.prefix) else {
            return nothing(key, RelPath::root(), "is not below the prefix that was listed");
        };
        let (text, marker) = below.strip_suffix('/').map_or((below, false), |text| (text, true));
        if below.is_empty() {
            return Named::Root;
        }
        // An empty text left of a marker's slash is the key `/`.
        match RelPath::parse(text) {
            Ok(path) if path.is_root() => nothing(below, path, "has an empty segment"),
            Ok(path) if marker => Named::Dir(path),
            Ok(path) => Named::File(path),
            Err(bad) => nothing(below, nameable_dir(text), &bad.to_string()),
        }
    }
}

fn checked(path: &RelPath, key: String) -> Result<String> {
    if key.len() <= LONGEST {
        return Ok(key);
    }
    let message = format!("its key would have {} bytes, and S3 allows {LONGEST}: shorten the name", key.len());
    Err(Error::new(Fault::Malformed, message).at(path))
}

fn nothing(shown: &str, dir: RelPath, why: &str) -> Named {
    let message = format!("the key {shown:?} {why}, so that it is no path elsewhere: rename the object");
    let obstacle = Obstacle { kind: ProblemKind::Name, message };
    Named::Nothing { shown: shown.escape_debug().to_string(), dir, obstacle }
}

/// The deepest directory above a key whose path can be named.
fn nameable_dir(text: &str) -> RelPath {
    let mut dir = RelPath::root();
    let Some((above, _)) = text.rsplit_once('/') else { return dir };
    for segment in above.split('/') {
        match dir.join(segment) {
            Ok(deeper) => dir = deeper,
            Err(_) => break,
        }
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn keys_are_paths_below_the_prefix() {
        for prefix in ["", "p/", "p/q"] {
            let keys = Keys::new(prefix).unwrap();
            for text in ["a", "a/b c", "ü/%2F/+"] {
                assert_eq!(keys.named(&keys.file(&path(text)).unwrap()), Named::File(path(text)));
                assert_eq!(keys.named(&keys.dir(&path(text)).unwrap()), Named::Dir(path(text)));
            }
            assert_eq!(keys.named(keys.prefix()), Named::Root);
        }
    }

    #[test]
    fn what_is_no_path_is_named_nothing_in_the_directory_it_lies_in() {
        let keys = Keys::new("p").unwrap();
        for (key, in_dir) in [
            ("/lead", ""),
            ("/", ""),
            ("//", ""),
            ("a//b", "a"),
            ("a/b//", "a/b"),
            ("a//", "a"),
            ("a/../b", "a"),
            ("./a", ""),
            ("a/b/.", "a/b"),
            ("a/nul\0/b", "a"),
        ] {
            let Named::Nothing { dir, obstacle, .. } = keys.named(&format!("p/{key}")) else { panic!("{key}") };
            assert_eq!((dir, obstacle.kind), (path(in_dir), ProblemKind::Name), "{key}");
        }
    }

    #[test]
    fn a_key_is_never_too_long() {
        let keys = Keys::new("p/").unwrap();
        assert!(keys.file(&path(&"x".repeat(1022))).is_ok());
        assert!(keys.dir(&path(&"x".repeat(1022))).is_err());
        assert_eq!(keys.file(&path(&"x".repeat(1023))).unwrap_err().fault, Fault::Malformed);
    }
}
