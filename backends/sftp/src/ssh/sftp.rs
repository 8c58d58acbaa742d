//! The requests of SFTP, one method each. Paths are bytes, as the server has them.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::link::nonsense;
use super::{Answer, Failure, Handle, Link};
use crate::wire::extension::{COPY_DATA, FSYNC, HARDLINK, LSETSTAT, POSIX_RENAME, STATVFS};
use crate::wire::{Attrs, Code, Name, OpenFlags, Reply, Request, StatVfs, put_attrs, put_string};

fn owned(path: &[u8]) -> Bytes {
    Bytes::copy_from_slice(path)
}

impl Link {
    /// Opens a file.
    pub async fn open(self: &Arc<Self>, path: &[u8], flags: OpenFlags, attrs: Attrs) -> Answer<Handle> {
        self.handle(Request::Open { path: owned(path), flags, attrs }).await
    }

    /// Opens a directory to list it.
    pub async fn open_dir(self: &Arc<Self>, path: &[u8]) -> Answer<Handle> {
        self.handle(Request::Opendir { path: owned(path) }).await
    }

    /// Some more names of a directory, in no order, `.` and `..` among them; `None` at its end.
    pub async fn read_dir(&self, dir: &Handle) -> Answer<Option<Vec<Name>>> {
        match self.request(Request::Readdir { handle: dir.id() }).await {
            Ok(Reply::Names(names)) => Ok(Some(names)),
            Err(Failure::Status(status)) if status.code == Code::Eof => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Bytes at an offset: at least one and at most `length`, maybe fewer than asked for and than there are; `None` at
    /// the end of the file.
    pub async fn read(&self, file: &Handle, offset: u64, length: u32) -> Answer<Option<Bytes>> {
        match self.request(Request::Read { handle: file.id(), offset, length }).await {
            Ok(Reply::Data(data)) if !data.is_empty() && data.len() <= length as usize => Ok(Some(data)),
            Err(Failure::Status(status)) if status.code == Code::Eof => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Writes bytes at an offset. At most [`Server::write_size`] of them.
    ///
    /// [`Server::write_size`]: super::link::Server::write_size
    pub async fn write(&self, file: &Handle, offset: u64, data: Bytes) -> Answer<()> {
        self.done(Request::Write { handle: file.id(), offset, data }).await
    }

    /// Looks at a path; a link is not followed, but links on the way to it are.
    pub async fn lstat(&self, path: &[u8]) -> Answer<Attrs> {
        self.attrs(Request::Lstat { path: owned(path) }).await
    }

    /// Looks at a path, following links.
    pub async fn stat(&self, path: &[u8]) -> Answer<Attrs> {
        self.attrs(Request::Stat { path: owned(path) }).await
    }

    /// Looks at an open file.
    pub async fn fstat(&self, file: &Handle) -> Answer<Attrs> {
        self.attrs(Request::Fstat { handle: file.id() }).await
    }

    /// Sets attributes of an open file.
    pub async fn fsetstat(&self, file: &Handle, attrs: Attrs) -> Answer<()> {
        self.done(Request::Fsetstat { handle: file.id(), attrs }).await
    }

    /// Sets attributes under a path. A link is not followed where the server can do without.
    pub async fn setstat(&self, path: &[u8], attrs: Attrs) -> Answer<()> {
        if self.server().extensions.has(LSETSTAT) {
            let mut body = BytesMut::new();
            put_string(&mut body, path);
            put_attrs(&mut body, &attrs);
            match self.extended_done(LSETSTAT, body).await {
                // It cannot set a mode where it has no /proc, as in a chroot.
                Err(Failure::Status(status)) if status.code != Code::NoSuchFile => {}
                done => return done,
            }
        }
        self.done(Request::Setstat { path: owned(path), attrs }).await
    }

    /// Removes a file or a link.
    pub async fn remove(&self, path: &[u8]) -> Answer<()> {
        self.done(Request::Remove { path: owned(path) }).await
    }

    /// Makes a directory.
    pub async fn mkdir(&self, path: &[u8], attrs: Attrs) -> Answer<()> {
        self.done(Request::Mkdir { path: owned(path), attrs }).await
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, path: &[u8]) -> Answer<()> {
        self.done(Request::Rmdir { path: owned(path) }).await
    }

    /// The path made absolute by the server.
    pub async fn realpath(&self, path: &[u8]) -> Answer<Bytes> {
        match self.request(Request::Realpath { path: owned(path) }).await {
            Ok(Reply::Names(mut names)) if names.len() == 1 => Ok(names.swap_remove(0).name),
            other => Err(unexpected(other)),
        }
    }

    /// Renames; OpenSSH refuses if the target exists, with the status `Failure`.
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Answer<()> {
        self.done(Request::Rename { from: owned(from), to: owned(to) }).await
    }

    /// Renames and replaces what is there; needs [`POSIX_RENAME`].
    pub async fn posix_rename(&self, from: &[u8], to: &[u8]) -> Answer<()> {
        self.extended_done(POSIX_RENAME, two_strings(from, to)).await
    }

    /// Gives a file another name as well, refused if that exists; needs [`HARDLINK`].
    pub async fn hardlink(&self, from: &[u8], to: &[u8]) -> Answer<()> {
        self.extended_done(HARDLINK, two_strings(from, to)).await
    }

    /// Makes what was written durable; needs [`FSYNC`].
    pub async fn fsync(&self, file: &Handle) -> Answer<()> {
        let mut body = BytesMut::new();
        put_string(&mut body, &file.id());
        self.extended_done(FSYNC, body).await
    }

    /// How full the file system is that a path is on; needs [`STATVFS`].
    pub async fn statvfs(&self, path: &[u8]) -> Answer<StatVfs> {
        let mut body = BytesMut::new();
        put_string(&mut body, path);
        match self.request(Request::Extended { name: STATVFS, body: body.freeze() }).await {
            Ok(Reply::Extended(body)) => StatVfs::decode(body).map_err(|garbled| nonsense(garbled.0).into()),
            other => Err(unexpected(other)),
        }
    }

    /// Copies a file's content into another, inside the server, from offset to end where `length` is 0; needs
    /// [`COPY_DATA`]. Both handles must be of this connection.
    pub async fn copy_data(&self, from: &Handle, offset: u64, length: u64, to: &Handle, at: u64) -> Answer<()> {
        let mut body = BytesMut::new();
        put_string(&mut body, &from.id());
        body.put_u64(offset);
        body.put_u64(length);
        put_string(&mut body, &to.id());
        body.put_u64(at);
        self.extended_done(COPY_DATA, body).await
    }

    async fn handle(self: &Arc<Self>, request: Request) -> Answer<Handle> {
        match self.request(request).await {
            Ok(Reply::Handle(id)) => Ok(Handle::new(self.clone(), id)),
            other => Err(unexpected(other)),
        }
    }

    async fn attrs(&self, request: Request) -> Answer<Attrs> {
        match self.request(request).await {
            Ok(Reply::Attrs(attrs)) => Ok(attrs),
            other => Err(unexpected(other)),
        }
    }

    async fn extended_done(&self, name: &'static str, body: BytesMut) -> Answer<()> {
        self.done(Request::Extended { name, body: body.freeze() }).await
    }

    pub(super) async fn done(&self, request: Request) -> Answer<()> {
        match self.request(request).await {
            Ok(Reply::Status(status)) if status.code == Code::Ok => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

fn two_strings(one: &[u8], other: &[u8]) -> BytesMut {
    let mut body = BytesMut::with_capacity(8 + one.len() + other.len());
    put_string(&mut body, one);
    put_string(&mut body, other);
    body
}

/// A failure as it is; an answer of the wrong kind is one too.
fn unexpected(answer: Answer<Reply>) -> Failure {
    match answer {
        Err(failure) => failure,
        Ok(_) => nonsense("the server answered something that was not asked").into(),
    }
}
