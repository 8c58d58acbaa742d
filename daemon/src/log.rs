//! The daemon's log: a file bounded in size, or stderr.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};
use wl_core::config::LogTo;
use wl_core::{Error, Fault, Result};

/// A log file is put aside when it would grow beyond this.
const MAX_SIZE: u64 = 10 << 20;
/// So many are kept beside the current one: `wl-sync.log.1` is the youngest.
const KEPT: u32 = 5;

/// Writes what is left when it is dropped.
pub struct Log {
    _guard: WorkerGuard,
}

/// Sends what this process traces, panics too, to a file or to stderr. The level comes from `WL_LOG`, else `RUST_LOG`,
/// else `info`. Writing never holds anybody up. Does nothing if a log was begun before.
pub fn begin(to: &LogTo) -> Result<Log> {
    let (writer, guard) = match to {
        LogTo::Stderr => tracing_appender::non_blocking(io::stderr()),
        LogTo::File(path) => {
            let file = Rotating::open(path, MAX_SIZE).map_err(|error| {
                let text = format!("cannot write the log {}: {error}; choose another with --log-path", path.display());
                Error::new(Fault::Broken, text)
            })?;
            tracing_appender::non_blocking(file)
        }
    };
    let shown = fmt::layer().with_writer(writer).with_ansi(false).with_filter(level()).with_filter(filter_fn(ours));
    if tracing_subscriber::registry().with(shown).try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    Ok(Log { _guard: guard })
}

fn level() -> EnvFilter {
    let wanted = ["WL_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok());
    wanted.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"))
}

/// Our own rooms at any level; libraries only when they warn, since their finer levels show requests with what
/// authorizes them.
fn ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("wl") || *metadata.level() <= Level::WARN
}

/// A file that is put aside when it is full.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
}

impl Rotating {
    fn open(path: &Path, max_size: u64) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_size })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        *self = Self::open(&self.path, self.max_size)?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.max_size {
            // A log that cannot be put aside goes on growing: better than none.
            let _ = self.put_aside();
        }
        let written = self.file.write(line)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_the_oldest_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/wl.log");
        let mut log = Rotating::open(&path, 10).unwrap();
        for number in 0..9 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "line 8\n");
        assert_eq!(read(&log.numbered(1)), "line 7\n");
        assert_eq!(read(&log.numbered(5)), "line 3\n");
        assert!(!log.numbered(6).exists());
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wl.log");
        Rotating::open(&path, 10).unwrap().write_all(b"12345678\n").unwrap();
        Rotating::open(&path, 10).unwrap().write_all(b"9\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "9\n");
    }
}
