//! What the tests of every room share: a storage in memory with faults, the conformance suite that every backend passes,
//! a simulator that drives the engine step by step, real servers, and proxies that make them slow and faulty.

pub mod conformance;
pub mod directory;
pub mod memory;
pub mod mounted;
pub mod pairs;
pub mod proxy;
pub mod servers;
pub mod sim;
pub mod tree;

use wl_core::backend::Known;
use wl_core::entry::{Hash, Token};
use wl_core::path::RelPath;

/// A path, from a text that is one.
///
/// # Panics
/// If it is none.
pub fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap_or_else(|why| panic!("{text:?} {why}"))
}

/// That version of a file, which holds these bytes.
pub fn known<'a>(path: &'a RelPath, token: &'a Token, bytes: &[u8]) -> Known<'a> {
    Known { path, token, size: bytes.len() as u64, hash: Hash::of(bytes) }
}
