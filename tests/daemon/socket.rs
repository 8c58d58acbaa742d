//! The control socket, spoken raw.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::home::json::keys;
use crate::home::pair::{A, B, JOB};
use crate::home::{PATIENCE, Pair, shape, wait_until};

/// A raw connection.
struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Wire {
    fn to(pair: &Pair) -> Self {
        let stream = UnixStream::connect(pair.home.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next message, which ends with an empty line.
    fn next(&mut self) -> Value {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<_> = self.buffer.drain(..at + 2).collect();
                return serde_json::from_slice(&message).unwrap();
            }
            let mut chunk = [0; 8192];
            let count = self.stream.read(&mut chunk).expect("the daemon answers");
            assert!(count > 0, "the daemon hung up");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// The next message that is no event.
    fn answer(&mut self) -> Value {
        loop {
            let message = self.next();
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    /// The next event: its text is JSON too.
    fn event(&mut self) -> Value {
        loop {
            let message = self.next();
            if let Some(event) = message.get("event") {
                assert_eq!(keys(&message), ["event"]);
                let event: Value = serde_json::from_str(event.as_str().expect("an event is a text")).unwrap();
                shape(&event, "type:text value:text job_id:text");
                return event;
            }
        }
    }

    /// Sends a request and reads its answer.
    fn ask(&mut self, cmd: &str, args: Value) -> Value {
        let mut request = json!({ "cmd": cmd, "id": 1 });
        request["args"] = args;
        self.send(format!("{request}\n\n"));
        loop {
            let answer = self.answer();
            if answer["id"] == 1 {
                return answer;
            }
        }
    }

    /// The result of a request.
    #[track_caller]
    fn call(&mut self, cmd: &str, args: Value) -> Value {
        let answer = self.ask(cmd, args);
        assert_eq!(keys(&answer), ["id", "result"], "{answer}");
        answer["result"].clone()
    }

    /// The description of why a request failed.
    #[track_caller]
    fn refused(&mut self, cmd: &str, args: Value) -> String {
        let answer = self.ask(cmd, args);
        error_of(&answer)
    }
}

#[track_caller]
fn error_of(answer: &Value) -> String {
    shape(&answer["error"], "class:text desc:text");
    assert!(answer.get("result").is_none());
    answer["error"]["desc"].as_str().unwrap().to_owned()
}

/// A pair whose daemon runs.
fn served() -> Pair {
    let pair = Pair::new();
    pair.home.ok(&["daemon", "start"]);
    pair
}

fn storage(pair: &Pair, side: &str) -> Value {
    let id = if side == "a" { A } else { B };
    json!({ "type": "local", "backend-id": id, "location": pair.home.text(side) })
}

fn two(pair: &Pair) -> Value {
    json!({ "container-name": "c", "job-id": JOB, "source": storage(pair, "a"), "target": storage(pair, "b") })
}

fn with(mut args: Value, mut more: Value) -> Value {
    args.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    args
}

fn start(pair: &Pair, continuous: bool) -> Value {
    with(two(pair), json!({ "continuous": continuous, "unidirectional": false }))
}

fn wait_state(wire: &mut Wire, state: u64) {
    wait_until(|| wire.call("job-state", json!({ "job-id": JOB }))[0] == state);
}

#[test]
fn messages_are_cut_at_empty_lines_however_they_arrive() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    // Two at once.
    wire.send("{\"cmd\": \"status\", \"args\": {}, \"id\": 1}\n\n{\"cmd\": \"status\", \"args\": {}, \"id\": 2}\n\n");
    assert_eq!((wire.next()["id"].clone(), wire.next()["id"].clone()), (1.into(), 2.into()));
    // One byte at a time, pretty-printed, with CRLF and empty lines before it.
    let pretty = serde_json::to_string_pretty(&json!({ "cmd": "status", "args": {}, "id": "three" })).unwrap();
    for byte in format!("\n\n{}\r\n\r\n", pretty.replace('\n', "\r\n")).bytes() {
        wire.send([byte]);
    }
    assert_eq!(wire.next(), json!({ "result": [], "id": "three" }));
    // Without an id and without arguments.
    wire.send("{\"cmd\": \"status\"}\n\n");
    assert_eq!(wire.next(), json!({ "result": [] }));
    // The end of the stream ends a message too.
    wire.send("{\"cmd\": \"status\", \"id\": 4}");
    wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(wire.next()["id"], 4);
}

#[test]
fn the_bytes_of_an_answer_end_with_an_empty_line_and_hold_none() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    wire.send("{\"cmd\": \"jobs\"}\n\n");
    wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    wire.stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("\n\n").count(), 1);
    assert!(all.ends_with("\n\n"));
}

#[test]
fn malformed_messages_get_an_error_and_the_connection_lives_on() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    let bad: [&[u8]; 12] = [
        b"{",
        b"hello",
        b"[1, 2]",
        b"null",
        b"17",
        b"\"text\"",
        b"{}",
        b"{\"cmd\": 5}",
        b"{\"cmd\": \"status\", \"args\": []}",
        b"{\"cmd\": \"status\", \"id\": [1]}",
        b"\xff\xfe{}",
        b"{\"cmd\": \"status\"} trailing",
    ];
    for message in bad {
        wire.send([message, b"\n\n"].concat());
        let answer = wire.next();
        assert_eq!(keys(&answer), ["error"], "{}", String::from_utf8_lossy(message));
        assert!(!error_of(&answer).is_empty());
    }
    // A bad request with an id is told with it.
    wire.send("{\"id\": 9, \"args\": {}}\n\n");
    assert_eq!(wire.next()["id"], 9);
    let deep = format!("{{\"cmd\": \"status\", \"args\": {}1{}}}\n\n", "[".repeat(5000), "]".repeat(5000));
    wire.send(deep);
    error_of(&wire.next());
    assert_eq!(wire.call("status", json!({})), json!([]));
}

#[test]
fn a_message_has_a_mebibyte_at_most() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    let message = |length: usize| {
        let frame = "{\"cmd\": \"status\", \"args\": {}, \"id\": \"\"}".len();
        format!("{{\"cmd\": \"status\", \"args\": {{}}, \"id\": \"{}\"}}\n\n", "x".repeat(length - frame))
    };
    wire.send(message(1 << 20));
    assert!(wire.next()["id"].as_str().unwrap().len() > 1_000_000);
    wire.send(message((1 << 20) + 1));
    error_of(&wire.next());
    wire.send("x".repeat(5 << 20));
    wire.send("\n\n");
    error_of(&wire.next());
    assert_eq!(wire.call("status", json!({})), json!([]));
}

#[test]
fn arguments_are_held_against_the_schema() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    assert!(wire.refused("no-such-command", json!({})).contains("no-such-command"));
    let good = start(&pair, true);
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("source");
    let cases = [
        ("stop", json!({}), "job-id"),
        ("stop", json!({ "job-id": 5 }), "job-id"),
        ("stop", json!({ "job-id": "a|b", "more": 1 }), "more"),
        ("status", json!({ "x": 1 }), "x"),
        ("job-state", json!({}), "job-id"),
        ("active-events", json!({ "job-id": "a", "active-events": ["nope"] }), "active-events"),
        ("active-events", json!({ "job-id": "a" }), "active-events"),
        ("start", without, "source"),
        ("start", with(good.clone(), json!({ "continuous": "yes" })), "continuous"),
        ("start", with(good.clone(), json!({ "unidirectional": null })), "unidirectional"),
        ("start", with(good.clone(), json!({ "max-delete": 101 })), "max-delete"),
        ("start", with(good.clone(), json!({ "exclude": "x" })), "exclude"),
        ("start", with(good.clone(), json!({ "exclude": ["["] })), "'[' in exclude"),
        ("start", with(good.clone(), json!({ "surprise": 1 })), "surprise"),
        ("start", with(good.clone(), json!({ "source": { "type": "nope", "backend-id": A } })), "type"),
        ("start", with(good.clone(), json!({ "source": { "type": "local", "backend-id": A } })), "location"),
        ("start", with(good.clone(), json!({ "target": storage(&pair, "a") })), "backend-id"),
        ("resolve", with(two(&pair), json!({ "paths": [], "keep": A })), "paths"),
        ("verify", json!({ "job-id": JOB }), "container-name"),
    ];
    for (cmd, args, word) in cases {
        let said = wire.refused(cmd, args.clone());
        assert!(said.contains(word), "{cmd} {args}: {said}");
    }
    let nested = json!({ "type": "local", "backend-id": B, "location": pair.home.text("a/below") });
    assert!(wire.refused("start", with(good, json!({ "target": nested }))).contains("inside"));
    assert_eq!(wire.call("status", json!({})), json!([]));
}

#[test]
fn a_job_is_driven_as_wildlands_own_client_does() {
    let pair = served();
    pair.write("a/f", "1");
    let mut wire = Wire::to(&pair);
    assert_eq!(wire.call("job-state", json!({ "job-id": JOB })), Value::Null);
    assert_eq!(wire.call("status", json!({})), json!([]));
    // That client sends everything a storage has, with keys wl does not know.
    let storage = |side: &str| {
        with(
            storage(&pair, side),
            json!({ "object": "storage", "owner": "0xaaa", "version": "1", "watcher-interval": null }),
        )
    };
    let args = with(start(&pair, true), json!({ "source": storage("a"), "target": storage("b"), "active-events": [] }));
    assert!(wire.call("start", args.clone()).is_string());
    assert!(wire.refused("start", args).contains("already running"));
    wait_state(&mut wire, 3);
    assert!(pair.has("b/f"));
    let state = wire.call("job-state", json!({ "job-id": JOB }));
    assert!(state[1].as_str().unwrap().contains("SYNCED"), "{state}");
    let status = wire.call("status", json!({}));
    assert_eq!(status.as_array().unwrap().len(), 1);
    assert!(status[0].as_str().unwrap().contains("SYNCED"));
    assert!(wire.call("stop", json!({ "job-id": JOB })).is_string());
    assert_eq!(wire.call("job-state", json!({ "job-id": JOB })), Value::Null);
    assert!(wire.refused("stop", json!({ "job-id": JOB })).contains(JOB));
    wire.call("start", start(&pair, true));
    assert_eq!(wire.call("stop-all", json!({})), Value::Null);
    assert_eq!(wire.call("stop-all", json!({})), Value::Null);
    assert_eq!(wire.call("status", json!({})), json!([]));
    assert_eq!(wire.call("shutdown", json!({})), Value::Null);
    wait_until(|| pair.home.daemon().is_none());
}

/// The events until the job is SYNCED, as `TYPE VALUE`.
fn until_synced(wire: &mut Wire) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = wire.event();
        assert_eq!(event["job_id"], JOB);
        let text = format!("{} {}", event["type"].as_str().unwrap(), event["value"].as_str().unwrap());
        told.push(text.clone());
        if text.starts_with("state") && text.contains("SYNCED") {
            return told;
        }
    }
}

/// The events that tell of a path.
fn of<'a>(told: &'a [String], path: &str) -> Vec<&'a str> {
    told.iter().filter(|text| text.ends_with(&format!(" {path}"))).map(String::as_str).collect()
}

#[test]
fn whoever_started_a_job_hears_of_it() {
    let pair = served();
    pair.write("a/new", "1");
    pair.write("a/clash", "1");
    pair.write("b/clash", "2");
    let mut wire = Wire::to(&pair);
    let mut other = Wire::to(&pair);
    wire.send(format!("{}\n\n", json!({ "cmd": "start", "args": start(&pair, true) })));
    let told = until_synced(&mut wire);
    assert_eq!(of(&told, "new"), ["progress CREATE new", "progress MODIFY new"]);
    assert!(told.iter().any(|text| text.starts_with("conflict Conflict detected on clash")), "{told:?}");
    pair.write("a/new", "edited");
    let mut told = Vec::new();
    while of(&told, "new").is_empty() {
        told.extend(until_synced(&mut wire));
    }
    assert_eq!(of(&told, "new"), ["progress MODIFY new"]);
    assert!(told.iter().any(|text| text.starts_with("state") && text.contains("RUNNING")), "{told:?}");
    pair.remove("b/new");
    let mut told = Vec::new();
    while of(&told, "new").is_empty() {
        told.extend(until_synced(&mut wire));
    }
    assert_eq!(of(&told, "new"), ["progress DELETE new"]);
    // Another connection heard nothing of all this.
    assert_eq!(other.ask("status", json!({}))["id"], 1);
    assert!(other.buffer.is_empty());
}

#[test]
fn only_the_types_asked_for_are_pushed() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    wire.call("start", with(start(&pair, true), json!({ "active-events": ["progress"] })));
    pair.write("a/one", "1");
    assert_eq!(wire.event(), json!({ "type": "progress", "value": "CREATE one", "job_id": JOB }));
    assert_eq!(wire.event()["value"], "MODIFY one");
    wait_state(&mut wire, 3);
    assert_eq!(wire.call("active-events", json!({ "job-id": JOB, "active-events": ["state"] })), Value::Null);
    pair.write("a/two", "1");
    wait_until(|| pair.has("b/two"));
    assert_eq!(wire.event()["type"], "state");
    // An empty list is all.
    wire.call("active-events", json!({ "job-id": JOB, "active-events": [] }));
    pair.write("a/three", "1");
    while wire.event()["value"] != "MODIFY three" {}
    assert!(wire.refused("active-events", json!({ "job-id": "no|job", "active-events": [] })).contains("no|job"));
}

#[test]
fn anybody_may_subscribe() {
    let pair = served();
    let mut starter = Wire::to(&pair);
    starter.call("start", start(&pair, true));
    wait_state(&mut starter, 3);
    let mut wire = Wire::to(&pair);
    assert_eq!(wire.call("subscribe", json!({ "job-id": JOB })), Value::Null);
    drop(starter);
    pair.write("a/f", "1");
    while wire.event()["value"] != "MODIFY f" {}
    assert!(!wire.refused("subscribe", json!({ "job-id": "no|job" })).is_empty());
}

#[test]
fn a_job_made_to_fail_stays_so_until_it_is_stopped() {
    let pair = served();
    let mut wire = Wire::to(&pair);
    wire.call("start", start(&pair, true));
    wait_state(&mut wire, 3);
    wire.send(format!("{}\n\n", json!({ "cmd": "test-error", "args": { "job-id": JOB } })));
    loop {
        let event = wire.event();
        if event["type"] == "error" {
            assert!(event["value"].as_str().unwrap().contains("Test sync exception"));
            break;
        }
    }
    wait_state(&mut wire, 5);
    pair.write("a/f", "1");
    let state = wire.call("job-state", json!({ "job-id": JOB }));
    assert!(state[1].as_str().unwrap().contains("Test sync exception"), "{state}");
    assert_eq!(pair.home.wl(&["status"]).code, 1);
    assert!(!pair.has("b/f"));
    wire.call("stop", json!({ "job-id": JOB }));
    wire.call("start", start(&pair, true));
    wait_until(|| pair.has("b/f"));
    assert!(!wire.refused("test-error", json!({ "job-id": "no|job" })).is_empty());
}

#[test]
fn a_one_shot_job_begins_as_such_and_ends_synced() {
    let pair = served();
    pair.write("a/f", "1");
    let mut wire = Wire::to(&pair);
    wire.send(format!(
        "{}\n\n",
        json!({ "cmd": "start", "args": with(start(&pair, false), json!({ "active-events": ["state"] })) })
    ));
    let told = until_synced(&mut wire);
    assert!(told[0].contains("ONE_SHOT"), "{told:?}");
    assert!(told.iter().all(|text| !text.contains("RUNNING")), "{told:?}");
    assert_eq!(wire.call("job-state", json!({ "job-id": JOB }))[0], 3);
}

#[test]
fn structured_commands_have_their_shapes() {
    let pair = served();
    pair.write("a/same", "1");
    pair.write("a/clash", "1");
    pair.write("b/clash", "2");
    let mut wire = Wire::to(&pair);
    let plan = wire.call("plan", two(&pair));
    assert_eq!(plan["actions"].as_array().unwrap().len(), 2, "{plan}");
    wire.call("start", start(&pair, true));
    wait_state(&mut wire, 3);
    let jobs = wire.call("jobs", json!({}));
    assert_eq!(jobs["jobs"][0]["job_id"], JOB);
    assert_eq!(wire.call("jobs", json!({ "job-id": JOB }))["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(wire.call("jobs", json!({ "job-id": "no|job" })), json!({ "jobs": [] }));
    let conflicts = wire.call("conflicts", two(&pair));
    assert_eq!(conflicts["conflicts"][0]["path"], "clash");
    let verified = wire.call("verify", two(&pair));
    assert_eq!(verified["differences"][0]["path"], "clash");
    assert_eq!(verified["checked"], 2);
    let probed = wire.call("probe", json!({ "container-name": "c", "storages": [storage(&pair, "a")] }));
    assert_eq!(probed["storages"][0]["reachable"], true, "{probed}");
    let explained = wire.call("explain", with(two(&pair), json!({ "path": "clash" })));
    assert_eq!(explained["verdict"], "conflict");
    assert!(wire.call("history", two(&pair))["entries"].is_array());
    assert_eq!(wire.call("trash", with(two(&pair), json!({ "action": "list" })))["entries"], json!([]));
    let resolved = wire.call("resolve", with(two(&pair), json!({ "paths": ["clash"], "keep": A })));
    assert_eq!(resolved["resolved"], json!(["clash"]));
    assert_eq!(pair.read("b/clash"), "1");
}

#[test]
fn a_client_that_never_reads_slows_nobody() {
    let pair = served();
    let mut deaf = Wire::to(&pair);
    deaf.send(format!("{}\n\n", json!({ "cmd": "start", "args": start(&pair, true) })));
    // Thousands of answers and events that nobody fetches.
    deaf.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..2000 {
        if deaf.stream.write_all(b"{\"cmd\": \"jobs\"}\n\n").is_err() {
            break;
        }
    }
    for number in 0..1500 {
        pair.write(&format!("a/{number}"), "1");
    }
    let begun = Instant::now();
    wait_until(|| pair.is_equal() && pair.has("b/1499"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut wire = Wire::to(&pair);
    assert_eq!(wire.call("status", json!({})).as_array().unwrap().len(), 1);
    drop(deaf);
    pair.write("a/after", "1");
    wait_until(|| pair.has("b/after"));
}

#[test]
fn a_client_that_hangs_up_in_the_middle_harms_nobody() {
    let pair = served();
    for _ in 0..50 {
        let mut wire = Wire::to(&pair);
        wire.send("{\"cmd\": \"sta");
    }
    for _ in 0..50 {
        let mut wire = Wire::to(&pair);
        wire.send("{\"cmd\": \"jobs\"}\n\n");
    }
    let mut wire = Wire::to(&pair);
    assert_eq!(wire.call("status", json!({})), json!([]));
}

#[test]
fn many_clients_are_served_side_by_side() {
    let pair = served();
    let mut wires: Vec<_> = (0..40).map(|_| Wire::to(&pair)).collect();
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.send(format!("{{\"cmd\": \"status\", \"id\": {number}}}\n\n"));
    }
    for (number, wire) in wires.iter_mut().enumerate().rev() {
        assert_eq!(wire.next()["id"], number);
    }
}

#[test]
fn other_users_are_refused() {
    if !rustix::process::getuid().is_root() {
        eprintln!("NOT TESTED: that other users are refused (run as root)");
        return;
    }
    let pair = served();
    let socket = pair.home.text("base/wlsync.sock");
    // Even where the file system would let them in.
    for path in ["", "base", "base/wlsync.sock"] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(pair.home.path(path), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  s.sendall(b'{\"cmd\":\"shutdown\"}\\n\\n')\ns.settimeout(10)\nprint(s.recv(4096))";
    let ran = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "python3", "-c", script, &socket])
        .output();
    if let Ok(output) = ran {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.is_empty() || said.contains("PermissionError") || said == "b''\n", "{said}");
    }
    assert!(pair.home.daemon().is_some(), "it did not do what somebody else asked for");
    pair.home.ok(&["status"]);
}
