//! Jobs in words.

use bytesize::ByteSize;
use wl_core::report::{JobState, JobStatus, Mode};

use super::Definition;

/// `NAME: SOURCE <-> TARGET, continuously`.
pub fn what(definition: &Definition) -> String {
    let [source, target] = definition.storages();
    let arrow = arrow(definition.unidirectional());
    let how = match definition.mode() {
        Mode::Continuous => "continuously",
        Mode::OneShot => "once",
    };
    let name = definition.container();
    let [from, to] = [source, target].map(|storage| format!("{} {}", storage.storage_type(), storage.location()));
    format!("{name}: {from} {arrow} {to}, {how}")
}

/// A job's status on one line.
pub fn status_line(status: &JobStatus) -> String {
    let arrow = arrow(status.unidirectional);
    let [source, target] =
        [&status.source, &status.target].map(|view| format!("{} {}", view.storage_type, view.location));
    let mut line = format!("{} {} {source} {arrow} {target}", status.container, state_name(status.state));
    if status.mode == Mode::OneShot {
        line.push_str(" [one-shot]");
    }
    if status.paused {
        line.push_str(" [paused]");
    }
    line.push_str(&format!(", {} in {}", count(status.files, "file"), ByteSize(status.bytes)));
    if status.pending > 0 {
        line.push_str(&format!(", {} to do", count(status.pending, "step")));
    }
    if let Some(path) = status.current.first() {
        line.push_str(&format!(", transferring {path}"));
    }
    for (number, word) in [(status.conflicts.len(), "conflict"), (status.problems.len(), "problem")] {
        if number > 0 {
            line.push_str(&format!(", {}", count(number as u64, word)));
        }
    }
    if let Some(error) = &status.error {
        line.push_str(&format!(" [!] {}", error.replace('\n', " ")));
    }
    line
}

/// A state as the control socket names it.
pub fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Stopped => "STOPPED",
        JobState::Running => "RUNNING",
        JobState::Synced => "SYNCED",
        JobState::OneShot => "ONE_SHOT",
        JobState::Error => "ERROR",
    }
}

fn arrow(unidirectional: bool) -> &'static str {
    if unidirectional { "->" } else { "<->" }
}

fn count(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}
