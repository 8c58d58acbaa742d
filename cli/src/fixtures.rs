//! What tests begin with: a job, and a container of three storages.

use wl_core::manifest::{Manifest, Storage};
use wl_core::report::{JobState, JobStatus, StorageView};

/// A continuous job between `/a` and `/b` with nothing left to do.
pub fn job() -> JobStatus {
    let view = |id: &str, location: &str| StorageView {
        backend_id: id.to_owned(),
        storage_type: "local".into(),
        location: location.to_owned(),
    };
    JobStatus {
        job_id: "local|1".into(),
        container: "photos".into(),
        state: JobState::Synced,
        syncer: "generic".into(),
        files: 3,
        bytes: 2048,
        transferred_files: 1,
        transferred_bytes: 1024,
        ..JobStatus::between(view("aaaaaaaa-1", "/a"), view("bbbbbbbb-2", "/b"))
    }
}

/// The container of that job, with a third storage.
pub fn container() -> Manifest {
    let storage = |(id, location): (&str, &str)| {
        let params = serde_json::json!({"type": "local", "backend-id": id, "location": location});
        Storage::from_params(params).unwrap()
    };
    Manifest {
        file: "/photos.container.yaml".into(),
        name: "photos".into(),
        owner: None,
        uuid: "1".into(),
        title: None,
        paths: Vec::new(),
        storages: [("aaaaaaaa-1", "/a"), ("bbbbbbbb-2", "/b"), ("cccccccc-3", "/c")].map(storage).into(),
        exclude: Vec::new(),
        max_delete: 50,
        keep_deleted: 30,
    }
}
