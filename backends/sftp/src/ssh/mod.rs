//! The way to the server: connections, each owned by one thread, with many requests in flight.

mod auth;
mod channel;
mod config;
mod connect;
mod dial;
mod failure;
mod handle;
mod hostkey;
mod idle;
mod library;
mod link;
mod pool;
mod process;
mod program;
mod settings;
mod sftp;
mod worker;

pub use failure::{Answer, Failure};
pub use handle::Handle;
pub use link::Link;
pub use pool::Pool;
pub use process::{Command, Ended, Output, Process};
pub use settings::Settings;

#[cfg(test)]
mod tests;
