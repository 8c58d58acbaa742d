//! Who made a part file, as its name says it: of a process of this machine it can be found out whether it lives.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use wl_core::entry::Hash;

/// What stands between the fields of a mark; names of parts have another one between theirs.
const BETWEEN: char = '.';

/// The mark of a process that runs here: what processes it is one of, its number, and when it began. None where that cannot
/// be told.
pub fn mark(pid: u32) -> Option<String> {
    Some(format!("{}{BETWEEN}{pid}{BETWEEN}{}", here()?, began(pid)?))
}

/// Whether a mark is of a process of this machine that has ended. Of any other process nobody here knows.
pub fn has_ended(mark: &str) -> bool {
    let mut fields = mark.split(BETWEEN);
    let known = (fields.next(), fields.next().map(str::parse), fields.next().map(str::parse::<u64>));
    match known {
        (Some(place), Some(Ok(pid)), Some(Ok(begun))) if here() == Some(place) => began(pid) != Some(begun),
        _ => false,
    }
}

/// What tells the processes that are seen here from all others: the boot of this machine, the processes that share their
/// numbers, and whose they are, as those of other users may be hidden.
fn here() -> Option<&'static str> {
    static HERE: OnceLock<Option<String>> = OnceLock::new();
    let find_out = || {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
        let user = fs::metadata("/proc/self").ok()?.uid();
        let seen = began(std::process::id()).is_some();
        let text = format!("{} {} {user}", boot.trim(), numbers.display());
        seen.then(|| Hash::of(text.as_bytes()).to_string()[..12].to_owned())
    };
    HERE.get_or_init(find_out).as_deref()
}

/// When a process began, in ticks since the machine was started; none if there is none of that number.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name that may hold anything, in parentheses; this one is the 22nd.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_of_processes_that_are_seen_here_it_is_known_that_they_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mark = mark(child.id()).unwrap();
        assert!(!has_ended(&mark));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_ended(&mark));
        let (place, rest) = mark.split_once(BETWEEN).unwrap();
        assert!(!has_ended(&format!("0123456789ab{BETWEEN}{rest}")), "of another machine");
        let me = std::process::id();
        assert!(has_ended(&format!("{place}{BETWEEN}{me}{BETWEEN}7")), "the number was given anew");
        for odd in ["", "0123456789ab", "a0b1c2d3", place] {
            assert!(!has_ended(odd), "{odd}");
        }
    }
}
