//! `migrate status`.

use crate::{Applied, Execution, Status as Standing};
use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed};

/// What to show.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Status {
    /// Also everything that was ever done: applied, rolled back, adopted, by whom, when, why
    #[arg(long)]
    history: bool,
}

impl Status {
    /// Shows how files and database stand to each other.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let migrations = desk.migrations()?;
        let mut database = desk.connect().await?;
        let failed = |error| Failed::ended(error, Exit::Failed);
        let status = database.status(&migrations).await.map_err(failed)?;
        let exit = if status.is_fine() { Exit::Done } else { Exit::Failed };
        let mut json = json!(status);
        let mut lines = lines(&status);
        if self.history {
            let history = database.history().await.map_err(failed)?;
            json["history"] = json!(history);
            lines.push(format!("history, {} entries:", history.len()));
            lines.extend(history.iter().map(Execution::to_string).map(|line| format!("  {line}")));
        }
        Ok(End { text: lines.join("\n"), json, exit })
    }
}

fn lines(status: &Standing) -> Vec<String> {
    let mut lines = vec![status.database.clone()];
    lines.extend(status.applied.iter().map(applied));
    lines.extend(status.pending.iter().map(|one| format!("  pending  {one}")));
    lines.extend(status.half_done.iter().map(|half| format!("  HALF DONE  {half}")));
    lines.extend(status.problems.iter().map(|problem| format!("  PROBLEM  {problem}")));
    let drift = &status.drift;
    if drift.is_seen() || drift.unknown.is_some() {
        lines.push(format!("  DRIFT  {}", drift.headline()));
    }
    lines
}

fn applied(one: &Applied) -> String {
    let by = match (&one.by, &one.reason) {
        (Some(by), _) => format!("by {by}"),
        // Taken over from another tool; it says from which.
        (None, Some(reason)) => reason.clone(),
        (None, None) => "by refinery".to_owned(),
    };
    let took = one.milliseconds.map(|took| format!(", {took} ms")).unwrap_or_default();
    let at = one.at.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("  applied  {}  {at} {by}{took}", one.id())
}
