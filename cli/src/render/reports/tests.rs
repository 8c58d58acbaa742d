use anstream::adapter::strip_str;
use jiff::Timestamp;
use wl_core::entry::Hash;
use wl_core::report::{ConflictKind, Difference, ProblemKind, TrashEntry};

use super::*;

fn views() -> [StorageView; 2] {
    [("aaaaaaaa-1", "/a"), ("bbbbbbbb-2", "/b")].map(|(id, location)| StorageView {
        backend_id: id.to_owned(),
        storage_type: "local".into(),
        location: location.to_owned(),
    })
}

fn noon() -> Timestamp {
    "2026-01-31T12:00:00.5Z".parse().unwrap()
}

fn shown(text: &str) -> String {
    strip_str(&crate::render::harmless(text)).to_string()
}

#[test]
fn a_conflict_shows_both_versions() {
    let conflict = Conflict {
        path: "a/b".into(),
        kind: ConflictKind::DeletedModified,
        storages: ["aaaaaaaa-1".into(), "bbbbbbbb-2".into()],
        hashes: [None, Some(Hash::of(b""))],
        since: noon(),
    };
    assert_eq!(
        shown(&conflicts(std::slice::from_ref(&conflict), &[], &views())),
        "a/b: deleted on one side, modified on the other, since 2026-01-31 12:00:00Z\n  \
         no file       /a (aaaaaaaa)\n  \
         e3b0c44298fc  /b (bbbbbbbb)\n"
    );
    let kinds = Conflict { kind: ConflictKind::Kind, path: "a\u{1b}[31m\nb".into(), ..conflict };
    let text = shown(&conflicts(&[kinds], &[], &views()));
    assert!(text.starts_with("a\\u{1b}[31m\\nb: a file on one side"), "{text}");
    assert!(text.contains("\n  directory     /a (aaaaaaaa)\n"), "{text}");
    assert_eq!(conflicts(&[], &[], &views()), "No conflicts.\n");
}

#[test]
fn a_verification_says_what_differs() {
    let mut found = Verification { checked: 2, ..Verification::default() };
    assert_eq!(shown(&verification(&found, &views())), "OK: 2 files read on both sides and equal\n");
    found.differences.push(Difference { path: "x".into(), source: Some(Hash::of(b"")), target: None });
    assert_eq!(
        shown(&verification(&found, &views())),
        "DIFFERS  SOURCE        TARGET\nx        e3b0c44298fc  -\n2 files read on both sides, 1 difference\n"
    );
}

#[test]
fn an_explanation_says_base_sides_and_why() {
    let none = || Version { kind: "absent".into(), hash: None, size: None, mtime: None };
    let file = Version { kind: "file".into(), hash: Some(Hash::of(b"")), size: Some(0), mtime: Some(noon()) };
    let found = Explanation {
        path: "x".into(),
        storages: ["aaaaaaaa-1".into(), "bbbbbbbb-2".into()],
        base: none(),
        source: file,
        target: none(),
        excluded_by: Some("*.tmp (exclude)".into()),
        verdict: "nothing".into(),
        reason: "it is excluded".into(),
        history: Vec::new(),
    };
    let text = explanation(&found, &views());
    let expected = format!(
        "x: /a (aaaaaaaa) and /b (bbbbbbbb)\n  base     absent\n  source   file, 0 B, 2026-01-31 12:00:00Z, sha256 {}\n  target   absent\n  \
         excluded by *.tmp (exclude)\n  next: nothing (it is excluded)\n",
        Hash::of(b"")
    );
    assert_eq!(text, expected);
}

#[test]
fn the_trash_shows_times_that_restore_takes() {
    let entry = TrashEntry {
        path: "x".into(),
        storage: "bbbbbbbb-2".into(),
        at: noon(),
        hash: Hash::of(b""),
        bytes: 5,
        reason: TrashReason::Deleted,
    };
    let mut list = TrashList { entries: vec![entry], problems: Vec::new() };
    assert_eq!(
        trash(&list, &views()),
        "PATH  WHEN                    WHY      SIZE  ON\n\
         x     2026-01-31T12:00:00.5Z  deleted  5 B   /b (bbbbbbbb)\n"
    );
    list = TrashList::default();
    assert_eq!(trash(&list, &views()), "The trash is empty.\n");
    let (path, storage) = (String::new(), "bbbbbbbb-2".into());
    list.problems.push(Problem { path, storage, kind: ProblemKind::Offline, message: "no answer".into() });
    assert_eq!(
        shown(&trash(&list, &views())),
        "Nothing in the trash as far as it could be looked at.\noffline: /b (bbbbbbbb): no answer\n"
    );
}

#[test]
fn history_has_a_line_an_entry() {
    let entry = HistoryEntry {
        at: noon(),
        action: "copied".into(),
        path: "x".into(),
        from: Some("aaaaaaaa-1".into()),
        to: None,
        hash: Some(Hash::of(b"")),
        bytes: 5,
    };
    assert_eq!(
        history(&[entry], &views()),
        "WHEN                  WHAT    PATH  FROM           TO  SHA256        SIZE\n\
         2026-01-31 12:00:00Z  copied  x     /a (aaaaaaaa)  -   e3b0c44298fc  5 B\n"
    );
}
