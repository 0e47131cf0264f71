//! `environment list`, `check`, `diff` and `schema`.

use liftlock_environment::{Environment, diff, schema};
use liftlock_model::Exit;
use serde_json::json;

use crate::cli::EnvironmentCommand;
use crate::commands::Top;
use crate::console::Console;
use crate::failure::Failure;

/// Runs an `environment` command.
pub(crate) fn run(
    top: &Top,
    command: EnvironmentCommand,
    console: &Console,
) -> Result<Exit, Failure> {
    match command {
        EnvironmentCommand::List => {
            for name in Environment::list(&top.root)? {
                let environment = top.environment(&name)?;
                let after = environment.config.gates.after.clone();
                let value = json!({ "environment": name, "after": after, "engine": environment.config.infrastructure.engine });
                console.result("environment", &value, || match &after {
                    Some(after) => format!("{name:<12} after {after}"),
                    None => format!("{name:<12} first of its chain"),
                });
            }
        }
        EnvironmentCommand::Check { env } => {
            let names = match env {
                Some(name) => vec![name],
                None => Environment::list(&top.root)?,
            };
            let mut wrong = Vec::new();
            for name in names {
                match top.environment(&name) {
                    Ok(_) => console.say(&format!("{name}: fine")),
                    // What is wrong with base.toml is wrong with every environment.
                    Err(failure) if wrong.contains(&failure.message) => {}
                    Err(failure) => wrong.push(failure.message),
                }
            }
            if !wrong.is_empty() {
                return Err(Failure::usage(wrong.join("\n")));
            }
        }
        EnvironmentCommand::Diff { one, other } => {
            let difference = diff(&top.environment(&one)?, &top.environment(&other)?);
            console.product(&format!("{difference}\n"));
        }
        EnvironmentCommand::Schema => {
            let text = serde_json::to_string_pretty(&schema()).map_err(|error| {
                Failure::failed(format!("the schema cannot be written: {error}"))
            })?;
            console.product(&format!("{text}\n"));
        }
    }
    Ok(Exit::Done)
}
