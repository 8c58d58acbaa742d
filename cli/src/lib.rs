//! The command line of wl: arguments, one file a command, and one place that prints.

mod args;
mod commands;
mod context;
mod demo;
mod failure;
#[cfg(test)]
mod fixtures;
mod follow;
mod link;
mod pairs;
mod paths;
mod render;
mod rooms;
mod signals;
mod version;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Cli, Command, DaemonCli, DaemonCommand, Global};
use context::Context;
use failure::{Exit, Failure, Outcome};
use render::Screen;

/// Runs the command `wl`.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    run(&cli.global, cli.command)
}

/// Runs the command `wl-sync-daemon`: the daemon in the foreground.
pub fn daemon_main() -> ExitCode {
    run(&DaemonCli::parse().global, Command::Daemon(DaemonCommand::Run))
}

fn run(global: &Global, command: Command) -> ExitCode {
    let outcome = Context::find(global).and_then(|context| in_runtime(&context, command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            Screen::new(global.json).fail(&failure);
            failure.exit.into()
        }
    }
}

fn in_runtime(context: &Context, command: Command) -> Outcome<Exit> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(format!("the system gives this process no threads: {error}")))?;
    let outcome = runtime.block_on(commands::run(context, command));
    // Whatever else still waits for the system, as for a name server, is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}
