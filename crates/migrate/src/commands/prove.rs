//! `migrate prove`: rollback scripts of what is applied.

use clap::Args;
use serde_json::json;

use super::{Desk, End, Failed, version};

/// How far back.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Prove {
    /// Only what is newer than this migration, such as V0041; left out, down to the oldest that is not proven
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
}

impl Prove {
    /// Tries the rollback scripts.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let migrations = desk.migrations()?;
        let mut database = desk.connect().await?;
        let proving = database.prove_rollbacks(&migrations, self.to).await;
        let proving = proving.map_err(|error| Failed::ended(&error, error.exit()))?;
        Ok(End { text: proving.to_string(), exit: proving.exit(), json: json!(proving) })
    }
}
