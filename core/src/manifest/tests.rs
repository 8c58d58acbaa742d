use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::error::Fault;

/// The example of the contract, word for word but for the ids.
const EXAMPLE: &str = "\
object: container
version: '1'
owner: '0xaaa'            # optional here; a hex fingerprint where the manifest comes from Wildland
title: photos             # optional
paths: [/.uuid/11e69833-0152-4563-92fc-b1540fc54a69, /photos]
backends:
  storage:
    - object: storage
      type: local
      backend-id: 3cba7968-da34-4b8c-8dc7-83d8860a8933
      location: /home/me/photos
      watcher-interval: 30      # optional, seconds: use the simple scanning watcher
      read-only: false          # optional: never write here
      primary: true             # optional
    - type: s3
      backend-id: s3-id
      s3-url: s3://bucket/prefix/
      endpoint-url: http://127.0.0.1:9000     # optional
      region: us-east-1                        # optional
      credentials: {access-key: AKIA, secret-key: hunter2}   # optional: else the usual AWS chain
    - type: sftp
      backend-id: sftp-id
      host: example.org
      port: 22                  # optional
      path: /srv/photos
      ssh-user: me              # optional
      ssh-identity: ~/.ssh/id_ed25519   # optional: key file; else agent, else default keys
      password: hunter2               # optional
      known-hosts: ~/.ssh/known_hosts   # optional; an unknown or changed host key is refused
    - type: webdav
      backend-id: webdav-id
      url: https://dav.example.org/remote.php/dav/files/me/
      credentials: {login: me, password: {command: 'pass show x'}}
      bandwidth-limit: 10MiB
exclude: ['*.tmp']
max-delete: 10
keep-deleted: 0
";

const HEAD: &str = "object: container\npaths: [/.uuid/u]\nbackends:\n  storage:\n";

fn parse(text: &str) -> Result<Manifest> {
    Manifest::parse(Path::new("/b/containers/photos.container.yaml"), text)
}

fn local(id: &str, location: impl AsRef<Path>) -> Storage {
    Storage::from_params(json!({ "type": "local", "backend-id": id, "location": location.as_ref() })).unwrap()
}

fn argument(text: &str) -> Result<Storage> {
    Storage::from_argument_in(text, Path::new("/srv/dir"), Some("/home/me"))
}

#[test]
fn the_example_of_the_contract_is_read() {
    let manifest = parse(EXAMPLE).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.title.as_deref()), ("photos", Some("photos")));
    assert_eq!(manifest.job_id(), "0xaaa|11e69833-0152-4563-92fc-b1540fc54a69");
    let types: Vec<_> = manifest.storages.iter().map(Storage::storage_type).collect();
    assert_eq!(types, ["local", "s3", "sftp", "webdav"]);
    assert_eq!(manifest.storages[0].watcher_interval(), Some(std::time::Duration::from_secs(30)));
    assert!(manifest.storages[0].primary() && !manifest.storages[0].read_only());
    assert_eq!(manifest.storages[3].bandwidth_limit(), Some(10 << 20));
    assert_eq!((manifest.exclude[0].as_str(), manifest.max_delete, manifest.keep_deleted), ("*.tmp", 10, 0));
}

#[test]
fn what_is_left_out_has_its_usual_value() {
    let manifest = parse(&format!("{HEAD}    []\n")).unwrap();
    assert_eq!((manifest.job_id().as_str(), manifest.max_delete, manifest.keep_deleted), ("local|u", 50, 30));
}

#[test]
fn a_header_is_skipped_and_counts_its_lines() {
    let header = "signature: |\n  dummy.0xaaa\n---\n";
    assert_eq!(parse(&format!("{header}{EXAMPLE}")), parse(EXAMPLE));
    let error = parse(&format!("{header}{HEAD}    []\ncolour: red\n")).unwrap_err();
    assert!(error.message.contains("line 9: colour is no key"), "{error}");
}

#[test]
fn an_error_names_file_line_and_key() {
    let storage = |lines: &str| format!("{HEAD}    - type: local\n      backend-id: a\n      {lines}\n");
    let two = |lines: &str| storage(&format!("location: /x/a\n    - type: local\n      {lines}"));
    for (text, wanted) in [
        (storage("locatoin: /x"), "line 7: backends.storage[0].locatoin is no key"),
        (storage("location: x"), "line 7: backends.storage[0].location must be an absolute path"),
        (storage("location: /x\n      bandwidth-limit: 0B"), "line 8: backends.storage[0].bandwidth-limit must be"),
        (storage("read-only: true"), "line 5: backends.storage[0] lacks the key location"),
        (two("backend-id: a\n      location: /y"), "line 9: backends.storage[1].backend-id is that of another"),
        (two("backend-id: b\n      location: /x/../x/a"), "line 10: backends.storage[1].location and that of storage"),
        (two("backend-id: b\n      location: /x"), "line 10: backends.storage[1].location and that of storage"),
        (format!("{HEAD}    []\nexclude: [a,\n 'b[']\n"), "line 7: exclude[1] is wrong"),
        (format!("{HEAD}    []\nmax-delete: 101\nobjekt: 1\n"), "line 6: max-delete must be"),
        (HEAD.replace("/.uuid/u", "/u"), "line 2: paths must be a list of paths, one of them /.uuid/"),
        (HEAD.replace("/.uuid/u", "/.uuid/a|b"), "line 2: paths must be"),
        ("object: container\n".to_owned(), "line 1: the document lacks the key paths"),
        ("[1]".to_owned(), "line 1: the document must be `key: value` pairs; the keys are object, version, owner"),
        (format!("{HEAD}    - 1\n"), "line 5: backends.storage[0] must be an object with type, backend-id"),
        ("a: 1\na: 2\n".to_owned(), "line 2: the key a is there twice: remove one"),
        (format!("owner: 0xaaa\n{HEAD}    []\n"), "line 1: owner must be a hex fingerprint in quotes"),
    ] {
        let error = parse(&text).unwrap_err();
        let start = format!("/b/containers/photos.container.yaml, {wanted}");
        assert!(error.message.starts_with(&start), "{error}\nwanted {start}");
        assert_eq!(error.fault, Fault::Malformed);
    }
}

#[test]
fn what_is_not_utf_8_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.container.yaml");
    fs::write(&file, b"object: container\ntitle: caf\xe9\n").unwrap();
    let error = Manifest::load(&file).unwrap_err();
    assert!(error.message.contains("line 2: there are bytes that are not UTF-8: save"), "{error}");
}

#[test]
fn a_copy_is_known_by_its_uuid() {
    let dir = tempfile::tempdir().unwrap();
    let made = Manifest::create(dir.path(), "c", vec![local("a", dir.path().join("a"))]).unwrap();
    let other = Manifest::create(dir.path(), "other", vec![]).unwrap();
    assert!(made.twins().unwrap().is_empty());
    let copy = Manifest::path_of(dir.path(), "copy");
    fs::copy(&made.file, &copy).unwrap();
    assert_eq!(made.twins().unwrap(), [copy]);
    assert!(other.twins().unwrap().is_empty());
}

#[test]
fn no_secret_shows() {
    let manifest = parse(EXAMPLE).unwrap();
    let shown = format!("{manifest:?}{}", manifest.masked());
    assert!(!shown.contains("hunter2") && shown.contains("pass show x"), "{shown}");
    assert!(manifest.storages.iter().all(|storage| !storage.location().contains("hunter2")));
}

#[test]
fn is_written_as_it_is_read() {
    let manifest = parse(EXAMPLE).unwrap();
    let text = manifest.to_yaml().unwrap();
    assert_eq!(parse(&text).unwrap(), manifest, "{text}");
    assert!(text.starts_with("object: container\nversion: \"1\"\nowner: ") || text.contains("version: '1'"), "{text}");
    for odd in ["yes", "1", "~", "a: b", "- x", "# c", "é ", "null", "0x1f", "a\tb"] {
        let manifest = Manifest { title: Some(odd.to_owned()), exclude: vec![odd.to_owned()], ..manifest.clone() };
        assert_eq!(parse(&manifest.to_yaml().unwrap()).unwrap(), manifest);
    }
}

#[test]
fn a_manifest_is_created_once_and_kept_private() {
    let dir = tempfile::tempdir().unwrap();
    let storages = vec![local("a", dir.path().join("a")), local("b", dir.path().join("b"))];
    let mut made = Manifest::create(dir.path(), "photos", storages.clone()).unwrap();
    assert_eq!(Manifest::open(dir.path(), "photos").unwrap(), made);
    assert_eq!(fs::metadata(&made.file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Manifest::create(dir.path(), "photos", storages).unwrap_err().fault, Fault::Refused);

    assert!(made.add_storage(local("c", dir.path().join("a/inside"))).is_err());
    made.add_storage(local("cc", dir.path().join("c"))).unwrap();
    assert_eq!(made.remove_storage("a").unwrap().backend_id(), "a");
    made.save().unwrap();
    assert_eq!(Manifest::load(&made.file).unwrap(), made);

    fs::write(Manifest::path_of(dir.path(), "broken"), "x").unwrap();
    fs::write(dir.path().join("containers/else.txt"), "").unwrap();
    let list = Manifest::list(dir.path()).unwrap();
    let names: Vec<_> = list.iter().map(|(name, manifest)| (name.as_str(), manifest.is_ok())).collect();
    assert_eq!(names, [("broken", false), ("photos", true)]);
    assert!(Manifest::list(&dir.path().join("nowhere")).unwrap().is_empty());
    assert_eq!(Manifest::open(dir.path(), "nowhere").unwrap_err().fault, Fault::Missing);
}

#[test]
fn a_name_becomes_a_files_name() {
    for bad in ["", ".", "..", ".hidden", "a/b", "a\nb", &"x".repeat(201)] {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
    for good in ["photos", "my photos", "été", "a.b", &"x".repeat(200)] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
}

#[test]
fn storages_are_chosen_by_id_prefix_or_type() {
    let mut manifest = parse(EXAMPLE).unwrap();
    manifest.storages.push(local("s3", "/elsewhere"));
    manifest.storages.push(local("3cbb", "/elsewhere/too"));
    let found = |selector: &str| manifest.find_storage(selector).map(|found| found.backend_id().to_owned());
    for (selector, id) in
        [("s3", "s3"), ("s3-", "s3-id"), ("sftp", "sftp-id"), ("3cba", "3cba7968-da34-4b8c-8dc7-83d8860a8933")]
    {
        assert_eq!(found(selector).as_deref(), Ok(id), "{selector}");
    }
    for (selector, what, candidate) in [
        ("3cb", "several storages", "3cbb (local /elsewhere/too)"),
        ("local", "several", "3cbb"),
        ("x", "no storage", "webdav-id"),
    ] {
        let error = found(selector).unwrap_err();
        assert!(error.message.contains(what) && error.message.contains(candidate), "{error}");
    }
    assert!(found("").is_err());
}

#[test]
fn a_sync_has_a_usual_source_and_target() {
    let manifest = |ids: &[&str]| {
        let all = parse(EXAMPLE).unwrap();
        let pick = |id: &&str| {
            all.storages.iter().find(|s| s.backend_id() == *id).cloned().unwrap_or_else(|| local(id, id_path(id)))
        };
        Manifest { storages: ids.iter().map(pick).collect(), ..all }
    };
    for (ids, remembered, wanted) in [
        (&["s3-id", "l1", "l2", "sftp-id"][..], None, Some(("l1", "s3-id"))),
        (&["l1", "l2"], None, Some(("l1", "l2"))),
        (&["s3-id", "sftp-id"], None, Some(("s3-id", "sftp-id"))),
        (&["l1", "s3-id", "l2"], Some("l2"), Some(("l1", "l2"))),
        (&["l1", "s3-id"], Some("l1"), Some(("l1", "s3-id"))),
        (&["l1", "s3-id"], Some("gone"), Some(("l1", "s3-id"))),
        (&["l1"], None, None),
    ] {
        let manifest = manifest(ids);
        let source = manifest.default_source().unwrap();
        let target = manifest.default_target(source, remembered);
        let chosen = target.as_ref().ok().map(|target| (source.backend_id(), target.backend_id()));
        assert_eq!(chosen, wanted, "{ids:?}");
    }
    assert!(manifest(&[]).default_source().is_err());
}

fn id_path(id: &str) -> String {
    format!("/somewhere/{id}")
}

#[test]
fn an_argument_is_a_path_or_a_url() {
    for (text, wanted) in [
        ("a", json!({ "type": "local", "location": "/srv/dir/a" })),
        (".", json!({ "type": "local", "location": "/srv/dir" })),
        ("../x/./y/", json!({ "type": "local", "location": "/srv/x/y" })),
        ("~/x", json!({ "type": "local", "location": "/home/me/x" })),
        ("a b:c@d", json!({ "type": "local", "location": "/srv/dir/a b:c@d" })),
        ("/what?", json!({ "type": "local", "location": "/what?" })),
        ("/what?colour=red", json!({ "type": "local", "location": "/what?colour=red" })),
        (
            "/x?read-only=true&watcher-interval=5",
            json!({ "type": "local", "location": "/x", "read-only": true, "watcher-interval": 5 }),
        ),
        ("s3://bucket", json!({ "type": "s3", "s3-url": "s3://bucket/" })),
        (
            "s3://bucket/a%20b?endpoint=http://127.0.0.1:9000&region=R&bandwidth-limit=10MiB",
            json!({ "type": "s3", "s3-url": "s3://bucket/a b/", "endpoint-url": "http://127.0.0.1:9000", "region": "R",
                    "bandwidth-limit": "10MiB" }),
        ),
        (
            "s3://b/p/?ca-certificate=/etc/ours.pem&access-key=AKIA&secret-key=env:SECRET",
            json!({ "type": "s3", "s3-url": "s3://b/p/", "ca-certificate": "/etc/ours.pem",
                    "credentials": { "access-key": "AKIA", "secret-key": { "env": "SECRET" } } }),
        ),
        (
            "sftp://me@h:2222/srv/x?ssh-identity=~/k&known-hosts=/k%26h&password=file:/p",
            json!({ "type": "sftp", "host": "h", "port": 2222, "path": "/srv/x", "ssh-user": "me",
                    "ssh-identity": format!("{}/k", std::env::var("HOME").unwrap()), "known-hosts": "/k&h",
                    "password": { "file": "/p" } }),
        ),
        ("sftp://h/~/x", json!({ "type": "sftp", "host": "h", "path": "~/x" })),
        ("sftp://h", json!({ "type": "sftp", "host": "h", "path": "/" })),
        ("sftp://[::1]:22/x", json!({ "type": "sftp", "host": "::1", "port": 22, "path": "/x" })),
        ("webdav+http://h:80/dav", json!({ "type": "webdav", "url": "http://h:80/dav/" })),
        (
            "webdav+https://m%40e@h?password=command:pass%20show%20x",
            json!({ "type": "webdav", "url": "https://h/",
                    "credentials": { "login": "m@e", "password": { "command": "pass show x" } } }),
        ),
        (
            "webdav+https://h/?bearer-token=env:T&ca-certificate=/etc/ours.pem&client-certificate=/etc/me.pem",
            json!({ "type": "webdav", "url": "https://h/", "bearer-token": { "env": "T" },
                "ca-certificate": "/etc/ours.pem", "client-certificate": "/etc/me.pem" }),
        ),
        (
            "webdav+https://h/?login=me&password=env:P",
            json!({ "type": "webdav", "url": "https://h/", "credentials": { "login": "me", "password": { "env": "P" } } }),
        ),
    ] {
        let storage = argument(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut params = storage.params().clone();
        assert_eq!(params.remove("object"), Some(json!("storage")));
        assert!(params.remove("backend-id").is_some_and(|id| id.as_str().is_some_and(|id| id.len() == 36)));
        assert_eq!(Value::Object(params), wanted, "{text}");
    }
}

#[test]
fn an_argument_that_is_none_says_why() {
    for (text, wanted) in [
        ("", "give a path or a URL"),
        ("ftp://h/x", "known are a path, s3://"),
        ("s3://b/?colour=red", "known are backend-id, endpoint-url"),
        ("s3://b/?endpoint=nowhere", "endpoint-url must be"),
        ("s3:///x", "s3-url must be"),
        ("s3://b/?region=a&region=b", "'region' twice"),
        ("sftp://me@h/?ssh-user=you", "'ssh-user' twice"),
        ("s3://me@b/x", "no user in it"),
        ("s3://b/%zz", "two hex digits"),
        ("s3://b/p?region=%ff", "stand for UTF-8"),
        ("s3://b/?access-key=a&secret-key=hunter2", "secret-key=env:NAME"),
        ("sftp://me:hunter2@h/x", "password=env:NAME"),
        ("sftp://h/x?password=hunter2", "password=file:PATH"),
        ("sftp://h:x/", "is no port"),
        ("sftp://-oX/", "host must be"),
        ("sftp://h/?read-only=maybe", "true or false"),
        ("sftp://h/?watcher-interval=soon", "must be a number"),
        ("webdav+http:///x", "url must be"),
        ("webdav+https://h/a b", "write each as %20"),
        ("sftp://h:x/?password=env:P", "`sftp://h:x/` is no storage: "),
        ("sftp://me:hunter2@h:x/", "`sftp://…@h:x/` is no storage: "),
        ("webdav+https://me:hunter2@h/", "password=command:LINE"),
    ] {
        let error = argument(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(error.message.contains(wanted) && !error.message.contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn says_which_secret_to_ask_for() {
    for (text, missing) in [
        ("webdav+https://me@h/", &["password"][..]),
        ("webdav+https://h/", &[]),
        ("webdav+https://me@h/?password=env:P", &[]),
        ("s3://b/?access-key=a", &["secret-key"]),
        ("sftp://me@h/", &[]),
    ] {
        assert_eq!(argument(text).unwrap().missing_secrets(), missing, "{text}");
    }
    let asked = argument("webdav+https://me@h/").unwrap().with_param("password", json!("hunter2"));
    assert!(asked.missing_secrets().is_empty());
    assert_eq!(asked.params()["credentials"]["password"], "hunter2");
    let typed = |text| argument("webdav+https://me@h/").unwrap().with_typed_secret("password", text);
    assert_eq!(typed("hunter2").unwrap().params()["credentials"]["password"], "hunter2");
    assert_eq!(typed("env:FOO").unwrap().params()["credentials"]["password"], json!({ "env": "FOO" }));
    assert!(typed("").is_err() && typed("env:not a name").is_err());
}

#[test]
fn a_question_mark_belongs_to_a_path_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a?read-only=true");
    let location = || Storage::from_argument(&odd.to_string_lossy()).unwrap().location();
    assert!(location().ends_with("/a"));
    fs::create_dir(&odd).unwrap();
    assert!(location().ends_with("/a?read-only=true"));
}

#[test]
fn one_place_has_one_form() {
    for (one, other, related) in [
        ("/a", "/a/", true),
        ("/a", "/a/b", true),
        ("/a", "/ab", false),
        ("/", "/a", true),
        ("s3://b/p", "s3://b/p/q", true),
        ("s3://b/p", "s3://b/pq", false),
        ("s3://b", "s3://b/p", true),
        ("s3://b/p", "s3://c/p", false),
        ("s3://b/p?endpoint=http://H:80", "s3://b/p?endpoint=http://h/", true),
        ("s3://b/p?endpoint=http://h", "s3://b/p", false),
        ("sftp://h/a", "sftp://me@H:22/a/./b", true),
        ("sftp://h/a", "sftp://h:23/a", false),
        ("sftp://h/~/a", "sftp://h/a", false),
        ("webdav+https://h/a%20b/", "webdav+https://me@H:443/a%20b/c?password=env:P", true),
        ("webdav+https://h/a", "webdav+http://h/a", false),
        ("/a", "sftp://h/a", false),
    ] {
        let (one, other) = (argument(one).unwrap(), argument(other).unwrap());
        assert_eq!(one.overlap(&other).is_some(), related, "{one:?} {other:?}");
        assert_eq!(other.overlap(&one).is_some(), related, "{other:?} {one:?}");
    }
    assert_eq!(argument("/a/../b/").unwrap().place(), "local:/b");
    assert_eq!(argument("s3://b/p").unwrap().place(), "s3:aws/b/p");
    assert_eq!(argument("sftp://me@H/p").unwrap().place(), "sftp:h:22/p");
    assert_eq!(argument("webdav+https://H:443/p").unwrap().place(), "webdav:https://h/p");
}

#[test]
fn a_link_does_not_hide_that_two_places_are_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let (real, link) = (local("a", dir.path().join("real")), local("b", dir.path().join("link/not/yet")));
    assert!(real.overlap(&link).is_some());
}

#[test]
fn a_place_is_the_same_before_a_link_leads_anywhere_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("home/me")).unwrap();
    symlink("home/me", at("me")).unwrap();
    symlink(at("media/disk/Photos"), at("home/me/Photos")).unwrap();
    symlink("../../media/alias/../More", at("home/me/More")).unwrap();
    symlink("round", at("round")).unwrap();
    let ways = ["me/Photos", "me/Photos/2020", "home/me/More", "round/x"];
    let places = || ways.map(|way| local("a", at(way)).place());
    let before = places();
    assert!(before[0].ends_with("/media/disk/Photos") && before[1].ends_with("/media/disk/Photos/2020"), "{before:?}");
    let disk = local("b", at("media/disk/Photos/2020"));
    assert!(local("a", at("me/Photos")).overlap(&disk).is_some());

    for there in ["media/disk/Photos", "media/More", "media/alias"] {
        fs::create_dir_all(at(there)).unwrap();
    }
    assert_eq!(places(), before);
}

/// Each is looked at once: with a look for each pair it was half a million.
#[test]
fn a_thousand_storages_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..1000).fold(HEAD.to_owned(), |text, number| {
        let location = dir.path().join(number.to_string());
        text + &format!("    - {{type: local, backend-id: s{number}, location: {}}}\n", location.display())
    });
    let begun = std::time::Instant::now();
    assert_eq!(parse(&text).unwrap().storages.len(), 1000);
    assert!(begun.elapsed().as_secs() < 10, "it took {:?}", begun.elapsed());
}

#[test]
fn what_a_client_sends_too_much_is_dropped() {
    let params = json!({ "type": "local", "backend-id": "a", "location": "/a", "owner": "0xaaa", "primary": null });
    let storage = Storage::from_params(params).unwrap();
    assert_eq!(storage.params().keys().collect::<Vec<_>>(), ["type", "backend-id", "location"]);
    for wrong in [json!(1), json!({}), json!({ "type": "local", "backend-id": "a", "location": 1 })] {
        assert!(Storage::from_params(wrong).is_err());
    }
}
