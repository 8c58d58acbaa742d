//! The commands that need nothing, and the demo.

use crate::home::{Home, Ran};

#[test]
fn the_version_names_the_types_compiled_in() {
    let home = Home::new();
    let ran = Ran::of(&mut home.bare(&["--version"]));
    assert!(ran.code == 0 && ran.stdout.starts_with("wl ") && ran.stdout.contains("local"), "{}", ran.stdout);
}

#[test]
fn completions_and_the_manual_are_printed() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ok(&["completions", shell]).stdout.contains("list-conflicts"), "{shell}");
    }
    let page = home.ok(&["man"]).stdout;
    assert!(page.contains(".TH wl"), "{page}");
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    let home = Home::new();
    for (base_dir, place) in [("", home.path("home/.config/wildland")), ("base", home.base())] {
        let ran = Ran::of(home.bare(&["container", "show", "c"]).env("WL_BASE_DIR", base_dir));
        assert_eq!(ran.code, 2);
        ran.says(&["there is no container `c`", place.to_str().unwrap()]);
    }
}

#[test]
fn status_starts_no_daemon() {
    let home = Home::new();
    assert_eq!(home.json(&["status"]), serde_json::json!({ "jobs": [] }));
    assert!(home.daemon().is_none());
    home.ok(&["daemon", "stop"]);
}

#[test]
fn the_demo_does_what_it_tells_and_cleans_up() {
    let home = Home::new();
    let mut demo = home.bare(&["demo"]);
    let ran = Ran::of(demo.env("TMPDIR", home.path("run")));
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("conflict"), "{}", ran.stdout);
    assert_eq!(std::fs::read_dir(home.path("run")).unwrap().count(), 0, "it cleans up");
}
