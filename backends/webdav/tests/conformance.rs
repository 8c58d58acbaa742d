//! Four servers, which heed very different things, pass the suite that every backend passes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use wl_core::backend::Backend;
use wl_core::error::Fault;
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};
use wl_test_kit::conformance::{Bench, tried};
use wl_test_kit::servers::{self, Dav, PASSWORD, USER};

/// A storage whose user writes past the server, straight to its disk.
struct Collection {
    server: Dav,
    storage: Arc<dyn Backend>,
    nature: Nature,
}

/// What a case must know of a server.
#[derive(Clone, Copy)]
struct Nature {
    cannot_hold: fn(&str) -> bool,
    hides_dotfiles: bool,
    leaves_gaps: bool,
    /// It lists a directory that it may not read as an empty one, and nothing else it says tells the two apart.
    hides_unreadable: bool,
    /// It remembers for a second what it knew of a file: its users put new files in place of old ones.
    remembers: bool,
    many: usize,
    rounds: usize,
}

const USUAL: Nature = Nature {
    cannot_hold: |_| false,
    hides_dotfiles: false,
    leaves_gaps: false,
    hides_unreadable: false,
    remembers: false,
    many: 2_000,
    rounds: 20,
};

impl Collection {
    fn on(server: Dav, nature: Nature) -> Self {
        let storage = open(server.url());
        Self { server, storage, nature }
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.server.root().join(path.as_str())
    }
}

fn open(url: &str) -> Arc<dyn Backend> {
    let params = json!({
        "type": "webdav", "backend-id": "dav", "url": url, "credentials": {"login": USER, "password": PASSWORD},
    });
    wl_backend_webdav::open(&Storage::from_params(params).unwrap()).unwrap()
}

#[async_trait]
impl Bench for Collection {
    async fn backend(&self) -> Arc<dyn Backend> {
        tried(&self.storage).await
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        if self.nature.remembers && self.at(path).is_file() {
            let beside = self.server.root().parent().unwrap().join("new");
            fs::write(&beside, bytes).unwrap();
            fs::rename(beside, self.at(path)).unwrap();
        } else {
            self.server.user_write(path.as_str(), bytes);
        }
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
        self.server.user_mkdir(path.as_str());
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    async fn make_unreadable(&self, dir: &RelPath) -> bool {
        if self.nature.hides_unreadable {
            return false;
        }
        fs::set_permissions(self.at(dir), fs::Permissions::from_mode(0o000)).unwrap();
        true
    }

    async fn remove_root(&self) -> bool {
        // Away at once: the storage may be writing there, which no deletion from inside outruns.
        let (root, away) = (self.server.root(), self.server.root().with_extension("gone"));
        fs::rename(root, &away).unwrap();
        fs::remove_dir_all(&away).unwrap();
        true
    }

    async fn leave_part(&self, dir: &RelPath) -> RelPath {
        // That of another machine's writer, long ago.
        let name = format!("1000000000-ffffffff-1-left{}", dir.segments().count());
        let part = if self.nature.hides_dotfiles {
            format!("{PART_PREFIX}all/{name}")
        } else {
            format!("{PART_PREFIX}{name}")
        };
        let part = if self.nature.hides_dotfiles { RelPath::parse(&part).unwrap() } else { dir.join(&part).unwrap() };
        self.user_write(&part, b"half of it").await;
        part
    }

    fn cannot_hold(&self, name: &str) -> bool {
        (self.nature.cannot_hold)(name) || self.nature.hides_dotfiles && name.starts_with('.')
    }

    fn leaves_gaps(&self) -> bool {
        self.nature.leaves_gaps
    }

    fn many(&self) -> usize {
        self.nature.many
    }

    fn rounds(&self) -> usize {
        self.nature.rounds
    }
}

mod apache {
    use super::*;

    wl_test_kit::conformance!(Collection::on(servers::apache::start(), USUAL));
}

mod lighttpd {
    use super::*;

    // It takes no control characters in a URL.
    const NATURE: Nature =
        Nature { cannot_hold: |name| name.chars().any(|char| char.is_ascii_control()), remembers: true, ..USUAL };

    wl_test_kit::conformance!(Collection::on(servers::lighttpd::start(), NATURE));
}

mod nginx {
    use super::*;

    const NATURE: Nature = Nature { hides_dotfiles: true, ..USUAL };

    wl_test_kit::conformance!(Collection::on(servers::nginx::start(), NATURE));
}

mod sabre {
    use super::*;

    const NATURE: Nature = Nature {
        cannot_hold: |name| name.contains('\n') || name.starts_with('\u{feff}'),
        leaves_gaps: true,
        hides_unreadable: true,
        many: 500,
        rounds: 8,
        ..USUAL
    };

    wl_test_kit::conformance!(Collection::on(servers::sabre::start(), NATURE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_made_in_a_collection_that_is_there() {
    let servers =
        [servers::apache::start(), servers::lighttpd::start(), servers::nginx::start(), servers::sabre::start()];
    for server in servers {
        let below = |path: &str| open(&format!("{}/{path}", server.url().trim_end_matches('/')));
        let (near, far) = (below("new/"), below("none/new/"));
        assert_eq!(far.can_make_root().await.unwrap_err().fault, Fault::Missing, "{}", server.url());
        assert_eq!(far.can_make_root().await, far.make_root().await, "{}", server.url());
        assert_eq!(near.can_make_root().await, Ok(()), "{}", server.url());
        assert_eq!(near.root().await.unwrap_err().fault, Fault::Missing, "to ask makes none");
        assert_eq!(near.make_root().await, Ok(()), "{}", server.url());
    }
}
