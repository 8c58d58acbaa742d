//! What the state remembers of a job, so that a restarted daemon takes it up.
//!
//! Secrets that stood in a job's arguments are not remembered: they are taken from the container's manifest again.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wl_core::manifest::{Manifest, Storage};
use wl_core::report::{JobState, JobStatus, Mode, StorageView, Summary};
use wl_core::state::JobRecord;

use super::{Definition, Job};
use crate::protocol::{ErrorClass, WireError};

/// A job as it is remembered.
pub struct Record {
    /// What it is.
    pub definition: Definition,
    paused: bool,
    ended: Option<Ended>,
}

/// How a one-shot job ended.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ended {
    state: JobState,
    error: Option<String>,
    summary: Option<Summary>,
}

/// The shape in which the state keeps a job.
#[derive(Deserialize)]
struct Kept {
    start: Map<String, Value>,
    /// Of which storages, the source first, secrets were left out.
    inline: [bool; 2],
    ended: Option<Ended>,
}

impl Record {
    /// What is to be remembered of a job now.
    pub fn of(job: &Job) -> Self {
        let JobStatus { state, error, summary, paused, .. } = job.monitor().status();
        let ended = job.has_ended().then_some(Ended { state, error, summary });
        Self { definition: Definition::clone(&job.definition()), paused, ended }
    }

    /// As the state keeps it.
    pub fn row(&self) -> JobRecord {
        let start = self.definition.for_disk();
        let inline = self.definition.storages().each_ref().map(|storage| storage.for_disk() != *storage.params());
        let definition = json!({ "start": start, "inline": inline, "ended": self.ended });
        JobRecord { job_id: self.definition.job_id().to_owned(), definition, paused: self.paused }
    }

    /// From what the state kept, and the manifests in `base_dir`.
    pub fn read(row: JobRecord, base_dir: &Path) -> Result<Self, WireError> {
        let unreadable = |what: String| WireError::new(ErrorClass::DaemonError, what);
        let Kept { mut start, inline, ended } =
            serde_json::from_value(row.definition).map_err(|error| unreadable(error.to_string()))?;
        let mut lack = None;
        for (key, inline) in ["source", "target"].into_iter().zip(inline) {
            if inline && !restore_secrets(&mut start, key, base_dir) {
                remove_secrets(&mut start, key);
                lack = Some(key);
            }
        }
        let mut definition = Definition::from_args(&start)?;
        if let Some(key) = lack {
            let [source, target] = definition.storages();
            let storage = if key == "source" { source } else { target };
            let text = format!(
                "the secrets of storage {} ({}) were not kept on disk and no manifest of container {} that can be read has \
                 them: mend it, or start the job again",
                storage.backend_id(),
                storage.location(),
                definition.container()
            );
            definition = definition.lacking(text);
        }
        Ok(Self { definition, paused: row.paused, ended })
    }

    /// Lists a job that is not to run: one that is held, one that ended, or a one-shot job that was cut off. Whether it
    /// is one of these.
    pub fn rests(&self, job: &Job) -> bool {
        if self.paused {
            job.rest_held();
        } else if let Some(Ended { state, error, summary }) = self.ended.clone() {
            job.rest_ended(state, error, summary);
        } else if self.definition.mode() == Mode::OneShot {
            let text = "cut off when the daemon ended; run it again".to_owned();
            job.rest_ended(JobState::Stopped, Some(text), None);
        } else {
            return false;
        }
        true
    }
}

/// The status of a job that cannot be read, with what of it can be.
pub fn unreadable(row: JobRecord, error: &WireError) -> JobStatus {
    let start = &row.definition["start"];
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let view = |side: &str| StorageView {
        backend_id: text(&start[side]["backend-id"]),
        storage_type: text(&start[side]["type"]),
        location: "unknown".to_owned(),
    };
    let why = format!(
        "it is remembered in a way that cannot be read ({error}) and does not run: stop it, then start it again"
    );
    JobStatus {
        job_id: row.job_id,
        container: text(&start["container-name"]),
        state: JobState::Error,
        error: Some(why),
        ..JobStatus::between(view("source"), view("target"))
    }
}

/// Puts the secrets that were left out back in place. Whether the manifest had them.
fn restore_secrets(start: &mut Map<String, Value>, key: &str, base_dir: &Path) -> bool {
    let name = start.get("container-name").and_then(Value::as_str).unwrap_or_default();
    let Some(Value::Object(params)) = start.get(key) else { return false };
    let before = params.clone();
    let id = params.get("backend-id").and_then(Value::as_str).unwrap_or_default();
    let Ok(manifest) = Manifest::open(base_dir, name) else { return false };
    let storage = manifest.storages.iter().find(|storage| storage.backend_id() == id);
    let restored = storage.and_then(|storage| storage.with_secrets_of(params.clone()).ok());
    // In whatever form: it may be a reference now.
    let found =
        restored.as_ref().is_some_and(|storage| storage.params() != &before && storage.missing_secrets().is_empty());
    if let Some(storage) = restored.filter(|_| found) {
        start.insert(key.to_owned(), Storage::params(&storage).clone().into());
    }
    found
}

/// Removes what is left of secrets, so that the storage can at least be shown.
fn remove_secrets(start: &mut Map<String, Value>, key: &str) {
    if let Some(Value::Object(params)) = start.get_mut(key) {
        for key in ["credentials", "password", "ssh-identity-passphrase"] {
            params.shift_remove(key);
        }
    }
}
