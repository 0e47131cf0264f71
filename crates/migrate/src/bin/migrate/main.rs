//! `migrate`: database migrations from the command line.

mod arguments;
mod command;
mod commands;
mod lint;
mod secret;

use std::process::ExitCode;

use clap::Parser as _;
use liftlock_model::Exit;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // There is nobody left to tell when standard error is closed.
            error.print().unwrap_or_default();
            return ExitCode::from(exit.code());
        }
    };
    ExitCode::from(command::run(arguments).code())
}
