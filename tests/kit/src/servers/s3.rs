//! What the S3 servers have in common.

use std::env;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{Server, program};

/// A running S3 server.
#[derive(Debug)]
pub struct S3 {
    endpoint: String,
    server: Option<Server>,
}

impl S3 {
    /// The access key that may do everything.
    pub const ACCESS_KEY: &str = "testkey";
    /// Its secret.
    pub const SECRET_KEY: &str = "testsecret";
    /// The region to sign for.
    pub const REGION: &str = "us-east-1";

    pub(super) fn started(endpoint: String, server: Server) -> Self {
        Self { endpoint, server: Some(server) }
    }

    /// The one that a variable names, which `wl-test-servers` sets; else one that lives as long as the process.
    pub(super) fn shared(once: &'static OnceLock<Self>, variable: &str, start: fn() -> Self) -> &'static Self {
        once.get_or_init(|| match env::var(variable) {
            Ok(endpoint) => Self { endpoint, server: None },
            Err(_) => start(),
        })
    }

    /// Where it is: `http://HOST:PORT`, or `https://` over TLS. Buckets are paths below it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where the server listens, as HOST:PORT.
    pub fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://").trim_start_matches("https://")
    }

    /// Its process and logs, if it was started here and is not shared by all tests of a run.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Makes a bucket that no other test has.
    pub fn fresh_bucket(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bucket = format!("wl-test-{process}-{count}-{:08x}", rand::random::<u32>());
        if let Err(why) = put(&self.endpoint, &bucket) {
            panic!("cannot make the bucket {bucket}: {why}");
        }
        bucket
    }
}

/// Puts nothing under a key, or makes a bucket: both are an empty PUT.
fn put(endpoint: &str, what: &str) -> Result<(), String> {
    let mut command = Command::new(program("curl"));
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30", "--request", "PUT"]);
    // Whose certificate it is, where it has one, is for tests to ask.
    command.arg("--insecure");
    command.args(["--user", &format!("{}:{}", S3::ACCESS_KEY, S3::SECRET_KEY)]);
    command.args(["--aws-sigv4", &format!("aws:amz:{}:s3", S3::REGION)]);
    // The hash of nothing, which some servers want to see signed.
    command.args(["--header", &format!("x-amz-content-sha256: {NOTHING}")]);
    command.args(["--header", "Content-Length: 0"]).arg(format!("{endpoint}/{what}"));
    let output = command.stdin(Stdio::null()).output().map_err(|why| format!("curl: {why}"))?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Whether objects can be stored, which a listening server may not yet do.
pub(super) fn stores(endpoint: &str) -> bool {
    // The second time the bucket is there already, which some servers refuse.
    let _ = put(endpoint, "wl-test-ready");
    put(endpoint, "wl-test-ready/object").is_ok()
}
