#![doc = include_str!("../README.md")]

mod cli;
mod commands;
mod connect;
mod console;
mod failure;
mod git;
mod local;
mod secrets;
mod stage;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

/// Runs the command line of this process to its end, as `invoked_as` (`liftlock`, or `cargo xtask`: the name that
/// messages use in the commands that they advise).
pub fn main(invoked_as: &str) -> ExitCode {
    let command = cli::Arguments::command().bin_name(invoked_as);
    let parsed =
        command.try_get_matches().and_then(|found| cli::Arguments::from_arg_matches(&found));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` come this way too, and are no errors.
            let code = if error.use_stderr() { liftlock_model::Exit::Usage.code() } else { 0 };
            // Nobody reads on, as in `| head -1`: nothing is left to do about it.
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    let console = console::Console::new(arguments.output, invoked_as);
    // Ours is ring; a process that linked another provider by accident must not panic at the first request.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.error(&format!("the machine gives no threads: {error}"));
            return ExitCode::from(liftlock_model::Exit::Usage.code());
        }
    };
    let exit = runtime.block_on(commands::run(arguments, &console));
    // Nothing that is still running (a look at the console's signals) may keep a finished command alive.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}
