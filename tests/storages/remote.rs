//! A fresh place on a real server, and how a manifest names it.

use std::path::Path;

use wl_test_kit::servers::{Dav, Named, PASSWORD, S3, Sshd, USER, apache, named, seaweed, sshd};

/// An empty storage on a server.
pub struct Remote {
    /// The lines of its storage in a manifest, but for the backend-id.
    pub lines: Vec<String>,
    /// Lives as long as it is needed.
    server: Server,
}

#[allow(dead_code, reason = "held for their lives")]
enum Server {
    S3(&'static S3),
    Sftp(Sshd),
    Webdav(Dav),
    Named(Named),
}

impl Remote {
    /// The directory behind the server, where it is one, for access past the server.
    pub fn behind(&self) -> Option<&Path> {
        match &self.server {
            Server::S3(_) | Server::Named(_) => None,
            Server::Sftp(server) => Some(server.remote_root()),
            Server::Webdav(server) => Some(server.root()),
        }
    }

    /// A bucket of SeaweedFS.
    pub fn s3() -> Self {
        let server = seaweed::shared();
        let lines = vec![
            "type: s3".to_owned(),
            format!("s3-url: s3://{}/photos/", server.fresh_bucket()),
            format!("endpoint-url: {}", server.endpoint()),
            format!("region: {}", S3::REGION),
            format!("credentials: {{access-key: {}, secret-key: {}}}", S3::ACCESS_KEY, S3::SECRET_KEY),
        ];
        Self { lines, server: Server::S3(server) }
    }

    /// A directory of an OpenSSH server.
    pub fn sftp() -> Self {
        let server = Sshd::start(sshd::Mode::Exec);
        let lines = vec![
            "type: sftp".to_owned(),
            "host: 127.0.0.1".to_owned(),
            format!("port: {}", server.port()),
            format!("path: {}", server.remote_root().display()),
            format!("ssh-user: {}", server.user()),
            format!("ssh-identity: {}", server.identity().display()),
            format!("known-hosts: {}", server.known_hosts().display()),
        ];
        Self { lines, server: Server::Sftp(server) }
    }

    /// A collection of Apache, or of the server that the environment names.
    pub fn webdav() -> Self {
        match named::fresh() {
            Some(server) => {
                Self { lines: dav(&server.url, &server.login, &server.password), server: Server::Named(server) }
            }
            None => Self::apache(),
        }
    }

    /// A collection of Apache, with a directory behind it.
    pub fn apache() -> Self {
        let server = apache::start();
        Self { lines: dav(server.url(), USER, PASSWORD), server: Server::Webdav(server) }
    }
}

fn dav(url: &str, login: &str, password: &str) -> Vec<String> {
    vec![
        "type: webdav".to_owned(),
        format!("url: {url}"),
        format!("credentials: {{login: {login}, password: {password}}}"),
    ]
}
