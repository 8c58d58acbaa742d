//! JuiceFS's gateway, whose S3 side is MinIO's old gateway code: the careless S3 server. It ignores all conditions of
//! writes and deletes, and keeps no checksums.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::process::{Server, free_port, fresh_dir, launch, listens, program};
use super::s3::{S3, stores};

/// Names one that is running already.
pub const VARIABLE: &str = "WL_TEST_JUICEFS";

/// The one that all tests share.
pub fn shared() -> &'static S3 {
    static SHARED: OnceLock<S3> = OnceLock::new();
    S3::shared(&SHARED, VARIABLE, start)
}

/// Starts one: for tests that stop or freeze it.
pub fn start() -> S3 {
    launch("JuiceFS", || {
        let dir = fresh_dir(&std::env::temp_dir());
        let database = format!("sqlite3://{}/meta.db", dir.display());
        let mut format = Command::new(program("juicefs"));
        format.args(["format", "--storage", "file", "--bucket", &format!("{}/objects/", dir.display())]);
        format.args([&database, "wl-test"]).env("HOME", &dir).stdin(Stdio::null());
        let output = format.output().map_err(|why| format!("juicefs format: {why}"))?;
        if !output.status.success() {
            return Err(format!("juicefs format: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let port = free_port();
        let mut command = Command::new(program("juicefs"));
        command.env("HOME", &dir).env("MINIO_ROOT_USER", S3::ACCESS_KEY).env("MINIO_ROOT_PASSWORD", S3::SECRET_KEY);
        command.args(["gateway", "--no-usage-report", "--multi-buckets", "--keep-etag", "--object-meta"]);
        command.arg("--cache-dir").arg(dir.join("cache")).args([&database, &format!("127.0.0.1:{port}")]);
        let endpoint = format!("http://127.0.0.1:{port}");
        let server = Server::start(dir, &command).wait(|| listens(port) && stores(&endpoint))?;
        Ok(S3::started(endpoint, server))
    })
}
