//! The command line: every command, argument and option, with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::version;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  usage or manifest error
  3  done, but conflicts are open
  4  done, but some files could not be synced
  5  verify found differences";

const STORAGES: &str = "STORAGE is a path, or a URL:
  s3://bucket/prefix?endpoint=URL&region=R
  sftp://user@host:port/path
  webdav+https://user@host/path
Any manifest key of the type may be a query parameter. A secret may not: give a reference to it
(password=env:NAME, password=file:PATH, password=command:…), or let a terminal ask for it.";

const SYNC_NOTES: &str = "\
--dry-run exits with 3 if it shows conflicts, else with 0.
Interrupting a waited --one-shot stops the job; interrupting --wait only stops waiting.";

/// Keeps a container of files equal on several storages, verified by sha256, never losing a file.
#[derive(Debug, Parser)]
#[command(name = "wl", version = version::text(), after_help = EXIT_CODES, arg_required_else_help = true)]
#[command(subcommand_required = true)]
pub struct Cli {
    /// Where everything is kept.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The daemon under its own name.
#[derive(Debug, Parser)]
#[command(name = "wl-sync-daemon", about = "Runs the sync daemon in the foreground", version = version::text())]
pub struct DaemonCli {
    /// Where everything is kept.
    #[command(flatten)]
    pub global: Global,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Where containers and configuration are kept [env: `WL_BASE_DIR`]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub base_dir: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(short, long, global = true, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,
    /// The daemon's log; `-` is stderr
    #[arg(short, long, global = true, value_name = "PATH")]
    pub log_path: Option<PathBuf>,
    /// Print one JSON document on stdout, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show and sync containers
    #[command(subcommand, visible_alias = "c")]
    Container(ContainerCommand),
    /// Sync two storages, without writing a manifest first
    #[command(after_help = format!("{STORAGES}\n\n{SYNC_NOTES}\n\n{EXIT_CODES}"))]
    Sync(SyncStorages),
    /// Show every job, its conflicts and problems
    #[command(after_help = "Exits with 1 if a job is in ERROR, else 3 with open conflicts, else 4 with problems.")]
    Status(Status),
    /// Try what each storage of a container can do
    Doctor(Name),
    /// See it work: two temporary directories, a real daemon, a conflict and its resolution
    Demo,
    /// Run, start or end the sync daemon
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

/// What can be done with a container.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Make a container
    #[command(after_help = STORAGES)]
    Create(Create),
    /// Add a storage to a container
    #[command(after_help = STORAGES)]
    AddStorage(AddStorage),
    /// Take a storage out of a container; the files stay where they are
    RemoveStorage(RemoveStorage),
    /// Edit a manifest in $VISUAL or $EDITOR
    Edit(Name),
    /// List the containers
    List,
    /// Show a manifest, secrets masked
    Show(Name),
    /// Delete a manifest; the files stay where they are
    Delete(Name),
    /// Start syncing a container
    #[command(after_help = format!("{SYNC_NOTES}\n\n{EXIT_CODES}"))]
    Sync(Sync),
    /// Stop syncing a container
    StopSync(Name),
    /// List the open conflicts
    #[command(after_help = "Exits with 3 if any is open.")]
    ListConflicts(ListConflicts),
    /// End conflicts by keeping one version, or both
    Resolve(Resolve),
    /// Read and hash everything on both sides, and list what differs
    #[command(after_help = "Exits with 5 if anything differs.")]
    Verify(Verify),
    /// Say what is known about a path, what the next pass would do and why
    Explain(Explain),
    /// List what was done
    History(History),
    /// What the sync overwrote or deleted, and kept
    Trash(Trash),
    /// Show the two versions of a conflict
    Diff(Explain),
    /// Hold a container's job
    Pause(Name),
    /// Let a held job go on
    Resume(Name),
}

/// A container.
#[derive(Debug, Args)]
pub struct Name {
    /// The container
    pub name: String,
}

/// `container create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The container
    pub name: String,
    /// Where it is kept
    #[arg(value_name = "STORAGE")]
    pub storages: Vec<String>,
}

/// `container add-storage`.
#[derive(Debug, Args)]
pub struct AddStorage {
    /// The container
    pub name: String,
    /// Where it is to be kept too
    pub storage: String,
}

/// `container remove-storage`.
#[derive(Debug, Args)]
pub struct RemoveStorage {
    /// The container
    pub name: String,
    /// The storage's backend-id, an unambiguous prefix of it, or its type
    pub id: String,
}

/// Which two storages.
#[derive(Debug, Clone, Default, Args)]
pub struct Choice {
    /// A backend-id, an unambiguous prefix of one, or a type [default: the first local storage, else the first]
    #[arg(long, value_name = "X")]
    pub source_storage: Option<String>,
    /// The same [default: the last one chosen, else the first that is not local, else the first other one]
    #[arg(long, value_name = "X")]
    pub target_storage: Option<String>,
}

/// How to sync.
#[derive(Debug, Clone, Default, Args)]
pub struct SyncOptions {
    /// Which two storages
    #[command(flatten)]
    pub choice: Choice,
    /// Sync once, show progress, and return when it is done
    #[arg(long)]
    pub one_shot: bool,
    /// Return at once; `status` tells how it goes
    #[arg(long, requires = "one_shot", conflicts_with = "wait")]
    pub no_wait: bool,
    /// Return when nothing is left to do
    #[arg(long)]
    pub wait: bool,
    /// Let only the source's changes travel
    #[arg(long)]
    pub unidirectional: bool,
    /// Print what would be done, one line an action, and change nothing
    #[arg(long, conflicts_with_all = ["wait", "no_wait"])]
    pub dry_run: bool,
    /// Let this run delete more than the container's `max-delete` allows
    #[arg(long)]
    pub allow_deletes: bool,
}

/// `container sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// The container
    pub name: String,
    /// How
    #[command(flatten)]
    pub options: SyncOptions,
    /// Keep every storage of the container equal: the source with each other one
    #[arg(long, conflicts_with = "target_storage")]
    pub all: bool,
}

/// `sync`.
#[derive(Debug, Args)]
pub struct SyncStorages {
    /// The first storage
    #[arg(value_name = "STORAGE")]
    pub first: String,
    /// The second storage
    #[arg(value_name = "STORAGE")]
    pub second: String,
    /// How
    #[command(flatten)]
    pub options: SyncOptions,
}

/// `container list-conflicts`.
#[derive(Debug, Args)]
pub struct ListConflicts {
    /// The container
    pub name: String,
    /// Compare every pair of storages by hash now
    #[arg(long)]
    pub force_scan: bool,
}

/// `container resolve`.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The container
    pub name: String,
    /// The paths in conflict
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// The storage whose version is kept: a backend-id, an unambiguous prefix of one, or a type; or `both`
    #[arg(long, value_name = "X")]
    pub keep: String,
}

/// `container verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The container
    pub name: String,
    /// Which two storages
    #[command(flatten)]
    pub choice: Choice,
}

/// `container explain` and `container diff`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The container
    pub name: String,
    /// The path, relative to the storage
    pub path: String,
    /// Which two storages
    #[command(flatten)]
    pub choice: Choice,
}

/// `container history`.
#[derive(Debug, Args)]
pub struct History {
    /// The container
    pub name: String,
    /// Only what was done to this path
    pub path: Option<String>,
    /// So many entries at most, the newest first
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// `container trash`.
#[derive(Debug, Args)]
pub struct Trash {
    /// The container
    pub name: String,
    /// What to do
    #[command(subcommand)]
    pub action: TrashAction,
}

/// What can be done with the trash.
#[derive(Debug, Subcommand)]
pub enum TrashAction {
    /// List what is kept
    List,
    /// Put a kept version back
    Restore {
        /// The path it had
        path: String,
        /// When it was overwritten or deleted, as `list` shows it [default: the last time]
        #[arg(long, value_name = "WHEN")]
        at: Option<String>,
    },
    /// Delete everything that is kept
    Empty,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this container
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Redraw until interrupted
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

/// What can be done with the daemon.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum DaemonCommand {
    /// Run it in the foreground
    Run,
    /// Start it in the background
    Start,
    /// End it; continuous jobs go on when it is started again
    Stop,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests;
