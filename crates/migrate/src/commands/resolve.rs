//! `migrate resolve`.

use crate::Resolution;
use clap::Args;
use serde_json::json;

use super::{Desk, End, Failed, version};

use liftlock_model::Exit;

/// What a person found out.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("word").required(true))]
pub struct Resolve {
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

impl Resolve {
    /// Puts on record what became of the statement.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let resolution = if self.done { Resolution::Done } else { Resolution::Again };
        let mut database = desk.connect().await?;
        let resolved =
            database.resolve(self.version, self.statement, resolution, &mut desk.tell()).await;
        let id = resolved.map_err(|error| Failed::ended(&error, error.exit()))?;
        let next = if self.done { "it counts as done" } else { "it will run again" };
        let text = format!("statement {} of {id}: {next}; `migrate` goes on", self.statement);
        let json = json!({ "resolved": id, "statement": self.statement, "done": self.done });
        Ok(End { text, json, exit: Exit::Done })
    }
}
