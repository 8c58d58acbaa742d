//! Apache with mod_dav_fs: the usual server. Its conditions hold one after the other but lose races, its ETags are weak for
//! about a second after a write, and it wants whole URLs as destinations.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dav::{Dav, PASSWORD};
use super::process::program;

const MODULES: &str = "/usr/lib/apache2/modules";

/// How those who use a server prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// With a password (RFC 7617).
    Basic,
    /// With a password that is never sent (RFC 7616). What it is mixed with is good for a second.
    Digest,
    /// With the token that is the same text as the password (RFC 6750).
    Bearer,
    /// With a password, over TLS, after which `/away` leads to the same place without TLS.
    Tls,
    /// With a certificate, over TLS.
    Certificate,
}

/// Starts one.
pub fn start() -> Dav {
    start_with(Login::Basic)
}

/// Starts one whose users prove who they are in that way. Over TLS, the files `ca.pem`, `client.pem` and `client.key` of its
/// directory are who signed its certificate, and what its user has.
pub fn start_with(login: Login) -> Dav {
    let dav = Dav::start("Apache", |dir, port| {
        fs::write(dir.join("httpd.conf"), config(&dir.display().to_string(), port, login)).expect("writing a file");
        fs::write(dir.join("digests"), DIGESTS).expect("writing a file");
        if login.is_over_tls() {
            make_certificates(dir);
        }
        let mut command = Command::new(program("apache2"));
        command.args(["-D", "FOREGROUND", "-f"]).arg(dir.join("httpd.conf"));
        command
    });
    if login.is_over_tls() { dav.over_tls() } else { dav }
}

impl Login {
    fn is_over_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Certificate)
    }

    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Basic | Self::Bearer => &[],
            Self::Digest => &["auth_digest"],
            Self::Tls | Self::Certificate => &["ssl", "alias"],
        }
    }

    /// What is asked of everybody.
    fn demands(self) -> String {
        let basic = "AuthType Basic\nAuthName dav\nAuthUserFile {dir}/passwords\nRequire valid-user";
        match self {
            Self::Basic | Self::Tls => basic.to_owned(),
            Self::Digest => {
                "AuthType Digest\nAuthName dav\nAuthUserFile {dir}/digests\nAuthDigestNonceLifetime 1\nRequire \
                             valid-user"
                    .to_owned()
            }
            Self::Bearer => format!(r#"Require expr "%{{HTTP:Authorization}} == 'Bearer {PASSWORD}'""#),
            Self::Certificate => "Require all granted".to_owned(),
        }
    }
}

/// The line of the user, for digests: MD5 of `test:dav:secret`.
const DIGESTS: &str = "test:dav:36320824f397e488905f07d1a3273a04\n";

/// Makes an authority, and a certificate of it for the server and one for its user.
pub(super) fn make_certificates(dir: &Path) {
    let bare = dir.join("openssl.conf");
    fs::write(&bare, "[req]\ndistinguished_name = name\n[name]\n").expect("writing a file");
    for (name, extensions) in [
        ("ca", &["basicConstraints=critical,CA:TRUE", "subjectKeyIdentifier=hash"][..]),
        ("server", &["basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1"]),
        ("client", &["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth"]),
    ] {
        let mut command = Command::new(program("openssl"));
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]);
        command.arg("-config").arg(&bare).args(["-subj", &format!("/CN=wl-test-{name}")]);
        command.arg("-keyout").arg(dir.join(format!("{name}.key"))).arg("-out").arg(dir.join(format!("{name}.pem")));
        if name != "ca" {
            command.arg("-CA").arg(dir.join("ca.pem")).arg("-CAkey").arg(dir.join("ca.key"));
        }
        for extension in extensions {
            command.args(["-addext", extension]);
        }
        let made = command.output().expect("starting openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

fn config(dir: &str, port: u16, login: Login) -> String {
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
    let modules: String = modules.iter().chain(login.modules()).map(load).collect();
    let demands = login.demands().replace("{dir}", dir);
    // For all of the server: to ask for a certificate later is more than rustls can do (RFC 8446, section 4.6.2).
    let verify = if login == Login::Certificate { "require" } else { "none" };
    let tls = if login.is_over_tls() {
        format!(
            "SSLEngine On\nSSLCertificateFile {dir}/server.pem\nSSLCertificateKeyFile {dir}/server.key\n\
             SSLCACertificateFile {dir}/ca.pem\nSSLVerifyClient {verify}\nRedirect 302 /away http://127.0.0.1:{port}/dav"
        )
    } else {
        String::new()
    };
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
{tls}
<Directory {dir}/root>
  Dav On
  DavDepthInfinity On
  AllowOverride None
  {demands}
  LimitXMLRequestBody 0
  LimitRequestBody 0
</Directory>
"
    )
}
