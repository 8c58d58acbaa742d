//! `wl completions` and `wl man`: what is made from the command line's definition.

use clap::CommandFactory as _;
use serde_json::json;

use crate::args::{Cli, Completions};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// A completion script.
pub fn completions(context: &Context, args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wl", &mut script);
    print(context, "script", &script)
}

/// The manual page of `wl` and of every command.
pub fn man(context: &Context) -> Outcome {
    let mut page = Vec::new();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    pages(&command, &mut page).map_err(|error| Failure::new(format!("the manual page cannot be made: {error}")))?;
    print(context, "page", &page)
}

fn pages(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(page)?;
    command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .try_for_each(|command| pages(command, page))
}

fn print(context: &Context, key: &str, text: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(text).into_owned();
    context.screen.show(&json!({ key: text }), |_| text.clone())?;
    Ok(Exit::Done)
}
