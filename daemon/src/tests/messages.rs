//! What comes in: whole, split, malformed, too long, by whom.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::kit::{Daemon, Wire, job, places};
use crate::protocol::MAX_MESSAGE;
use crate::server::Server;

#[tokio::test]
async fn ids_are_echoed_as_they_came() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    for id in [json!(0), json!(7), json!(-1), json!("seven"), json!("")] {
        wire.send(format!("{}\n\n", json!({ "cmd": "status", "id": id }))).await;
        assert_eq!(wire.receive().await.unwrap(), json!({ "result": [], "id": id }));
    }
    wire.send("{\"cmd\": \"status\"}\n\n").await;
    assert_eq!(wire.receive().await.unwrap(), json!({ "result": [] }));
}

#[tokio::test]
async fn a_malformed_message_gets_an_error_and_the_connection_lives() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let bad: [(&[u8], &str); 7] = [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{\"cmd\": \"\xff\"}", "not UTF-8"),
        (b"{\"args\": {}}", "no `cmd`"),
        (b"{\"cmd\": 3}", "`cmd` is a number"),
        (b"{\"cmd\": \"status\", \"id\": {}}", "`id` is an object"),
        (b"{\"cmd\": \"status\", \"args\": 1}", "`args` is a number"),
    ];
    for (message, why) in bad {
        wire.send([message, b"\n\n"].concat()).await;
        let answer = wire.receive().await.unwrap();
        assert_eq!(answer["error"]["class"], "MessageError", "{answer}");
        assert!(answer["error"]["desc"].as_str().unwrap().contains(why), "{answer}");
    }
    assert_eq!(wire.call("status", json!({})).await, json!([]));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_passed_over() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    wire.send(vec![b'x'; 2 * MAX_MESSAGE]).await;
    let answer = wire.receive().await.unwrap();
    assert!(answer["error"]["desc"].as_str().unwrap().contains("longer than 1048576 bytes"), "{answer}");
    wire.send("\n\n").await;
    assert_eq!(wire.call("status", json!({})).await, json!([]));
}

#[tokio::test]
async fn unknown_commands_and_wrong_arguments_are_named() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    let (class, desc) = wire.fails("dance", json!({})).await;
    assert_eq!(class, "CommandError");
    assert!(desc.contains("\"dance\"") && desc.contains("job-state"), "{desc}");

    let mut lacking = job("idle");
    lacking.as_object_mut().unwrap().remove("target");
    for (cmd, args, what) in [
        ("start", lacking, "target"),
        ("stop", json!({}), "job-id"),
        ("stop", json!({ "job-id": 3 }), "job-id"),
        ("jobs", json!({ "all": true }), "all"),
        ("active-events", json!({ "job-id": "x", "active-events": ["dance"] }), "active-events"),
    ] {
        let (class, desc) = wire.fails(cmd, args).await;
        assert_eq!(class, "ArgumentError");
        assert!(desc.contains(what), "{desc}");
    }
    let mut twice = job("idle");
    twice["target"] = twice["source"].clone();
    assert_eq!(wire.fails("start", twice).await.0, "ArgumentError");
}

#[tokio::test]
async fn messages_come_split_joined_and_without_an_end() {
    let daemon = Daemon::new().await;
    let mut wire = daemon.connect().await;
    for byte in b"\n{\r\n  \"cmd\":\n \"status\"\r\n}\r\n\r\n" {
        wire.send([*byte]).await;
    }
    assert_eq!(wire.receive().await.unwrap(), json!({ "result": [] }));
    wire.send("{\"cmd\":\"status\",\"id\":1}\n\n{\"cmd\":\"status\",\"id\":2}\n\n{\"cmd\":\"status\",\"id\":3}").await;
    wire.stream.shutdown().await.unwrap();
    let mut ids = Vec::new();
    while let Some(answer) = wire.receive().await {
        ids.push(answer["id"].clone());
    }
    assert_eq!(ids, [1, 2, 3].map(Value::from));
}

#[tokio::test]
async fn only_this_user_can_reach_the_socket() {
    let daemon = Daemon::new().await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(daemon.socket()), 0o600);
    assert_eq!(mode(daemon.socket().parent().unwrap().to_owned()), 0o700);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    let daemon = Daemon::new().await;
    let socket = daemon.socket();
    let refused = Server::bind(&socket).err().unwrap().to_string();
    assert!(refused.contains("running here already"), "{refused}");
    let dir = daemon.end().await;
    assert!(!socket.exists());

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let daemon = Daemon::within(dir).await;
    assert_eq!(Wire::connect(socket).await.call("status", json!({})).await, json!([]));
    daemon.end().await;
}

#[tokio::test]
async fn what_is_no_dead_socket_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = places(&dir).socket;
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(Server::bind(&socket).err().unwrap().to_string().contains("no socket is in the way"));
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
    std::fs::remove_file(&socket).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(Server::bind(&socket).err().unwrap().to_string().contains("another program listens"));
    assert!(Server::bind(&dir.path().join("x".repeat(120))).err().unwrap().to_string().contains("too long"));
}
