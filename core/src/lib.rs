//! The engine of wl: what two storages hold, what to do about it, and how it is done without losing anything.
//!
//! Read [`round`] first: it is the whole of a sync on one screen.

pub mod backend;
mod below;
pub mod brakes;
pub mod config;
mod document;
pub mod drive;
pub mod entry;
pub mod error;
pub mod execute;
pub mod filter;
mod identity;
pub mod inspect;
pub mod job;
pub mod limit;
pub mod lock;
pub mod manifest;
pub mod merge;
pub mod moment;
pub mod monitor;
pub mod path;
pub mod plan;
mod recent;
mod recover;
pub mod report;
pub mod resolve;
pub mod round;
pub mod schema;
pub mod secret;
pub mod state;
mod step;
pub mod survey;
pub mod syncer;
pub mod trash;
pub mod turn;
pub mod watch;

pub use error::{Error, Fault, Result};
