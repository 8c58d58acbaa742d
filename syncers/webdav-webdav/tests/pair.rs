//! Two collections of one WebDAV server come to the same end as with the generic syncer, on servers that heed different
//! things, and nothing is sent to the server that it has.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::json;
use wl_core::backend::Backend;
use wl_core::job::Which;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_syncer_webdav_webdav::WebDavWebDav;
use wl_test_kit::conformance::Bench;
use wl_test_kit::pairs::{self, World};
use wl_test_kit::proxy::{Http, Request};
use wl_test_kit::servers::{self, Dav, PASSWORD, USER};

const TYPES: [&str; 2] = ["webdav", "webdav"];

/// A collection of a server, whose user writes past the server, straight to its disk.
struct Collection {
    server: &'static Dav,
    name: String,
    storage: Arc<dyn Backend>,
}

impl Collection {
    /// A fresh one, reached at an address.
    fn on(server: &'static Dav, address: &str) -> Box<dyn Bench> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.user_mkdir(&name);
        let params = json!({
            "type": "webdav", "backend-id": "dav", "url": format!("http://{address}/dav/{name}/"),
            "credentials": {"login": USER, "password": PASSWORD},
        });
        let storage = wl_backend_webdav::open(&Storage::from_params(params).unwrap()).unwrap();
        Box::new(Self { server, name, storage })
    }

    fn below(&self, path: &RelPath) -> String {
        format!("{}/{path}", self.name)
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.server.root().join(self.below(path))
    }
}

#[async_trait]
impl Bench for Collection {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.storage.clone()
    }

    /// By a new file in place of the old one: lighttpd remembers for a second what it knew of a file.
    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        if !self.at(path).is_file() {
            return self.server.user_write(self.below(path), bytes);
        }
        let beside = self.server.root().parent().unwrap().join(format!("new-{}", self.name));
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.at(path)).unwrap();
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        fs::read(self.at(path)).ok()
    }

    async fn user_delete(&self, path: &RelPath) {
        let at = self.at(path);
        if at.is_dir() {
            fs::remove_dir_all(at).unwrap();
        } else if at.exists() {
            fs::remove_file(at).unwrap();
        }
    }

    async fn user_mkdir(&self, path: &RelPath) {
        self.server.user_mkdir(self.below(path));
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }
}

fn apache() -> &'static Dav {
    static SERVER: OnceLock<Dav> = OnceLock::new();
    SERVER.get_or_init(servers::apache::start)
}

fn lighttpd() -> &'static Dav {
    static SERVER: OnceLock<Dav> = OnceLock::new();
    SERVER.get_or_init(servers::lighttpd::start)
}

fn nginx() -> &'static Dav {
    static SERVER: OnceLock<Dav> = OnceLock::new();
    SERVER.get_or_init(servers::nginx::start)
}

fn sabre() -> &'static Dav {
    static SERVER: OnceLock<Dav> = OnceLock::new();
    SERVER.get_or_init(servers::sabre::start)
}

fn two(server: &'static Dav) -> [Box<dyn Bench>; 2] {
    [(); 2].map(|()| Collection::on(server, server.address()))
}

mod on_apache {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, WebDavWebDav, two(apache());
        a_first_contact, edits_and_deletions, no_deletion_is_lost_in_a_copy, the_source_changes_meanwhile,
        the_source_vanishes_meanwhile, the_target_changes_meanwhile);
}

/// It heeds no condition on what a MOVE replaces: what is written in the round trip between the last look and the MOVE is
/// replaced, as its facts say, so that only what is written before is held to be safe.
mod on_lighttpd {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, WebDavWebDav, two(lighttpd());
        the_target_changes_before);
}

mod on_nginx {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, WebDavWebDav, two(nginx());
        edits_and_deletions);
}

mod on_sabre {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, WebDavWebDav, two(sabre());
        the_target_changes_before);
}

fn sends_content(request: &Request) -> bool {
    request.method == "PUT" && request.header("content-length").is_some_and(|length| length.len() > 6)
}

/// The requests for one content of some megabytes.
async fn asked(proxies: [&Http; 2]) -> usize {
    let ends = proxies.map(|proxy| Collection::on(apache(), &proxy.address()));
    let world = World::new(TYPES, ends).await;
    let (at, bytes) = (RelPath::parse("d/f").unwrap(), pairs::noise(4 << 20, 1));
    world.user(Which::Source).user_write(&at, &bytes).await;
    let (summary, monitor) = world.once(&WebDavWebDav).await;
    assert_eq!((summary.copied, monitor.status().transferred_bytes), (1, 4 << 20));
    assert!(world.user(Which::Target).user_read(&at).await == Some(bytes));
    proxies[1].count(sends_content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_is_not_sent() {
    let proxy = Http::start(apache().address());
    assert_eq!(asked([&proxy, &proxy]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_server_to_another() {
    let proxies = [(); 2].map(|()| Http::start(apache().address()));
    assert_eq!(asked([&proxies[0], &proxies[1]]).await, 1);
}
