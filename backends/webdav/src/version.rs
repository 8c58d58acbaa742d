//! Which version of a file a server speaks of, and how much its word vouches for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{self, HeaderMap};
use wl_core::entry::{Entry, Hash, Kind, Meta, Token};

use crate::checksum;

/// A file younger than this may be changed again without its date changing: HTTP dates have whole seconds.
const YOUNG: SignedDuration = SignedDuration::from_secs(2);
/// A little more than a tick of a clock of whole seconds.
const TICK: Duration = Duration::from_millis(1050);

/// An entity tag (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag {
    opaque: String,
    weak: bool,
}

impl ETag {
    /// Reads a header or a property. Some servers leave out the quotes in one of the two. What holds other
    /// characters than visible ASCII counts as none: it could not be sent back as it came.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (weak, rest) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
        let opaque = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(rest);
        let clean = !opaque.is_empty() && opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        clean.then(|| Self { opaque: opaque.to_owned(), weak })
    }

    /// The one that a token names, if it names one, taken for strong.
    pub fn of(token: &Token) -> Option<Self> {
        let (_, opaque) = tagged(token)?;
        Self::parse(&format!("\"{opaque}\""))
    }

    /// What it says, whatever its strength.
    pub fn opaque(&self) -> &str {
        &self.opaque
    }

    /// Whether it may be that of several versions.
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// As it is written in an `If` header, in the form the server gave it: Apache compares the texts.
    pub fn quoted(&self) -> String {
        format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

/// The size, where it is known, and the entity tag's text of a token that names one.
fn tagged(token: &Token) -> Option<(Option<u64>, &str)> {
    let (size, opaque) = std::str::from_utf8(token.as_bytes()).ok()?.strip_prefix('e')?.split_once(':')?;
    Some((size.parse().ok(), opaque))
}

/// How long a token says that the file is.
pub fn size_in(token: &Token) -> Option<u64> {
    tagged(token)?.0
}

/// How a server's tokens tell two versions apart that were written within a second. Measured by rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not found out yet, or they do not tell them apart.
    #[default]
    Coarse,
    /// They do.
    Fine,
}

/// What a server says of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub is_dir: bool,
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
    pub etag: Option<ETag>,
    /// The sha256 that the server tells, which may be what somebody claimed.
    pub hash: Option<Hash>,
    /// The server's clock when it said so.
    pub date: Option<Timestamp>,
}

impl Seen {
    /// What the headers of a GET, HEAD or PUT say.
    pub fn in_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let length = || text(header::CONTENT_LENGTH)?.parse().ok();
        let whole = || text(header::CONTENT_RANGE)?.rsplit_once('/')?.1.parse().ok();
        Self {
            is_dir: false,
            size: if headers.contains_key(header::CONTENT_RANGE) { whole() } else { length() },
            modified: text(header::LAST_MODIFIED).and_then(http_date),
            etag: text(header::ETAG).and_then(ETag::parse),
            hash: checksum::in_headers(headers),
            date: text(header::DATE).and_then(http_date),
        }
    }

    /// What names the version: the entity tag, whatever its strength, else the date; and the size, for Nextcloud keeps the
    /// entity tag of a file that is rewritten within the second, however long it is then.
    fn name(&self) -> Vec<u8> {
        match (&self.etag, self.modified) {
            (Some(etag), _) => {
                let size = self.size.map_or_else(String::new, |size| size.to_string());
                format!("e{size}:{}", etag.opaque).into_bytes()
            }
            (None, Some(modified)) => {
                format!("m{}:{}", modified.as_second(), self.size.unwrap_or_default()).into_bytes()
            }
            (None, None) => b"?".to_vec(),
        }
    }

    /// Whether nothing that was said tells this version of a file from the next.
    pub fn is_nameless(&self) -> bool {
        !self.is_dir && self.etag.is_none() && self.modified.is_none()
    }

    /// Whether this is the file and the version of that token. Where the token knows of no entity tag, none is looked at.
    pub fn is(&self, token: &Token) -> bool {
        if self.is_dir {
            return false;
        }
        if let Some((size, opaque)) = tagged(token) {
            // Not every answer says how long the file is.
            let as_long = self.size.zip(size).is_none_or(|(one, other)| one == other);
            return as_long && self.etag.as_ref().is_some_and(|etag| etag.opaque == opaque);
        }
        let dated = Self { etag: None, ..self.clone() };
        dated.modified.is_some() && dated.name() == token.as_bytes()
    }

    /// The token. It vouches for nothing where the next version could have the same.
    pub fn token(&self, precision: Precision) -> Token {
        let racy = match &self.etag {
            Some(etag) => etag.weak || precision == Precision::Coarse && self.is_young(),
            None => self.modified.is_none() || self.is_young(),
        };
        if racy { Token::racy(&self.name()) } else { Token::new(&self.name()) }
    }

    /// The token of a version that this writer put there itself, some ticks of the server's clock before it got its name:
    /// nobody else can have made another version of the same entity tag under that name.
    pub fn own_token(&self, precision: Precision) -> Token {
        match precision {
            Precision::Fine if self.etag.is_some() => Token::new(&self.name()),
            _ => self.written_token(precision),
        }
    }

    /// The token of a version that was written just now: its date says nothing of when that was.
    pub fn written_token(&self, precision: Precision) -> Token {
        match precision {
            Precision::Fine => self.token(precision),
            Precision::Coarse => Token::racy(&self.name()),
        }
    }

    /// How long to wait until whatever is written gets another token than that one, where that is not so already.
    pub fn settles_in(&self, token: &Token, precision: Precision) -> Option<Duration> {
        let dated = token.as_bytes().first() == Some(&b'm');
        if !dated && (precision == Precision::Fine || !token.is_racy()) {
            return None;
        }
        let (modified, now) = (self.modified?, self.date.unwrap_or_else(Timestamp::now));
        // Within the second of its date, or a little ahead of it where clocks differ.
        let age = now.duration_since(modified);
        (age <= SignedDuration::ZERO && age > -YOUNG).then_some(TICK + age.unsigned_abs())
    }

    /// Whether the entity tag may still change its strength.
    pub fn is_weak(&self) -> bool {
        self.etag.as_ref().is_some_and(ETag::is_weak)
    }

    fn is_young(&self) -> bool {
        let now = self.date.unwrap_or_else(Timestamp::now);
        self.modified.is_none_or(|modified| now.duration_since(modified) < YOUNG)
    }

    /// The entry of a listing.
    pub fn entry(&self, precision: Precision) -> Entry {
        if self.is_dir {
            return Entry { kind: Kind::Dir, size: 0, meta: Meta::default(), token: Token::new(b"") };
        }
        let token = self.token(precision);
        Entry { kind: Kind::File, size: self.size.unwrap_or_default(), meta: self.meta(), token }
    }

    /// What travels beside it.
    pub fn meta(&self) -> Meta {
        Meta { mtime: self.modified, mode: None }
    }
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text.trim()).ok().and_then(|time| Timestamp::try_from(time).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(etag: Option<&str>, modified: &str, date: &str) -> Seen {
        let (modified, date) = (modified.parse().ok(), date.parse().ok());
        Seen { etag: etag.and_then(ETag::parse), size: Some(3), modified, date, ..Seen::default() }
    }

    #[test]
    fn an_entity_tag_is_what_is_between_the_quotes() {
        let (strong, weak) = (ETag::parse("\"a-b\"").unwrap(), ETag::parse(" W/\"a-b\" ").unwrap());
        assert_eq!((strong.quoted(), weak.quoted()), ("\"a-b\"".to_owned(), "W/\"a-b\"".to_owned()));
        assert_eq!(ETag::parse("a-b"), Some(strong));
        for bad in ["", "\"\"", "\"a\"b\"", "\"a b\"", "\"\r\n\"", "\"\u{7f}\"", "\"größe\"", "W/\"\u{80}\""] {
            assert_eq!(ETag::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_weak_tag_becomes_strong_without_becoming_another_version() {
        let now = "2026-11-22T10:00:00Z";
        let (weak, strong) = (seen(Some("W/\"1\""), now, now), seen(Some("\"1\""), now, now));
        assert!(weak.token(Precision::Fine).is_racy() && !strong.token(Precision::Fine).is_racy());
        assert!(strong.is(&weak.token(Precision::Fine)));
    }

    #[test]
    fn another_size_is_another_version_whatever_the_tag() {
        let now = "2026-11-22T10:00:00Z";
        let three = seen(Some("\"1\""), now, now);
        let (five, unsaid) = (Seen { size: Some(5), ..three.clone() }, Seen { size: None, ..three.clone() });
        let token = three.token(Precision::Coarse);
        assert!(three.is(&token) && unsaid.is(&token) && !five.is(&token));
        assert_eq!(ETag::of(&token), three.etag);
    }

    #[test]
    fn what_is_young_vouches_only_where_tokens_are_fine() {
        let (old, now) = ("2026-11-22T09:59:58Z", "2026-11-22T10:00:00Z");
        for (etag, modified, precision, racy) in [
            (Some("1"), now, Precision::Fine, false),
            (Some("1"), now, Precision::Coarse, true),
            (Some("1"), old, Precision::Coarse, false),
            (None, now, Precision::Fine, true),
            (None, old, Precision::Fine, false),
        ] {
            assert_eq!(seen(etag, modified, now).token(precision).is_racy(), racy, "{etag:?} {modified} {precision:?}");
        }
    }

    #[test]
    fn without_anything_that_changes_no_version_is_the_same() {
        let nothing = Seen { size: Some(3), ..Seen::default() };
        assert!(nothing.token(Precision::Fine).is_racy() && !nothing.is(&nothing.token(Precision::Fine)));
    }
}
