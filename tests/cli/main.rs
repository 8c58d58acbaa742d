//! The command line from outside: every command, its exit codes, and its JSON as the contract writes it down.

mod containers;
mod home;
mod manifests;
mod plain;
mod reports;
mod secrets;
mod sync;
