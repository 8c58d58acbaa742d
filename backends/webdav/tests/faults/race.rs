//! A plain HTTP client writes the same file while it is replaced, a little later in each round.

use std::collections::BTreeMap;

use reqwest::Client;
use reqwest::header::{ETAG, IF_MATCH};

use super::versions::is_old;
use super::*;

/// What came of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// wl was refused, and the other's version is there.
    Refused,
    /// The other was refused, and wl's version is there.
    KeptOut,
    /// The other's version is there, written over wl's after that was seen to be there; or wl could tell what became of its
    /// own, and said that it failed.
    Overwritten,
    /// wl's version is there, and the other's, which its writer was told is there, is nowhere.
    Lost,
}

/// Rounds: a few, or as many as the environment says.
fn rounds() -> u32 {
    std::env::var("WL_RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

/// Races, and counts how they ended. `stale`: the other names the version that it saw.
async fn race(server: &Dav, stale: bool) -> BTreeMap<End, u32> {
    let storage = storage(server.url(), &login());
    let http = Client::new();
    let mut ends = BTreeMap::new();
    // The first goes unraced: so long does a replacement take.
    let mut usual = Duration::ZERO;
    for round in 0..=rounds() {
        let name = format!("stale{stale}{round}");
        let [old, mine, others] = ["old", "mine", "somebody else's"].map(|text| format!("{text} {round}").into_bytes());
        server.user_write(&name, &old);
        is_old(&server.root().join(&name));
        let Ok(Look::Entry(entry)) = storage.stat(&path(&name)).await else { panic!("{name} is not there") };
        let ask = |method| http.request(method, format!("{}{name}", server.url())).basic_auth(USER, Some(PASSWORD));
        let seen = ask(reqwest::Method::HEAD).send().await.unwrap();
        let mut put = ask(reqwest::Method::PUT).body(others.clone());
        if let Some(etag) = seen.headers().get(ETAG).filter(|_| stale) {
            put = put.header(IF_MATCH, etag);
        }
        let delay = (round > 0).then(|| usual * (round - 1) / rounds());
        let other = tokio::spawn(async move {
            match delay {
                Some(delay) => {
                    tokio::time::sleep(delay).await;
                    put.send().await.unwrap().status().is_success()
                }
                None => false,
            }
        });
        let trash = path(&format!(".wl-trash/now/{name}"));
        let content = Content::of(Bytes::from(mine.clone()), Meta::default());
        let begun = Instant::now();
        let replaced = storage.replace(&path(&name), content, &Guard::Unchanged(entry.token), Some(&trash)).await;
        let took = begun.elapsed();
        let written = other.await.unwrap();
        if round == 0 {
            replaced.unwrap();
            usual = took;
            continue;
        }
        let held = |name: &str| std::fs::read(server.root().join(name)).unwrap_or_default();
        let (there, kept) = (held(&name), held(trash.as_str()));
        let end = match (&replaced, written) {
            (Err(error), true) if there == others => {
                assert_eq!(error.fault, Fault::Refused, "{error}");
                End::Refused
            }
            (Ok(_), false) if there == mine => End::KeptOut,
            (Ok(_), true) if there == others => End::Overwritten,
            (_, true) if there == mine && kept != others => End::Lost,
            other => panic!("{other:?} {:?} {:?}", String::from_utf8(there), String::from_utf8(kept)),
        };
        // What was there before is kept, or it was the other who wrote over it.
        assert!(kept == old || end == End::Refused, "{end:?} {:?}", String::from_utf8(kept));
        *ends.entry(end).or_default() += 1;
    }
    println!("{} stale {stale}, {} rounds of {usual:?}: {ends:?}", server.server().dir().display(), rounds());
    ends
}

/// They check a condition, or a lock, and then act: see `Facts::windows`. Almost every race ends well, and each ends with one of both
/// versions, whole, and the old one kept.
#[tokio::test(flavor = "multi_thread")]
async fn little_is_lost_where_a_server_looks_and_then_acts() {
    for server in
        [servers::apache::start(), servers::lighttpd::start(), servers::sabre::start(), servers::nginx::start()]
    {
        for stale in [true, false] {
            let lost = race(&server, stale).await.get(&End::Lost).copied().unwrap_or_default();
            assert!(lost <= rounds() / 5, "{lost} lost on {server:?}");
        }
    }
}
