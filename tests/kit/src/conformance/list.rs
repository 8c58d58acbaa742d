//! Listing.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use wl_core::backend::{Guard, Listed};
use wl_core::entry::Kind;
use wl_core::error::{Error, Fault};
use wl_core::path::RelPath;

use super::{Bench, below, content, create, does_not_apply, holds, listed, names, path};

/// Names that a storage, a protocol or a careless client could stumble over.
const NASTY: &[&str] = &[
    " leading",
    "trailing ",
    "two  spaces",
    "per%cent",
    "per%20cent",
    "100%",
    "%2e%2e",
    "%2F",
    "hash#",
    "question?",
    "amp&ersand",
    "plus+",
    "semi;colon",
    "co,mma",
    "col:on",
    "equals=",
    "at@",
    "dollar$",
    "tilde~",
    "~",
    "star*",
    "back\\slash",
    "\"double\"",
    "'single'",
    "`tick`",
    "<angle>",
    "[square]",
    "{curly}",
    "(round)",
    "pi|pe",
    "caret^",
    "excl!",
    "new\nline",
    "tab\there",
    "return\r",
    "bell\u{7}",
    "esc\u{1b}[31m",
    "del\u{7f}",
    ".dot",
    "..twodots",
    "...",
    "trailing.",
    "-dash",
    "--double",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{4e16}\u{754c}",
    "\u{41f}\u{440}",
    "\u{1f980}",
    "\u{200b}zero",
    "\u{feff}bom",
    "\u{2028}sep",
    "CON",
    "nul.txt",
    "UPPER",
    "upper",
    "&amp;",
    "<a>&b;",
    ".wl-trashcan",
    ".wlignore",
];

pub async fn an_empty_storage_lists_nothing(bench: &dyn Bench) {
    assert_eq!(listed(&bench.backend().await, &RelPath::root()).await, []);
}

pub async fn lists_in_byte_order(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for name in ["d/a", "d/a-b", "d/a.txt", "d/a0", "d/B", "e/a/b", "e/a/b-c", "e/a/b0/x", "e/a-b", "e/a.txt", "e/a0"] {
        bench.user_write(&path(name), name.as_bytes()).await;
    }
    let order = [
        "d/", "d/B", "d/a", "d/a-b", "d/a.txt", "d/a0", "e/", "e/a-b", "e/a.txt", "e/a/", "e/a/b", "e/a/b-c",
        "e/a/b0/", "e/a/b0/x", "e/a0",
    ];
    assert_eq!(names(&backend, "").await, order);
}

pub async fn lists_only_below_the_directory_asked_for(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for name in ["d/x", "d/sub/y", "d-e/z", "d.txt", "e", "d0/z"] {
        bench.user_write(&path(name), b"x").await;
    }
    assert_eq!(names(&backend, "d").await, ["d/sub/", "d/sub/y", "d/x"]);
    assert_eq!(names(&backend, "d/sub").await, ["d/sub/y"]);
}

pub async fn a_missing_directory_lists_as_empty(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("nowhere2/x"), b"x").await;
    assert_eq!(listed(&backend, &path("nowhere")).await, []);
    assert_eq!(listed(&backend, &path("no/where")).await, []);
}

pub async fn lists_empty_directories(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_mkdir(&path("empty")).await;
    bench.user_mkdir(&path("outer/inner")).await;
    assert_eq!(names(&backend, "").await, ["empty/", "outer/", "outer/inner/"]);
}

pub async fn leaves_out_what_is_pruned(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for name in ["keep/x", "drop/x", "drop/deep/y", "drop.txt", "keep/drop/x"] {
        bench.user_write(&path(name), b"x").await;
    }
    let prune = Arc::new(|path: &RelPath, kind: Kind| kind == Kind::Dir && path.name() == "drop");
    let items = backend.list(&RelPath::root(), Some(prune)).collect::<Vec<_>>().await.concat();
    let names: Vec<_> = items.iter().map(super::key).collect();
    // Leaving out is allowed, not demanded, of the directory itself; nothing below it may be mistaken for all there is.
    let kept: Vec<_> = names.iter().filter(|name| !name.windows(5).any(|part| part == b"drop/")).collect();
    assert_eq!(kept, [&b"drop.txt"[..], b"keep/", b"keep/x"]);
}

pub async fn hides_parts_and_trash(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("d/x"), b"x").await;
    bench.leave_part(&path("d")).await;
    bench.leave_part(&RelPath::root()).await;
    bench.user_write(&path(".wl-trash/1/x"), b"old").await;
    if bench.cannot_hold(".wl-trash") {
        assert_eq!(names(&backend, "").await, ["d/", "d/x"]);
    } else {
        bench.user_write(&path("d/.wl-trash/x"), b"a user's own").await;
        assert_eq!(names(&backend, "").await, ["d/", "d/.wl-trash/", "d/.wl-trash/x", "d/x"]);
    }
    assert_eq!(names(&backend, ".wl-trash").await, [".wl-trash/1/", ".wl-trash/1/x"]);
}

pub async fn lists_many_files_once_each(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let many = bench.many();
    let name = |number: usize| format!("many/{:02}/{number:05}", number % 7);
    stream::iter(0..many)
        .for_each_concurrent(16, |number| async move { bench.user_write(&path(&name(number)), b"x").await })
        .await;
    let mut order: Vec<_> = (0..many).map(name).chain((0..7).map(|dir| format!("many/{dir:02}/"))).collect();
    order.push("many/".to_owned());
    order.sort();
    assert_eq!(names(&backend, "").await, order);
}

pub async fn holds_nasty_names(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let longest = "x".repeat(255);
    let all = || NASTY.iter().copied().chain([longest.as_str()]);
    bench.user_mkdir(&path("names")).await;
    // At once: where tokens have whole seconds, each read of a new file waits for the next one.
    let backend = &backend;
    stream::iter(all())
        .for_each_concurrent(16, |name| async move {
            let path = below(&path("names"), name);
            if bench.cannot_hold(name) {
                says_that_it_cannot_hold(bench, &path).await;
                return;
            }
            create(backend, &path, name.as_bytes()).await;
            holds(bench, &path, name.as_bytes()).await;
        })
        .await;
    let held =
        all().filter(|name| !bench.cannot_hold(name)).map(|name| below(&path("names"), name).as_str().to_owned());
    let mut order: Vec<_> = held.collect();
    order.sort();
    assert_eq!(names(backend, "names").await, order);
    stream::iter(&order)
        .for_each_concurrent(16, |name| async move {
            let path = path(name);
            let there = super::entry(backend, &path).await;
            let removed = backend.remove(&path, &there.token, None).await;
            removed.unwrap_or_else(|error| panic!("removing {path:?}: {error}"));
            assert!(!bench.user_exists(&path).await, "{path:?}");
        })
        .await;
}

pub async fn holds_nasty_directory_names(bench: &dyn Bench) {
    let backend = bench.backend().await;
    let mut order = vec!["dirs/".to_owned()];
    bench.user_mkdir(&path("dirs")).await;
    for name in NASTY.iter().filter(|name| !bench.cannot_hold(name)) {
        let dir = below(&path("dirs"), name);
        backend.make_dir(&dir, &wl_core::entry::Meta::default()).await.unwrap_or_else(|e| panic!("{dir:?}: {e}"));
        let file = below(&dir, name);
        bench.user_write(&file, name.as_bytes()).await;
        assert_eq!(names(&backend, dir.as_str()).await, [file.as_str()]);
        order.extend([format!("{dir}/"), file.as_str().to_owned()]);
    }
    order.sort();
    assert_eq!(names(&backend, "").await, order);
}

async fn says_that_it_cannot_hold(bench: &dyn Bench, path: &RelPath) {
    let refusal = bench.backend().await.replace(path, content(b"x"), &Guard::Absent, None).await;
    assert!(matches!(refusal, Err(Error { fault: Fault::Malformed, .. })), "{path:?}: {refusal:?}");
    println!("cannot hold {:?}", path.name());
}

pub async fn what_cannot_be_listed_is_blocked(bench: &dyn Bench) {
    let backend = bench.backend().await;
    for name in ["a/x", "secret/x", "secret/deep/y", "z"] {
        bench.user_write(&path(name), b"x").await;
    }
    if !bench.make_unreadable(&path("secret")).await {
        return does_not_apply("no directory can be made unreadable here");
    }
    let items = listed(&backend, &RelPath::root()).await;
    let shown = items.iter().map(|item| match item {
        Listed::Entry(path, _) => path.to_string(),
        Listed::Blocked(path, _) => format!("{path}!"),
        other => format!("{other:?}"),
    });
    assert_eq!(shown.collect::<Vec<_>>(), ["a", "a/x", "secret", "secret!", "z"]);
    let inside = listed(&backend, &path("secret")).await;
    assert!(matches!(&inside[..], [Listed::Blocked(at, _)] if *at == path("secret")), "{inside:?}");
}

pub async fn what_is_no_file_is_blocked(bench: &dyn Bench) {
    let backend = bench.backend().await;
    bench.user_write(&path("a"), b"x").await;
    if !bench.user_special(&path("b")).await {
        return does_not_apply("there is nothing but files and directories here");
    }
    bench.user_write(&path("c"), b"x").await;
    let items = listed(&backend, &RelPath::root()).await;
    assert!(matches!(&items[..], [_, Listed::Blocked(at, _), _] if *at == path("b")), "{items:?}");
    assert!(matches!(backend.stat(&path("b")).await, Ok(wl_core::backend::Look::Blocked(_))));
}
