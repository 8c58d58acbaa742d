//! lighttpd with mod_webdav: the truthful server. One process, so its conditions are atomic; strong ETags, told by PUT.

use std::fs;
use std::process::Command;

use super::dav::Dav;
use super::process::program;

/// Starts one.
pub fn start() -> Dav {
    Dav::start("lighttpd", |dir, port| {
        fs::write(dir.join("lighttpd.conf"), config(&dir.display().to_string(), port)).expect("writing a file");
        let mut command = Command::new(program("lighttpd"));
        command.args(["-D", "-f"]).arg(dir.join("lighttpd.conf"));
        command
    })
}

// Without a type for every file there is no ETag on GET and HEAD. The database is for locks and properties.
fn config(dir: &str, port: u16) -> String {
    format!(
        r#"server.modules = ("mod_auth", "mod_authn_file", "mod_webdav")
server.document-root = "{dir}/root"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{dir}/error.log"
server.upload-dirs = ("{dir}/temp")
server.max-keep-alive-requests = 1000000
mimetype.assign = ("" => "application/octet-stream")
etag.use-inode = "enable"
etag.use-mtime = "enable"
etag.use-size = "enable"
auth.backend = "htpasswd"
auth.backend.htpasswd.userfile = "{dir}/passwords"
auth.require = ("/" => ("method" => "basic", "realm" => "dav", "require" => "valid-user"))
webdav.activate = "enable"
webdav.is-readonly = "disable"
webdav.sqlite-db-name = "{dir}/temp/dav.db"
webdav.opts = ("propfind-depth-infinity" => "enable")
"#
    )
}
