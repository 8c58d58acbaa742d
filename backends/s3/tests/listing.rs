//! Listings of several pages, asked for one after the other and ahead: the same answer, for hardly more requests.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use support::{PREFIX, storage};
use wl_backend_s3::S3;
use wl_core::backend::{Backend as _, Listed, Prune};
use wl_core::entry::Kind;
use wl_core::path::RelPath;
use wl_test_kit::proxy::{Action, Answer, Http, Request};

/// Keys in one page.
const PAGE: usize = 20;

type Keys = Arc<Mutex<BTreeSet<String>>>;

/// A server that holds these keys, each an empty object, and answers nothing but ListObjectsV2.
fn serving(keys: &Keys) -> (Http, Arc<S3>) {
    let held = keys.clone();
    let proxy = Http::with("127.0.0.1:1", move |request| page(&held.lock().unwrap(), request));
    let storage = storage(&format!("http://{}", proxy.address()), "b");
    (proxy, storage)
}

/// The key that a request's page is behind, without the prefix: continuation tokens here are such keys, too.
fn behind(request: &Request) -> String {
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| ["start-after", "continuation-token"].contains(name));
    let value = values.next().map(|(_, value)| value).unwrap_or_default();
    let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
    value.strip_prefix(PREFIX).unwrap_or(&value).to_owned()
}

fn page(keys: &BTreeSet<String>, request: &Request) -> Action {
    let mut after = keys.range::<str, _>((std::ops::Bound::Excluded(&*behind(request)), std::ops::Bound::Unbounded));
    let here: Vec<&String> = after.by_ref().take(PAGE).collect();
    let next = after.next().and_then(|_| here.last()).map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |last| format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"),
    );
    let objects = here
        .iter()
        .map(|key| format!("<Contents><Key>{PREFIX}{key}</Key><Size>0</Size><ETag>&quot;e&quot;</ETag></Contents>"));
    let objects: String = objects.collect();
    let body = format!("<ListBucketResult><Name>b</Name>{next}{objects}</ListBucketResult>");
    Action::Answer(Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body })
}

async fn listed(storage: &S3, prune: Option<Prune>) -> Vec<String> {
    let items = storage.list(&RelPath::root(), prune).collect::<Vec<_>>().await.concat();
    let shown = items.iter().map(|item| match item {
        Listed::Entry(path, entry) if entry.is_dir() => format!("{path}/"),
        Listed::Entry(path, _) => path.to_string(),
        Listed::Cut(path, _) => format!("{path}..."),
        other => panic!("{other:?}"),
    });
    shown.collect()
}

fn numbered(numbers: impl Iterator<Item = usize>) -> BTreeSet<String> {
    numbers.map(|number| format!("k{number:05}")).collect()
}

/// How many requests one page after the other takes.
fn pages(keys: &Keys) -> usize {
    keys.lock().unwrap().len().div_ceil(PAGE).max(1)
}

#[tokio::test]
async fn pages_are_asked_for_ahead_where_an_earlier_listing_tells_where_they_begin() {
    for number in [195, 200, 201] {
        let keys: Keys = Arc::new(Mutex::new(numbered(0..number)));
        let (proxy, storage) = serving(&keys);
        let first = listed(&storage, None).await;
        assert_eq!((first.len(), proxy.take().len()), (number, pages(&keys)));
        for _ in 0..2 {
            assert_eq!(listed(&storage, None).await, first);
            let asked = proxy.take();
            assert_eq!(asked.len(), pages(&keys), "nothing is asked for in vain where nothing changed");
            let ahead = asked.iter().filter(|request| request.query.contains("start-after")).count();
            assert_eq!(ahead, pages(&keys) - 1, "no page waits for the one before to say where it begins");
        }
    }
}

#[tokio::test]
async fn keys_that_come_and_go_are_listed_for_hardly_more_requests() {
    let mut state = 0x9e37_79b9_u32;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let keys: Keys = Arc::new(Mutex::new(numbered((0..400).step_by(2))));
    let (proxy, storage) = serving(&keys);
    for round in 0..20 {
        let wanted: Vec<_> = keys.lock().unwrap().iter().cloned().collect();
        assert_eq!(listed(&storage, None).await, wanted, "round {round}");
        let (asked, pages) = (proxy.take().len(), pages(&keys));
        assert!(asked <= pages + 2, "round {round}: {asked} requests where {pages} would do");
        let mut keys = keys.lock().unwrap();
        let (at, many) = (random(400), [0, 1, 3, 40, 150, 400][random(6)]);
        let near = random(2) == 0;
        let some = if near { numbered(at..at + many) } else { numbered((0..many).map(|_| random(400))) };
        if random(2) == 0 {
            keys.extend(some);
        } else {
            keys.retain(|key| !some.contains(key));
        }
    }
}

#[tokio::test]
async fn a_page_that_fails_ends_the_listing_there() {
    let keys: Keys = Arc::new(Mutex::new(numbered(0..200)));
    let (proxy, storage) = serving(&keys);
    listed(&storage, None).await;
    let held = keys.clone();
    proxy.decide(move |request| {
        let fails = ("k00099"..="k00120").contains(&&*behind(request));
        if fails { Action::s3_error(403, "AccessDenied") } else { page(&held.lock().unwrap(), request) }
    });
    let mut wanted: Vec<_> = numbered(0..100).into_iter().collect();
    wanted.push("k00099...".to_owned());
    assert_eq!(listed(&storage, None).await, wanted);
}

#[tokio::test]
async fn what_is_left_out_is_not_listed_ahead_either() {
    let inner = numbered(0..300).into_iter().map(|key| format!("c/{key}"));
    let keys: Keys = Arc::new(Mutex::new(numbered(0..100).into_iter().chain(inner).collect()));
    let (proxy, storage) = serving(&keys);
    let prune: Prune = Arc::new(|path, kind| kind == Kind::Dir && path.as_str() == "c");
    let wanted: Vec<_> = numbered(0..100).into_iter().collect();
    assert_eq!(listed(&storage, Some(prune.clone())).await, wanted);
    let first = proxy.take().len();
    assert!(first <= 12, "{first}");
    assert_eq!(listed(&storage, Some(prune)).await, wanted);
    let second = proxy.take().len();
    assert!(second <= first, "{second}");
    assert_eq!(listed(&storage, None).await.len(), 401);
}
