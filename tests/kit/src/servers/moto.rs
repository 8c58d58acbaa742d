//! moto: S3 and SQS in one, and notifications that really arrive from the one in the other. What it makes of conditions and
//! secrets is no server's.

use std::process::Command;

use super::process::{Server, free_port, fresh_dir, launch, listens, program};
use super::s3::{S3, stores};

/// Starts one.
pub fn start() -> S3 {
    launch("moto", || {
        let dir = fresh_dir(&std::env::temp_dir());
        let port = free_port();
        let mut command = Command::new(program("moto_server"));
        command.env("HOME", &dir).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let endpoint = format!("http://127.0.0.1:{port}");
        let server = Server::start(dir, &command).wait(|| listens(port) && stores(&endpoint))?;
        Ok(S3::started(endpoint, server))
    })
}
