//! `migrate baseline`.

use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed, version};

/// What a database has that was there before its migrations.
#[derive(Debug, Args)]
pub struct Baseline {
    /// The newest migration whose change the database has, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version)]
    at: i32,
    /// Records it without comparing the schema with what the migrations make, for this reason
    #[arg(long, value_name = "REASON")]
    unproven: Option<String>,
}

impl Baseline {
    /// Why there is to be no proof, if there is to be none.
    pub fn reason(&self) -> Option<&str> {
        self.unproven.as_deref()
    }

    /// Records what the database has.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let migrations = desk.migrations()?;
        let mut database = desk.connect().await?;
        let done = database
            .baseline(&migrations, self.at, self.unproven.as_deref(), &mut desk.tell())
            .await;
        let done = done.map_err(|error| Failed::ended(&error, error.exit()))?;
        let mut text = match done.recorded.len() {
            0 => format!("nothing to record: {} has it already", done.database),
            count if done.proven => {
                format!(
                    "recorded {count} as applied on {}: its schema is what they make",
                    done.database
                )
            }
            count => format!("recorded {count} as applied on {}, without a proof", done.database),
        };
        for one in &done.column_order {
            text.push_str(&format!("\n  {one}: its columns are in another order"));
        }
        Ok(End { text, json: json!(done), exit: Exit::Done })
    }
}
