//! URLs of paths, and paths of the hrefs that a server answers with.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

/// Everything but the unreserved characters of RFC 3986 is encoded: no server can misread that.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The root collection's URL.
#[derive(Debug, Clone)]
pub struct Base {
    url: Url,
    /// Its path, decoded.
    steps: Vec<Vec<u8>>,
}

/// Where an href points, seen from a collection.
#[derive(Debug, PartialEq, Eq)]
pub enum Href {
    /// At the collection itself.
    Itself,
    /// Below it, by these names.
    Below(Vec<Vec<u8>>),
    /// Anywhere else.
    Elsewhere,
}

impl Base {
    /// The root at that URL, with or without a slash at its end.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(Fault::Malformed, format!("the url of a webdav storage {why}: correct it"));
        let mut url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("must begin with https:// or http:// and name a server"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must not hold a login or a password, which go under `credentials`"));
        }
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let steps = steps(url.path());
        Ok(Self { url, steps })
    }

    /// The root collection.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The collection that the root is in; none where that is the whole server.
    pub fn above(&self) -> Option<Url> {
        let path = self.url.path().trim_end_matches('/');
        let (above, _) = path.rsplit_once('/')?;
        let mut url = self.url.clone();
        url.set_path(&format!("{above}/"));
        Some(url)
    }

    /// The URL of a file.
    pub fn file(&self, path: &RelPath) -> Url {
        let mut url = self.url.clone();
        let below: Vec<_> = path.segments().map(|step| utf8_percent_encode(step, ENCODED).to_string()).collect();
        url.set_path(&format!("{}{}", self.url.path(), below.join("/")));
        url
    }

    /// The URL of a collection: with a slash at its end, as nginx demands.
    pub fn dir(&self, path: &RelPath) -> Url {
        if path.is_root() {
            return self.url.clone();
        }
        let mut url = self.file(path);
        let with_slash = format!("{}/", url.path());
        url.set_path(&with_slash);
        url
    }

    /// Reads an href of an answer about a collection: a URL, an absolute path or a relative one, encoded in whatever way.
    /// Its server is not looked at: one behind a proxy may not know its own name.
    pub fn href(&self, dir: &RelPath, href: &str) -> Href {
        let href = href.trim();
        let after_server = |rest: &str| rest.find('/').map_or_else(String::new, |slash| rest[slash..].to_owned());
        let own = self.steps.iter().cloned().chain(dir.segments().map(|step| step.as_bytes().to_vec()));
        let own: Vec<_> = own.collect();
        let scheme = href.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphabetic()));
        let steps = match (scheme, href.strip_prefix("//")) {
            (Some((_, rest)), _) | (None, Some(rest)) => steps(&after_server(rest)),
            (None, None) if href.starts_with('/') => steps(href),
            (None, None) => own.iter().cloned().chain(steps(href)).collect(),
        };
        match steps.strip_prefix(&own[..]) {
            Some([]) => Href::Itself,
            Some(below) => Href::Below(below.to_vec()),
            None => Href::Elsewhere,
        }
    }
}

/// A path's names, decoded, without the empty ones.
fn steps(path: &str) -> Vec<Vec<u8>> {
    path.split('/').filter(|step| !step.is_empty()).map(|step| percent_decode_str(step).collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn urls_hold_every_name() {
        let base = Base::parse("http://h:1/d%61v/my%20files").unwrap();
        assert_eq!(base.url().as_str(), "http://h:1/d%61v/my%20files/");
        assert_eq!(base.file(&path("a b/%2e%2e/é?#;")).path(), "/d%61v/my%20files/a%20b/%252e%252e/%C3%A9%3F%23%3B");
        assert_eq!(base.dir(&path("x")).path(), "/d%61v/my%20files/x/");
        assert_eq!(base.dir(&RelPath::root()).path(), "/d%61v/my%20files/");
    }

    #[test]
    fn hrefs_are_read_however_they_are_written() {
        let base = Base::parse("https://h/dav/me/").unwrap();
        let below = |names: &[&str]| Href::Below(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        for (href, expected) in [
            ("/dav/me/d/x", below(&["x"])),
            ("/dav/me/d/x/", below(&["x"])),
            ("/dav/me/d/x/y", below(&["x", "y"])),
            ("/%64av/me/%64/%c3%A9", below(&["é"])),
            ("https://inner:8080/dav/me/d/x", below(&["x"])),
            ("//inner/dav/me/d/x", below(&["x"])),
            ("x", below(&["x"])),
            ("/dav/me/d/a://b", below(&["a:", "b"])),
            ("/dav/me/d/a%2Fb", below(&["a/b"])),
            ("/dav/me/d/", Href::Itself),
            ("/dav//me/d", Href::Itself),
            ("https://h/dav/me/d/", Href::Itself),
            ("/dav/me/", Href::Elsewhere),
            ("/dav/me/dd", Href::Elsewhere),
            ("/other/x", Href::Elsewhere),
            ("https://h", Href::Elsewhere),
        ] {
            assert_eq!(base.href(&path("d"), href), expected, "{href}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for bad in ["", "ftp://h/", "http://", "http://me:secret@h/"] {
            let error = Base::parse(bad).unwrap_err();
            assert!(error.fault == Fault::Malformed && !error.message.contains("secret"), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_path_comes_back_from_its_url(names in prop::collection::vec("[^/\0]{1,12}", 1..4)) {
            let text = names.join("/");
            if let Ok(path) = RelPath::parse(&text) {
                let base = Base::parse("http://h/d%20v").unwrap();
                let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
                prop_assert_eq!(base.href(&RelPath::root(), base.file(&path).path()), Href::Below(names));
            }
        }
    }
}
