use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
}

fn sync(line: &str) -> Result<SyncOptions, ErrorKind> {
    match parse(line)?.command {
        Command::Container(ContainerCommand::Sync(sync)) => Ok(sync.options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
    DaemonCli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_known() {
    let lines = [
        "container create n /a s3://b/c",
        "container add-storage n /a",
        "container remove-storage n 3cba",
        "container edit n",
        "container list",
        "container show n",
        "container delete n",
        "container sync n --source-storage x --target-storage y --one-shot --no-wait --unidirectional --allow-deletes",
        "container sync n --wait --all",
        "container sync n --dry-run",
        "container stop-sync n",
        "container list-conflicts n --force-scan",
        "container resolve n a b/c --keep both",
        "container verify n --source-storage x --target-storage y",
        "container explain n a",
        "container history n",
        "container history n a",
        "container trash n list",
        "container trash n restore a --at 2026-01-31T12:00:00Z",
        "container trash n empty",
        "container diff n a",
        "container pause n",
        "container resume n",
        "sync /a /b --one-shot",
        "status --container n --watch",
        "doctor n",
        "demo",
        "daemon run -l - -s /s",
        "daemon start",
        "daemon stop",
        "completions bash",
        "man",
    ];
    for line in lines {
        assert!(parse(&format!("wl {line}")).is_ok(), "{line}");
        assert!(parse(&format!("wl -b /b {line}")).is_ok() && parse(&format!("wl {line} --base-dir /b")).is_ok());
    }
    assert!(DaemonCli::try_parse_from(["wl-sync-daemon", "-b", "/b", "-l", "/l", "-s", "/s"]).is_ok());
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let cases = [
        ("--no-wait", ErrorKind::MissingRequiredArgument),
        ("--one-shot --no-wait --wait", ErrorKind::ArgumentConflict),
        ("--dry-run --wait", ErrorKind::ArgumentConflict),
        ("--all --target-storage x", ErrorKind::ArgumentConflict),
    ];
    for (options, expected) in cases {
        assert_eq!(sync(&format!("wl container sync n {options}")).unwrap_err(), expected, "{options}");
    }
    assert_eq!(parse("wl container resolve n a").unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse("wl container resolve n --keep both").unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse("wl status --watch --json").unwrap_err(), ErrorKind::ArgumentConflict);
    assert_eq!(parse("wl --version").unwrap_err(), ErrorKind::DisplayVersion);
}

#[test]
fn json_and_places_may_stand_anywhere() {
    let cli = parse("wl --json container list -b /b -s /s").unwrap();
    assert!(cli.global.json);
    assert_eq!(cli.global.base_dir, Some("/b".into()));
    assert!(parse("wl container list --json").unwrap().global.json);
}
