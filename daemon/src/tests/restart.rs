//! What a daemon knows after another one ended.

use std::time::Duration;

use serde_json::{Value, json};
use wl_core::state::{JobRecord, State};

use super::kit::{Daemon, eventually, job, once, places};

#[tokio::test]
async fn a_continuous_job_goes_on_and_a_held_one_stays_held() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let mut args = job("idle");
    args["exclude"] = json!(["*.tmp"]);
    args["allow-deletes"] = json!(true);
    wire.call("start", args).await;
    wire.call("start", job("held")).await;
    wire.call("pause", json!({ "job-id": "local|held" })).await;
    wire.call("start", job("gone")).await;
    wire.call("stop", json!({ "job-id": "local|gone" })).await;

    let daemon = Daemon::within(daemon.end().await).await;
    let mut wire = daemon.connect().await;
    wire.until("idle", "SYNCED").await;
    assert_eq!(wire.until("held", "STOPPED").await["paused"], true);
    assert_eq!(wire.status("gone").await, None);
    wire.call("resume", json!({ "job-id": "local|held" })).await;
    wire.until("held", "SYNCED").await;
}

#[tokio::test]
async fn a_one_shot_job_is_listed_as_it_ended_or_as_cut_off() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", once("idle")).await;
    for name in ["ends", "fails"] {
        wire.call("start", once(name)).await;
    }
    wire.until("ends", "SYNCED").await;
    wire.until("fails", "ERROR").await;

    let daemon = Daemon::within(daemon.end().await).await;
    let mut wire = daemon.connect().await;
    let cut_off = wire.until("idle", "STOPPED").await;
    assert_eq!(cut_off["error"], "cut off when the daemon ended; run it again");
    assert_eq!(wire.until("ends", "SYNCED").await["summary"]["copied"], 3);
    assert_eq!(wire.until("fails", "ERROR").await["error"], "the storage is gone");
    assert_eq!(daemon.rooms.running(), 0);
    wire.call("start", once("idle")).await;
    wire.call("stop", json!({ "job-id": "local|idle" })).await;
    assert_eq!(wire.status("idle").await, None);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_listed_until_it_is_stopped() {
    let dir = Daemon::new().await.end().await;
    let (state, _) = State::open(&places(&dir).state_dir).unwrap();
    let definition = json!({ "start": { "container-name": "odd", "job-id": "local|odd" } });
    state.save_job(&JobRecord { job_id: "local|odd".to_owned(), definition, paused: false }).unwrap();
    drop(state);

    let daemon = Daemon::within(dir).await;
    let mut wire = daemon.connect().await;
    let status = wire.until("odd", "ERROR").await;
    assert!(status["error"].as_str().unwrap().contains("cannot be read") && status["container"] == "odd", "{status}");
    assert_eq!(wire.call("job-state", json!({ "job-id": "local|odd" })).await[0], 5);
    wire.call("stop", json!({ "job-id": "local|odd" })).await;
    assert_eq!(wire.status("odd").await, None);
    let daemon = Daemon::within(daemon.end().await).await;
    assert_eq!(daemon.connect().await.status("odd").await, None);
}

#[tokio::test]
async fn a_start_that_waits_for_a_secret_does_not_pass_the_end() {
    let daemon = Daemon::new().await;
    let (mut starting, mut ending) = (daemon.connect().await, daemon.connect().await);
    let asked = daemon.dir.path().join("asked");
    let command = format!("touch {}; sleep 1; echo x", asked.display());
    starting.ask("start", secret_job(&json!({ "command": command })), 1).await;
    eventually(async || asked.exists().then_some(())).await;
    ending.call("shutdown", json!({})).await;
    // As long as the command takes, and some.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(daemon.rooms.running(), 0);
}

fn secret_job(password: &Value) -> Value {
    let mut args = job("secret");
    args["target"] = json!({
        "type": "webdav", "backend-id": "two", "url": "https://dav.example.org/me/",
        "credentials": { "login": "me", "password": password },
    });
    args
}

#[tokio::test]
async fn a_variable_is_the_clients_and_is_missed_after_a_restart() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let mut args = secret_job(&json!({ "env": "WL_TEST_NO_SUCH_VARIABLE" }));
    let (_, desc) = wire.fails("start", args.clone()).await;
    assert!(desc.contains("WL_TEST_NO_SUCH_VARIABLE") && desc.contains("two"), "{desc}");
    args["env"] = json!({ "WL_TEST_NO_SUCH_VARIABLE": "sesame" });
    wire.call("start", args.clone()).await;
    wire.until("secret", "SYNCED").await;

    let dir = daemon.end().await;
    let kept = kept_bytes(&places(&dir).state_dir);
    assert!(!kept.windows(6).any(|bytes| bytes == b"sesame"));
    let daemon = Daemon::within(dir).await;
    let mut wire = daemon.connect().await;
    let waiting = wire.until("secret", "RUNNING").await;
    let text =
        eventually(async || wire.status("secret").await.and_then(|status| status["error"].as_str().map(str::to_owned)))
            .await;
    assert!(text.contains("WL_TEST_NO_SUCH_VARIABLE") && text.contains("two"), "{text} {waiting}");
    wire.call("start", args).await;
    wire.until("secret", "SYNCED").await;
}

#[tokio::test]
async fn an_inline_secret_is_not_kept_and_taken_from_the_manifest_again() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", secret_job(&json!("sesame"))).await;
    wire.until("secret", "SYNCED").await;

    let dir = daemon.end().await;
    assert!(!kept_bytes(&places(&dir).state_dir).windows(6).any(|bytes| bytes == b"sesame"));
    let daemon = Daemon::within(dir).await;
    let mut wire = daemon.connect().await;
    let status = wire.until("secret", "ERROR").await;
    assert!(status["error"].as_str().unwrap().contains("start the job again"), "{status}");

    // Until its manifest is mended it is in nobody's way.
    let mut other = secret_job(&json!("sesame"));
    other["job-id"] = json!("local|secret|two");
    wire.call("start", other).await;
    write_secret_manifest(&daemon, &json!("sesame"));
    eventually(async || {
        let status = wire.status("secret").await?;
        status["error"].as_str().filter(|error| error.contains("already running")).map(drop)
    })
    .await;
    assert_eq!(daemon.rooms.running(), 1);
    wire.call("stop", json!({ "job-id": "local|secret|two" })).await;
    wire.until("secret", "SYNCED").await;

    // One that is held can be let go, too, once the manifest has the secret.
    wire.call("pause", json!({ "job-id": "local|secret" })).await;
    let manifest = places(&daemon.dir).containers_dir.join("secret.container.yaml");
    std::fs::remove_file(&manifest).unwrap();
    let daemon = Daemon::within(daemon.end().await).await;
    let mut wire = daemon.connect().await;
    assert!(wire.fails("resume", json!({ "job-id": "local|secret" })).await.1.contains("manifest"));
    write_secret_manifest(&daemon, &json!("sesame"));
    wire.call("resume", json!({ "job-id": "local|secret" })).await;
    wire.until("secret", "SYNCED").await;

    // A secret that has become a reference is one all the same.
    let at = daemon.dir.path().join("secret");
    std::fs::write(&at, "sesame").unwrap();
    write_secret_manifest(&daemon, &json!({ "file": at }));
    let daemon = Daemon::within(daemon.end().await).await;
    daemon.connect().await.until("secret", "SYNCED").await;
}

/// A manifest of the container of [`secret_job`].
fn write_secret_manifest(daemon: &Daemon, password: &Value) {
    let manifest = json!({
        "object": "container", "version": "1", "paths": ["/.uuid/secret"],
        "backends": { "storage": [job("secret")["source"], secret_job(password)["target"]] },
    });
    let containers = places(&daemon.dir).containers_dir;
    std::fs::create_dir_all(&containers).unwrap();
    std::fs::write(containers.join("secret.container.yaml"), manifest.to_string()).unwrap();
}

/// Every byte of every file in a directory.
fn kept_bytes(dir: &std::path::Path) -> Vec<u8> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.flat_map(|file| std::fs::read(file).unwrap()).collect()
}
