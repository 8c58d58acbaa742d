//! Who hears what.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::kit::{Daemon, Wire, job};

fn with_events(name: &str, types: &[&str]) -> Value {
    let mut args = job(name);
    args["active-events"] = json!(types);
    args
}

async fn states(wire: &mut Wire, until: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != until) {
        let (kind, value) = wire.event().await;
        assert_eq!(kind, "state");
        all.push(value);
    }
    all
}

async fn hears_nothing(wire: &mut Wire) {
    assert!(timeout(Duration::from_millis(100), wire.event()).await.is_err());
}

#[tokio::test]
async fn the_starter_hears_its_job_and_nobody_else() {
    let daemon = Daemon::new().await;
    let (mut starter, mut other) = (daemon.connect().await, daemon.connect().await);
    starter.ask("start", job("idle"), 1).await;
    assert_eq!(states(&mut starter, "SYNCED").await, ["ONE_SHOT", "SYNCED"]);
    other.ask("stop", json!({ "job-id": "local|idle" }), 2).await;
    assert_eq!(states(&mut starter, "STOPPED").await, ["STOPPED"]);
    assert_eq!(other.receive().await.unwrap()["id"], 2);
    hears_nothing(&mut other).await;
}

#[tokio::test]
async fn a_filter_holds_for_one_connection_and_can_be_changed() {
    let daemon = Daemon::new().await;
    let (mut starter, mut subscriber) = (daemon.connect().await, daemon.connect().await);
    starter.call("start", with_events("idle", &["error"])).await;
    subscriber.call("subscribe", json!({ "job-id": "local|idle", "active-events": ["state"] })).await;
    subscriber.until("idle", "SYNCED").await;
    subscriber.call("test-error", json!({ "job-id": "local|idle" })).await;
    assert_eq!(starter.event().await, ("error".into(), "Test sync exception".into()));
    hears_nothing(&mut starter).await;

    let all = json!({ "job-id": "local|idle", "active-events": [] });
    assert_eq!(starter.call("active-events", all).await, Value::Null);
    subscriber.ask("stop", json!({ "job-id": "local|idle" }), 2).await;
    assert_eq!(starter.event().await, ("state".into(), "STOPPED".into()));
    assert_eq!(
        starter.fails("active-events", json!({ "job-id": "local|idle", "active-events": [] })).await.0,
        "JobError"
    );
    assert_eq!(starter.fails("subscribe", json!({ "job-id": "local|idle" })).await.0, "JobError");
}

#[tokio::test]
async fn a_client_that_sends_no_more_still_hears() {
    use tokio::io::AsyncWriteExt;
    let daemon = Daemon::new().await;
    let (mut starter, mut subscriber) = (daemon.connect().await, daemon.connect().await);
    starter.call("start", job("idle")).await;
    starter.until("idle", "SYNCED").await;
    subscriber.ask("subscribe", json!({ "job-id": "local|idle" }), 1).await;
    subscriber.stream.shutdown().await.unwrap();
    assert_eq!(subscriber.receive().await.unwrap(), json!({ "result": null, "id": 1 }));
    starter.call("stop", json!({ "job-id": "local|idle" })).await;
    assert_eq!(subscriber.event().await, ("state".into(), "STOPPED".into()));
}

#[tokio::test]
async fn a_client_that_never_reads_holds_up_nobody() {
    let daemon = Daemon::new().await;
    let mut deaf = daemon.connect().await;
    deaf.ask("start", job("chatty"), 1).await;
    let mut other = daemon.connect().await;
    other.until("chatty", "ONE_SHOT").await;
    // More events than any buffer on the way holds.
    tokio::time::sleep(Duration::from_millis(300)).await;
    other.call("start", job("idle")).await;
    other.until("idle", "SYNCED").await;
    other.call("stop", json!({ "job-id": "local|chatty" })).await;
    assert_eq!(other.status("chatty").await, None);
}

#[tokio::test]
async fn long_commands_hold_up_no_later_ones_and_end_with_their_client() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let mut args = job("idle");
    args.as_object_mut().unwrap().remove("continuous");
    wire.ask("verify", args.clone(), 1).await;
    wire.ask("status", json!({}), 2).await;
    assert_eq!(wire.answer().await["id"], 2);
    // Without an id it must be waited for; the client is missed all the same.
    wire.send(format!("{}\n\n", json!({ "cmd": "verify", "args": args }))).await;
    drop(wire);
    daemon.end().await;
}
