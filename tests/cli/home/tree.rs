//! What a directory holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Paths with what is there, but for the trash; names that are not UTF-8 are escaped.
pub type Tree = BTreeMap<String, Node>;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Dir,
    File(Vec<u8>),
    Link(PathBuf),
    Special,
}

/// Everything below a directory; what vanishes meanwhile is not there.
pub fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    visit(root, "", &mut |name, path| {
        if name == ".wl-trash" {
            return false;
        }
        let Some(node) = node(path) else { return false };
        let is_dir = node == Node::Dir;
        found.insert(name.to_owned(), node);
        is_dir
    });
    found
}

/// Like [`tree`], with everything that a careless program would touch: trash, mode, times and inode.
pub fn exact(root: &Path) -> BTreeMap<String, (Node, u32, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    visit(root, "", &mut |name, path| {
        let (Some(node), Ok(facts)) = (node(path), fs::symlink_metadata(path)) else { return false };
        let is_dir = node == Node::Dir;
        found.insert(name.to_owned(), (node, facts.mode(), facts.mtime(), facts.mtime_nsec(), facts.ino()));
        is_dir
    });
    found
}

/// Whether any part of a file being written was left behind.
pub fn has_parts(root: &Path) -> bool {
    let mut has = false;
    visit(root, "", &mut |name, path| {
        has |= name.rsplit('/').next().is_some_and(|last| last.starts_with(".wl-part-"));
        path.is_dir() && !path.is_symlink()
    });
    has
}

/// Calls `visit` with every name and path; descends where it says so.
fn visit(dir: &Path, prefix: &str, each: &mut dyn FnMut(&str, &Path) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", shown(&entry.file_name()));
        if each(&name, &entry.path()) {
            visit(&entry.path(), &format!("{name}/"), each);
        }
    }
}

fn shown(name: &OsStr) -> String {
    name.to_str().map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned)
}

fn node(path: &Path) -> Option<Node> {
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    Some(if kind.is_dir() {
        Node::Dir
    } else if kind.is_symlink() {
        Node::Link(fs::read_link(path).ok()?)
    } else if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        Node::Special
    } else {
        Node::File(fs::read(path).unwrap_or_default())
    })
}
