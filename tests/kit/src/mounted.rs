//! File systems of the test's own, where the test may mount any.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that goes away with this.
pub struct Mounted(PathBuf);

/// The file systems on which files can share their content.
pub const SHARING: [&str; 2] = ["xfs", "btrfs"];
/// The smallest that both can be made in (xfs: 300 MiB), with room for a test.
const SIZE: u64 = 512 << 20;

impl Mounted {
    /// An empty one of that type below a directory, in a file that takes no more room than is used of it; none, which is
    /// said, where it cannot be made or mounted.
    pub fn new(kind: &str, below: &Path) -> Option<Self> {
        let (image, at) = (below.join(format!("{kind}.img")), below.join(kind));
        File::create(&image).and_then(|file| file.set_len(SIZE)).ok()?;
        std::fs::create_dir(&at).ok()?;
        let made = run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
        let mounted = made.and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at)));
        Self::or_say(mounted, kind, at)
    }

    /// One in memory, of so many KiB, at a directory.
    pub fn in_memory(at: &Path, kib: u32) -> Option<Self> {
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(at));
        Self::or_say(mounted, "tmpfs", at.to_owned())
    }

    /// A directory, under a second name.
    pub fn again(dir: &Path, at: &Path) -> Option<Self> {
        let mounted = run(Command::new("mount").arg("--bind").arg(dir).arg(at));
        Self::or_say(mounted, "a bind mount", at.to_owned())
    }

    fn or_say(mounted: Result<(), String>, kind: &str, at: PathBuf) -> Option<Self> {
        match mounted {
            Ok(()) => Some(Self(at)),
            Err(why) => {
                eprintln!("NOT TESTED on {kind}, which needs root and mkfs.{kind}: {why}");
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: whoever still holds it lets go of it later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|why| format!("{}: {why}", command.get_program().display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
