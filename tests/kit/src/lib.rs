//! What the tests of every room share: a storage in memory with faults, the conformance suite that every backend passes,
//! and a simulator that drives the engine step by step.

pub mod conformance;
pub mod directory;
pub mod memory;
pub mod mounted;
pub mod pairs;
pub mod sim;
pub mod tree;

use wl_core::path::RelPath;

/// A path, from a text that is one.
///
/// # Panics
/// If it is none.
pub fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap_or_else(|why| panic!("{text:?} {why}"))
}
