use super::*;
use crate::entry::{Hash, Token};

const TERMS: Terms = Terms {
    read_only: [false; 2],
    moves: [false; 2],
    copies: [false; 2],
    unidirectional: false,
    mtime_resolution_ns: Some(1_000_000_000),
    modes: true,
};

fn at(time: Option<&str>, mode: u32) -> Meta {
    Meta { mtime: time.map(|time| time.parse().unwrap()), mode: Some(mode) }
}

/// The target holds another time than the source, as both know. What is set where, of what each side has, given
/// whether it is another version of the same content than in the base.
fn set(source: (Meta, bool), target: (Meta, bool)) -> Option<(Which, Meta)> {
    set_from(at(None, 0o644), source, target)
}

/// The same where this is what they had in common.
fn set_from(meta: Meta, source: (Meta, bool), target: (Meta, bool)) -> Option<(Which, Meta)> {
    let (path, hash) = (RelPath::parse("x").unwrap(), Hash::of(b"x"));
    let [old, new] = [b"old", b"new"].map(|token| Token::new(token));
    let entry = |(meta, is_new)| {
        let token = if is_new { &new } else { &old }.clone();
        Some(Entry { kind: Kind::File, size: 1, meta, token })
    };
    let tokens = [Some(old.clone()), Some(old.clone())];
    let base = Some(BaseRow { path: path.clone(), kind: Kind::File, hash: Some(hash), size: 1, meta, tokens });
    let (entries, seen) = ([entry(source), entry(target)], [Seen::File(hash); 2]);
    let row = Row { path, base, entries, seen, recorded: None, verdict: Verdict::Equal };
    match plan(&[row], &TERMS).groups.concat().pop() {
        Some(Step::SetMeta { on, meta, .. }) => Some((on, meta)),
        _ => None,
    }
}

#[test]
fn a_time_that_was_never_in_common_travels_from_where_it_was_set() {
    let (then, now) = (at(Some("1950-01-02T03:04:05Z"), 0o644), at(Some("2026-01-02T03:04:05Z"), 0o644));
    assert_eq!(set((then, false), (now, false)), None);
    assert_eq!(set((then, true), (now, false)), Some((Which::Target, then)));
    assert_eq!(set((then, false), (now, true)), Some((Which::Source, now)));
    assert_eq!(set((then, true), (now, true)), None, "nobody knows which");
    let private = Meta { mode: Some(0o600), ..now };
    assert_eq!(set((then, false), (private, false)), Some((Which::Source, at(None, 0o600))), "a mode travels alone");
}

/// As a server that takes no mode, or two copies that were never given each other's.
#[test]
fn a_mode_that_was_never_in_common_travels_only_where_it_was_set() {
    let time = at(Some("2026-01-02T03:04:05Z"), 0);
    let with = |mode| Meta { mode, ..time };
    let (base, private, public) = (with(None), with(Some(0o600)), with(Some(0o777)));
    assert_eq!(set_from(base, (private, false), (public, false)), None);
    assert_eq!(set_from(base, (private, false), (public, true)), Some((Which::Source, public)));
    let later = |meta: Meta| Meta { mtime: at(Some("2026-02-02T03:04:05Z"), 0).mtime, ..meta };
    let touched = set_from(base, (private, false), (later(public), true));
    assert_eq!(touched, Some((Which::Source, Meta { mode: None, ..later(public) })), "a touch brings its time alone");
}

#[test]
fn a_time_that_a_side_holds_another_one_for_is_nobodys() {
    let (terms, at) = (TERMS, |time| at(time, 0o644));
    let (given, now) = (Some("1950-01-02T03:04:05.6Z"), Some("2026-01-02T03:04:05Z"));
    for (given, held, both) in [
        (given, now, None),
        (given, Some("1950-01-02T03:04:05Z"), given),
        (given, None, given),
        (None, now, now),
        (None, None, None),
    ] {
        assert_eq!(terms.alike(at(given), &at(held)), at(both), "{given:?} {held:?}");
    }
    let timeless = Terms { mtime_resolution_ns: None, ..terms };
    assert_eq!(timeless.alike(at(given), &at(now)), at(given), "a side that keeps no times says nothing of them");
    let other = Meta { mode: Some(0o600), ..at(given) };
    assert_eq!(terms.alike(at(given), &other), Meta { mode: None, ..at(given) }, "so is a mode");
    let modeless = Terms { modes: false, ..terms };
    assert_eq!(modeless.alike(at(given), &other), at(given));
}
