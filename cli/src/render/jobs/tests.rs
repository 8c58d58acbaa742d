use anstream::adapter::strip_str;
use wl_core::report::ProblemKind;

use super::*;
use crate::fixtures::job;

fn views() -> [StorageView; 2] {
    let JobStatus { source, target, .. } = job();
    [source, target]
}

fn conflict() -> ConflictView {
    let since = "2026-01-31T12:00:00.5Z".parse().unwrap();
    ConflictView { path: "a/b".into(), kind: ConflictKind::DeletedModified, since }
}

fn problem() -> Problem {
    let message = "a link: left alone".to_owned();
    Problem { path: "l".into(), storage: "bbbbbbbb-2".into(), kind: ProblemKind::Skipped, message }
}

fn shown(text: &str) -> String {
    strip_str(&crate::render::harmless(text)).to_string()
}

#[test]
fn a_calm_job_is_one_line() {
    assert_eq!(
        shown(&status(&[job()])),
        "CONTAINER  STATE   SOURCE       TARGET  MODE        SYNCER   FILES  SIZE     CONFLICTS  PROBLEMS\n\
         photos     SYNCED  /a      <->  /b      continuous  generic  3      2.0 KiB  0          0\n"
    );
    assert_eq!(status(&[]), "Nothing is being synced.\n");
}

#[test]
fn what_is_open_is_told_at_length() {
    let busy = JobStatus {
        state: JobState::Running,
        paused: true,
        unidirectional: true,
        pending: 2,
        rate_bytes_per_s: 512,
        eta_s: Some(61),
        current: vec!["big".into()],
        conflicts: vec![conflict()],
        problems: vec![problem()],
        error: Some("the server is away".into()),
        ..job()
    };
    let text = shown(&status(&[busy]));
    let (table, details) = text.split_once("\n\n").unwrap();
    assert!(table.contains("RUNNING (paused)") && table.contains(" ->  "), "{table}");
    assert_eq!(
        details,
        "photos: /a -> /b:\n  \
         error: the server is away\n  \
         1 file (1.0 KiB) transferred, 2 steps pending, 512 B/s, 1 min 1 s left\n  \
         transferring big\n  \
         conflict: a/b: deleted on one side, modified on the other, since 2026-01-31 12:00:00Z\n  \
         skipped: l on /b (bbbbbbbb): a link: left alone\n"
    );
}

#[test]
fn a_summary_counts_files_and_lists_what_is_open() {
    let mut one = Summary {
        state: JobState::Synced,
        copied: 2,
        deleted: 1,
        moved: 0,
        adopted: 0,
        bytes: 3 << 20,
        seconds: 1.25,
        conflicts: Vec::new(),
        problems: Vec::new(),
    };
    assert_eq!(shown(&summary(&one, &views())), "Done: 2 files copied, 1 file deleted; 3.0 MiB in 1.2 s\n");
    (one.copied, one.deleted, one.bytes) = (0, 0, 0);
    one.problems.push(problem());
    let text = shown(&summary(&one, &views()));
    assert!(text.starts_with("Done: nothing to do; 0 B in 1.2 s\n0 open conflicts, 1 problem\n  skipped: l"), "{text}");
    one.state = JobState::Error;
    assert!(shown(&summary(&one, &views())).starts_with("Not finished: "));
}

#[test]
fn a_plan_has_one_line_an_action() {
    let action = |action, path: &str, from: Option<&str>, to: Option<&str>| PlannedAction {
        action,
        path: path.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        bytes: 10,
        reason: "why".into(),
    };
    let (a, b) = (Some("aaaaaaaa-1"), Some("bbbbbbbb-2"));
    let actions = [
        action(Action::Copy, "f", a, b),
        action(Action::Delete, "g", a, b),
        action(Action::Mkdir, "d", a, b),
        action(Action::Move, "y", Some("x"), Some("y")),
        action(Action::Conflict, "c", None, None),
        action(Action::Skip, "s", None, None),
    ];
    assert_eq!(
        shown(&plan(&actions, &views())),
        "copy      f  (10 B) to /b (bbbbbbbb): why\n\
         delete    g  on /b (bbbbbbbb): why\n\
         mkdir     d/  on /b (bbbbbbbb): why\n\
         move      x -> y: why\n\
         conflict  c: why\n\
         skip      s: why\n"
    );
    assert_eq!(plan(&[], &views()), "Nothing to do.\n");
}
