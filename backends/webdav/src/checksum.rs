//! A content's sha256, in the ways servers say it. Whether they computed it themselves is found out by trying.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use wl_core::entry::Hash;

/// `Repr-Digest` (RFC 9530), `Digest` (RFC 3230), `X-Hash-SHA256` (Nextcloud, asked for by `X-Hash`) and `OC-Checksum`
/// (ownCloud). None in an answer that brings only a part of the content: what its digest covers differs.
pub fn in_headers(headers: &HeaderMap) -> Option<Hash> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("repr-digest")
        .and_then(|value| among(value, "sha-256"))
        .or_else(|| text("digest").and_then(|value| among(value, "sha-256")))
        .or_else(|| text("x-hash-sha256").and_then(|value| value.trim().parse().ok()))
        .or_else(|| text("oc-checksum").and_then(in_oc))
}

/// `SHA1:… MD5:… SHA256:…`, as ownCloud writes the property `oc:checksums`.
pub fn in_oc(text: &str) -> Option<Hash> {
    text.split_whitespace().find_map(|one| {
        let (name, value) = one.split_once(':')?;
        name.eq_ignore_ascii_case("sha256").then(|| value.parse().ok())?
    })
}

/// The headers by which a client may claim a content's hash.
pub fn claims(hash: &Hash) -> [(&'static str, String); 3] {
    let base64 = STANDARD.encode(hash.0);
    [
        ("oc-checksum", format!("SHA256:{hash}")),
        ("repr-digest", format!("sha-256=:{base64}:")),
        ("digest", format!("SHA-256={base64}")),
    ]
}

/// One of `name=:base64:` or `NAME=base64`, separated by commas.
fn among(value: &str, wanted: &str) -> Option<Hash> {
    value.split(',').find_map(|one| {
        let (name, digest) = one.trim().split_once('=')?;
        let digest = digest.trim_matches(':');
        let bytes = name.eq_ignore_ascii_case(wanted).then(|| STANDARD.decode(digest).ok())??;
        Some(Hash(bytes.try_into().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        let hash = Hash::of(b"x");
        let base64 = STANDARD.encode(hash.0);
        for (name, value) in [
            ("repr-digest", format!("md5=:AAAA:, sha-256=:{base64}:")),
            ("digest", format!("SHA-256={base64}")),
            ("x-hash-sha256", hash.to_string()),
            ("oc-checksum", format!("SHA1:ab SHA256:{hash}")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(in_headers(&headers), Some(hash), "{name}");
        }
        for (name, value) in claims(&hash) {
            assert_eq!(
                in_headers(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])),
                Some(hash)
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert("oc-checksum", "SHA1:ab".parse().unwrap());
        headers.insert("repr-digest", "sha-256=:AAAA:".parse().unwrap());
        assert_eq!(in_headers(&headers), None);
    }
}
