//! The engine of wl: what two storages hold, what to do about it, and how it is done without losing anything.
//!
//! Read [`round`] first: it is the whole of a sync on one screen.

pub mod backend;
pub mod config;
mod document;
pub mod entry;
pub mod error;
pub mod filter;
pub mod job;
pub mod manifest;
pub mod monitor;
pub mod path;
pub mod report;
pub mod schema;
pub mod secret;
pub mod state;
pub mod syncer;

pub use error::{Error, Fault, Result};
