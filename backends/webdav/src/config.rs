//! What the manifest says of a WebDAV storage.

use std::fs;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, redirect};
use secrecy::SecretString;
use serde_json::Value;
use wl_core::error::{Error, Fault, Result};
use wl_core::manifest::Storage;

use crate::auth::Credentials;
use crate::place::Base;
use crate::way::Way;

/// A server that does not take a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(15);
/// Connections kept open.
const IDLE: usize = crate::turns::AT_ONCE;

/// The place, the credentials and the means to get there.
pub struct Settings {
    pub base: Base,
    pub credentials: Credentials,
    pub way: Way,
    /// What abilities are remembered under: place and user.
    pub key: String,
    pub read_only: bool,
}

impl Settings {
    pub fn read(storage: &Storage) -> Result<Self> {
        let text = |key: &str| storage.params().get(key).and_then(Value::as_str);
        let base = Base::parse(text("url").unwrap_or_default())?;
        let credentials = credentials(storage)?;
        let key = format!("{}@{}", login(&credentials), base.url());
        let way = Way::to(storage, || client(&base, text))?;
        Ok(Self { base, credentials, way, key, read_only: storage.read_only() })
    }

    /// Who logs in, if anybody does.
    pub fn login(&self) -> &str {
        login(&self.credentials)
    }
}

fn login(credentials: &Credentials) -> &str {
    match credentials {
        Credentials::Login(login, _) => login,
        _ => "",
    }
}

fn credentials(storage: &Storage) -> Result<Credentials> {
    let secret = |value: Option<&Value>| value.and_then(Value::as_str).map(SecretString::from);
    let both = storage.params().get("credentials");
    let login = both.and_then(|both| both.get("login")).and_then(Value::as_str);
    let password = secret(both.and_then(|both| both.get("password")));
    match (login, password, secret(storage.params().get("bearer-token"))) {
        (None, None, None) => Ok(Credentials::Anonymous),
        (None, None, Some(token)) => Ok(Credentials::Bearer(token)),
        (Some(login), Some(password), None) => Ok(Credentials::Login(login.to_owned(), password)),
        (_, _, Some(_)) => Err(wrong("has both `credentials` and a `bearer-token`: keep one of them")),
        _ => Err(wrong("needs both the `login` and the `password` of its `credentials`")),
    }
}

fn client<'a>(base: &Base, text: impl Fn(&str) -> Option<&'a str>) -> Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("wl/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // Without the cookie of its session Nextcloud checks the password anew for each request, which takes it longer than
        // all the rest.
        .cookie_store(true)
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(IDLE)
        .tcp_keepalive(Duration::from_secs(30));
    if base.url().scheme() == "http" {
        // Nothing is encrypted: a machine without any certificates will do.
        builder = builder.tls_certs_only([]);
    }
    if let Some(file) = text("ca-certificate") {
        let pem = read("ca-certificate", file)?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| in_file("ca-certificate", file, &error))?;
        if certificates.is_empty() {
            return Err(wrong(&format!("names {file} as ca-certificate, which holds none: it must be in PEM form")));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(file) = text("client-certificate") {
        let mut pem = read("client-certificate", file)?;
        if let Some(key) = text("client-key") {
            pem.push(b'\n');
            pem.extend(read("client-key", key)?);
        }
        let identity = Identity::from_pem(&pem).map_err(|error| in_file("client-certificate", file, &error))?;
        builder = builder.identity(identity);
    } else if text("client-key").is_some() {
        return Err(wrong("has a `client-key` without a `client-certificate`"));
    }
    builder.build().map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Error::new(Fault::Broken, format!("no encrypted connection can be made from here: {why}"))
    })
}

fn read(key: &str, file: &str) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| wrong(&format!("names {file} as {key}, which cannot be read: {error}")))
}

fn in_file(key: &str, file: &str, error: &reqwest::Error) -> Error {
    // The error's text does not hold the file's content.
    wrong(&format!("names {file} as {key}, which is not what it should be ({error}): it must be in PEM form"))
}

fn wrong(why: &str) -> Error {
    Error::new(Fault::Malformed, format!("this webdav storage {why}"))
}
