//! Who has begun an upload, and whether he lives.

use std::path::PathBuf;
use std::sync::LazyLock;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Writer {
    /// The machine since it was started, and the numbering of processes in it; none where the system does not tell.
    machine: Option<String>,
    pid: u32,
    /// When it was started, in the system's ticks.
    started: Option<u64>,
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    This,
    Alive,
    Dead,
    Unknown,
}

impl Writer {
    /// This process.
    pub fn this() -> Self {
        static THIS: LazyLock<Writer> = LazyLock::new(|| {
            let pid = std::process::id();
            Writer { machine: machine(), pid, started: started(pid) }
        });
        THIS.clone()
    }

    /// What has become of it.
    pub fn fate(&self) -> Fate {
        let this = Self::this();
        if *self == this && self.machine.is_some() {
            return Fate::This;
        }
        if self.machine.is_none() || self.machine != this.machine {
            return Fate::Unknown;
        }
        if started(self.pid) == self.started { Fate::Alive } else { Fate::Dead }
    }
}

/// Names this machine until it is started again, and the process namespace (proc(5), random(4), pid_namespaces(7)).
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process was started; none if there is none of that number (proc_pid_stat(5), field 22).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_known_by_its_machine_number_and_beginning() {
        let this = Writer::this();
        assert_eq!(this.fate(), Fate::This);
        let parent = std::os::unix::process::parent_id();
        for (writer, fate) in [
            (Writer { pid: parent, started: started(parent), ..this.clone() }, Fate::Alive),
            (Writer { started: Some(1), ..this.clone() }, Fate::Dead),
            (Writer { pid: u32::MAX, ..this.clone() }, Fate::Dead),
            (Writer { machine: Some("another".to_owned()), ..this.clone() }, Fate::Unknown),
            (Writer { machine: None, ..this }, Fate::Unknown),
        ] {
            assert_eq!(writer.fate(), fate, "{writer:?}");
        }
    }
}
