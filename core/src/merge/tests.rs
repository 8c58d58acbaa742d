use std::fmt::Write as _;

use super::*;
use crate::entry::{Kind, Meta};

const ONE: Hash = Hash([1; 32]);
const TWO: Hash = Hash([2; 32]);
const THREE: Hash = Hash([3; 32]);
const SEEN: [Seen; 7] =
    [Seen::Absent, Seen::Dir, Seen::File(ONE), Seen::File(TWO), Seen::File(THREE), Seen::NewFile, Seen::Unknown];

fn letter(seen: Seen) -> &'static str {
    match seen {
        Seen::Absent => "-",
        Seen::Dir => "dir",
        Seen::File(ONE) => "one",
        Seen::File(TWO) => "two",
        Seen::File(_) => "three",
        Seen::NewFile => "new",
        Seen::Unknown => "?",
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "=",
        Verdict::Unknown => "?",
        Verdict::Forget => "forget",
        Verdict::Adopt => "adopt",
        Verdict::Carry(Which::Source) => "-->",
        Verdict::Carry(Which::Target) => "<--",
        Verdict::Conflict(ConflictKind::Content) => "CONTENT",
        Verdict::Conflict(ConflictKind::DeletedModified) => "DELETED",
        Verdict::Conflict(ConflictKind::Kind) => "KIND",
        Verdict::Leave => "leave",
        Verdict::Hold | Verdict::Suppressed => unreachable!("only directories with what is below them come to that"),
    }
}

fn table(out: &mut String, title: &str, base: Held, recorded: Option<[Held; 2]>, unidirectional: bool) {
    writeln!(out, "{title}").unwrap();
    write!(out, "{:>8} |", "").unwrap();
    for target in SEEN {
        write!(out, "{:>9}", letter(target)).unwrap();
    }
    writeln!(out, "   <- target").unwrap();
    for source in SEEN {
        write!(out, "{:>8} |", letter(source)).unwrap();
        for target in SEEN {
            write!(out, "{:>9}", word(decide(base, [source, target], recorded, unidirectional))).unwrap();
        }
        writeln!(out).unwrap();
    }
    writeln!(out).unwrap();
}

/// The policy, printed. A change of this file is a change of what users are promised.
#[test]
fn the_truth_table_is_the_kept_one() {
    let mut out = String::new();
    let bases = [("nothing", Held::Absent), ("a directory", Held::Dir), ("file one", Held::File(ONE))];
    for unidirectional in [false, true] {
        let way = if unidirectional { "unidirectional" } else { "both ways" };
        for (name, base) in bases {
            table(&mut out, &format!("base {name}, {way}, no conflict recorded"), base, None, unidirectional);
        }
        for (name, versions) in [
            ("two / three", [Held::File(TWO), Held::File(THREE)]),
            ("deleted / two", [Held::Absent, Held::File(TWO)]),
            ("two / deleted", [Held::File(TWO), Held::Absent]),
            ("directory / two", [Held::Dir, Held::File(TWO)]),
        ] {
            let title = format!("base file one, {way}, conflict recorded: {name}");
            table(&mut out, &title, Held::File(ONE), Some(versions), unidirectional);
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn both_ways_the_sides_are_symmetric() {
    let held = [Held::Absent, Held::Dir, Held::File(ONE), Held::File(TWO)];
    let mut recorded = vec![None];
    recorded.extend(
        held.iter()
            .flat_map(|one| held.iter().map(move |two| Some([*one, *two])))
            .filter(|v| v.is_some_and(|[a, b]| a != b)),
    );
    let mirrored = |verdict| match verdict {
        Verdict::Carry(from) => Verdict::Carry(from.other()),
        other => other,
    };
    for base in held {
        for versions in &recorded {
            for source in SEEN {
                for target in SEEN {
                    let there = decide(base, [source, target], *versions, false);
                    let swapped = versions.map(|[one, two]| [two, one]);
                    assert_eq!(mirrored(there), decide(base, [target, source], swapped, false));
                }
            }
        }
    }
}

fn row(text: &str, base: Held, seen: [Seen; 2]) -> Row {
    let path = RelPath::parse(text).unwrap();
    let (kind, hash) = match base {
        Held::File(hash) => (Kind::File, Some(hash)),
        _ => (Kind::Dir, None),
    };
    let base = (base != Held::Absent).then(|| BaseRow {
        path: path.clone(),
        kind,
        hash,
        size: 0,
        meta: Meta::default(),
        tokens: [None, None],
    });
    Row { path, base, entries: [None, None], seen, recorded: None, verdict: Verdict::Equal }
}

fn merged(mut rows: Vec<Row>) -> Vec<(String, Verdict)> {
    merge(&mut rows, false, &mut None);
    rows.into_iter().map(|row| (row.path.to_string(), row.verdict)).collect()
}

const D: Held = Held::Dir;
const F: Held = Held::File(ONE);
const N: Held = Held::Absent;

#[test]
fn a_deleted_directory_takes_only_what_is_unchanged() {
    let rows = vec![
        row("d", D, [Seen::Absent, Seen::Dir]),
        row("d/kept", F, [Seen::Absent, Seen::File(TWO)]),
        row("d/sub", D, [Seen::Absent, Seen::Dir]),
        row("d/sub/x", F, [Seen::Absent, Seen::File(ONE)]),
    ];
    let verdicts: Vec<_> = merged(rows).into_iter().map(|(_, verdict)| verdict).collect();
    let source = Verdict::Carry(Which::Source);
    assert_eq!(verdicts, [Verdict::Hold, Verdict::Conflict(ConflictKind::DeletedModified), source, source]);
}

#[test]
fn a_new_file_in_a_deleted_directory_brings_it_back() {
    let rows = vec![row("d", D, [Seen::Absent, Seen::Dir]), row("d/new", N, [Seen::Absent, Seen::NewFile])];
    let back = Verdict::Carry(Which::Target);
    assert_eq!(merged(rows), [("d".to_owned(), back), ("d/new".to_owned(), back)]);
}

#[test]
fn what_is_unknown_below_a_deleted_directory_keeps_it() {
    let rows = vec![row("d", D, [Seen::Absent, Seen::Dir]), row("d/x", F, [Seen::Absent, Seen::Unknown])];
    assert_eq!(merged(rows), [("d".to_owned(), Verdict::Hold), ("d/x".to_owned(), Verdict::Unknown)]);
}

#[test]
fn a_directory_gives_way_to_a_file_only_if_nothing_below_it_stays() {
    let unchanged = vec![row("d", D, [Seen::File(TWO), Seen::Dir]), row("d/x", F, [Seen::Absent, Seen::File(ONE)])];
    assert!(merged(unchanged).iter().all(|(_, verdict)| *verdict == Verdict::Carry(Which::Source)));
    let modified = vec![
        row("d", D, [Seen::File(TWO), Seen::Dir]),
        row("d/x", F, [Seen::Absent, Seen::File(THREE)]),
        row("d/y", F, [Seen::Absent, Seen::File(ONE)]),
        row("e", F, [Seen::File(TWO), Seen::File(ONE)]),
    ];
    let verdicts: Vec<_> = merged(modified).into_iter().map(|(_, verdict)| verdict).collect();
    let kind = Verdict::Conflict(ConflictKind::Kind);
    assert_eq!(verdicts, [kind, Verdict::Suppressed, Verdict::Suppressed, Verdict::Carry(Which::Source)]);
}

#[test]
fn nothing_at_or_under_a_conflict_of_kinds_is_touched() {
    let rows = vec![
        row("d", N, [Seen::File(TWO), Seen::Dir]),
        row("d/x", N, [Seen::Absent, Seen::NewFile]),
        row("dx", N, [Seen::Absent, Seen::NewFile]),
    ];
    let verdicts: Vec<_> = merged(rows).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, [Verdict::Conflict(ConflictKind::Kind), Verdict::Suppressed, Verdict::Carry(Which::Target)]);
}
