//! The system calls that differ from system to system, each with the nearest thing elsewhere.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::seen::{Seen, Stamp, What};

/// What every open of this crate asks for, where the whole path is not already kept from links.
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

/// Opens a path below a directory, through no link at all. `LOOP` where there is one.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    if path.is_empty() {
        return rustix::fs::openat(dir, ".", flags | ALWAYS, mode);
    }
    #[cfg(target_os = "linux")]
    if *linux::OPENAT2 {
        return linux::openat2(dir, path, flags | OFlags::CLOEXEC, mode);
    }
    walk_beneath(dir, path, flags | ALWAYS, mode)
}

/// The same, segment by segment, for systems that cannot do it in one call.
fn walk_beneath(dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    while let Some((segment, below)) = rest.split_once('/') {
        let from = at.as_ref().map_or(dir, AsFd::as_fd);
        let next = rustix::fs::openat(from, segment, OFlags::RDONLY | OFlags::DIRECTORY | ALWAYS, Mode::empty())
            .map_err(|errno| link_or(from, segment, errno))?;
        (at, rest) = (Some(next), below);
    }
    let from = at.as_ref().map_or(dir, AsFd::as_fd);
    rustix::fs::openat(from, rest, flags, mode).map_err(|errno| link_or(from, rest, errno))
}

/// `NOTDIR` is what some systems answer at a link; it must not be taken for "nothing there".
fn link_or(dir: BorrowedFd<'_>, name: &str, errno: Errno) -> Errno {
    let is_link = || {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    };
    if matches!(errno, Errno::NOTDIR | Errno::MLINK) && is_link() { Errno::LOOP } else { errno }
}

#[cfg(target_os = "linux")]
pub use linux::{
    allocate, copy_piece, data_sync, is_remote, names_in, no_access_time, path_only, seen_at, seen_of, sequential,
    share, sync_fs, unnamed,
};
#[cfg(not(target_os = "linux"))]
pub use portable::{
    allocate, copy_piece, data_sync, is_remote, names_in, no_access_time, path_only, seen_at, seen_of, sequential,
    share, sync_fs, unnamed,
};

/// Copies a content inside the system, sharing its blocks where the file system can; false where it cannot copy.
pub fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<bool> {
    if share(from, to) {
        return Ok(true);
    }
    let mut at = 0;
    while at < size {
        let step = usize::try_from(size - at).unwrap_or(usize::MAX).min(1 << 30);
        match copy_piece(from, to, at, step)? {
            None if at == 0 => return Ok(false),
            None => return Err(Errno::IO),
            Some(0) => break,
            Some(count) => at += count as u64,
        }
    }
    Ok(true)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::LazyLock;

    use rustix::fs::{Advice, CWD, FallocateFlags, ResolveFlags, Statx, StatxFlags};

    use super::{AsFd, AtFlags, BorrowedFd, Errno, FileType, Mode, OFlags, OwnedFd, Result, Seen, Stamp, What};

    /// Whether the kernel has `openat2` and lets us call it: some containers forbid calls that they do not know.
    pub static OPENAT2: LazyLock<bool> =
        LazyLock::new(|| openat2(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok());

    pub fn openat2(dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // The kernel answers AGAIN when a rename elsewhere raced the look-up.
        for _ in 0..64 {
            match rustix::fs::openat2(dir, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

    /// What is under a name, itself, if it is a link.
    pub fn seen_at(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Seen> {
        rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, WANTED).map(|found| seen(&found))
    }

    /// What is open.
    pub fn seen_of(file: impl AsFd) -> Result<Seen> {
        rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, WANTED).map(|found| seen(&found))
    }

    fn seen(found: &Statx) -> Seen {
        let stamp = |at: rustix::fs::StatxTimestamp| Stamp { sec: at.tv_sec, ns: at.tv_nsec };
        Seen {
            what: What::of(FileType::from_raw_mode(found.stx_mode.into())),
            size: found.stx_size,
            mode: u32::from(found.stx_mode) & 0o777,
            owner: (found.stx_uid, found.stx_gid),
            links: u64::from(found.stx_nlink),
            dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
            mtime: stamp(found.stx_mtime),
            ctime: stamp(found.stx_ctime),
            born: (found.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| stamp(found.stx_btime)),
        }
    }

    /// Tells every name in a directory, with its type where the file system says it for free.
    pub fn names_in(dir: impl AsFd, mut tell: impl FnMut(&[u8], FileType)) -> Result<()> {
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            tell(entry.file_name().to_bytes(), entry.file_type());
        }
        Ok(())
    }

    /// Makes everything written to the file system durable.
    pub fn sync_fs(dir: impl AsFd) -> Result<()> {
        rustix::fs::syncfs(dir)
    }

    /// Makes a file's content durable.
    pub fn data_sync(file: impl AsFd) -> Result<()> {
        rustix::fs::fdatasync(file)
    }

    /// Takes the room for a file's content before it is written.
    pub fn allocate(file: impl AsFd, size: u64) -> Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(errno),
            _ => Ok(()),
        }
    }

    /// Says that a file will be read from start to end.
    pub fn sequential(file: impl AsFd) {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
    }

    /// Lets an empty file have another's content without copying it, until one of them changes; whether that was possible.
    /// What is being written meanwhile is in it wholly or not at all (ioctl_ficlone(2)).
    pub fn share(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        rustix::fs::ioctl_ficlone(to, from).is_ok()
    }

    /// Copies some bytes at an offset inside the system: how many, or none where it cannot copy between these files.
    pub fn copy_piece(from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: u64, size: usize) -> Result<Option<usize>> {
        loop {
            let (mut source, mut target) = (at, at);
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), size) {
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(None),
                copied => return copied.map(Some),
            }
        }
    }

    /// Whether the file system is kept by a server or another program, or shared by several machines on one disk: changes
    /// made elsewhere raise no events here. The numbers are those of statfs(2) and of `linux/magic.h`; Lustre's, GPFS's
    /// and BeeGFS's are those that coreutils' `stat -f` knows them by.
    pub fn is_remote(dir: impl AsFd) -> bool {
        const NFS: u64 = 0x6969;
        const SMB: u64 = 0x517b;
        const CIFS: u64 = 0xff53_4d42;
        const SMB2: u64 = 0xfe53_4d42;
        const FUSE: u64 = 0x6573_5546;
        const PLAN9: u64 = 0x0102_1997;
        const CEPH: u64 = 0x00c3_6400;
        const AFS: u64 = 0x5346_414f;
        const VBOXSF: u64 = 0x786f_4256;
        const LUSTRE: u64 = 0x0bd0_0bd0;
        const GPFS: u64 = 0x4750_4653;
        const GFS2: u64 = 0x0116_1970;
        const OCFS2: u64 = 0x7461_636f;
        const BEEGFS: u64 = 0x1983_0326;
        const ALL: [u64; 14] =
            [NFS, SMB, CIFS, SMB2, FUSE, PLAN9, CEPH, AFS, VBOXSF, LUSTRE, GPFS, GFS2, OCFS2, BEEGFS];
        let magic = rustix::fs::fstatfs(dir).map_or(0, |found| u64::try_from(found.f_type).unwrap_or(0) & 0xffff_ffff);
        ALL.contains(&magic)
    }

    /// A file without a name, which leaves no trace.
    pub fn unnamed(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
        rustix::fs::openat(dir, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))
    }

    /// Asks that reading leaves the access time alone: only the owner may.
    pub fn no_access_time() -> OFlags {
        OFlags::NOATIME
    }

    /// Opens a file only to look at it, which needs no right to read it.
    pub fn path_only() -> OFlags {
        OFlags::PATH
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use super::{AsFd, AtFlags, BorrowedFd, Errno, FileType, OFlags, OwnedFd, Result, Seen, Stamp, What};

    /// What is under a name, itself, if it is a link.
    pub fn seen_at(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Seen> {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| seen(&found))
    }

    /// What is open.
    pub fn seen_of(file: impl AsFd) -> Result<Seen> {
        rustix::fs::fstat(file).map(|found| seen(&found))
    }

    // Widths differ by system.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, clippy::cast_sign_loss, clippy::cast_possible_truncation)]
    fn seen(found: &rustix::fs::Stat) -> Seen {
        Seen {
            what: What::of(FileType::from_raw_mode(found.st_mode)),
            size: found.st_size as u64,
            mode: (found.st_mode as u32) & 0o777,
            owner: (found.st_uid, found.st_gid),
            links: found.st_nlink as u64,
            dev: found.st_dev as u64,
            ino: found.st_ino as u64,
            mtime: Stamp { sec: found.st_mtime as i64, ns: found.st_mtime_nsec as u32 },
            ctime: Stamp { sec: found.st_ctime as i64, ns: found.st_ctime_nsec as u32 },
            #[cfg(target_vendor = "apple")]
            born: Some(Stamp { sec: found.st_birthtime as i64, ns: found.st_birthtime_nsec as u32 }),
            #[cfg(not(target_vendor = "apple"))]
            born: None,
        }
    }

    /// Tells every name in a directory, with its type where the file system says it for free.
    pub fn names_in(dir: impl AsFd, mut tell: impl FnMut(&[u8], FileType)) -> Result<()> {
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            tell(entry.file_name().to_bytes(), entry.file_type());
        }
        Ok(())
    }

    /// There is no call for a whole file system: the directory itself is what can be made durable.
    pub fn sync_fs(dir: impl AsFd) -> Result<()> {
        rustix::fs::fsync(dir)
    }

    /// Makes a file's content durable.
    pub fn data_sync(file: impl AsFd) -> Result<()> {
        rustix::fs::fsync(file)
    }

    /// Room is not taken beforehand.
    #[allow(clippy::unnecessary_wraps)] // as on Linux
    pub fn allocate(_: impl AsFd, _: u64) -> Result<()> {
        Ok(())
    }

    /// Nothing is said.
    pub fn sequential(_: impl AsFd) {}

    /// Nothing is shared.
    pub fn share(_: BorrowedFd<'_>, _: BorrowedFd<'_>) -> bool {
        false
    }

    /// It is read and written.
    #[allow(clippy::unnecessary_wraps)] // as on Linux
    pub fn copy_piece(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: u64, _: usize) -> Result<Option<usize>> {
        Ok(None)
    }

    /// It is taken for local.
    pub fn is_remote(_: impl AsFd) -> bool {
        false
    }

    /// There are no files without a name.
    pub fn unnamed(_: BorrowedFd<'_>) -> Result<OwnedFd> {
        Err(Errno::OPNOTSUPP)
    }

    /// Nothing can be asked.
    pub fn no_access_time() -> OFlags {
        OFlags::empty()
    }

    /// It is opened to be read.
    pub fn path_only() -> OFlags {
        OFlags::RDONLY | OFlags::NONBLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_stop_at_every_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        std::fs::write(dir.path().join("real/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("deep", dir.path().join("real/deeplink")).unwrap();
        std::os::unix::fs::symlink("deep/file", dir.path().join("real/filelink")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for (path, expected) in [
            ("real/deep/file", None),
            ("link/deep/file", Some(Errno::LOOP)),
            ("real/deeplink/file", Some(Errno::LOOP)),
            ("real/filelink", Some(Errno::LOOP)),
            ("link", Some(Errno::LOOP)),
            ("real/deep/file/below", Some(Errno::NOTDIR)),
            ("real/none", Some(Errno::NOENT)),
        ] {
            let flags = OFlags::RDONLY | ALWAYS;
            assert_eq!(open_beneath(root.as_fd(), path, flags, Mode::empty()).err(), expected, "{path}");
            assert_eq!(walk_beneath(root.as_fd(), path, flags, Mode::empty()).err(), expected, "{path}");
        }
    }
}
