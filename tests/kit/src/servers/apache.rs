//! Apache with mod_dav_fs: the usual server. Its conditions hold one after the other but lose races, its ETags are weak for
//! about a second after a write, and it wants whole URLs as destinations.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dav::Dav;
use super::process::program;

const MODULES: &str = "/usr/lib/apache2/modules";

/// Starts one.
pub fn start() -> Dav {
    Dav::start("Apache", |dir, port| {
        fs::write(dir.join("httpd.conf"), config(&dir.display().to_string(), port)).expect("writing a file");
        let mut command = Command::new(program("apache2"));
        command.args(["-D", "FOREGROUND", "-f"]).arg(dir.join("httpd.conf"));
        command
    })
}

fn config(dir: &str, port: u16) -> String {
    let modules = [
        "mpm_event",
        "authz_core",
        "authz_user",
        "authn_core",
        "authn_file",
        "auth_basic",
        "dav",
        "dav_fs",
        "mime",
        "dir",
    ];
    let load = |name: &&str| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n");
    let modules: String = modules.iter().map(load).collect();
    assert!(Path::new(MODULES).is_dir(), "there is no {MODULES}: install apache2-bin, as tests/run does");
    format!(
        r"{modules}
ServerRoot {dir}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {dir}/pid
DefaultRuntimeDir {dir}/temp
Mutex file:{dir}/temp default
ErrorLog {dir}/error.log
LogLevel warn
TypesConfig /dev/null
KeepAlive On
MaxKeepAliveRequests 0
Timeout 60
StartServers 1
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
DocumentRoot {dir}/root
DirectoryIndex disabled
DirectorySlash Off
DavLockDB {dir}/temp/locks
DavMinTimeout 0
FileETag MTime Size INode
<Directory {dir}/root>
  Dav On
  DavDepthInfinity On
  AllowOverride None
  AuthType Basic
  AuthName dav
  AuthUserFile {dir}/passwords
  Require valid-user
  LimitXMLRequestBody 0
  LimitRequestBody 0
</Directory>
"
    )
}
