use serde_json::{Value, json};

use super::*;

fn local() -> Value {
    json!({ "type": "local", "backend-id": "l", "location": "/a" })
}

fn storage(of: &str) -> Value {
    let mut storage = match of {
        "s3" => json!({ "s3-url": "s3://bucket/prefix/" }),
        "sftp" => json!({ "host": "example.org", "path": "/srv" }),
        "webdav" => json!({ "url": "https://example.org/dav/" }),
        _ => local(),
    };
    storage["type"] = json!(of);
    storage["backend-id"] = json!("id");
    storage
}

/// The value with another one at a pointer's place; removed where it is null.
fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    let (above, key) = pointer.rsplit_once('/').unwrap();
    let at = value.pointer_mut(above).unwrap().as_object_mut().unwrap();
    if new.is_null() {
        at.remove(key)
    } else {
        at.insert(key.to_owned(), new)
    };
    value
}

fn complaint(result: Result<(), Vec<Violation>>) -> Option<String> {
    let all = result.err()?;
    Some(format!("{} {}", all[0].pointer, all[0].message))
}

#[test]
fn each_schema_is_one() {
    for (name, schema) in &*DOCUMENTS {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
}

#[test]
fn storages_may_hold_what_the_contract_says() {
    for (of, key, value) in [
        ("local", "location", json!("~/x")),
        ("local", "object", json!("storage")),
        ("local", "watcher-interval", json!(0.5)),
        ("local", "read-only", json!(true)),
        ("local", "primary", json!(false)),
        ("local", "bandwidth-limit", json!("10MiB")),
        ("sftp", "bandwidth-limit", json!(500_000)),
        ("s3", "s3-url", json!("s3://bucket")),
        ("s3", "endpoint-url", json!("http://127.0.0.1:9000")),
        ("s3", "region", json!("us-east-1")),
        ("s3", "credentials", json!({ "access-key": "a", "secret-key": { "env": "S" } })),
        ("s3", "notifications", json!({ "sqs": "https://sqs.eu-west-1.amazonaws.com/123456789012/changes" })),
        ("sftp", "port", json!(22)),
        ("sftp", "path", json!("~/x")),
        ("sftp", "ssh-user", json!("me")),
        ("sftp", "ssh-identity", json!("~/.ssh/id_ed25519")),
        ("sftp", "ssh-identity-passphrase", json!({ "env": "P" })),
        ("sftp", "password", json!({ "command": "pass show x" })),
        ("sftp", "known-hosts", json!("/etc/known")),
        ("webdav", "credentials", json!({ "login": "me", "password": { "file": "/p" } })),
        ("webdav", "url", json!("http://h")),
        ("webdav", "bearer-token", json!({ "env": "TOKEN" })),
        ("webdav", "client-certificate", json!("~/.config/me.pem")),
        ("webdav", "client-key", json!("/etc/me.key")),
        ("webdav", "ca-certificate", json!("/etc/ssl/ours.pem")),
        ("s3", "ca-certificate", json!("~/ours.pem")),
    ] {
        let value = with(storage(of), &format!("/{key}"), value);
        assert_eq!(complaint(validate_storage(&value)), None, "{value}");
    }
}

#[test]
fn storages_may_hold_nothing_else() {
    for (of, pointer, value, place) in [
        ("local", "/type", json!("ftp"), "/type"),
        ("local", "/type", Value::Null, ""),
        ("local", "/backend-id", Value::Null, ""),
        ("local", "/backend-id", json!("a|b"), "/backend-id"),
        ("local", "/backend-id", json!("a b"), "/backend-id"),
        ("local", "/backend-id", json!(""), "/backend-id"),
        ("local", "/location", Value::Null, ""),
        ("local", "/location", json!("a/b"), "/location"),
        ("local", "/location", json!(1), "/location"),
        ("local", "/locatoin", json!("/b"), "/locatoin"),
        ("local", "/host", json!("h"), "/host"),
        ("local", "/object", json!("container"), "/object"),
        ("local", "/watcher-interval", json!(0), "/watcher-interval"),
        ("local", "/watcher-interval", json!("5"), "/watcher-interval"),
        ("local", "/read-only", json!("yes"), "/read-only"),
        ("local", "/bandwidth-limit", json!("fast"), "/bandwidth-limit"),
        ("local", "/bandwidth-limit", json!(0), "/bandwidth-limit"),
        ("s3", "/s3-url", json!("bucket/prefix"), "/s3-url"),
        ("s3", "/s3-url", Value::Null, ""),
        ("s3", "/endpoint-url", json!("127.0.0.1:9000"), "/endpoint-url"),
        ("s3", "/ca-certificate", json!("ours.pem"), "/ca-certificate"),
        ("s3", "/credentials", json!({ "access-key": "a" }), "/credentials"),
        ("s3", "/credentials", json!({ "access-key": "a", "secret-key": "s", "x": 1 }), "/credentials/x"),
        ("sftp", "/host", Value::Null, ""),
        ("sftp", "/host", json!("-oProxyCommand=x"), "/host"),
        ("sftp", "/path", Value::Null, ""),
        ("sftp", "/port", json!(70000), "/port"),
        ("sftp", "/ssh-user", json!("-l"), "/ssh-user"),
        ("sftp", "/password", json!({}), "/password"),
        ("sftp", "/password", json!({ "env": "A", "file": "/b" }), "/password"),
        ("sftp", "/password", json!({ "env": "A B" }), "/password/env"),
        ("sftp", "/password", json!({ "keyring": "x" }), "/password/keyring"),
        ("sftp", "/password", json!(1), "/password"),
        ("webdav", "/url", Value::Null, ""),
        ("webdav", "/url", json!("ftp://h/"), "/url"),
        ("webdav", "/url", json!("http://me:secret@h/"), "/url"),
        ("webdav", "/credentials", json!({ "login": "me" }), "/credentials"),
        ("webdav", "/ca-certificate", json!("ours.pem"), "/ca-certificate"),
    ] {
        let value = with(storage(of), pointer, value);
        let complaint = complaint(validate_storage(&value));
        assert!(
            complaint.as_ref().is_some_and(|text| text.starts_with(&format!("{place} "))),
            "{value}: {complaint:?}"
        );
    }
}

#[test]
fn a_complaint_says_what_is_meant_and_never_the_value() {
    let complaint_about = |value| complaint(validate_storage(&value)).unwrap();
    assert_eq!(
        complaint_about(with(local(), "/locatoin", json!("/b"))),
        "/locatoin is no key that is known here: correct or remove it; known are object, type, backend-id, location, \
         watcher-interval, read-only, bandwidth-limit, primary"
    );
    assert_eq!(
        complaint_about(with(local(), "/location", Value::Null)),
        " lacks the key location (an absolute path of a directory, or one that begins with ~/): add it"
    );
    assert_eq!(complaint_about(with(storage("sftp"), "/port", json!(70000))), "/port must be a port, 1 to 65535");
    let secret = complaint_about(with(storage("sftp"), "/password", json!(["hunter2"])));
    assert!(secret.starts_with("/password must be a text, or better a reference"), "{secret}");
}

#[test]
fn a_configuration_may_hold_what_the_contract_says() {
    for (key, good, bad) in [
        ("sync-socket-path", json!("/s"), json!("")),
        ("log-path", json!("-"), json!(1)),
        ("default-remote-for-container", json!({ "uuid": "id" }), json!({ "uuid": 1 })),
        ("transfers", json!(4), json!(0)),
        ("bandwidth-limit", json!("1MB"), json!("-1")),
        ("retry-for", json!("60s"), json!("soon")),
        ("retry-for", json!(0), json!(-1)),
    ] {
        assert_eq!(complaint(validate_config(&json!({ key: good }))), None, "{key}");
        let complaint = complaint(validate_config(&json!({ key: bad }))).unwrap_or_default();
        assert!(
            complaint.contains(key) && complaint.contains("must be") && !complaint.contains("schema"),
            "{complaint}"
        );
    }
    assert!(validate_config(&json!({ "transfer": 4 })).is_err());
}

fn pair() -> Value {
    json!({ "container-name": "c", "job-id": "local|u", "source": local(), "target": storage("s3") })
}

fn start() -> Value {
    with(with(pair(), "/continuous", json!(true)), "/unidirectional", json!(false))
}

/// The smallest good arguments of every command.
fn examples() -> Vec<(&'static str, Value)> {
    let job = || json!({ "job-id": "local|u" });
    vec![
        ("start", start()),
        ("stop", job()),
        ("stop-all", json!({})),
        ("shutdown", json!({})),
        ("status", json!({})),
        ("job-state", job()),
        ("active-events", json!({ "job-id": "local|u", "active-events": [] })),
        ("test-error", job()),
        ("jobs", json!({})),
        ("subscribe", job()),
        ("pause", job()),
        ("resume", job()),
        ("conflicts", pair()),
        ("resolve", with(with(pair(), "/paths", json!(["a"])), "/keep", json!("both"))),
        ("verify", pair()),
        ("plan", pair()),
        ("probe", json!({ "container-name": "c", "storages": [local()] })),
        ("explain", with(pair(), "/path", json!("a"))),
        ("history", pair()),
        ("trash", with(pair(), "/action", json!("list"))),
        ("compare", start()),
        ("ended", job()),
    ]
}

#[test]
fn every_command_has_its_arguments() {
    let mut names: Vec<_> = command_names().collect();
    let mut shown: Vec<_> = examples().iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    shown.sort_unstable();
    assert_eq!(names, shown);
    for (command, args) in examples() {
        assert_eq!(validate_command(command, &args), Ok(()), "{command}");
        assert!(validate_command(command, &with(args.clone(), "/colour", json!(1))).is_err(), "{command}: unknown key");
        for key in args.as_object().unwrap().keys() {
            let lacking = with(args.clone(), &format!("/{key}"), Value::Null);
            assert!(validate_command(command, &lacking).is_err(), "{command} without {key}");
            let wrong = with(args.clone(), &format!("/{key}"), json!(17));
            assert!(validate_command(command, &wrong).is_err(), "{command} with a number as {key}");
        }
        assert!(validate_command(command, &json!([])).is_err(), "{command}: no object");
    }
    assert!(validate_command("types", &json!({})).is_err());
}

#[test]
fn optional_arguments_are_checked() {
    for (command, key, good, bad) in [
        ("start", "active-events", json!(["state", "error"]), json!(["weather"])),
        ("start", "allow-deletes", json!(true), json!("true")),
        ("start", "exclude", json!(["*.o"]), json!("*.o")),
        ("start", "max-delete", json!(0), json!(101)),
        ("start", "keep-deleted", json!(0), json!(-1)),
        ("start", "transfers", json!(2), json!(0)),
        ("start", "bandwidth-limit", json!("1M"), json!("x")),
        ("start", "retry-for", json!("5m"), json!("5 minutes")),
        ("start", "env", json!({ "A": "b" }), json!({ "A": 1 })),
        ("jobs", "job-id", json!("a|b"), json!("")),
        ("conflicts", "force-scan", json!(true), json!(1)),
        ("verify", "unidirectional", json!(true), json!(1)),
        ("plan", "allow-deletes", json!(true), json!(1)),
        ("plan", "env", json!({}), json!([])),
        ("history", "limit", json!(10), json!(0)),
        ("history", "path", json!("a"), json!("")),
        ("trash", "at", json!("2026-01-01T00:00:00Z"), json!(1)),
        ("trash", "action", json!("empty"), json!("burn")),
        ("trash", "action", json!("list"), json!("restore")),
        ("resolve", "paths", json!(["a", "b"]), json!([])),
    ] {
        let args = examples().into_iter().find(|(name, _)| *name == command).unwrap().1;
        let with = |value| validate_command(command, &with(args.clone(), &format!("/{key}"), value));
        assert_eq!(with(good), Ok(()), "{command} {key}");
        let complaints = with(bad).unwrap_err();
        assert!(!complaints.concat().contains("unknown"), "{command} {key}: {complaints:?}");
    }
}

#[test]
fn what_has_the_wrong_shape_is_said_once() {
    let complaints = validate_command("start", &with(start(), "/source", json!(5))).unwrap_err();
    assert_eq!(complaints, ["source must be an object with type, backend-id and the keys of that type"]);
    let complaint = validate_config(&json!([])).unwrap_err().remove(0).message;
    assert!(complaint.starts_with("must be `key: value` pairs; the keys are sync-socket-path"), "{complaint}");
}

#[test]
fn a_client_may_send_more_than_a_storage_needs() {
    let mut args = start();
    args["source"]["owner"] = json!("0xaaa");
    args["source"]["container-path"] = json!("/.uuid/x");
    args["source"]["watcher-interval"] = Value::Null;
    args["target"]["credentials"] = json!({ "access-key": "a", "secret-key": "s", "note": 1 });
    assert_eq!(validate_command("start", &args), Ok(()));
    args["target"]["s3-url"] = json!("nowhere");
    assert_eq!(validate_command("start", &args), Err(vec!["target.s3-url must be s3://BUCKET/PREFIX/".to_owned()]));
}

#[test]
fn knows_where_secrets_stand() {
    let secret = |of| -> Vec<_> {
        storage_keys(of).into_iter().filter(|key| key.holds == Holds::Secret).map(|key| key.path.join(".")).collect()
    };
    assert_eq!(secret("local"), [""; 0]);
    assert_eq!(secret("s3"), ["credentials.secret-key", "credentials.session-token"]);
    assert_eq!(secret("sftp"), ["ssh-identity-passphrase", "password"]);
    assert_eq!(secret("webdav"), ["credentials.password", "bearer-token"]);
}
