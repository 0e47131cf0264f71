//! `migrate rollback`.

use clap::Args;
use liftlock_migrate::RolledBack;
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, version};
use crate::command::{End, Failed, connect, tell};

/// What to roll back.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The newest migration to keep, such as V0041; 0 keeps none
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: i32,
    /// Also where that loses data
    #[arg(long)]
    accept_data_loss: bool,
}

pub(crate) async fn run(options: &Options, ask: &Rollback) -> Result<End, Failed> {
    let mut database = connect(options).await?;
    let done = database.rollback(ask.to, ask.accept_data_loss, &mut tell).await;
    let done = done.map_err(|error| Failed::ended(&error, error.exit()))?;
    let exit = if done.refused.is_some() { Exit::Failed } else { Exit::Done };
    Ok(End { text: text(&done, database.place()), json: json!(done), exit })
}

fn text(done: &RolledBack, place: &str) -> String {
    let count = match done.ran.len() {
        0 => format!("nothing rolled back on {place}"),
        count => format!("rolled back {count} on {place}"),
    };
    let Some(refused) = &done.refused else { return count };
    let losses: String = refused.losses.iter().map(|loss| format!("\n  {loss}")).collect();
    format!(
        "{count}; {} stays applied, since its rollback would lose:{losses}\nto roll it back all the same: --accept-data-loss",
        refused.id
    )
}
