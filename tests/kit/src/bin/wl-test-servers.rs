//! `wl-test-servers COMMAND ARGS…` runs a command that finds the slow servers started: their addresses are in its
//! environment, under the names that `wl_test_kit::servers` looks for. Ends as the command ends.

use std::env;
use std::process::{Command, ExitCode};
use std::thread;

use wl_test_kit::servers::{juicefs, seaweed};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: wl-test-servers COMMAND ARGS…");
        return ExitCode::from(2);
    };
    let (seaweed, juicefs) = thread::scope(|scope| {
        let juicefs = scope.spawn(juicefs::start);
        (seaweed::start(), juicefs.join())
    });
    let Ok(juicefs) = juicefs else {
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(&program);
    command.args(args).env(seaweed::VARIABLE, seaweed.endpoint()).env(juicefs::VARIABLE, juicefs.endpoint());
    match command.status() {
        // A command that was killed by a signal has no code.
        Ok(status) => ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1)),
        Err(why) => {
            eprintln!("wl-test-servers: {}: {why}", program.display());
            ExitCode::FAILURE
        }
    }
}
