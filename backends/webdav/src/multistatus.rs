//! What a PROPFIND is answered with (RFC 4918, section 14.16), read as it comes.
//!
//! A hostile server gets no further than the bounds below: no entities but the five of XML, no document type, no deep
//! nesting, no endless names, texts or documents.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use jiff::Timestamp;
use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use wl_core::entry::Hash;
use wl_core::error::{Error, Fault, Result};

use crate::checksum;
use crate::note::{NAMESPACE, Note};
use crate::version::http_date;

/// Bytes of one tag or text.
const LONGEST_EVENT: usize = 64 << 10;
/// Elements inside one another. An answer needs seven.
const DEEPEST: usize = 32;
/// Bytes of one answer.
const LONGEST: u64 = 1 << 30;
/// Resources in one answer.
const MOST: usize = 1_000_000;

const DAV: &str = "DAV:";
const OWNCLOUD: &str = "http://owncloud.org/ns";

/// What is asked for.
pub const REQUEST: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>"#,
    "<resourcetype/><getcontentlength/><getlastmodified/><getetag/>",
    "</prop></propfind>"
);

/// The same, and what tells the content's hash and the collection's identity.
pub const REQUEST_ALL: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:" xmlns:o="http://owncloud.org/ns" xmlns:w="https://wildland.io/wl"><prop>"#,
    "<resourcetype/><getcontentlength/><getlastmodified/><getetag/><o:checksums/><o:fileid/><w:sha256/>",
    "</prop></propfind>"
);

/// What is said of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    pub href: String,
    /// A status of the whole resource, where there is one.
    pub status: Option<u16>,
    pub props: Props,
}

/// Those properties that were answered with success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Props {
    /// None where the server did not say.
    pub is_dir: Option<bool>,
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
    pub etag: Option<String>,
    /// The sha256 that the server tells.
    pub hash: Option<Hash>,
    pub file_id: Option<String>,
    /// What wl itself noted.
    pub note: Option<Note>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Multistatus,
    Response,
    Href,
    Status,
    Propstat,
    Prop,
    Type,
    Collection,
    Size,
    Modified,
    Etag,
    Checksums,
    Checksum,
    FileId,
    Note,
    Other,
}

impl Tag {
    /// What an element is, by where it stands.
    fn of(inside: Option<Self>, namespace: &ResolveResult<'_>, name: &str) -> Self {
        let ResolveResult::Bound(Namespace(namespace)) = namespace else { return Self::Other };
        match (inside, *namespace, name) {
            (None, DAV, "multistatus") => Self::Multistatus,
            (Some(Self::Multistatus), DAV, "response") => Self::Response,
            (Some(Self::Response), DAV, "href") => Self::Href,
            (Some(Self::Response | Self::Propstat), DAV, "status") => Self::Status,
            (Some(Self::Response), DAV, "propstat") => Self::Propstat,
            (Some(Self::Propstat), DAV, "prop") => Self::Prop,
            (Some(Self::Prop), DAV, "resourcetype") => Self::Type,
            (Some(Self::Type), DAV, "collection") => Self::Collection,
            (Some(Self::Prop), DAV, "getcontentlength") => Self::Size,
            (Some(Self::Prop), DAV, "getlastmodified") => Self::Modified,
            (Some(Self::Prop), DAV, "getetag") => Self::Etag,
            (Some(Self::Prop), OWNCLOUD, "checksums") => Self::Checksums,
            (Some(Self::Checksums), OWNCLOUD, "checksum") => Self::Checksum,
            (Some(Self::Prop), OWNCLOUD, "fileid") => Self::FileId,
            (Some(Self::Prop), NAMESPACE, "sha256") => Self::Note,
            _ => Self::Other,
        }
    }
}

/// Reads an answer to its end and hands over each resource as it comes. What was handed over before a failure is no answer.
pub async fn read(body: impl AsyncBufRead + Unpin, mut each: impl FnMut(Item) -> Result<()>) -> Result<()> {
    let mut reader = NsReader::from_reader(Bounded { inner: body, event: LONGEST_EVENT, whole: LONGEST });
    reader.config_mut().expand_empty_elements = true;
    let (mut state, mut buffer) = (State::default(), Vec::new());
    loop {
        buffer.clear();
        reader.get_mut().event = LONGEST_EVENT;
        let (namespace, event) =
            reader.read_resolved_event_into_async(&mut buffer).await.map_err(|error| of_xml(&error))?;
        match event {
            Event::Start(start) => {
                let tag = Tag::of(state.open.last().copied(), &namespace, start.local_name().as_ref());
                state.start(tag)?;
            }
            Event::End(_) => {
                if let Some(item) = state.end()? {
                    each(item)?;
                }
            }
            Event::Text(text) => state.text(&text.xml10_content())?,
            Event::CData(text) => state.text(&text.xml10_content())?,
            Event::GeneralRef(entity) => {
                let char = match entity.resolve_char_ref().map_err(|error| of_xml(&error))? {
                    Some(char) => char,
                    None => predefined(&entity.xml10_content())?,
                };
                state.text(char.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(malformed("declares a document type, which no WebDAV server needs")),
            Event::Eof => return state.finish(),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Empty(_) => {}
        }
    }
}

/// The entities that XML itself has: nobody may define others.
fn predefined(name: &str) -> Result<char> {
    match name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(malformed("uses an entity that XML does not have")),
    }
}

#[derive(Default)]
struct State {
    open: Vec<Tag>,
    text: String,
    item: Item,
    /// Properties whose status is not known yet.
    pending: Props,
    /// The status of the propstat being read.
    succeeded: bool,
    items: usize,
    ended: bool,
}

impl State {
    fn start(&mut self, tag: Tag) -> Result<()> {
        if self.open.is_empty() && (tag != Tag::Multistatus || self.ended) {
            return Err(malformed("is no multistatus"));
        }
        if self.open.len() >= DEEPEST {
            return Err(malformed("is nested too deeply"));
        }
        match tag {
            Tag::Response => self.item = Item::default(),
            Tag::Propstat => (self.pending, self.succeeded) = (Props::default(), false),
            Tag::Type => self.pending.is_dir = Some(false),
            Tag::Collection => self.pending.is_dir = Some(true),
            _ => {}
        }
        self.text.clear();
        self.open.push(tag);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > LONGEST_EVENT {
            return Err(malformed("holds too long a text"));
        }
        let wanted =
            !matches!(self.open.last(), None | Some(Tag::Other | Tag::Multistatus | Tag::Response | Tag::Prop));
        if wanted {
            self.text.push_str(text);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Option<Item>> {
        let Some(tag) = self.open.pop() else { return Ok(None) };
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        match tag {
            Tag::Href if self.item.href.is_empty() => text.clone_into(&mut self.item.href),
            Tag::Status if self.open.last() == Some(&Tag::Propstat) => {
                self.succeeded = status(text).is_some_and(|status| (200..300).contains(&status));
            }
            Tag::Status => self.item.status = status(text),
            Tag::Propstat if self.succeeded => self.item.props.take(&mut self.pending),
            Tag::Size => self.pending.size = text.parse().ok(),
            Tag::Modified => self.pending.modified = http_date(text),
            Tag::Etag => self.pending.etag = some(text),
            Tag::Checksum => self.pending.hash = self.pending.hash.or_else(|| checksum::in_oc(text)),
            Tag::FileId => self.pending.file_id = some(text),
            Tag::Note => self.pending.note = Note::parse(text),
            Tag::Multistatus => self.ended = true,
            Tag::Response => {
                self.items += 1;
                if self.items > MOST {
                    return Err(malformed("lists more than a million resources in one directory"));
                }
                return Ok(Some(std::mem::take(&mut self.item)));
            }
            _ => {}
        }
        Ok(None)
    }

    fn finish(self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        Err(Error::new(Fault::Offline, "the server's answer ends in the middle"))
    }
}

impl Props {
    /// Takes what another part of the answer says.
    fn take(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.is_dir = other.is_dir.or(self.is_dir);
        self.size = other.size.or(self.size);
        self.modified = other.modified.or(self.modified);
        self.etag = other.etag.or(self.etag.take());
        self.hash = other.hash.or(self.hash);
        self.file_id = other.file_id.or(self.file_id.take());
        self.note = other.note.or(self.note.take());
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number in `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    line.split_whitespace().nth(1)?.parse().ok()
}

fn malformed(what: &str) -> Error {
    let hint = "is this the URL of a WebDAV server?";
    Error::new(Fault::Malformed, format!("the server's answer {what}; {hint}"))
}

fn of_xml(error: &quick_xml::Error) -> Error {
    match error {
        quick_xml::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => malformed(&error.to_string()),
        quick_xml::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.clone(),
            None => Error::new(Fault::Offline, format!("the server's answer broke off ({error})")),
        },
        quick_xml::Error::Syntax(_) => Error::new(Fault::Offline, "the server's answer ends in the middle"),
        other => malformed(&format!("is no proper XML ({other})")),
    }
}

/// Lets so many bytes pass, for each event and in all.
struct Bounded<R> {
    inner: R,
    event: usize,
    whole: u64,
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Bounded<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.event == 0 || this.whole == 0 {
            let what = if this.whole == 0 { "does not end" } else { "holds too long a name or text" };
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        let most = this.event.min(usize::try_from(this.whole).unwrap_or(usize::MAX));
        Pin::new(&mut this.inner).poll_fill_buf(cx).map_ok(|bytes| &bytes[..bytes.len().min(most)])
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.event = this.event.saturating_sub(amount);
        this.whole = this.whole.saturating_sub(amount as u64);
        Pin::new(&mut this.inner).consume(amount);
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests;
