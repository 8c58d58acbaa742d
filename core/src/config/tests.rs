use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name: &str| pairs.get(name).cloned()
}

/// A base dir with that configuration.
fn base(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), config).unwrap();
    dir
}

#[test]
fn everything_has_its_usual_place() {
    let env = environment(&[("HOME", "/nowhere/me"), ("XDG_RUNTIME_DIR", "/run/user/1")]);
    let (places, config) = Places::find(None, None, None, &env).unwrap();
    assert_eq!(places.base_dir, Path::new("/nowhere/me/.config/wildland"));
    assert_eq!(places.config_file, Path::new("/nowhere/me/.config/wildland/config.yaml"));
    assert_eq!(places.containers_dir, Path::new("/nowhere/me/.config/wildland/containers"));
    assert_eq!(places.state_dir, Path::new("/nowhere/me/.local/state/wildland"));
    assert_eq!(places.socket, Path::new("/run/user/1/wlsync.sock"));
    assert_eq!(places.log, LogTo::File("/nowhere/me/.local/share/wildland/wl-sync.log".into()));
    assert_eq!(config, Config { file: places.config_file, ..Config::default() });
}

#[test]
fn the_environment_moves_places() {
    let env = environment(&[
        ("HOME", "/nowhere/me"),
        ("XDG_CONFIG_HOME", "/nowhere/c"),
        ("XDG_STATE_HOME", "relative"),
        ("XDG_RUNTIME_DIR", ""),
        ("WL_SYNC_LOG_PATH", "-"),
    ]);
    let (places, _) = Places::find(None, None, None, &env).unwrap();
    assert_eq!(places.base_dir, Path::new("/nowhere/c/wildland"));
    assert_eq!(places.socket, Path::new("/nowhere/me/.local/state/wildland/wlsync.sock"));
    assert_eq!(places.log, LogTo::Stderr);
    let error = Places::find(None, None, None, &environment(&[])).unwrap_err();
    assert!(error.message.contains("set HOME or give --base-dir"), "{error}");
}

#[test]
fn a_base_dir_that_is_given_holds_everything() {
    let dir = base("");
    let by_flag =
        Places::find(Some(dir.path()), None, None, &environment(&[("HOME", "/h"), ("WL_BASE_DIR", "/other")]));
    let variable = environment(&[("HOME", "/h"), ("WL_BASE_DIR", &dir.path().to_string_lossy())]);
    let by_variable = Places::find(None, None, None, &variable);
    assert_eq!(by_flag, by_variable);
    let (places, _) = by_flag.unwrap();
    assert_eq!(places.state_dir, dir.path().join("state"));
    assert_eq!(places.socket, dir.path().join("wlsync.sock"));
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_configuration() {
    let dir = base("sync-socket-path: s.sock\nlog-path: ~/l\n");
    let find = |socket: Option<&str>, log: Option<&str>, pairs: &[(&str, &str)]| {
        let (places, _) = Places::find(Some(dir.path()), socket.map(Path::new), log, &environment(pairs)).unwrap();
        (places.socket, places.log)
    };
    let file = |path: &str| LogTo::File(path.into());
    assert_eq!(find(None, None, &[("HOME", "/h")]), (dir.path().join("s.sock"), file("/h/l")));
    assert_eq!(find(None, None, &[("WL_SYNC_LOG_PATH", "/e")]).1, file("/e"));
    assert_eq!(find(Some("/f"), Some("/g"), &[("WL_SYNC_LOG_PATH", "/e")]), ("/f".into(), file("/g")));
}

#[test]
fn a_configuration_is_read_and_an_error_names_file_line_and_key() {
    let dir = base("transfers: 3\nbandwidth-limit: 1KiB\nretry-for: 2m\n");
    let config = Config::load(&dir.path().join("config.yaml")).unwrap();
    assert_eq!(config.transfers, Some(3));
    assert_eq!(config.bandwidth_limit, Some(1024));
    assert_eq!(config.retry_for, Some(Duration::from_mins(2)));
    for (text, wanted) in [
        ("# why\ntransfer: 3\n", "line 2: transfer is no key"),
        ("transfers: many\n", "line 1: transfers must be parallel transfers a job, 1 to 1024"),
        ("\nbandwidth-limit: 0B\n", "line 2: bandwidth-limit must be bytes"),
        ("default-remote-for-container:\n  u: 1\n", "line 2: default-remote-for-container.u must be a backend-id"),
    ] {
        let dir = base(text);
        let file = dir.path().join("config.yaml");
        let error = Config::load(&file).unwrap_err();
        assert!(error.message.starts_with(&format!("{}, {wanted}", file.display())), "{error}");
    }
}

#[test]
fn remembers_the_target_chosen_and_keeps_the_rest() {
    let dir = base("transfers: 3\ndefault-remote-for-container: {a: b}\n");
    let file = dir.path().join("config.yaml");
    let mut config = Config::load(&file).unwrap();
    config.remember_remote("u", "id").unwrap();
    assert_eq!(Config::load(&file).unwrap(), config);
    assert_eq!((config.transfers, config.default_remote_for_container.len()), (Some(3), 2));
    fs::write(&file, "transfers: 3 # few\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for (uuid, id) in [("u", "id"), ("v", "id"), ("u", "other")] {
        assert!(!Config::load(&file).unwrap().remember_remote(uuid, id).unwrap());
    }
    let text = "transfers: 3 # few\ndefault-remote-for-container:\n  \"u\": \"other\"\n  \"v\": \"id\"\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    fs::write(&file, "default-remote-for-container: {a: b} # mine\n").unwrap();
    assert!(Config::load(&file).unwrap().remember_remote("u", "id").unwrap(), "a comment was lost");
    let fresh = dir.path().join("new/config.yaml");
    Config::load(&fresh).unwrap().remember_remote("u", "id").unwrap();
    assert_eq!(Config::load(&fresh).unwrap().default_remote_for_container["u"], "id");
}

#[test]
fn targets_that_are_chosen_at_once_are_all_remembered() {
    let dir = base("transfers: 3 # few\n");
    let file = dir.path().join("config.yaml");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let mut config = Config::load(&file).unwrap();
            scope.spawn(move || config.remember_remote(&format!("u{number}"), "id").unwrap());
        }
    });
    assert_eq!(Config::load(&file).unwrap().default_remote_for_container.len(), 8);
}

#[test]
fn a_configuration_that_is_a_link_stays_one() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), base("transfers: 3\n"));
    let (file, real) = (dir.path().join("config.yaml"), elsewhere.path().join("config.yaml"));
    std::os::unix::fs::symlink(&real, &file).unwrap();
    Config::load(&file).unwrap().remember_remote("u", "id").unwrap();
    assert!(file.is_symlink());
    assert_eq!(Config::load(&real).unwrap().default_remote_for_container["u"], "id");
}

#[test]
fn a_time_is_seconds_or_has_a_unit() {
    for (value, seconds) in [(json!(5), 5), (json!("5"), 5), (json!("5s"), 5), (json!("2m"), 120), (json!("1h"), 3600)]
    {
        assert_eq!(duration(&value), Some(Duration::from_secs(seconds)), "{value}");
    }
}
