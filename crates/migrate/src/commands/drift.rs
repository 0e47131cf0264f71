//! `migrate drift`: whether others have changed the schema since the last run.

use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed};

/// What to do with a drift.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Drift {
    /// Takes the schema as it is from now on, and keeps why
    #[arg(long, value_name = "REASON", value_parser = reason)]
    accept: Option<String>,
}

impl Drift {
    /// Why the schema is taken as it is, if it is to be.
    pub fn reason(&self) -> Option<&str> {
        self.accept.as_deref()
    }

    /// Shows what others have changed, or takes it as it is.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let mut database = desk.connect().await?;
        let Some(reason) = &self.accept else {
            let drift = database.drift().await;
            let drift = drift.map_err(|error| Failed::ended(error, Exit::Failed))?;
            let exit = if drift.is_seen() { Exit::Failed } else { Exit::Done };
            return Ok(End {
                text: drift.to_string().trim_end().to_owned(),
                json: json!(drift),
                exit,
            });
        };
        let accepted = database.accept_drift(reason, &mut desk.tell()).await;
        let drift = accepted.map_err(|error| Failed::ended(&error, error.exit()))?;
        let text = match (drift.is_seen(), &drift.since, &drift.unknown) {
            (false, Some(_), None) => drift.to_string(),
            (true, ..) => format!("{drift}taken as it is from now on: {reason}"),
            _ => format!("the schema of {} is kept as it is: {reason}", drift.database),
        };
        Ok(End { text, json: json!({ "accepted": drift, "reason": reason }), exit: Exit::Done })
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say why, for those who read the record later".into());
    }
    Ok(text.to_owned())
}
