//! `migrate rollback`.

use crate::{RollbackError, RolledBack, Settings, To};
use clap::{ArgGroup, Args};
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed, version};

/// What to roll back.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("how-far").required(true).args(["to", "steps"]))]
pub struct Rollback {
    /// The newest migration to keep, such as V0041; 0 keeps none
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
    /// How many migrations to roll back, newest first
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also where that loses data
    #[arg(long)]
    accept_data_loss: bool,
    /// Also with a rollback script that was changed since its migration was applied and that nobody has tried since
    #[arg(long)]
    accept_unproven: bool,
}

impl Rollback {
    /// Rolls back.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let (done, place) = self.roll_back(desk).await?;
        let done = done.map_err(|error| Failed::ended(&error, error.exit()))?;
        let exit = if done.refused.is_some() { Exit::Failed } else { Exit::Done };
        Ok(End { text: text(&done, &place), json: json!(done), exit })
    }

    /// Why, where somebody said so.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Rolls back, and gives what came of it, and where.
    ///
    /// # Errors
    /// Why nothing was tried.
    pub async fn roll_back(
        &self,
        desk: &dyn Desk,
    ) -> Result<(Result<RolledBack, RollbackError>, String), Failed> {
        let settings = Settings {
            reason: self.reason.clone(),
            accept_unproven: self.accept_unproven,
            ..desk.settings()?
        };
        let mut database = desk.connect_with(settings).await?;
        let to = match (self.to, self.steps) {
            (Some(version), _) => To::Version(version),
            (None, steps) => To::Steps(steps.unwrap_or_default()),
        };
        let done = database.rollback(to, self.accept_data_loss, &mut desk.tell()).await;
        Ok((done, database.place().to_owned()))
    }
}

fn text(done: &RolledBack, place: &str) -> String {
    let count = match done.ran.len() {
        0 => format!("nothing rolled back on {place}"),
        count => format!("rolled back {count} on {place}"),
    };
    let Some(refused) = &done.refused else { return count };
    let losses: String = refused.losses.iter().map(|loss| format!("\n  {loss}")).collect();
    format!(
        "{count}; {} stays applied, since its rollback would lose:{losses}\nto roll it back all the same: --accept-data-loss{}",
        refused.id,
        refused.instead().map(|instead| format!("\ninstead: {instead}")).unwrap_or_default()
    )
}
