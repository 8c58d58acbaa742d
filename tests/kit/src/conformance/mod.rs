//! One suite that every backend passes against the real thing: SPEC section 6, line by line.
//!
//! A backend's whole conformance file is a [`Bench`] and one line, `wl_test_kit::conformance!(MyBench::fresh().await)`. Nothing is
//! skipped silently: a case that does not apply to what a storage says of itself prints why.

#![allow(missing_docs, reason = "the name of a case says what holds")]

pub mod dirs;
pub mod guards;
pub mod list;
pub mod look;
pub mod race;
pub mod root;
pub mod watch;
pub mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use wl_core::backend::{Backend, Body, Content, Guard, Listed, Look, Reading, Written};
use wl_core::entry::{Entry, Hash, Meta};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::{PART_PREFIX, RelPath};

/// A fresh, empty storage, and its user's access to it that goes past wl.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The backend under test, always of the same storage.
    async fn backend(&self) -> Arc<dyn Backend>;

    /// Writes a file in place, making its parents.
    async fn user_write(&self, path: &RelPath, bytes: &[u8]);

    /// What a file holds; none if there is none.
    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>>;

    /// Deletes a file, or a directory with all it holds.
    async fn user_delete(&self, path: &RelPath);

    /// Makes a directory and its parents.
    async fn user_mkdir(&self, path: &RelPath);

    /// Whether anything is there.
    async fn user_exists(&self, path: &RelPath) -> bool;

    /// Renames a file or a directory.
    async fn user_rename(&self, from: &RelPath, to: &RelPath);

    /// Sets a file's modification time; false where a user cannot.
    async fn user_set_mtime(&self, _path: &RelPath, _mtime: Timestamp) -> bool {
        false
    }

    /// Puts something there that is neither file nor directory; false where there is no such thing.
    async fn user_special(&self, _path: &RelPath) -> bool {
        false
    }

    /// Makes a directory unreadable; false where that cannot be done.
    async fn make_unreadable(&self, _dir: &RelPath) -> bool {
        false
    }

    /// Takes the storage's root away; false where that cannot be done.
    async fn remove_root(&self) -> bool {
        false
    }

    /// Puts another, empty root in its place; false where that cannot be done.
    async fn replace_root(&self) -> bool {
        false
    }

    /// Leaves in a directory what a writer leaves that died.
    async fn leave_part(&self, dir: &RelPath) -> RelPath {
        let part = below(dir, &format!("{PART_PREFIX}1-1"));
        self.user_write(&part, b"half of it").await;
        part
    }

    /// Whether the storage cannot hold that name at all: it must say so, then.
    fn cannot_hold(&self, _name: &str) -> bool {
        false
    }

    /// Whether a name is free for a moment while its file is replaced: only where the storage has no other way, and says so.
    fn leaves_gaps(&self) -> bool {
        false
    }

    /// How many files the case of many files makes.
    fn many(&self) -> usize {
        5_000
    }

    /// How many rounds the racing cases go.
    fn rounds(&self) -> usize {
        50
    }
}

/// Makes one test of every case; the expression makes a fresh [`Bench`].
#[macro_export]
macro_rules! conformance {
    ($bench:expr) => {
        $crate::conformance_cases!($bench;
            list: an_empty_storage_lists_nothing, lists_in_byte_order, lists_only_below_the_directory_asked_for,
                a_missing_directory_lists_as_empty, lists_empty_directories, leaves_out_what_is_pruned,
                hides_parts_and_trash, lists_many_files_once_each, holds_nasty_names, holds_nasty_directory_names,
                what_cannot_be_listed_is_blocked, what_is_no_file_is_blocked;
            look: tells_kind_and_size, tells_what_is_absent, a_token_stays_while_nothing_changes,
                a_token_changes_with_the_content, a_token_changes_though_size_and_mtime_do_not, hashes_are_sha256,
                reads_from_any_offset, a_stale_version_is_not_read, a_file_that_changes_is_not_read_as_a_mixture;
            write: creates_files_of_any_size, replaces_a_known_version, proves_a_hash_that_was_not_known,
                a_wrong_hash_changes_nothing, a_wrong_size_changes_nothing, a_failing_body_changes_nothing,
                keeps_mtime_and_mode, sets_mtime_and_mode, keeps_what_it_replaced, keeps_what_it_removed;
            guards: creates_only_where_nothing_is, replaces_only_what_is_there, a_stale_version_is_not_replaced,
                a_stale_version_is_not_removed, a_stale_version_is_not_moved_or_copied,
                a_stale_version_gets_no_other_mtime, who_writes_during_a_replace_wins,
                who_creates_during_a_create_wins, who_deletes_during_a_replace_wins;
            dirs: makes_a_directory_once, makes_no_directory_over_a_file, removes_an_empty_directory,
                removes_no_directory_that_holds_anything, leftovers_do_not_keep_a_directory, moves_within, copies_within,
                moves_and_copies_onto_nothing, replaces_within;
            race: one_of_racing_creators_wins, one_of_racing_writers_wins, a_remover_and_a_writer_do_not_both_win,
                readers_see_the_old_or_the_new;
            watch: notices_a_write, notices_a_delete, notices_a_rename, notices_a_tree_made_at_once,
                notices_changes_in_directories_there_were, tells_nothing_of_its_own_part_files_and_trash;
            root: the_root_stays_the_same, another_root_is_another, a_missing_root_is_missing, makes_a_missing_root,
                sweeps_what_dead_writers_left, its_probe_leaves_nothing;
        );
    };
}

/// One test a case. Used by [`conformance!`] only.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($bench:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the expression names what its own file imports")]
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case(&$bench).await;
            })+
        })+
    };
}

/// A storage that has found out what it can do: a case asks for that before it changes anything, and the first change, even
/// a vain one, tries it out.
///
/// # Panics
/// If it removes a directory that is not there.
pub async fn tried(storage: &Arc<dyn Backend>) -> Arc<dyn Backend> {
    let vain = storage.remove_dir(&path("no such directory")).await;
    assert!(vain.is_err(), "there was none");
    storage.clone()
}

/// Says that a case does not apply, and why.
fn does_not_apply(why: &str) {
    println!("does not apply: {why}");
}

fn path(text: &str) -> RelPath {
    crate::path(text)
}

fn below(dir: &RelPath, name: &str) -> RelPath {
    dir.join_path(&path(name))
}

/// The whole listing.
async fn listed(backend: &Arc<dyn Backend>, under: &RelPath) -> Vec<Listed> {
    backend.list(under, None).collect::<Vec<_>>().await.concat()
}

/// The paths of the entries of a listing, directories with a `/`.
async fn names(backend: &Arc<dyn Backend>, under: &str) -> Vec<String> {
    let items = listed(backend, &path(under)).await;
    items.iter().map(|item| String::from_utf8(key(item)).unwrap_or_default()).collect()
}

/// What a listing's item is ordered by.
fn key(item: &Listed) -> Vec<u8> {
    match item {
        Listed::Entry(path, entry) if entry.is_dir() => [path.as_str().as_bytes(), b"/"].concat(),
        Listed::Entry(path, _) => path.as_str().as_bytes().to_vec(),
        other => panic!("nothing but entries was expected: {other:?}"),
    }
}

async fn entry(backend: &Arc<dyn Backend>, path: &RelPath) -> Entry {
    match backend.stat(path).await {
        Ok(Look::Entry(entry)) => entry,
        other => panic!("{path}: an entry was expected: {other:?}"),
    }
}

/// Bytes without a pattern that could hide a mistake in offsets.
fn noise(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(size)
    .collect()
}

fn content(bytes: &[u8]) -> Content {
    Content::of(Bytes::copy_from_slice(bytes), Meta::default())
}

/// Creates a file through the backend.
async fn create(backend: &Arc<dyn Backend>, path: &RelPath, bytes: &[u8]) -> Written {
    let written = backend.replace(path, content(bytes), &Guard::Absent, None).await;
    written.unwrap_or_else(|error| panic!("creating {path}: {error}"))
}

/// Reads a version through the backend, from an offset on.
async fn read(backend: &Arc<dyn Backend>, path: &RelPath, entry: &Entry, from: u64) -> Result<Vec<u8>> {
    let body = backend.read(path, &entry.token, from).await?.body;
    Ok(body.try_collect::<Vec<_>>().await?.concat())
}

/// Holds the user's view and the backend's against what must be there.
async fn holds(bench: &dyn Bench, path: &RelPath, bytes: &[u8]) {
    let backend = bench.backend().await;
    assert_eq!(bench.user_read(path).await.map(|b| Hash::of(&b)), Some(Hash::of(bytes)), "{path} as its user reads it");
    let there = entry(&backend, path).await;
    assert_eq!(there.size, bytes.len() as u64, "{path}");
    assert_eq!(backend.hash(path, &there.token).await, Ok(Hash::of(bytes)), "{path}");
}

/// A body with nothing beside it.
fn reading(body: Body) -> Reading {
    Reading { meta: Meta::default(), body }
}

/// Holds a result against a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    match result {
        Err(Error { fault: Fault::Refused, .. }) => {}
        other => panic!("{what}: a refusal was expected: {other:?}"),
    }
}

/// Holds a result against a refusal, where it may also say that nothing is there.
fn refused_or_missing<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    match result {
        Err(Error { fault: Fault::Refused | Fault::Missing, .. }) => {}
        other => panic!("{what}: a refusal was expected: {other:?}"),
    }
}

/// Nothing that is still being written lies in a directory, as its user would see.
async fn no_part_is_left(bench: &dyn Bench, dir: &str) {
    let backend = bench.backend().await;
    let names = names(&backend, dir).await;
    assert!(!names.iter().any(|name| name.contains(PART_PREFIX)), "{names:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_macro() {
        let list = include_str!("mod.rs");
        let cases = [
            include_str!("dirs.rs"),
            include_str!("guards.rs"),
            include_str!("list.rs"),
            include_str!("look.rs"),
            include_str!("race.rs"),
            include_str!("root.rs"),
            include_str!("watch.rs"),
            include_str!("write.rs"),
        ];
        for case in cases.iter().flat_map(|file| file.split("pub async fn ").skip(1)) {
            let name = case.split('(').next().unwrap_or_default();
            assert!(list.contains(&format!(" {name},")) || list.contains(&format!(" {name};")), "{name}");
        }
    }
}
