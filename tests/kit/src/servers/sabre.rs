//! sabre/dav, the library under Nextcloud and ownCloud, on PHP's own web server: ETags are the content's MD5, and its
//! conditions hold one after the other but lose races.

use std::fs;
use std::process::Command;

use super::dav::{Dav, PASSWORD, USER};
use super::process::program;

/// Starts one.
pub fn start() -> Dav {
    start_with("")
}

/// The path of a user's files on a server that behaves as Nextcloud does. They are also those under its usual URL.
pub const NEXTCLOUD_FILES: &str = "/remote.php/dav/files/test/";

/// Starts one that behaves as Nextcloud does: directories' ETags change with everything below them, and large files come
/// in chunks.
pub fn start_like_nextcloud() -> Dav {
    start_with(include_str!("sabre/nextcloud.php"))
}

fn start_with(more: &'static str) -> Dav {
    Dav::start("sabre/dav", |dir, port| {
        fs::write(dir.join("server.php"), script(more)).expect("writing a file");
        let mut command = Command::new(program("php"));
        command.args(["-d", "include_path=/usr/share/php", "-d", "post_max_size=0", "-d", "realpath_cache_size=0"]);
        command.args(["-S", &format!("127.0.0.1:{port}")]).arg(dir.join("server.php"));
        command.env("PHP_CLI_SERVER_WORKERS", "8");
        command
    })
}

fn script(more: &str) -> String {
    format!(
        r"<?php
error_reporting(E_ALL & ~E_DEPRECATED & ~E_STRICT);
ini_set('display_errors', '0');
date_default_timezone_set('UTC');
require_once 'Sabre/autoload.php';
$server = new Sabre\DAV\Server(new Sabre\DAV\FSExt\Directory(__DIR__ . '/root'));
$server->setBaseUri('/');
$server->addPlugin(new Sabre\DAV\Locks\Plugin(new Sabre\DAV\Locks\Backend\File(__DIR__ . '/temp/locks')));
class Users extends Sabre\DAV\Auth\Backend\AbstractBasic {{
    protected function validateUserPass($user, $password) {{ return $user === '{USER}' && $password === '{PASSWORD}'; }}
}}
$server->addPlugin(new Sabre\DAV\Auth\Plugin(new Users(), 'dav'));
{more}
$server->exec();
"
    )
}
