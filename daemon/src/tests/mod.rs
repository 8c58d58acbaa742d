//! The daemon over a real socket, with invented storages and syncers.

mod client;
mod events;
mod jobs;
mod kit;
mod messages;
mod nowhere;
mod restart;
