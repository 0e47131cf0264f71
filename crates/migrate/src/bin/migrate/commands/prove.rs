//! `migrate prove`: rollback scripts of what is applied.

use clap::Args;
use serde_json::json;

use crate::arguments::{Options, version};
use crate::command::{End, Failed, connect, read};

/// How far back.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// Only what is newer than this migration, such as V0041; left out, down to the oldest that is not proven
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
}

pub(crate) async fn run(options: &Options, ask: &Prove) -> Result<End, Failed> {
    let migrations = read(options)?;
    let mut database = connect(options).await?;
    let proving = database.prove_rollbacks(&migrations, ask.to).await;
    let proving = proving.map_err(|error| Failed::ended(&error, error.exit()))?;
    Ok(End { text: proving.to_string(), exit: proving.exit(), json: json!(proving) })
}
