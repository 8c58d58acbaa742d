//! How requests prove whose they are: basic, digest (RFC 7616) or a bearer token. Nothing here shows in `Debug`.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use digest_auth::{AuthContext, AuthorizationHeader, HttpMethod, Qop, WwwAuthenticateHeader};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};

/// What a storage's user proves itself with.
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A name and a password.
    Login(String, SecretString),
    /// A token (RFC 6750).
    Bearer(SecretString),
}

impl Credentials {
    /// Whether they prove the same.
    fn are(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Login(login, password), Self::Login(login_there, password_there)) => {
                login == login_there && password.expose_secret() == password_there.expose_secret()
            }
            (Self::Bearer(token), Self::Bearer(there)) => token.expose_secret() == there.expose_secret(),
            _ => false,
        }
    }
}

/// What a server has said of the credentials that it wants. It says so once, to all that are opened there as one user.
#[derive(Default)]
pub struct Wanted {
    challenge: Mutex<Option<WwwAuthenticateHeader>>,
    /// It was asked.
    asked: OnceLock<()>,
}

/// The credentials, and what the server has asked for so far.
pub struct Auth {
    credentials: Credentials,
    wanted: Arc<Wanted>,
}

impl Auth {
    pub fn new(credentials: Credentials, wanted: Arc<Wanted>) -> Self {
        Self { credentials, wanted }
    }

    /// Whether both prove the same.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.credentials.are(&other.credentials)
    }

    /// Whether the server should be asked what it wants before anything is sent: a password goes in the clear only to a
    /// server that offers nothing better.
    pub fn should_ask(&self) -> bool {
        matches!(self.credentials, Credentials::Login(..)) && self.wanted.asked.get().is_none()
    }

    /// It was asked, and has said so.
    pub fn has_asked(&self) {
        // Somebody else who asked at the same time learned the same.
        let _ = self.wanted.asked.set(());
    }

    /// The `Authorization` of a request.
    pub fn header(&self, method: &Method, url: &Url) -> Option<HeaderValue> {
        let text = match &self.credentials {
            Credentials::Anonymous => return None,
            Credentials::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Credentials::Login(login, password) => {
                let mut challenge = self.wanted.challenge.lock().unwrap_or_else(PoisonError::into_inner);
                match challenge.as_mut() {
                    Some(challenge) => {
                        let method = HttpMethod(method.as_str().into());
                        let secret = password.expose_secret();
                        let about = AuthContext::new_with_method(login, secret, url.path(), None::<&[u8]>, method);
                        challenge.respond(&about).ok()?.to_header_string()
                    }
                    None => format!("Basic {}", STANDARD.encode(format!("{login}:{}", password.expose_secret()))),
                }
            }
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes what a 401 asks for; whether that is something else than what the request came with, so that it is worth
    /// another try. Somebody else may have learned it already.
    pub fn learn(&self, headers: &HeaderMap, came_with: Option<&HeaderValue>) -> bool {
        let mut values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(mut offered) = values.find_map(digest_in) else { return false };
        if let Some(qop) = &mut offered.qop
            && qop.contains(&Qop::AUTH)
        {
            // The other one covers the body, which is not known before it has been sent.
            qop.retain(|one| *one == Qop::AUTH);
        }
        let mut challenge = self.wanted.challenge.lock().unwrap_or_else(PoisonError::into_inner);
        let another = came_with.and_then(nonce_of).is_none_or(|nonce| nonce != offered.nonce);
        if challenge.as_ref().is_none_or(|known| known.nonce != offered.nonce) {
            *challenge = Some(offered);
        }
        another
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.credentials {
            Credentials::Anonymous => "anonymous",
            Credentials::Login(..) => "login",
            Credentials::Bearer(_) => "bearer",
        })
    }
}

/// The nonce that a digest was made with.
fn nonce_of(authorization: &HeaderValue) -> Option<String> {
    Some(AuthorizationHeader::parse(authorization.to_str().ok()?).ok()?.nonce)
}

/// The digest challenge of a header that may hold others beside it.
fn digest_in(value: &str) -> Option<WwwAuthenticateHeader> {
    let at = value.to_ascii_lowercase().find("digest ")?;
    let rest = &value[at + "digest ".len()..];
    let end = ["Basic ", "Bearer ", "Negotiate"].iter().filter_map(|other| rest.find(other)).min();
    let own = rest[..end.unwrap_or(rest.len())].trim_end_matches([' ', ',']);
    digest_auth::parse(&format!("Digest {own}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth::new(Credentials::Login("me".into(), "secret".into()), Arc::default())
    }

    fn value(auth: &Auth) -> HeaderValue {
        auth.header(&Method::PUT, &Url::parse("http://h/dav/x%20y").unwrap()).unwrap()
    }

    fn header(auth: &Auth) -> String {
        value(auth).to_str().unwrap().to_owned()
    }

    fn asks(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(WWW_AUTHENTICATE, text.parse().unwrap())])
    }

    #[test]
    fn a_login_is_basic_until_digest_is_asked_for() {
        let auth = auth();
        assert_eq!(header(&auth), "Basic bWU6c2VjcmV0");
        assert!(!auth.learn(&asks("Basic realm=\"dav\""), None));
        let challenge = "Basic realm=\"x\", Digest realm=\"dav\", qop=\"auth,auth-int\", nonce=\"n1\", algorithm=MD5";
        assert!(auth.learn(&asks(challenge), Some(&value(&auth))));
        assert!(!auth.learn(&asks(challenge), Some(&value(&auth))), "the same nonce is nothing new");
        let answer = header(&auth);
        assert!(answer.starts_with("Digest ") && answer.contains("uri=\"/dav/x%20y\"") && answer.contains("qop=auth,"));
        assert!(!answer.contains("secret"));
        let (expired, stale) = (value(&auth), asks("Digest realm=\"dav\", qop=\"auth\", nonce=\"n2\", stale=true"));
        assert!(auth.learn(&stale, Some(&expired)) && header(&auth).contains("n2"));
        assert!(auth.learn(&stale, Some(&expired)), "another request came with the expired one");
    }

    #[test]
    fn no_secret_shows() {
        let token = Auth::new(Credentials::Bearer("t0ken".into()), Arc::default());
        assert_eq!(header(&token), "Bearer t0ken");
        let value = token.header(&Method::GET, &Url::parse("http://h/").unwrap());
        assert!(!format!("{token:?} {value:?} {:?}", auth()).contains("t0ken"));
    }
}
