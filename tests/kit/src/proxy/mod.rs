//! Proxies that make a connection slow or faulty, and count what goes through.
//!
//! [`Tcp`] knows bytes: it delays them, limits them, stops them, cuts connections. [`Http`] knows requests: it counts them,
//! answers some by itself, and spoils answers. One may stand before the other. Both run in a thread of their own, so that
//! tests with and without a runtime can use them, and end when dropped.

mod http;
mod link;
mod s3;
mod tcp;
mod thread;

pub use http::{Action, Answer, Http, Request};
pub use link::{Conditions, Cut};
pub use s3::operation as s3_operation;
pub use tcp::Tcp;
