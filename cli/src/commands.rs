//! The commands, one file each, one line each in [`run`].

pub mod create;
pub mod daemon;
pub mod delete;
pub mod diff;
pub mod doctor;
pub mod edit;
pub mod explain;
pub mod generate;
pub mod history;
pub mod hold;
pub mod list;
pub mod list_conflicts;
pub mod resolve;
pub mod show;
pub mod status;
pub mod stop_sync;
pub mod storages;
pub mod sync;
pub mod sync_storages;
pub mod trash;
pub mod verify;

use crate::args::{Command, ContainerCommand, DaemonCommand};
use crate::context::Context;
use crate::demo;
use crate::failure::Outcome;

/// Runs one command.
pub async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Container(command) => container(context, command).await,
        Command::Sync(args) => sync_storages::run(context, &args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Demo => demo::run(context).await,
        Command::Daemon(DaemonCommand::Run) => daemon::run(context).await,
        Command::Daemon(DaemonCommand::Start) => daemon::start(context).await,
        Command::Daemon(DaemonCommand::Stop) => daemon::stop(context).await,
        Command::Completions(args) => generate::completions(context, &args),
        Command::Man => generate::man(context),
    }
}

async fn container(context: &Context, command: ContainerCommand) -> Outcome {
    match command {
        ContainerCommand::Create(args) => create::run(context, &args).await,
        ContainerCommand::AddStorage(args) => storages::add(context, &args).await,
        ContainerCommand::RemoveStorage(args) => storages::remove(context, &args).await,
        ContainerCommand::Edit(args) => edit::run(context, &args).await,
        ContainerCommand::List => list::run(context),
        ContainerCommand::Show(args) => show::run(context, &args),
        ContainerCommand::Delete(args) => delete::run(context, &args).await,
        ContainerCommand::Sync(args) => sync::run(context, &args).await,
        ContainerCommand::StopSync(args) => stop_sync::run(context, &args).await,
        ContainerCommand::ListConflicts(args) => list_conflicts::run(context, &args).await,
        ContainerCommand::Resolve(args) => resolve::run(context, &args).await,
        ContainerCommand::Verify(args) => verify::run(context, &args).await,
        ContainerCommand::Explain(args) => explain::run(context, &args).await,
        ContainerCommand::History(args) => history::run(context, &args).await,
        ContainerCommand::Trash(args) => trash::run(context, &args).await,
        ContainerCommand::Diff(args) => diff::run(context, &args).await,
        ContainerCommand::Pause(args) => hold::pause(context, &args).await,
        ContainerCommand::Resume(args) => hold::resume(context, &args).await,
    }
}
