//! `migrate status`.

use liftlock_migrate::Status;
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::Options;
use crate::command::{End, Failed, connect, read};

pub(crate) async fn run(options: &Options) -> Result<End, Failed> {
    let migrations = read(options)?;
    let mut database = connect(options).await?;
    let status = database.status(&migrations).await;
    let status = status.map_err(|error| Failed::ended(error, Exit::Failed))?;
    let exit = if status.problems.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(End { text: text(&status), json: json!(status), exit })
}

fn text(status: &Status) -> String {
    let mut lines = vec![status.database.clone()];
    for one in &status.applied {
        let by = one.by.as_ref().map_or_else(|| "refinery".to_owned(), ToString::to_string);
        let took = one.milliseconds.map(|took| format!(", {took} ms")).unwrap_or_default();
        lines.push(format!(
            "  applied  {}  {} by {by}{took}",
            one.id(),
            one.at.strftime("%Y-%m-%d %H:%M:%S UTC")
        ));
    }
    lines.extend(status.pending.iter().map(|id| format!("  pending  {id}")));
    lines.extend(status.problems.iter().map(|problem| format!("  PROBLEM  {problem}")));
    lines.join("\n")
}
