use super::*;
use crate::entry::{Entry, Kind, Meta, Token};

const ALL: [bool; 2] = [true, true];

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn token(of: &str) -> Token {
    Token::new(of.as_bytes())
}

/// A copy to the target; of `over`, if that is what it overwrites.
fn copy(to: &str, content: &str, over: Option<&str>) -> Step {
    let entry = Entry { kind: Kind::File, size: 1, meta: Meta::default(), token: token("source") };
    let guard = over.map_or(Guard::Absent, |_| Guard::Unchanged(token(to)));
    let (path, hash) = (path(to), Some(Hash::of(content.as_bytes())));
    Step::Copy { path, from: Which::Source, entry, hash, guard, inside: None }
}

fn remove(at: &str, content: &str) -> Step {
    let content = (Hash::of(content.as_bytes()), 1);
    Step::Remove { path: path(at), on: Which::Target, token: token(at), content }
}

/// What becomes of copies, each `to`, content and what it overwrites, and of removals: the groups, and what is left.
fn groups(can: [[bool; 2]; 2], copies: &[(&str, &str, Option<&str>)], removes: &[(&str, &str)]) -> [Vec<String>; 2] {
    let mut overwritten = Held::new();
    let over = copies.iter().filter_map(|(to, _, over)| Some((to, (*over)?)));
    let over = over.map(|(to, content)| {
        let inside = Inside { path: path(to), token: token(to), kept: None };
        ((Which::Target, Hash::of(content.as_bytes())), inside)
    });
    extend(&mut overwritten, over);
    let mut copies: Vec<_> = copies.iter().map(|(to, content, over)| copy(to, content, *over)).collect();
    let mut removes: Vec<_> = removes.iter().map(|(at, content)| remove(at, content)).collect();
    let means = Means { moves: can[0], copies: can[1], overwritten, cleared: &[] };
    let found = recognise(&mut copies, &mut removes, means);
    let left = copies.iter().chain(&removes).map(shown).collect();
    let group = |steps: &Vec<Step>| {
        let mut steps: Vec<_> = steps.iter().map(shown).collect();
        steps.sort();
        steps.join(" ")
    };
    [found.groups.iter().map(group).collect(), left]
}

fn shown(step: &Step) -> String {
    match step {
        Step::Copy { path, inside: None, .. } => format!("{path}"),
        Step::Copy { path, inside: Some(Inside { path: from, kept, .. }), .. } => {
            format!("{path}<{from}{}", if kept.is_some() { "*" } else { "" })
        }
        Step::Move { path, to, .. } => format!("{path}>{to}"),
        other => format!("-{}", other.path()),
    }
}

#[test]
fn what_is_taken_is_taken_before_it_is_overwritten() {
    let swap = [("a", "2", Some("1")), ("b", "1", Some("2"))];
    assert_eq!(groups([ALL; 2], &swap, &[]), [vec!["a<b", "b<a*"], vec![]]);
    let circle = [("a", "2", Some("1")), ("b", "3", Some("2")), ("c", "1", Some("3"))];
    assert_eq!(groups([ALL; 2], &circle, &[]), [vec!["a<b", "b<c", "c<a*"], vec![]]);
    let rotated = [("1", "new", Some("old")), ("2", "old", None), ("0", "newest", Some("new")), ("9", "x", Some("y"))];
    assert_eq!(groups([ALL; 2], &rotated, &[]), [vec!["2<1", "1<0", "0"], vec!["9"]]);
}

#[test]
fn what_vanished_is_moved_onto_nothing_or_onto_a_file() {
    let moved = [("b", "1", None), ("c", "1", None)];
    assert_eq!(groups([ALL; 2], &moved, &[("a", "1")]), [vec!["c<a", "a>b"], vec![]]);
    assert_eq!(groups([ALL; 2], &[("b", "1", Some("2"))], &[("a", "1"), ("x", "9")]), [vec!["a>b"], vec!["-x"]]);
    let chain = [("b", "1", Some("2")), ("c", "2", None)];
    assert_eq!(groups([ALL; 2], &chain, &[("a", "1")]), [vec!["c<b", "a>b"], vec![]]);
    // The one of the same name, and every one once.
    let named = [("d/x", "1", None), ("d/y", "1", None)];
    assert_eq!(groups([ALL; 2], &named, &[("y", "1"), ("x", "1")]), [vec!["x>d/x y>d/y"], vec![]]);
}

#[test]
fn a_storage_that_cannot_is_not_asked_to() {
    let none = [false; 2];
    let over = [("b", "1", Some("2"))];
    assert_eq!(groups([ALL, none], &over, &[("a", "1")]), [vec![], vec!["b", "-a"]]);
    assert_eq!(groups([none, ALL], &[("b", "1", None)], &[("a", "1")]), [vec![], vec!["b<a", "-a"]]);
}
