//! Storage type `sftp`: a directory of an SSH server.

mod ssh;
mod wire;
