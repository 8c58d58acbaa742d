//! The client's side.

use std::path::Path;

use serde_json::{Value, json};
use wl_core::config::{LogTo, Places};

use super::kit::{Daemon, job, places};
use crate::client::{Client, ClientError, ensure_daemon};
use crate::lock::Lock;

#[tokio::test]
async fn a_client_calls_and_hears() {
    let daemon = Daemon::new().await;
    let client = Client::connect(&daemon.socket()).await.unwrap();
    client.call("start", job("idle")).await.unwrap();
    let event = client.next_event().await.unwrap();
    assert_eq!((event.value.as_str(), event.job_id.as_str()), ("ONE_SHOT", "local|idle"));
    let (one, two) = tokio::join!(client.call("status", json!({})), client.call("jobs", json!({})));
    assert_eq!((one.unwrap().as_array().unwrap().len(), two.unwrap()["jobs"].as_array().unwrap().len()), (1, 1));
    assert!(matches!(client.call("dance", Value::Null).await, Err(ClientError::Refused(_))));
    client.call("shutdown", json!({})).await.unwrap();
    client.closed().await;
    assert!(matches!(client.call("status", json!({})).await, Err(ClientError::Ended(_))));
    daemon.end().await;
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Client::connect(&dir.path().join("x")).await, Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn a_frozen_daemon_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("frozen");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let client = Client::connect(&socket).await.unwrap();
    let error = client.call("status", json!({})).await.unwrap_err();
    assert!(matches!(error, ClientError::Frozen(_)));
    assert!(error.to_string().contains("killing its process ends it"), "{error}");
    let _lock = Lock::take(&Lock::of_socket(&socket), &socket).unwrap();
    assert!(error.to_string().contains(&format!("`kill -9 {}` ends it", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_daemon_that_dies_at_once_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("dies");
    std::fs::write(&script, "#!/bin/sh\necho \"no luck with $*\" >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, "what another daemon said before\n").unwrap();
    let places = Places { log: LogTo::File(log.clone()), ..places(&dir) };
    let error = ensure_daemon(&places, Path::new(&script)).await.err().unwrap().to_string();
    assert!(error.contains("no luck with daemon run --base-dir"), "{error}");
    assert!(!error.contains("another daemon") && error.contains(&format!("the log is {}", log.display())), "{error}");
}
