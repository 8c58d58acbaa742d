//! Everything below a directory in one answer, where the server gives it truly.

use super::*;

/// How often each depth was asked for since the last time.
fn depths(proxy: &Http) -> [usize; 2] {
    let asked = proxy.take();
    ["1", "infinity"].map(|depth| asked.iter().filter(|request| request.header("depth") == Some(depth)).count())
}

const FILES: [&str; 6] = ["a-b", "a/x/deep/er", "a/x/file", "a.b/y", "z/y/x", "ü/ö"];
const LISTED: [&str; 14] = [
    "a-b",
    "a.b",
    "a.b/y",
    "a",
    "a/empty",
    "a/x",
    "a/x/deep",
    "a/x/deep/er",
    "a/x/file",
    "first",
    "z",
    "z/y",
    "z/y/x",
    "ü",
];

async fn with_files(server: Dav) -> Bench {
    let bench = Bench::on(server).await;
    for name in FILES {
        bench.server.user_write(name, b"x");
    }
    bench.server.user_mkdir("a/empty");
    bench.server.user_write(".wl-trash/1/a", b"old");
    bench.server.user_write("a/.wl-part-left", b"half");
    bench.proxy.take();
    bench
}

fn listed() -> Vec<String> {
    LISTED.iter().copied().chain(["ü/ö"]).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_asked_for_at_once() {
    for server in [servers::apache::start(), servers::lighttpd::start()] {
        let bench = with_files(server).await;
        for _ in 0..2 {
            assert_eq!(bench.list().await, listed(), "{:?}", bench.server);
            // What is shown to be empty is asked itself.
            assert_eq!(depths(&bench.proxy), [1, 1], "{:?}", bench.server);
        }
    }
}

/// sabre/dav answers such a question as if only the children had been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_shown_whole_is_not_taken_for_empty() {
    let bench = with_files(servers::sabre::start()).await;
    assert_eq!(bench.list().await, listed());
    assert!(depths(&bench.proxy)[1] > 0);
    assert_eq!(bench.list().await, listed());
    assert_eq!(depths(&bench.proxy), [9, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_no_tree() {
    let bench = with_files(servers::apache::start()).await;
    let infinite = |request: &wl_test_kit::proxy::Request| request.header("depth") == Some("infinity");
    for action in
        [Action::Truncate(2_000), Action::Close, Action::status(403), answers(200, "content-type", "text/html")]
    {
        let wanted = action.clone();
        bench.proxy.decide(move |request| if infinite(request) { wanted.clone() } else { Action::Pass });
        assert_eq!(bench.list().await, listed(), "{action:?}");
    }
    // Who refuses is not asked again.
    bench.proxy.take();
    assert_eq!(bench.list().await, listed());
    assert_eq!(depths(&bench.proxy), [9, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_asked_for_in_parts() {
    let bench = with_files(servers::apache::start()).await;
    let many = (0..5_100).map(|number| format!("many/{number:04}"));
    many.clone().for_each(|name| bench.server.user_write(name, b"x"));
    let mut expected = listed();
    let at = expected.iter().position(|name| name == "z").unwrap();
    expected.splice(at..at, std::iter::once("many".to_owned()).chain(many));
    assert_eq!(bench.list().await, expected);
    bench.proxy.take();
    assert_eq!(bench.list().await, expected);
    // The root, `many` and `a/empty`; `a`, `a.b`, `z` and `ü`.
    assert_eq!(depths(&bench.proxy), [3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_not_there_if_it_says_so_itself() {
    let bench = with_files(servers::apache::start()).await;
    let below = async |dir: &str| {
        let items = bench.storage.list(&path(dir), None).collect::<Vec<_>>().await.concat();
        let shown = items.iter().map(|item| match item {
            Listed::Entry(path, _) => path.to_string(),
            Listed::Blocked(path, _) => format!("{path}!"),
            other => panic!("{other:?}"),
        });
        shown.collect::<Vec<_>>()
    };
    assert!(below("gone").await.is_empty());
    // Not child by child.
    assert_eq!(depths(&bench.proxy), [0, 1]);
    // sabre/dav says so of everything if only one child vanishes while it looks at them.
    for (lied_of, in_a, in_all) in [
        (&["infinity"][..], &["a/empty", "a/x", "a/x/deep", "a/x/deep/er", "a/x/file"][..], listed()),
        (&["infinity", "1"], &["a!"], vec!["!".to_owned()]),
    ] {
        bench.proxy.decide(move |request| {
            let lies = request.header("depth").is_some_and(|depth| lied_of.contains(&depth));
            if lies { Action::status(404) } else { Action::Pass }
        });
        assert_eq!(below("a").await, in_a, "{lied_of:?}");
        assert_eq!(bench.list().await, in_all, "{lied_of:?}");
    }
    // The others are listed all the same.
    bench.proxy.decide(|request| match request.header("depth") {
        Some("infinity") => Action::status(404),
        Some("1") if request.path == "/dav/a/" => Action::status(404),
        _ => Action::Pass,
    });
    let mut without_a = listed();
    without_a.retain(|name| !name.starts_with("a/"));
    let at = without_a.iter().position(|name| name == "a").unwrap();
    without_a.insert(at + 1, "a!".to_owned());
    assert_eq!(bench.list().await, without_a);
    bench.proxy.decide(|_| Action::Pass);
    bench.proxy.take();
    assert_eq!(bench.list().await, listed());
    assert_eq!(depths(&bench.proxy), [1, 1], "it is asked for whole trees as before");
}
