//! What wl tells about itself: the shapes of `--json` and of the control socket's structured answers.

use jiff::Timestamp;

use crate::entry::Hash;

/// Why something is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Not a regular file or directory.
    Skipped,
    /// A name that the other side cannot hold, or that cannot be written down.
    Name,
    /// It could not be listed or read.
    Unreadable,
    /// The storage forbids it.
    Denied,
    /// The storage has no room.
    Full,
    /// The storage asks for patience, or the file keeps changing.
    Busy,
    /// The storage cannot be reached.
    Offline,
    /// The storage is only read.
    ReadOnly,
    /// Anything else.
    Failed,
}

/// Something that cannot be synced now, listed until it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The path, as well as it can be shown.
    pub path: String,
    /// The backend-id of the storage it is on.
    pub storage: String,
    /// The kind.
    pub kind: ProblemKind,
    /// What happened and what to do next.
    pub message: String,
}

/// What two versions disagree in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictKind {
    /// Both were created or modified, with different content.
    Content,
    /// One was deleted, the other modified.
    DeletedModified,
    /// One is a file, the other a directory.
    Kind,
}

/// A path that the user must decide about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Conflict {
    /// The path.
    pub path: String,
    /// What the versions disagree in.
    pub kind: ConflictKind,
    /// The backend-ids, the source's first.
    pub storages: [String; 2],
    /// The sha256 of each version, none where it is absent or a directory.
    pub hashes: [Option<Hash>; 2],
    /// When it was first seen.
    pub since: Timestamp,
}

/// One storage of a job, as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorageView {
    /// The backend-id.
    pub backend_id: String,
    /// `local`, `s3`, `sftp` or `webdav`.
    #[serde(rename = "type")]
    pub storage_type: String,
    /// Where it is, without secrets.
    pub location: String,
}

/// A job's state. The numbers are those of the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Not running: stopped, cut off or held.
    Stopped = 1,
    /// Continuous, with changes pending.
    Running = 2,
    /// Nothing is left to do.
    Synced = 3,
    /// The first full pass.
    OneShot = 4,
    /// Needs the user, or a root to come back.
    Error = 5,
}

impl JobState {
    /// The number on the control socket.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The two ways to run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Until stopped.
    Continuous,
    /// Once.
    OneShot,
}

/// An open conflict in a job's status.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConflictView {
    /// The path.
    pub path: String,
    /// What the versions disagree in.
    pub kind: ConflictKind,
    /// When it was first seen.
    pub since: Timestamp,
}

/// One job, as `wl status --json` and the command `jobs` print it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JobStatus {
    /// `owner|container-uuid`, with `|backend-id` where one of several.
    pub job_id: String,
    /// The container's name.
    pub container: String,
    /// The state.
    pub state: JobState,
    /// Continuous or one-shot.
    pub mode: Mode,
    /// Whether only the source's changes travel.
    pub unidirectional: bool,
    /// Whether it is held.
    pub paused: bool,
    /// The syncer that runs it.
    pub syncer: String,
    /// The source.
    pub source: StorageView,
    /// The target.
    pub target: StorageView,
    /// Files both sides are known to agree on.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files transferred since the job began.
    pub transferred_files: u64,
    /// Bytes transferred since the job began.
    pub transferred_bytes: u64,
    /// Steps planned and not yet done.
    pub pending: u64,
    /// Bytes a second now.
    pub rate_bytes_per_s: u64,
    /// Seconds left at that rate, none while unknown.
    pub eta_s: Option<u64>,
    /// What is being transferred.
    pub current: Vec<String>,
    /// Open conflicts.
    pub conflicts: Vec<ConflictView>,
    /// What cannot be synced.
    pub problems: Vec<Problem>,
    /// What it waits for or failed with.
    pub error: Option<String>,
    /// What a one-shot job has done once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

impl JobStatus {
    /// A job between two storages of which nothing is known yet: stopped, continuous, in both directions.
    pub fn between(source: StorageView, target: StorageView) -> Self {
        Self {
            job_id: String::new(),
            container: String::new(),
            state: JobState::Stopped,
            mode: Mode::Continuous,
            unidirectional: false,
            paused: false,
            syncer: String::new(),
            source,
            target,
            files: 0,
            bytes: 0,
            transferred_files: 0,
            transferred_bytes: 0,
            pending: 0,
            rate_bytes_per_s: 0,
            eta_s: None,
            current: Vec::new(),
            conflicts: Vec::new(),
            problems: Vec::new(),
            error: None,
            summary: None,
        }
    }
}

/// What a run has done: `sync --one-shot --json`. The first four are counts of files.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// How it ended.
    pub state: JobState,
    /// Files copied.
    pub copied: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Files moved inside a storage.
    pub moved: u64,
    /// Files found equal on both sides without a base.
    pub adopted: u64,
    /// Bytes transferred.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Open conflicts.
    pub conflicts: Vec<ConflictView>,
    /// What could not be synced.
    pub problems: Vec<Problem>,
}

/// What a plan would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Copy a file over.
    Copy,
    /// Delete a file.
    Delete,
    /// Make a directory.
    Mkdir,
    /// Remove a directory.
    Rmdir,
    /// Move a file inside a storage; `from` and `to` are paths.
    Move,
    /// Nothing: the user decides.
    Conflict,
    /// Nothing: it cannot be synced.
    Skip,
}

/// One line of a plan: `sync --dry-run --json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PlannedAction {
    /// What would be done.
    pub action: Action,
    /// The path it is done to.
    pub path: String,
    /// The backend-id the content comes from; for a move the path it moves from.
    pub from: Option<String>,
    /// The backend-id of the storage that changes; for a move the path it moves to.
    pub to: Option<String>,
    /// Bytes that would be transferred.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// A path that two storages hold differently.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// The path.
    pub path: String,
    /// The source's sha256, none if absent there.
    pub source: Option<Hash>,
    /// The target's sha256, none if absent there.
    pub target: Option<Hash>,
}

/// `verify --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Verification {
    /// Files read and compared.
    pub checked: u64,
    /// What differs.
    pub differences: Vec<Difference>,
    /// What could not be compared.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// One thing done to a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// `copied`, `moved`, `deleted`, `adopted`, `resolved`, `conflict`, `restored`.
    pub action: String,
    /// The path.
    pub path: String,
    /// The backend-id it came from; for a move the path it moved from.
    pub from: Option<String>,
    /// The backend-id of the storage that changed; for a move the path it moved to.
    pub to: Option<String>,
    /// The sha256 of the content.
    pub hash: Option<Hash>,
    /// Its bytes.
    pub bytes: u64,
}

/// One version of a path, in words and figures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// `absent`, `file`, `dir` or `unknown`.
    pub kind: String,
    /// The sha256 of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// Bytes of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Timestamp>,
}

/// `explain --json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Explanation {
    /// The path.
    pub path: String,
    /// The backend-ids of the source and the target.
    pub storages: [String; 2],
    /// What both agreed on last.
    pub base: Version,
    /// The source now.
    pub source: Version,
    /// The target now.
    pub target: Version,
    /// The pattern that excludes it, and where it stands.
    pub excluded_by: Option<String>,
    /// What the next pass would do.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// The last things done to it, the newest first.
    pub history: Vec<HistoryEntry>,
}

/// Why something is in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrashReason {
    /// Another version took its place.
    Overwritten,
    /// It was deleted on the other side.
    Deleted,
}

/// Something kept: `trash list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TrashEntry {
    /// The path it had.
    pub path: String,
    /// The backend-id of the storage that keeps it.
    pub storage: String,
    /// When it was overwritten or deleted.
    pub at: Timestamp,
    /// Its sha256.
    pub hash: Hash,
    /// Its bytes.
    pub bytes: u64,
    /// Why.
    pub reason: TrashReason,
}

/// `trash list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TrashList {
    /// What is kept, the newest first.
    pub entries: Vec<TrashEntry>,
    /// What could not be looked at: there may be more.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// `trash empty --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TrashEmptied {
    /// Files that are kept no longer.
    pub removed: u64,
    /// What could not be removed.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// What one storage of a container can do: `doctor --json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorageProbe {
    /// The backend-id.
    pub backend_id: String,
    /// The type.
    #[serde(rename = "type")]
    pub storage_type: String,
    /// Where it is.
    pub location: String,
    /// Whether it answered.
    pub reachable: bool,
    /// What it can do, by trying it; none where it was not reachable.
    pub capabilities: Option<crate::backend::Facts>,
    /// What the user should know.
    pub problems: Vec<String>,
}
