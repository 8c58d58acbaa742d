//! Manifests of containers on storages of any type.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::home::Home;

/// Backend-ids, in the order of the storages of a container.
pub const IDS: [&str; 4] = [
    "aaaaaaaa-0000-4000-8000-000000000001",
    "bbbbbbbb-0000-4000-8000-000000000002",
    "cccccccc-0000-4000-8000-000000000003",
    "dddddddd-0000-4000-8000-000000000004",
];

/// The lines of a directory of this world.
pub fn local(home: &Home, dir: &str) -> Vec<String> {
    fs::create_dir_all(home.path(dir)).unwrap();
    vec!["type: local".to_owned(), format!("location: {}", home.path(dir).display())]
}

/// Writes the manifest of a container of these storages; what is not local is scanned every second.
pub fn write(home: &Home, container: &str, storages: &[&Vec<String>]) {
    let storage = |(index, lines): (usize, &&Vec<String>)| {
        let begun = format!("    - backend-id: {}\n", IDS[index]);
        let scanned = if lines[0] == "type: local" { "" } else { "      watcher-interval: 1\n" };
        lines.iter().fold(begun, |text, line| text + "      " + line + "\n") + scanned
    };
    let uuid = uuid::Uuid::new_v4();
    let storages: String = storages.iter().enumerate().map(storage).collect();
    let text = format!(
        "object: container\nversion: '1'\npaths: [/.uuid/{uuid}, /{container}]\nbackends:\n  storage:\n{storages}"
    );
    let dir = home.path("base/containers");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join(format!("{container}.container.yaml"));
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}
