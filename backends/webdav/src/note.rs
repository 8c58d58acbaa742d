//! A content's sha256, kept by the server in a property of wl's own (a dead property: RFC 4918, section 4), so that a lost
//! cache costs no download.
//!
//! It names the entity tag of the version that it is about. Whoever writes another version, in whatever way, leaves the
//! note where it is, but its entity tag is another one: the note is then about nothing.

use bytes::Bytes;
use quick_xml::escape::escape;
use wl_core::entry::{Hash, Token};
use wl_core::error::Result;
use wl_core::path::RelPath;

use crate::client::{Ask, drain};
use crate::error::of_status;
use crate::server::{Server, Wanted};
use crate::version::{ETag, Seen};

/// Where the property's name is from. The name is `sha256`.
pub const NAMESPACE: &str = "https://wildland.io/wl";
/// Contents from this size on are worth a note: it costs a request when they are written and one when it is read, which is
/// what reading a short content costs, too. At 100 Mbit/s this much takes as long as two of them where the server is 40 ms
/// away.
pub const WORTH: u64 = 1 << 20;

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub hash: Hash,
    size: u64,
    etag: String,
}

impl Note {
    /// About the version of that token. None where that is not told from others by a strong entity tag.
    pub fn about(token: &Token, size: u64, hash: Hash) -> Option<Self> {
        let etag = ETag::of(token).filter(|_| !token.is_racy())?;
        Some(Self { hash, size, etag: etag.opaque().to_owned() })
    }

    /// Reads the property: hash, size and entity tag without its quotes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace();
        let (hash, size, etag) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.to_owned());
        fields.next().is_none().then_some(Self { hash, size, etag })
    }

    /// Whether it is about what is there.
    fn is_about(&self, seen: &Seen) -> bool {
        seen.size == Some(self.size) && seen.etag.as_ref().is_some_and(|etag| etag.opaque() == self.etag)
    }
}

/// The hash of a version, where there is a note about it.
pub async fn told(server: &Server, path: &RelPath, token: &Token) -> Result<Option<Hash>> {
    let Some((seen, item)) = server.see_all(path, Wanted::All).await? else { return Ok(None) };
    // A tag that is weak yet may be that of several versions.
    let sure = seen.is(token) && !seen.token(server.precision()).is_racy();
    Ok(item.props.note.filter(|note| sure && note.is_about(&seen)).map(|note| note.hash))
}

/// Leaves a note about a version, if it is worth one and the server keeps it: that is worth no failure.
pub async fn leave(server: &Server, path: &RelPath, token: &Token, size: u64, hash: Hash) {
    let kept = server.known_abilities().is_some_and(|abilities| abilities.keeps_notes);
    if size < WORTH || !kept || server.read_only {
        return;
    }
    let Some(note) = Note::about(token, size, hash) else { return };
    // Who writes the file just now has another entity tag: the note is about nothing then.
    if let Err(error) = set(server, path, &note).await {
        tracing::debug!(%path, %error, "the server keeps no note of the hash");
    }
}

/// Whether a file keeps a note and its entity tag beside it. Tried with a file that is there.
pub async fn is_kept(server: &Server, path: &RelPath) -> Result<bool> {
    let Some(seen) = server.see(path).await? else { return Ok(false) };
    let (Some(etag), Some(size)) = (&seen.etag, seen.size) else { return Ok(false) };
    let note = Note { hash: Hash::of(b"a note"), size, etag: etag.opaque().to_owned() };
    if set(server, path, &note).await.is_err_and(|error| !error.fault.passes()) {
        return Ok(false);
    }
    let kept = server.see_all(path, Wanted::All).await?;
    Ok(kept.is_some_and(|(seen, item)| item.props.note.as_ref() == Some(&note) && note.is_about(&seen)))
}

async fn set(server: &Server, path: &RelPath, note: &Note) -> Result<()> {
    let Note { hash, size, etag } = note;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><propertyupdate xmlns=\"DAV:\"><set><prop>\
         <sha256 xmlns=\"{NAMESPACE}\">{hash} {size} {}</sha256></prop></set></propertyupdate>",
        escape(etag.as_str())
    );
    let ask =
        Ask::new("PROPPATCH", server.client.base.file(path)).with("content-type", "application/xml; charset=utf-8");
    // A 207 may say of the property that it was refused: then the trial found it missing. lighttpd answers 204.
    match drain(server.client.send(ask, Some(Bytes::from(body))).await?).await {
        status if status.is_success() => Ok(()),
        status => Err(of_status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(etag: &str, size: u64) -> Seen {
        Seen { etag: ETag::parse(etag), size: Some(size), ..Seen::default() }
    }

    #[test]
    fn a_note_is_about_one_version_alone() {
        let hash = Hash::of(b"x");
        let note = Note::about(&Token::new(b"e3:ab<&\"c"), 3, hash);
        assert_eq!(note, None, "no entity tag holds quotes");
        let note = Note::about(&Token::new(b"e3:ab<&c"), 3, hash).unwrap();
        assert!(note.is_about(&seen("\"ab<&c\"", 3)));
        assert!(!note.is_about(&seen("\"ab<&c\"", 4)) && !note.is_about(&seen("\"other\"", 3)));
        for nothing in [Token::racy(b"e3:abc"), Token::new(b"m12:3"), Token::new(b"?")] {
            assert_eq!(Note::about(&nothing, 3, hash), None);
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        let hash = Hash::of(b"x");
        assert!(Note::parse(&format!(" {hash} 3 e-tag ")).is_some());
        for text in ["", "abc 3 e", &format!("{hash}"), &format!("{hash} x e"), &format!("{hash} 3 e f")] {
            assert_eq!(Note::parse(text), None, "{text:?}");
        }
    }
}
