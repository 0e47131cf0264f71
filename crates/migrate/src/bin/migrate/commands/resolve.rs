//! `migrate resolve`.

use clap::Args;
use liftlock_migrate::Resolution;
use serde_json::json;

use crate::arguments::{Options, version};
use crate::command::{End, Failed, connect, tell};
use liftlock_model::Exit;

/// What a person found out.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("word").required(true))]
pub(crate) struct Resolve {
    /// The migration, such as V0041
    #[arg(value_name = "VERSION", value_parser = version)]
    version: i32,
    /// The number of its statement that is in doubt, from 1
    #[arg(long, value_name = "NUMBER")]
    statement: usize,
    /// The statement was done: go on after it
    #[arg(long, group = "word")]
    done: bool,
    /// The statement was not done, or does no harm twice: run it again
    #[arg(long, group = "word")]
    again: bool,
}

pub(crate) async fn run(options: &Options, ask: &Resolve) -> Result<End, Failed> {
    let resolution = if ask.done { Resolution::Done } else { Resolution::Again };
    let mut database = connect(options).await?;
    let resolved = database.resolve(ask.version, ask.statement, resolution, &mut tell).await;
    let id = resolved.map_err(|error| Failed::ended(&error, error.exit()))?;
    let next = if ask.done { "it counts as done" } else { "it will run again" };
    let text = format!("statement {} of {id}: {next}; `migrate` goes on", ask.statement);
    let json = json!({ "resolved": id, "statement": ask.statement, "done": ask.done });
    Ok(End { text, json, exit: Exit::Done })
}
