//! The sync daemon of wl: jobs, and the control socket through which they are driven.
//!
//! [`protocol`] is what goes over the socket; [`service`] what each command does; [`jobs`] the jobs themselves;
//! [`server`] the socket. [`run`] puts them together; [`client`] is the other end.

pub mod client;
mod clients;
pub mod jobs;
pub mod lock;
pub mod log;
pub mod protocol;
pub mod rooms;
mod run;
pub mod server;
pub mod service;

pub use clients::{ClientHandle, Filter};
pub use rooms::Rooms;
pub use run::{RunOptions, run};

#[cfg(test)]
mod tests;
