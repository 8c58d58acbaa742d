//! Faults at the worst moment: no version is lost, mixed with another, or taken for another.

use std::collections::BTreeMap;

use wl_core::backend::HashBy;

use super::*;

/// Apache's tags are weak for a second after a write.
pub fn is_old(at: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(at).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_mins(1)).unwrap();
}

/// Whoever writes right after a replacement takes nothing with it: what was replaced stays in the trash.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_kept_although_somebody_wrote_next() {
    for (server, size) in [
        (servers::apache::start(), 10),
        (servers::apache::start(), 9 << 20),
        (servers::lighttpd::start(), 10),
        (servers::sabre::start(), 10),
        (servers::nginx::start(), 10),
    ] {
        let bench = Bench::on(server).await;
        let at = bench.server.root().join("x");
        bench.server.user_write("x", b"old");
        is_old(&at);
        let old = bench.entry("x").await;
        let (mut written, mut raced) = (false, false);
        bench.proxy.decide(move |request| {
            if written && !raced && ["HEAD", "PROPFIND"].contains(&request.method.as_str()) && request.path == "/dav/x"
            {
                raced = true;
                let beside = at.with_file_name(".wl-part-user");
                std::fs::write(&beside, b"somebody else's").unwrap();
                std::fs::rename(&beside, &at).unwrap();
            }
            let moved_there = request.header("destination").is_some_and(|to| to.ends_with("/dav/x"));
            written |= request.method == "MOVE" && moved_there || request.method == "PUT" && request.path == "/dav/x";
            Action::Pass
        });
        let trash = path(".wl-trash/now/x");
        let content = Content::of(Bytes::from(vec![b'n'; size]), Meta::default());
        let guard = Guard::Unchanged(old.token);
        let replaced = bench.storage.replace(&path("x"), content, &guard, Some(&trash)).await;
        assert_eq!(replaced.map_err(|error| error.fault), Err(Fault::Refused), "{:?}", bench.server);
        let held = |name: &str| std::fs::read(bench.server.root().join(name)).ok();
        assert_eq!(held("x").as_deref(), Some(&b"somebody else's"[..]));
        assert_eq!(held(trash.as_str()).as_deref(), Some(&b"old"[..]), "{:?}", bench.server);
    }
}

/// A proxy that begins to answer 404 to everything has deleted nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_absent_below_a_root_that_is_gone() {
    let bench = Bench::on(servers::lighttpd::start()).await;
    bench.server.user_mkdir("d");
    assert_eq!(bench.storage.stat(&path("nothing")).await, Ok(Look::Absent), "the root has just been seen");
    bench.proxy.decide(|_| Action::status(404));
    assert_eq!(bench.storage.stat(&path("first")).await.map_err(|error| error.fault), Err(Fault::Missing));
    let listed = bench.storage.list(&path("d"), None).collect::<Vec<_>>().await.concat();
    assert!(matches!(&listed[..], [Listed::Blocked(..)]), "{listed:?}");
    bench.proxy.decide(|_| Action::Pass);
    bench.proxy.take();
    // Those who ask at once share their looks.
    let names: Vec<_> = (0..100).map(|number| path(&format!("nothing{number}"))).collect();
    let looks = futures::future::join_all(names.iter().map(|name| bench.storage.stat(name))).await;
    assert!(looks.into_iter().all(|look| look == Ok(Look::Absent)));
    let of_root = bench.proxy.count(|request| request.path == "/dav/");
    assert!((1..80).contains(&of_root), "{of_root} looks at the root");
}

/// A version that nobody expected does not go with the one that was to be deleted, although the answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_deletion_is_found_by_looking() {
    for server in [servers::apache::start(), servers::lighttpd::start(), servers::nginx::start()] {
        let bench = Bench::on(server).await;
        for (name, trash, rewritten) in [
            ("a", None, false),
            ("b", Some(path(".wl-trash/now/b")), false),
            ("c", None, true),
            ("d", Some(path(".wl-trash/now/d")), true),
        ] {
            bench.server.user_write(name, b"old");
            let at = bench.server.root().join(name);
            is_old(&at);
            let token = bench.entry(name).await.token;
            let (mut done, user) = (false, at.clone());
            bench.proxy.decide(move |request| {
                if done || request.method != "MOVE" {
                    return Action::Pass;
                }
                done = true;
                if rewritten {
                    std::fs::write(&user, b"somebody else's").unwrap();
                }
                Action::LoseAnswer
            });
            let removed = bench.storage.remove(&path(name), &token, trash.as_ref()).await;
            let kept = trash.map(|trash| std::fs::read(bench.server.root().join(trash.as_str())).is_ok());
            if rewritten {
                assert_eq!(removed.map_err(|error| error.fault), Err(Fault::Refused), "{name} {:?}", bench.server);
                assert_eq!(std::fs::read(&at).ok().as_deref(), Some(&b"somebody else's"[..]), "{name}");
                assert_ne!(kept, Some(true), "{name}");
            } else {
                assert_eq!(removed, Ok(()), "{name} {:?}", bench.server);
                assert!(!at.exists() && kept != Some(false), "{name}");
            }
        }
    }
}

/// A hash that a client may make up proves nothing; one that the server computes does.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_hash_that_the_server_computes_is_believed() {
    for (stores_claims, by) in [(true, HashBy::Read), (false, HashBy::Native)] {
        let server = servers::apache::start();
        let root = server.root().to_owned();
        let mut claims = BTreeMap::new();
        let proxy = Http::with(server.address(), move |request| {
            let claim = request.header("oc-checksum").filter(|_| stores_claims);
            let name = request.path.strip_prefix("/dav/").unwrap_or_default();
            if request.method == "PUT" {
                claims.remove(name);
                claims.extend(claim.map(|claim| (name.to_owned(), claim.to_owned())));
            }
            match std::fs::read(root.join(name)) {
                Ok(bytes) if request.method == "HEAD" => {
                    let own = || format!("SHA256:{}", Hash::of(&bytes));
                    answers(200, "oc-checksum", &claims.get(name).cloned().unwrap_or_else(own))
                }
                _ => Action::Pass,
            }
        });
        let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
        let content = Content::of(Bytes::from_static(b"x"), Meta::default());
        storage.replace(&path("x"), content, &Guard::Absent, None).await.unwrap();
        assert_eq!(storage.facts().hash, by);
    }
}

/// A server may hide more than the trial tried: what is in a removed directory is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_hides_is_not_deleted_with_its_directory() {
    let bench = Bench::on(servers::apache::start()).await;
    bench.server.user_mkdir("d");
    bench.write("d/x", b"x", &Guard::Absent).await.unwrap();
    let token = bench.entry("d/x").await.token;
    bench.storage.remove(&path("d/x"), &token, None).await.unwrap();
    // Apache lists no special files.
    let hidden = std::process::Command::new("mkfifo").arg(bench.server.root().join("d/hidden")).status().unwrap();
    assert!(hidden.success());
    assert_eq!(bench.list().await, ["d", "first"]);
    bench.storage.remove_dir(&path("d")).await.unwrap();
    assert_eq!(bench.list().await, ["first"]);
    let mut times = std::fs::read_dir(bench.server.root().join(".wl-trash")).unwrap();
    assert!(times.any(|time| time.unwrap().path().join("d/hidden").symlink_metadata().is_ok()));
}

/// A download goes on where it broke off, as long as it is the same version.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_goes_on() {
    let bench = Bench::on(servers::apache::start()).await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let at = bench.server.root().join("big");
    for rewritten in [false, true] {
        bench.server.user_write("big", &bytes);
        is_old(&at);
        bench.proxy.take();
        let (mut broken, user, other) = (false, at.clone(), vec![9; bytes.len()]);
        bench.proxy.decide(move |request| {
            if request.method != "GET" || broken {
                if rewritten && request.header("range").is_some() {
                    // Between the look and the rest.
                    std::fs::write(&user, &other).unwrap();
                }
                return Action::Pass;
            }
            broken = true;
            Action::Truncate(1000)
        });
        let expected = if rewritten { Err(Fault::Refused) } else { Ok(bytes.clone()) };
        assert!(bench.read("big").await == expected, "{rewritten}");
        let conditional = |request: &wl_test_kit::proxy::Request| {
            request.header("range") == Some("bytes=1000-") && request.header("if-match").is_some()
        };
        assert_eq!(bench.proxy.count(conditional), 1);
    }
}

/// Nothing would tell a change of it from none.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_tag_and_a_date_is_a_problem() {
    let of = |href: &str, kind: &str| {
        format!(
            "<response><href>{href}</href><propstat><prop><resourcetype>{kind}</resourcetype>\
             <getcontentlength>1</getcontentlength></prop><status>HTTP/1.1 200 OK</status></propstat></response>"
        )
    };
    let (root, file) = (of("/dav/", "<collection/>"), of("/dav/x", ""));
    let proxy = Http::with("127.0.0.1:9", move |request| {
        let told = match (request.path.as_str(), request.header("depth")) {
            ("/dav/", Some("0")) => root.clone(),
            ("/dav/", _) => format!("{root}{file}"),
            _ => file.clone(),
        };
        let body = format!("<multistatus xmlns=\"DAV:\">{told}</multistatus>");
        Action::Answer(Answer { status: 207, headers: Vec::new(), body })
    });
    let storage = storage(&format!("http://{}/dav/", proxy.address()), &login());
    let looked = storage.stat(&path("x")).await;
    assert!(matches!(&looked, Ok(Look::Blocked(obstacle)) if obstacle.message.contains("versions")), "{looked:?}");
    let listed = storage.list(&RelPath::root(), None).collect::<Vec<_>>().await.concat();
    assert!(matches!(&listed[..], [Listed::Blocked(at, _)] if *at == path("x")), "{listed:?}");
}
