//! A server of which nothing but its URL is known passes the suite, too: its user is another client of it. Without a server
//! that the environment names (`WL_TEST_WEBDAV=http://LOGIN:PASSWORD@HOST/PATH/`) that is one that takes after Nextcloud.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::path::{PART_PREFIX, RelPath};
use wl_test_kit::conformance::{Bench, tried};
use wl_test_kit::servers::{self, Dav, Named, PASSWORD, USER, named};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A storage whose user writes through the server.
struct Collection {
    place: Named,
    http: Client,
    storage: Arc<dyn Backend>,
    /// None where somebody else's server is used.
    server: Option<Dav>,
}

impl Collection {
    async fn fresh() -> Self {
        let (place, server) = if let Some(place) = named::fresh() {
            (place, None)
        } else {
            let server = servers::sabre::start_like_nextcloud();
            let url = format!("http://{}{}dir/", server.address(), servers::sabre::NEXTCLOUD_FILES);
            let (login, password) = (USER.to_owned(), PASSWORD.to_owned());
            (Named { url, login, password }, Some(server))
        };
        let params = json!({
            "type": "webdav", "backend-id": "dav", "url": place.url, "watcher-interval": 1,
            "credentials": {"login": place.login, "password": place.password},
        });
        let storage = wl_backend_webdav::open(&Storage::from_params(params).unwrap()).unwrap();
        storage.make_root().await.unwrap();
        let http = Client::builder().cookie_store(true).build().unwrap();
        Self { place, http, storage, server }
    }

    fn url(&self, path: &RelPath) -> Url {
        let below: Vec<_> = path.segments().map(|name| utf8_percent_encode(name, ENCODED).to_string()).collect();
        Url::parse(&format!("{}{}", self.place.url, below.join("/"))).unwrap()
    }

    fn ask(&self, method: &str, path: &RelPath) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, self.url(path)).basic_auth(&self.place.login, Some(&self.place.password))
    }

    /// Sends it until the server has time for it: Nextcloud on `SQLite` answers 503 or 500 while others write.
    async fn send(&self, ask: RequestBuilder) -> Response {
        for _ in 0..40 {
            let response = ask.try_clone().unwrap().send().await.unwrap();
            if !matches!(response.status().as_u16(), 423 | 500 | 503) {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the server has no time for {ask:?}")
    }

    async fn done(&self, ask: RequestBuilder) {
        let response = self.send(ask).await;
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
    }

    /// Whether the server takes a name and lists it.
    async fn holds(&self, name: &str) -> bool {
        let path = RelPath::parse(&format!("names tried/{name}")).unwrap();
        self.user_mkdir(&path.parent().unwrap()).await;
        let taken = self.send(self.ask("PUT", &path).body("x")).await.status().is_success();
        let listed = self.send(self.ask("PROPFIND", &path.parent().unwrap()).header("depth", "1")).await;
        let listed = listed.text().await.unwrap();
        self.user_delete(&path.parent().unwrap()).await;
        let shown = listed.split("href>").any(|href| {
            let last = href.split('<').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            percent_decode_str(last).eq(name.bytes())
        });
        taken && shown
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        if self.server.is_none() {
            block_in_place(|| Handle::current().block_on(self.user_delete(&RelPath::root())));
        }
    }
}

#[async_trait]
impl Bench for Collection {
    async fn backend(&self) -> Arc<dyn Backend> {
        tried(&self.storage).await
    }

    async fn user_write(&self, path: &RelPath, bytes: &[u8]) {
        let put = self.ask("PUT", path).body(bytes.to_vec());
        let first = self.send(put.try_clone().unwrap()).await.status();
        if matches!(first, StatusCode::CONFLICT | StatusCode::NOT_FOUND) {
            self.user_mkdir(&path.parent().unwrap()).await;
            return self.done(put).await;
        }
        assert!(first.is_success(), "{path}: {first}");
    }

    async fn user_read(&self, path: &RelPath) -> Option<Vec<u8>> {
        let response = self.send(self.ask("GET", path)).await;
        let found = response.status() == StatusCode::OK;
        found.then_some(response.bytes().await.ok()?.to_vec())
    }

    async fn user_delete(&self, path: &RelPath) {
        self.send(self.ask("DELETE", path)).await;
    }

    async fn user_mkdir(&self, path: &RelPath) {
        let mut above: Vec<_> = path.ancestors().collect();
        above.reverse();
        for dir in above.iter().chain([path]).filter(|dir| !dir.is_root()) {
            self.send(self.ask("MKCOL", dir)).await;
        }
    }

    async fn user_exists(&self, path: &RelPath) -> bool {
        self.send(self.ask("PROPFIND", path).header("depth", "0")).await.status() == StatusCode::MULTI_STATUS
    }

    async fn user_rename(&self, from: &RelPath, to: &RelPath) {
        self.done(self.ask("MOVE", from).header("destination", self.url(to).as_str())).await;
    }

    async fn remove_root(&self) -> bool {
        self.user_delete(&RelPath::root()).await;
        true
    }

    async fn leave_part(&self, dir: &RelPath) -> RelPath {
        // That of another machine's writer, long ago.
        let part = dir.join(&format!("{PART_PREFIX}1000000000-ffffffff-1-left")).unwrap();
        self.user_write(&part, b"half of it").await;
        part
    }

    fn cannot_hold(&self, name: &str) -> bool {
        if self.server.is_some() {
            return name.contains('\n') || name.starts_with('\u{feff}');
        }
        // Those that some server was met with that does not.
        let odd = name
            .contains(|char: char| char == '\\' || char.is_ascii_control() || ('\u{300}'..='\u{36f}').contains(&char))
            || name.starts_with('\u{feff}')
            || name.len() > 250;
        odd && !block_in_place(|| Handle::current().block_on(self.holds(name)))
    }

    fn leaves_gaps(&self) -> bool {
        true
    }

    fn many(&self) -> usize {
        200
    }

    fn rounds(&self) -> usize {
        4
    }
}

wl_test_kit::conformance!(Collection::fresh().await);
