//! Manifests and configuration that are wrong: refused, naming file, line and key.

use std::fs;

use crate::home::{Home, Pair};

fn refused(pair: &Pair, container: &str, a: &str, b: &str, words: &[&str]) {
    pair.write_manifest(container, a, b);
    for args in [&["container", "show", "c"][..], &["container", "sync", "c", "--one-shot"]] {
        let ran = pair.home.expect(2, args);
        ran.says(&["c.container.yaml"]);
        ran.says(words);
    }
}

#[test]
fn what_the_schema_does_not_know_is_named_with_its_line() {
    let pair = Pair::new();
    refused(&pair, "surprise: 1", "", "", &["surprise", "4"]);
    refused(&pair, "max-delete: 101", "", "", &["max-delete", "4"]);
    refused(&pair, "exclude: 5", "", "", &["exclude"]);
    refused(&pair, "", "watcher-interval: often", "", &["watcher-interval"]);
    refused(&pair, "", "readonly: true", "", &["readonly"]);
    refused(&pair, "", "", "bandwidth-limit: fast", &["bandwidth-limit"]);
    refused(&pair, "max-delete: 1\nmax-delete: 2", "", "", &["max-delete"]);
}

#[test]
fn storages_that_clash_are_refused() {
    let pair = Pair::new();
    let file = pair.home.path("base/containers/c.container.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let b = pair.home.text("b");
    for (from, to, word) in [
        (crate::home::pair::B.to_owned(), crate::home::pair::A.to_owned(), "backend-id"),
        (b.clone(), pair.home.text("a"), "same place"),
        (b.clone(), pair.home.text("a/below"), "inside"),
        (b.clone(), format!("{}/../a", pair.home.text("b")), "same place"),
    ] {
        fs::write(&file, text.replace(&from, &to)).unwrap();
        pair.home.expect(2, &["container", "sync", "c"]).says(&[word, "c.container.yaml"]);
    }
    // A link to the other storage is the other storage.
    std::os::unix::fs::symlink(pair.home.path("a"), pair.home.path("link")).unwrap();
    fs::write(&file, text.replace(&b, &pair.home.text("link"))).unwrap();
    assert_ne!(pair.home.wl(&["container", "sync", "c", "--one-shot"]).code, 0);
}

#[test]
fn a_wildland_header_is_accepted() {
    let pair = Pair::new();
    let file = pair.home.path("base/containers/c.container.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("signature: |\n  0xaaa:xyz\n---\nowner: '0xaaa'\ntitle: photos\n{text}")).unwrap();
    pair.write("a/f", "1");
    pair.sync(0, &[]);
    assert_eq!(pair.read("b/f"), "1");
    pair.home.ok(&["container", "sync", "c"]);
    assert!(pair.job()["job_id"].as_str().unwrap().starts_with("0xaaa|"), "{}", pair.job());
}

#[test]
fn a_wrong_configuration_is_named() {
    let home = Home::new();
    fs::write(home.path("base/config.yaml"), "transfers: 4\nsurprise: 1\n").unwrap();
    home.expect(2, &["status"]).says(&["config.yaml", "surprise", "2"]);
    fs::write(home.path("base/config.yaml"), "transfers: many\n").unwrap();
    home.expect(2, &["container", "list"]).says(&["config.yaml", "transfers"]);
    fs::write(home.path("base/config.yaml"), "").unwrap();
    home.ok(&["container", "list"]);
}
