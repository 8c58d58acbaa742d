use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

/// Whether a path is excluded; one that ends in `/` is a directory.
fn excludes(filter: &Filter, text: &str) -> bool {
    match text.strip_suffix('/') {
        Some(dir) => filter.excludes(&path(dir), Kind::Dir),
        None => filter.excludes(&path(text), Kind::File),
    }
}

fn filter(exclude: &[&str]) -> Filter {
    Filter::new(&exclude.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

#[test]
fn the_semantics_are_those_of_gitignore() {
    let table: &[(&[&str], &[&str], &[&str])] = &[
        // patterns, excluded, not excluded
        (&[], &[], &["a", "a/b", ".wlignore"]),
        (&["# a", "", "  "], &[], &["a", "# a", " "]),
        (&["a"], &["a", "a/", "x/a", "a/b", "x/a/b"], &["b", "ab", "A"]),
        (&["/a"], &["a", "a/b"], &["x/a"]),
        (&["a/b"], &["a/b", "a/b/c"], &["x/a/b", "a", "b"]),
        (&["a/"], &["a/", "x/a/", "a/b"], &["a", "x/a"]),
        (&["*.o"], &["a.o", "x/a.o", ".o"], &["a.c", "a.o2"]),
        (&["*.o", "!keep.o"], &["a.o", "x/a.o"], &["keep.o", "x/keep.o"]),
        (&["!keep.o", "*.o"], &["keep.o"], &[]),
        (&["a", "!a/b"], &["a/", "a/b"], &[]),
        (&["a/*", "!a/b"], &["a/c"], &["a/b", "a/", "a/b/c"]),
        (&["/*", "!/a"], &["b", "b/c"], &["a", "a/b"]),
        (&["**/a"], &["a", "x/a", "x/y/a"], &["b"]),
        (&["a/**"], &["a/b", "a/b/c"], &["a/", "x/a/b"]),
        (&["a/**/b"], &["a/b", "a/x/b", "a/x/y/b"], &["b", "ab"]),
        (&["a*b"], &["ab", "axb", "x/axb"], &["a/b", "ax/b"]),
        (&["a/*/b"], &["a/x/b"], &["a/b", "a/x/y/b"]),
        (&["a?c"], &["abc"], &["a/c", "ac"]),
        (&["[ab]c", "[!x]y"], &["ac", "bc", "zy"], &["cc", "xy"]),
        (&["a[!b]c"], &["axc", "x/axc"], &["abc", "a/c"]),
        (&["[[:digit:]]"], &["1"], &["a", ":"]),
        (&["[[:punct:]]"], &["!", "-", ",", ":", "]", "~"], &["a", "1"]),
        (&["[[:punct:]x]", "[y[:punct:]]"], &["!", "-", "x", "y"], &["a"]),
        (&["[![:punct:]]"], &["a", "1"], &["!", "-", "~"]),
        (&["{a,b}"], &["{a,b}"], &["a", "b"]),
        (&["a\r", "b\\ ", "c  "], &["a", "b ", "c"], &["b", "a\r", "c  "]),
        (&["\\#a", "\\!b", "\\*"], &["#a", "!b", "*"], &["a", "b", "x"]),
        (&["*"], &["a", "a/b", "a/.wlignore", "é"], &[".wlignore"]),
        (&[".wlignore"], &[], &[".wlignore", "a/.wlignore"]),
        (&[".*"], &[".a", ".a/b"], &["a.b", ".wlignore", "a/.wlignore"]),
    ];
    for (patterns, excluded, kept) in table {
        let filter = filter(patterns);
        for text in *excluded {
            assert!(excludes(&filter, text), "{patterns:?} should exclude {text:?}");
        }
        for text in *kept {
            assert!(!excludes(&filter, text), "{patterns:?} should keep {text:?}");
        }
    }
}

#[test]
fn an_ignore_file_speaks_for_its_directory_and_a_deeper_one_overrides_it() {
    let mut filter = Filter::default();
    assert!(filter.set_ignores(&RelPath::root(), Which::Source, Some("*.o\n/top\n")));
    assert!(filter.set_ignores(&path("a/b"), Which::Source, Some("!keep.o\n/top\r\nc/\n")));
    for text in ["x.o", "a/b/x.o", "top", "a/b/top", "a/b/c/", "a/b/d/c/x"] {
        assert!(excludes(&filter, text), "{text}");
    }
    for text in ["a/b/keep.o", "a/top", "c/", "a/b/c", "a/b/.wlignore"] {
        assert!(!excludes(&filter, text), "{text}");
    }
}

#[test]
fn no_set_of_rules_takes_back_what_another_says() {
    let mut filter = filter(&["*.tmp"]);
    filter.set_ignores(&RelPath::root(), Which::Source, Some("!x.tmp\n*.o"));
    filter.set_ignores(&RelPath::root(), Which::Target, Some("!x.o\n*.bak"));
    for text in ["x.tmp", "x.o", "x.bak"] {
        assert!(excludes(&filter, text), "{text}");
    }
    let stands_in = |text| filter.excluded(&path(text), Kind::File).map(|excluded| excluded.stands_in);
    assert_eq!(stands_in("x.tmp").as_deref(), Some("exclude of the container"));
    assert_eq!(stands_in("x.o").as_deref(), Some(".wlignore on the source"));
    assert_eq!(stands_in("d/x.bak").as_deref(), Some(".wlignore on the target"));
}

#[test]
fn says_whether_an_ignore_file_changed_anything() {
    let mut filter = Filter::default();
    let dir = path("a");
    let mut set = |text| filter.set_ignores(&dir, Which::Target, text);
    assert!(!set(None) && !set(Some("")) && !set(Some("# only a comment\n")));
    assert!(set(Some("x\n")));
    assert!(!set(Some("# why\nx\n\n")));
    assert!(set(Some("x\ny")));
    assert!(set(None) && !set(None));
    assert!(filter.is_empty());
}

#[test]
fn names_the_pattern_as_it_was_written() {
    let excluded = filter(&["a", "{b} "]).excluded(&path("x/{b}/c"), Kind::File).unwrap();
    assert_eq!(excluded.pattern, "{b}");
}

#[test]
fn an_invalid_pattern_is_an_error_in_the_manifest_and_skipped_in_an_ignore_file() {
    let error = Filter::new(&["fine".to_owned(), "a[b".to_owned()]).err().unwrap();
    assert!(error.message.contains("'a[b' in exclude"), "{error}");
    let mut filter = Filter::default();
    filter.set_ignores(&path("d"), Which::Source, Some("\u{feff}x\n[z-a]\na[b\n\u{fffd}\ny\n"));
    assert!(excludes(&filter, "d/x") && excludes(&filter, "d/y") && !excludes(&filter, "d/a[b"));
    let invalid = filter.invalid(&path("d"), Which::Source);
    assert!(invalid[0].starts_with("line 2: the pattern '[z-a]' can never match: "), "{invalid:?}");
    assert!(
        invalid[1].contains("line 3") && invalid[2].contains("line 4") && invalid[2].contains("UTF-8"),
        "{invalid:?}"
    );
    assert!(invalid.len() == 3 && filter.invalid(&path("d"), Which::Target).is_empty(), "{invalid:?}");
}

#[test]
fn a_listing_leaves_out_only_what_the_container_excludes() {
    assert!(filter(&[]).prune().is_none());
    let mut filter = filter(&["a/"]);
    filter.set_ignores(&RelPath::root(), Which::Source, Some("b"));
    let prune = filter.prune().unwrap();
    assert!(prune(&path("a"), Kind::Dir) && prune(&path("a/x"), Kind::File) && !prune(&path("b"), Kind::File));
}
