//! A WebDAV server that runs already, somebody's Nextcloud for instance: the environment may name one, and the suites run
//! against it instead of the one that they would start.

use std::env;

/// What names a collection and whose it is: `http://LOGIN:PASSWORD@HOST/PATH/`, in which neither login nor password holds
/// one of `:@/`. Tests make collections `wl-test-…` in it, and delete those whose storages they open themselves.
pub const VARIABLE: &str = "WL_TEST_WEBDAV";

/// A fresh collection, which is not there yet, and who may use it.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its URL, with a slash at its end.
    pub url: String,
    /// Who may use it.
    pub login: String,
    /// With which password.
    pub password: String,
}

/// A place on the server that the environment names, if it does.
pub fn fresh() -> Option<Named> {
    let text = env::var(VARIABLE).ok()?;
    let wrong = || panic!("{VARIABLE} must be http://LOGIN:PASSWORD@HOST/PATH/");
    let (scheme, rest) = text.split_once("://").unwrap_or_else(wrong);
    let (user, place) = rest.split_once('@').unwrap_or_else(wrong);
    let (login, password) = user.split_once(':').unwrap_or_else(wrong);
    let url = format!("{scheme}://{}/wl-test-{:016x}/", place.trim_end_matches('/'), rand::random::<u64>());
    Some(Named { url, login: login.to_owned(), password: password.to_owned() })
}
