//! What is done to jobs.

use serde_json::{Value, json};

use super::kit::{Daemon, eventually, job, once};

fn id(name: &str) -> Value {
    json!({ "job-id": format!("local|{name}") })
}

#[tokio::test]
async fn a_continuous_job_runs_until_it_is_stopped() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let sentence = wire.call("start", job("idle")).await;
    assert_eq!(sentence, "syncing container idle: local /nowhere/idle/one <-> local /nowhere/idle/two, continuously");
    let status = wire.until("idle", "SYNCED").await;
    assert_eq!((&status["syncer"], &status["mode"]), (&json!("by-name"), &json!("continuous")));
    assert_eq!(wire.call("job-state", id("idle")).await[0], 3);
    let lines = wire.call("status", json!({})).await;
    assert!(lines[0].as_str().unwrap().starts_with("idle SYNCED local /nowhere/idle/one <-> "), "{lines}");

    let (class, desc) = wire.fails("start", job("idle")).await;
    assert!(class == "JobError" && desc.contains("already running"), "{desc}");

    assert_eq!(wire.call("stop", id("idle")).await, "sync for job local|idle stopped");
    assert_eq!(daemon.rooms.running(), 0);
    assert_eq!(wire.call("job-state", id("idle")).await, Value::Null);
    assert_eq!(wire.call("jobs", json!({})).await, json!({ "jobs": [] }));
    assert_eq!(wire.fails("stop", id("idle")).await.0, "JobError");
}

#[tokio::test]
async fn a_one_shot_job_ends_stays_listed_and_gives_way() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", once("ends")).await;
    let status = wire.until("ends", "SYNCED").await;
    assert_eq!((&status["summary"]["copied"], &status["error"]), (&json!(3), &Value::Null));
    assert_eq!(wire.fails("pause", id("ends")).await.0, "JobError");
    wire.call("start", once("ends")).await;
    wire.until("ends", "SYNCED").await;
    wire.call("stop", id("ends")).await;
    assert_eq!(wire.status("ends").await, None);
}

#[tokio::test]
async fn who_clears_an_ended_job_stops_no_other_in_its_place() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let cleared = json!({ "job-id": "local|ends", "only-ended": true });
    wire.call("start", once("ends")).await;
    wire.until("ends", "SYNCED").await;
    wire.call("stop", cleared.clone()).await;
    assert_eq!(wire.fails("stop", cleared).await.0, "JobError");

    wire.call("start", job("idle")).await;
    wire.until("idle", "SYNCED").await;
    let (class, desc) = wire.fails("stop", json!({ "job-id": "local|idle", "only-ended": true })).await;
    assert!(class == "JobError" && desc.contains("not ended"), "{desc}");
    assert_eq!(daemon.rooms.running(), 1);
}

#[tokio::test]
async fn a_pair_has_one_job_under_whatever_id() {
    let daemon = Daemon::new().await;
    let (mut one, mut two) = (daemon.connect().await, daemon.connect().await);
    let mut same = job("idle");
    same["job-id"] = json!("local|idle|two");
    one.ask("start", job("idle"), 1).await;
    two.ask("start", same.clone(), 1).await;
    let answers = [one.answer().await, two.answer().await];
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer["error"]["desc"].as_str()).collect();
    assert!(refused.len() == 1 && refused[0].contains("already running"), "{answers:?}");
    assert_eq!(daemon.rooms.running(), 1);
    one.call("stop-all", json!({})).await;
    one.call("start", same).await;
}

#[tokio::test]
async fn what_the_state_refuses_leaves_a_job_that_can_be_told_again() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", job("idle")).await;
    wire.until("idle", "SYNCED").await;
    let refusing = daemon.refuse("DELETE");
    assert!(wire.fails("stop", id("idle")).await.1.contains("no room"));
    let status = wire.until("idle", "STOPPED").await;
    assert!(status["error"].as_str().unwrap().contains("cannot be remembered"), "{status}");
    assert_eq!(daemon.rooms.running(), 0);
    wire.call("start", job("idle")).await;
    wire.until("idle", "SYNCED").await;
    drop(refusing);

    wire.call("pause", id("idle")).await;
    let refusing = daemon.refuse("INSERT");
    assert!(wire.fails("resume", id("idle")).await.1.contains("no room"));
    assert_eq!(wire.until("idle", "STOPPED").await["paused"], true);
    drop(refusing);
    wire.call("resume", id("idle")).await;
    wire.until("idle", "SYNCED").await;
}

#[tokio::test]
async fn a_failure_is_told_and_tried_again_only_when_continuous() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", once("fails")).await;
    assert_eq!(wire.until("fails", "ERROR").await["error"], "the storage is gone");
    assert!(wire.call("start", once("fails")).await.is_string());

    wire.call("start", job("fails-too")).await;
    assert_eq!(wire.until("fails-too", "ERROR").await["error"], "the storage is gone");
    assert_eq!(wire.fails("start", job("fails-too")).await.0, "JobError");
    wire.call("stop", id("fails-too")).await;
}

#[tokio::test]
async fn a_panic_costs_only_its_job() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", job("idle")).await;
    wire.call("start", job("panics")).await;
    wire.call("start", once("panics-once")).await;
    for name in ["panics", "panics-once"] {
        let status = wire.until(name, "ERROR").await;
        assert!(status["error"].as_str().unwrap().contains("a bug in wl (as it was told)"), "{status}");
    }
    wire.until("idle", "SYNCED").await;
    wire.call("stop", id("panics")).await;
}

#[tokio::test]
async fn a_job_is_held_and_goes_on() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", job("idle")).await;
    assert_eq!(wire.fails("resume", id("idle")).await.0, "JobError");
    wire.call("pause", id("idle")).await;
    let status = wire.until("idle", "STOPPED").await;
    assert_eq!(status["paused"], true);
    assert_eq!(daemon.rooms.running(), 0);
    wire.call("resume", id("idle")).await;
    assert_eq!(wire.until("idle", "SYNCED").await["paused"], false);
}

#[tokio::test]
async fn a_job_made_to_fail_stays_so() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", job("idle")).await;
    wire.until("idle", "SYNCED").await;
    assert_eq!(wire.call("test-error", id("idle")).await, Value::Null);
    let status = wire.until("idle", "ERROR").await;
    assert_eq!(status["error"], "Test sync exception");
    assert_eq!(wire.call("job-state", id("idle")).await[0], 5);
    assert_eq!(wire.fails("pause", id("idle")).await.0, "JobError");
    assert_eq!(wire.fails("start", job("idle")).await.0, "JobError");
    assert_eq!(daemon.rooms.running(), 0);
    wire.call("stop", id("idle")).await;
    assert_eq!(wire.fails("test-error", id("idle")).await.0, "JobError");
}

#[tokio::test]
async fn a_run_that_does_not_hear_is_cut_off() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.call("start", job("deaf")).await;
    eventually(async || (daemon.rooms.running() == 1).then_some(())).await;
    wire.call("stop", id("deaf")).await;
    assert_eq!(daemon.rooms.running(), 0);
}

#[tokio::test]
async fn stop_all_and_shutdown_leave_nothing_running() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    for name in ["idle-1", "idle-2"] {
        wire.call("start", job(name)).await;
    }
    wire.call("start", once("ends")).await;
    assert_eq!(wire.call("stop-all", json!({})).await, Value::Null);
    assert_eq!((daemon.rooms.running(), wire.call("status", json!({})).await), (0, json!([])));

    wire.call("start", job("idle-3")).await;
    assert_eq!(wire.call("shutdown", json!({})).await, Value::Null);
    assert_eq!(daemon.rooms.running(), 0);
    assert_eq!(wire.receive().await, None);
    daemon.end().await;
}

#[tokio::test]
async fn a_storage_that_cannot_be_opened_leaves_no_job() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    assert!(wire.fails("start", job("unbuilt")).await.1.contains("built without it"));
    assert_eq!(wire.call("jobs", json!({})).await, json!({ "jobs": [] }));
}

#[tokio::test]
async fn storages_are_probed_each_for_itself() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let args = job("idle");
    let unbuilt = json!({ "type": "local", "backend-id": "three", "location": "/unbuilt" });
    let storages = json!([args["source"], args["target"], unbuilt]);
    let found = wire.call("probe", json!({ "container-name": "idle", "storages": storages })).await;
    let reachable: Vec<_> =
        found["storages"].as_array().unwrap().iter().map(|probe| probe["reachable"].clone()).collect();
    assert_eq!(reachable, [json!(true), json!(true), json!(false)]);
    assert_eq!(found["storages"][0]["capabilities"]["replace"], "checked");
    assert_eq!(found["syncers"][0], json!({ "source": "one", "target": "two", "syncer": "by-name" }));
}

#[tokio::test]
async fn paths_and_choices_are_checked() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let mut args = job("idle");
    args.as_object_mut().unwrap().remove("continuous");
    let with = |more: Value| {
        let mut args = args.clone();
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    for (cmd, more, what) in [
        ("explain", json!({ "path": "../x" }), "../x"),
        ("resolve", json!({ "paths": ["a//b"], "keep": "both" }), "a//b"),
        ("resolve", json!({ "paths": ["a"], "keep": "three" }), "one, two or both"),
        ("trash", json!({ "action": "restore", "path": "a", "at": "yesterday" }), "`at`"),
    ] {
        let (class, desc) = wire.fails(cmd, with(more)).await;
        assert!(class == "ArgumentError" && desc.contains(what), "{desc}");
    }
    assert_eq!(wire.call("conflicts", args.clone()).await, json!({ "conflicts": [] }));
    assert_eq!(wire.call("history", args).await, json!({ "entries": [] }));
}

#[tokio::test]
async fn a_job_that_is_replaced_goes_on_until_the_other_can_begin() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let mut other = job("idle");
    other["exclude"] = json!(["*.tmp"]);
    other["replace"] = json!(true);
    wire.call("start", job("idle")).await;
    wire.until("idle", "SYNCED").await;

    let mut unbuilt = other.clone();
    unbuilt["target"]["location"] = json!("/unbuilt");
    assert!(wire.fails("start", unbuilt).await.1.contains("built without it"));
    let refusing = daemon.refuse("INSERT");
    assert!(wire.fails("start", other.clone()).await.1.contains("no room"));
    drop(refusing);
    assert_eq!(wire.until("idle", "SYNCED").await["error"], Value::Null);
    assert_eq!((daemon.rooms.running(), wire.call("compare", job("idle")).await), (1, json!([])));

    wire.call("start", other.clone()).await;
    wire.until("idle", "SYNCED").await;
    assert_eq!((daemon.rooms.running(), wire.call("compare", other.clone()).await), (1, json!([])));

    wire.call("pause", id("idle")).await;
    assert_eq!(wire.fails("start", other).await.0, "JobError");
    wire.call("start", once("idle-once")).await;
    let mut once = once("idle-once");
    once["replace"] = json!(true);
    assert_eq!(wire.fails("start", once).await.0, "JobError");
}
