use serde_json::json;

use super::*;

fn sftp(password: &Value) -> Storage {
    Storage::from_params(json!({ "type": "sftp", "backend-id": "x", "host": "h", "path": "/p", "password": password }))
        .unwrap()
}

fn webdav() -> Storage {
    let credentials = json!({ "login": "me", "password": "hunter2" });
    Storage::from_params(
        json!({ "type": "webdav", "backend-id": "x", "url": "http://h/", "credentials": credentials, "read-only": true }),
    )
    .unwrap()
}

fn env(name: &str) -> Option<String> {
    (name == "SET").then(|| "from env".to_owned())
}

fn password(storage: &Storage) -> Result<String> {
    storage.resolve_secrets(&env).map(|found| found.params()["password"].as_str().unwrap().to_owned())
}

#[test]
fn every_reference_becomes_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from file\r\n").unwrap();
    for (reference, value) in [
        (json!("inline\n"), "inline\n"),
        (json!({ "env": "SET" }), "from env"),
        (json!({ "file": file }), "from file"),
        (json!({ "command": "echo from command; echo noise >&2" }), "from command"),
        (json!({ "command": "cat" }), ""),
    ] {
        assert_eq!(password(&sftp(&reference)).as_deref(), Ok(value));
    }
}

#[test]
fn an_error_names_the_reference() {
    for (reference, name) in [
        (json!({ "env": "UNSET" }), "UNSET"),
        (json!({ "file": "/nowhere/secret" }), "/nowhere/secret"),
        (json!({ "command": "echo hunter2; exit 3" }), "exit 3"),
    ] {
        let error = password(&sftp(&reference)).unwrap_err();
        assert!(error.message.contains(name) && error.message.contains("password of storage x"), "{error}");
    }
}

#[test]
fn a_command_that_hangs_is_ended_with_all_it_started() {
    for line in ["sleep 60", "exec >&-; sleep 60", "sleep 60; echo late"] {
        let error = run(line, Duration::from_millis(100)).unwrap_err();
        assert!(error.message.contains("took longer"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let late = dir.path().join("late");
    run(&format!("(sleep 0.4; touch {}); echo x", late.display()), Duration::from_millis(100)).unwrap_err();
    std::thread::sleep(Duration::from_millis(800));
    assert!(!late.exists());
}

#[test]
fn what_never_ends_is_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("long");
    std::fs::write(&long, "x".repeat(100_000)).unwrap();
    for (reference, why) in [
        (json!({ "command": "yes" }), "printed more than 65536 bytes"),
        (json!({ "file": "/dev/zero" }), "not a regular file"),
        (json!({ "file": long }), "more than 65536 bytes"),
    ] {
        let error = password(&sftp(&reference)).unwrap_err();
        assert!(error.message.contains(why), "{error}");
    }
}

#[test]
fn only_what_references_name_is_captured() {
    assert_eq!(sftp(&json!({ "env": "SET" })).captured_env(&env), BTreeMap::from([("SET".into(), "from env".into())]));
    assert!(sftp(&json!({ "env": "UNSET" })).captured_env(&env).is_empty());
    assert!(sftp(&json!("SET")).captured_env(&env).is_empty());
}

#[test]
fn what_is_kept_on_disk_holds_no_secret_and_is_made_whole_again() {
    for storage in [webdav(), sftp(&json!("hunter2")), sftp(&json!({ "env": "SET" }))] {
        let on_disk = storage.for_disk();
        assert!(!format!("{on_disk:?}").contains("hunter2"));
        if let Some(credentials) = on_disk.get("credentials") {
            assert_eq!(*credentials, json!({ "login": "me" }), "a login is no secret");
        }
        assert_eq!(storage.with_secrets_of(on_disk).unwrap(), storage);
    }
}

#[test]
fn no_secret_shows() {
    let storage = webdav();
    let resolved = sftp(&json!({ "env": "SET" })).resolve_secrets(&env).unwrap();
    let shown = format!("{storage:?} {resolved:?} {:?}", SecretRef::Inline("hunter2".to_owned()));
    assert!(!shown.contains("hunter2") && !shown.contains("from env") && shown.contains("me"), "{shown}");
}
