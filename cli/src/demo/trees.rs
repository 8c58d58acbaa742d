//! What a directory holds, counted without the help of anything that syncs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use wl_core::entry::Hash;
use wl_core::path::{PART_PREFIX, TRASH_DIR};

/// Every file and directory below a directory by its path, files with their sha256.
pub type Tree = BTreeMap<String, Option<Hash>>;

/// Reads a directory, without what wl keeps there for itself.
pub fn read(dir: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    add(dir, "", &mut tree)?;
    Ok(tree)
}

fn add(dir: &Path, prefix: &str, tree: &mut Tree) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PART_PREFIX) || prefix.is_empty() && name == TRASH_DIR {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            add(&entry.path(), &format!("{path}/"), tree)?;
            tree.insert(path, None);
        } else {
            tree.insert(path, Some(Hash::of(&fs::read(entry.path())?)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_everything_but_what_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir(dir.path().join(TRASH_DIR)).unwrap();
        fs::write(dir.path().join("a/c"), "x").unwrap();
        fs::write(dir.path().join("a/.wl-part-1"), "x").unwrap();
        let tree = read(dir.path()).unwrap();
        let expected = [("a", None), ("a/b", None), ("a/c", Some(Hash::of(b"x")))];
        assert_eq!(tree, expected.map(|(path, hash)| (path.to_owned(), hash)).into());
    }
}
