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
    let [source, target] =
        [&status.source, &status.target].map(|view| format!("{} {}", view.storage_type, view.location));
    let (state, arrow) = (state_name(status.state), arrow(status.unidirectional));
    let mut words = vec![format!("{} {state} {source} {arrow} {target}", status.container)];
    if status.mode == Mode::OneShot {
        words.push("[one-shot]".to_owned());
    }
    if status.paused {
        words.push("[paused]".to_owned());
    }
    words.push(format!("{}, {}", count(status.files, "file"), ByteSize(status.bytes)));
    for (number, word) in [
        (status.pending, "pending step"),
        (status.conflicts.len() as u64, "conflict"),
        (status.problems.len() as u64, "problem"),
    ] {
        if number > 0 {
            words.push(count(number, word));
        }
    }
    if let Some(path) = status.current.first() {
        words.push(format!("transferring {path}"));
    }
    if let Some(error) = &status.error {
        words.push(format!("[!] {}", error.replace('\n', " ")));
    }
    words.join("  ")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_fits_on_one_line() {
        let view = |id: &str| json!({ "backend_id": id, "type": "local", "location": format!("/{id}") });
        let mut status: JobStatus = serde_json::from_value(json!({
            "job_id": "local|1", "container": "photos", "state": "SYNCED", "mode": "continuous",
            "unidirectional": false, "paused": false, "syncer": "generic", "source": view("a"), "target": view("b"),
            "files": 1, "bytes": 2048, "transferred_files": 0, "transferred_bytes": 0, "pending": 0,
            "rate_bytes_per_s": 0, "eta_s": null, "current": [], "conflicts": [], "problems": [], "error": null
        }))
        .unwrap();
        assert_eq!(status_line(&status), "photos SYNCED local /a <-> local /b  1 file, 2.0 KiB");
        status.mode = Mode::OneShot;
        status.unidirectional = true;
        status.state = JobState::Error;
        status.error = Some("no\nroom".into());
        let line = "photos ERROR local /a -> local /b  [one-shot]  1 file, 2.0 KiB  [!] no room";
        assert_eq!(status_line(&status), line);
    }
}
