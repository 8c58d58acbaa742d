//! Large contents in chunks, as Nextcloud takes them (its developer manual, "Chunked file upload"): files in a collection of
//! their own, beside those of the user, which a MOVE of `.file` puts together.
//!
//! What was cut off is gone on with. The collection's name says which bytes it is for, under which path, and how they are
//! divided, so that it needs no further note: whoever finds it knows what each chunk must be. A chunk that is listed is
//! whole (that is tried first), and the sha256 of everything is proven at the end, like that of any upload.
//!
//! The MOVE of `.file` heeds conditions, but looks first and locks then: in 3 of 40 races on Nextcloud 32 it and a PUT with
//! the same condition were both told that they won. So it goes to a part name, and that is moved on like any other part:
//! once it is proven, after what it replaces was kept.

mod session;
mod source;
mod sweep;
mod trial;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use tokio::time::Instant;
use wl_core::backend::Content;
use wl_core::entry::Hash;
use wl_core::error::{Error, Result};
use wl_core::path::RelPath;

use self::session::Session;
use crate::error::of_status;
use crate::place::Base;
use crate::server::Server;
use crate::transfer::{self, Uploaded};

pub use self::sweep::sweep;

/// Bytes of a chunk, and the largest content that goes up whole: what Nextcloud's own clients begin with.
pub const CHUNK: u64 = 10 << 20;
/// The same where somebody on the way refuses that much at once: the least that Nextcloud takes of any chunk but the last.
pub const SMALLEST: u64 = 5 << 20;
/// The most chunks that Nextcloud takes.
const MOST: u64 = 10_000;
/// The size of a larger chunk is a multiple of this.
const STEP: u64 = 1 << 20;

/// What the names of uploads begin with.
const NAME: &str = "wl-";
/// Digits that follow in them.
const DIGITS: usize = 32;

/// Whether a server takes contents in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// It does, and lists those that are whole.
    Taken {
        /// Whether it answers with a sha256 of what it put together that it computed itself.
        tells_hash: bool,
    },
    /// It looks as if it should, but does not.
    Refused,
}

/// Where uploads to a storage lie, where its URL is like one of Nextcloud's.
pub struct Uploads {
    /// The collection of all uploads of its user.
    pub base: Base,
    /// The storage's root, by the URL that destinations are told by.
    pub files: Base,
    /// Bytes of a chunk.
    chunk: AtomicU64,
    /// What was found out by trying, which one does at a time.
    found: Mutex<Option<Chunks>>,
    trying: tokio::sync::Mutex<()>,
    /// When leftovers were last looked for.
    swept: Mutex<Option<Instant>>,
}

impl Uploads {
    /// Those of a root, as Nextcloud names the two.
    pub fn beside(root: &Base, login: &str) -> Option<Self> {
        let path = root.url().path();
        let (front, user, rest) = if let Some((front, rest)) = path.split_once("/remote.php/dav/files/") {
            let (user, rest) = rest.split_once('/')?;
            (front, user.to_owned(), rest)
        } else {
            let (front, rest) = path.split_once("/remote.php/webdav/")?;
            (front, utf8_percent_encode(login, NON_ALPHANUMERIC).to_string(), rest)
        };
        if user.is_empty() {
            return None;
        }
        let at = |path: String| {
            let mut url = root.url().clone();
            url.set_path(&path);
            Base::parse(url.as_str()).ok()
        };
        Some(Self {
            base: at(format!("{front}/remote.php/dav/uploads/{user}/"))?,
            files: at(format!("{front}/remote.php/dav/files/{user}/{rest}"))?,
            chunk: AtomicU64::new(CHUNK),
            found: Mutex::default(),
            trying: tokio::sync::Mutex::default(),
            swept: Mutex::default(),
        })
    }

    /// How a content is divided now.
    fn layout(&self, size: u64) -> Layout {
        let fewest = size.div_ceil(MOST).next_multiple_of(STEP);
        Layout { size, chunk: self.chunk.load(Ordering::Relaxed).max(fewest) }
    }

    /// Whether the server takes chunks, as far as that is known without asking it anything.
    fn known(&self) -> Option<Chunks> {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server takes chunks: found out by trying, once.
    async fn taken(&self, server: &Server) -> Result<Chunks> {
        let _one = self.trying.lock().await;
        match self.known() {
            Some(known) => Ok(known),
            None => self.try_out(server).await,
        }
    }

    async fn try_out(&self, server: &Server) -> Result<Chunks> {
        let found = trial::try_out(server, self).await?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(found)
    }
}

/// Finds out once more whether a server takes chunks, if it may be one that does.
pub async fn try_afresh(server: &Server) -> Result<()> {
    if let Some(uploads) = &server.uploads {
        uploads.try_out(server).await?;
    }
    Ok(())
}

/// What is told of uploads in chunks.
pub fn told(uploads: &Uploads) -> Option<String> {
    let text = match uploads.known()? {
        Chunks::Taken { .. } => {
            "a file of more than 10 MiB goes up in chunks (Nextcloud's chunked upload), and one that was cut off is gone on \
             with: for that time it takes its place twice on the server, in the user's `uploads` and under a temporary name"
        }
        Chunks::Refused => {
            "the URL is one of Nextcloud's, but its chunked upload does not work here (its log may say why): a large file \
             goes up whole, and once more from its beginning if that is cut off"
        }
    };
    Some(text.to_owned())
}

/// How a content is divided into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    size: u64,
    chunk: u64,
}

impl Layout {
    fn count(self) -> u64 {
        self.size.div_ceil(self.chunk)
    }

    /// Where a chunk begins and ends; they are numbered from one.
    fn range(self, number: u64) -> std::ops::Range<u64> {
        let from = (number - 1) * self.chunk;
        from..(from + self.chunk).min(self.size)
    }
}

/// The name of the upload of those bytes to that path of that root, so divided.
fn name_of(root: &Base, path: &RelPath, layout: Layout, hash: Hash) -> String {
    let Layout { size, chunk } = layout;
    let all = format!("{}\0{path}\0{size}\0{chunk}\0{hash}", root.url());
    format!("{NAME}{}", &Hash::of(all.as_bytes()).to_string()[..DIGITS])
}

/// The name of an upload that nobody is to go on with.
pub fn name_of_a_trial() -> String {
    format!("{NAME}{}", uuid::Uuid::new_v4().simple())
}

/// Whether that is the name of an upload of wl's.
fn is_own(name: &str) -> bool {
    let digits = name.strip_prefix(NAME).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Uploads a content that is for a path under a part name and proves its hash: in chunks if it is large and the server takes
/// it so, or does not take it whole.
pub async fn upload(server: &Arc<Server>, part: &RelPath, path: &RelPath, content: &Content) -> Result<Uploaded> {
    let Some(uploads) = &server.uploads else { return transfer::upload(server, part, content).await };
    if content.size <= uploads.chunk.load(Ordering::Relaxed) {
        match transfer::upload(server, part, content).await {
            Err(error) if is_too_large(&error) && content.size > SMALLEST => {
                uploads.chunk.fetch_min(SMALLEST, Ordering::Relaxed);
            }
            done => return done,
        }
    }
    let Chunks::Taken { tells_hash } = uploads.taken(server).await? else {
        return transfer::upload(server, part, content).await;
    };
    let hash = content.sha256().await?;
    loop {
        let layout = uploads.layout(content.size);
        let session = Session::claim(server, uploads, path, content, layout, hash)?;
        match session.run(part, tells_hash).await {
            Err(error) if is_too_large(&error) => {
                uploads.chunk.fetch_min(SMALLEST, Ordering::Relaxed);
                session.clear().await?;
                if uploads.layout(content.size) == layout {
                    return Err(error);
                }
            }
            Err(error) => {
                session.give_up_after(&error).await;
                return Err(error);
            }
            done => return done,
        }
    }
}

/// Whether somebody takes no body of that size.
fn is_too_large(error: &Error) -> bool {
    *error == of_status(StatusCode::PAYLOAD_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(url: &str, login: &str) -> Option<(String, String)> {
        let uploads = Uploads::beside(&Base::parse(url).unwrap(), login)?;
        Some((uploads.base.url().to_string(), uploads.files.url().to_string()))
    }

    #[test]
    fn uploads_lie_beside_the_files_where_the_url_is_nextclouds() {
        let both = |uploads: &str, files: &str| Some((uploads.to_owned(), files.to_owned()));
        let files = "https://h/nc/remote.php/dav/files/me%40x/d%20e/";
        assert_eq!(beside(files, "login"), both("https://h/nc/remote.php/dav/uploads/me%40x/", files));
        let old = beside("https://h/remote.php/webdav/d", "a b");
        let expected = "https://h/remote.php/dav/uploads/a%20b/";
        assert_eq!(old, both(expected, "https://h/remote.php/dav/files/a%20b/d/"));
        for other in ["https://h/dav/", "https://h/remote.php/dav/files/", "https://h/remote.php/dav/calendars/me/"] {
            assert_eq!(beside(other, "me"), None, "{other}");
        }
        assert_eq!(beside("https://h/remote.php/webdav/", ""), None);
    }

    #[test]
    fn a_content_is_divided_into_as_many_chunks_as_nextcloud_takes() {
        let uploads = Uploads::beside(&Base::parse("https://h/remote.php/dav/files/me/").unwrap(), "").unwrap();
        for (size, chunk, count) in [
            (CHUNK + 1, CHUNK, 2),
            (2 << 30, CHUNK, 205),
            (MOST * CHUNK, CHUNK, MOST),
            (MOST * CHUNK + 1, CHUNK + STEP, 9091),
            (5 << 40, 525 << 20, 9987),
        ] {
            let layout = uploads.layout(size);
            assert_eq!((layout.chunk, layout.count()), (chunk, count), "{size}");
            assert_eq!((layout.range(1).start, layout.range(count).end), (0, size));
            assert_eq!(layout.range(1).end, layout.range(2).start);
        }
    }

    #[test]
    fn a_name_is_that_of_one_upload() {
        let root = |url| Base::parse(url).unwrap();
        let (here, path) = (root("https://h/remote.php/dav/files/me/"), RelPath::parse("d/x").unwrap());
        let (layout, hash) = (Layout { size: 30, chunk: 10 }, Hash::of(b"x"));
        let name = name_of(&here, &path, layout, hash);
        assert!(is_own(&name) && is_own(&name_of_a_trial()) && name == name_of(&here, &path, layout, hash));
        for other in [
            name_of(&root("https://h/remote.php/dav/files/me/d/"), &path, layout, hash),
            name_of(&here, &RelPath::parse("d/y").unwrap(), layout, hash),
            name_of(&here, &path, Layout { size: 31, chunk: 10 }, hash),
            name_of(&here, &path, Layout { size: 30, chunk: 5 }, hash),
            name_of(&here, &path, layout, Hash::of(b"y")),
        ] {
            assert_ne!(other, name);
        }
        for foreign in ["web-file-upload-0123456789abcdef", "3417622910", "wl-", "wl-0123", &name.to_uppercase()] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
