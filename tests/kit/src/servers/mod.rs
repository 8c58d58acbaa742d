//! Real servers on the loopback, for tests: each with its own data, keys and free ports, gone with whoever started it.
//!
//! The fast ones are started by each test that needs one. Those that take seconds are shared: `tests/run` starts them once
//! for all tests by `wl-test-servers`, and every test takes a bucket of its own. A program that is not installed fails the
//! test and says what installs it; nothing is skipped.

pub mod apache;
mod dav;
pub mod juicefs;
pub mod lighttpd;
pub mod moto;
pub mod named;
pub mod nginx;
mod process;
mod s3;
pub mod sabre;
pub mod seaweed;
pub mod sshd;

pub use dav::{Dav, PASSWORD, USER};
pub use named::Named;
pub use process::Server;
pub use s3::S3;
pub use sshd::Sshd;
