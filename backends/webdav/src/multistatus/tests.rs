use proptest::prelude::*;
use tokio::io::BufReader;

use super::*;

async fn parse(bytes: &[u8], piece: usize) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    read(BufReader::with_capacity(piece, bytes), |item| {
        items.push(item);
        Ok(())
    })
    .await?;
    Ok(items)
}

const ANSWER: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:lp1="DAV:" xmlns:o="http://owncloud.org/ns"><!-- a comment -->
<D:response xmlns:x="urn:x"><D:href>/dav/d/</D:href><D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>
<x:getetag>not DAV's</x:getetag><o:fileid>00042</o:fileid></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><D:getcontentlength>7</D:getcontentlength><D:getetag/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
</D:response>
<response xmlns="DAV:"><href>/dav/d/a&amp;b&#x20;c<![CDATA[<d>]]></href><propstat><status>HTTP/1.1 200 OK</status><prop>
<resourcetype/><getcontentlength> 12 </getcontentlength><getetag>&quot;e-1&quot;</getetag>
<getlastmodified>Sun, 22 Nov 2026 22:22:29 GMT</getlastmodified></prop></propstat></response>
<D:response><D:href>/dav/d/secret</D:href><D:status>HTTP/1.1 403 Forbidden</D:status></D:response>
</D:multistatus>
"#;

#[tokio::test]
async fn every_dialect_is_read_however_it_arrives() {
    for piece in [1, 2, 7, 100, 100_000] {
        let items = parse(ANSWER.as_bytes(), piece).await.unwrap();
        let [dir, file, secret] = &items[..] else { panic!("{items:?}") };
        assert_eq!((dir.href.as_str(), dir.props.is_dir, dir.props.size), ("/dav/d/", Some(true), None));
        assert_eq!((dir.props.etag.as_ref(), dir.props.file_id.as_deref()), (None, Some("00042")));
        assert_eq!(
            (file.href.as_str(), file.props.is_dir, file.props.size),
            ("/dav/d/a&b c<d>", Some(false), Some(12))
        );
        assert_eq!(file.props.etag.as_deref(), Some("\"e-1\""));
        assert_eq!(file.props.modified, "2026-11-22T22:22:29Z".parse().ok());
        assert_eq!((secret.status, secret.props.is_dir), (Some(403), None));
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_none() {
    let end = ANSWER.rfind("</D:multistatus>").unwrap();
    for cut in [0, 10, 60, 300, 700, end, end + 5] {
        let error = parse(&ANSWER.as_bytes()[..cut], 64).await.unwrap_err();
        assert!(matches!(error.fault, Fault::Offline | Fault::Malformed), "{cut}: {error}");
    }
}

#[tokio::test]
async fn a_hostile_answer_is_refused_within_bounds() {
    let inside =
        |text: &str| format!(r#"<multistatus xmlns="DAV:"><response><href>{text}</href></response></multistatus>"#);
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><multistatus xmlns="DAV:"/>"#;
    for (what, text) in [
        ("an entity bomb", bomb.to_owned()),
        ("an unknown entity", inside("&xxe;")),
        ("no character", inside("&#xD800;")),
        ("deep nesting", inside(&"<a>".repeat(10_000))),
        ("an endless text", inside(&"x".repeat(10 << 20))),
        ("an endless text in pieces", inside(&"x&amp;".repeat(1 << 20))),
        ("an endless tag", inside(&format!("<{}>", "x".repeat(10 << 20)))),
        ("an endless attribute", inside(&format!("<a b=\"{}\"/>", "x".repeat(10 << 20)))),
        ("a page", "<html><body>Log in first</body></html>".to_owned()),
        ("another root", "<multistatus xmlns=\"urn:other\"/>".to_owned()),
        ("two roots", format!("{}{}", inside("/"), inside("/"))),
        ("wrong ends", "<multistatus xmlns=\"DAV:\"><response></multistatus>".to_owned()),
    ] {
        let error = parse(text.as_bytes(), 4096).await.err().unwrap_or_else(|| panic!("{what} was read"));
        assert!(matches!(error.fault, Fault::Malformed | Fault::Offline), "{what}: {error}");
        assert!(error.message.len() < 400, "{what}: {}", error.message.len());
    }
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_alphanumeric() { char.to_string() } else { format!("&#{};", char as u32) })
        .collect()
}

proptest! {
    #[test]
    fn whatever_arrives_ends_in_items_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..1500) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = runtime.block_on(parse(&bytes, 16));
        let mut broken = ANSWER.as_bytes().to_vec();
        broken.splice(cut.min(broken.len())..(cut + 3).min(ANSWER.len()).max(cut.min(ANSWER.len())), bytes);
        let _ = runtime.block_on(parse(&broken, 16));
    }

    #[test]
    fn every_href_comes_back(href in "[ -~é世\u{1f980}]{1,40}", prefix in "[a-z]{1,5}") {
        let text = format!(
            "<{prefix}:multistatus xmlns:{prefix}=\"DAV:\"><{prefix}:response><{prefix}:href>{}</{prefix}:href>\
             </{prefix}:response></{prefix}:multistatus>", escaped(&href));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let items = runtime.block_on(parse(text.as_bytes(), 8)).unwrap();
        prop_assert_eq!(items[0].href.as_str(), href.trim());
    }
}
