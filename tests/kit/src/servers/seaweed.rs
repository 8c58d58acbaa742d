//! SeaweedFS, the S3 server that honours all conditions atomically, and keeps checksums. It takes three seconds to start.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use super::apache::make_certificates;
use super::process::{Server, free_port, fresh_dir, launch, listens, program};
use super::s3::{S3, stores};

/// Names one that is running already.
pub const VARIABLE: &str = "WL_TEST_SEAWEED";

/// The one that all tests share.
pub fn shared() -> &'static S3 {
    static SHARED: OnceLock<S3> = OnceLock::new();
    S3::shared(&SHARED, VARIABLE, start)
}

/// Starts one: for tests that stop or freeze it.
pub fn start() -> S3 {
    start_with("http")
}

/// Starts one that is reached over TLS. In its directory, `ca.pem` is who signed its certificate, `server.pem`.
pub fn start_over_tls() -> S3 {
    start_with("https")
}

fn start_with(scheme: &str) -> S3 {
    launch("SeaweedFS", || {
        let dir = fresh_dir(&std::env::temp_dir());
        fs::create_dir(dir.join("data")).expect("making a directory");
        let (key, secret) = (S3::ACCESS_KEY, S3::SECRET_KEY);
        let users = serde_json::json!({"identities": [{
            "name": "test",
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }]});
        fs::write(dir.join("s3.json"), users.to_string()).expect("writing a file");
        let port = free_port();
        let mut command = Command::new(program("weed"));
        command.env("HOME", &dir).arg(format!("-logdir={}", dir.display())).args(["-v=0", "server", "-filer", "-s3"]);
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-metricsPort=0", &format!("-s3.port={port}")]);
        for part in
            ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
        {
            command.arg(format!("-{part}={}", free_port()));
        }
        command.arg(format!("-s3.port.grpc={}", free_port()));
        for (option, file) in [("dir", "data"), ("s3.config", "s3.json"), ("filer.localSocket", "filer.sock")] {
            command.arg(format!("-{option}={}", dir.join(file).display()));
        }
        // Listeners that no test needs, and a pause before it ends.
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.preStopSeconds=0"]);
        // Every bucket takes volumes of its own, seven at once unless told otherwise, and every test takes a bucket.
        command.env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1");
        command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=2000", "-master.volumePreallocate=false"]);
        if scheme == "https" {
            make_certificates(&dir);
            for (option, file) in [("s3.cert.file", "server.pem"), ("s3.key.file", "server.key")] {
                command.arg(format!("-{option}={}", dir.join(file).display()));
            }
        }
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        let server = Server::start(dir, &command).wait(|| listens(port) && stores(&endpoint))?;
        Ok(S3::started(endpoint, server))
    })
}
