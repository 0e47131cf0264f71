//! `migrate` and `migrate --dry-run`.

use std::path::PathBuf;

use clap::Args;
use liftlock_migrate::commands::{Desk, End, Failed, Need, Reports, version};
use liftlock_migrate::snapshot::Dump;
use liftlock_migrate::{COMMENT, Database, Ran, Settings, markdown};
use liftlock_model::{Exit, MigrationId};
use serde_json::json;

use crate::arguments::{Options, Output};
use crate::commands::snapshot::KEEP_DAYS;

/// What to apply.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Tries what is pending for real on a throw-away copy of the schema: up, rollback, up again
    #[arg(long, conflicts_with = "to")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) reports: Reports,
    /// Goes no further than this migration, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
    /// Also what is of the contract phase: no version that needs what it takes away is running any more
    #[arg(long)]
    contract: bool,
    /// First does what --dry-run does, goes on only if there is nothing to mend, and keeps on record that the rollbacks are proven
    #[arg(long, conflicts_with = "dry_run")]
    prove: bool,
    /// Makes a snapshot (an archive of `pg_dump`, read back at once) in this directory before anything is applied; none, nothing
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "dry_run")]
    snapshot: Option<PathBuf>,
    /// How many days that snapshot is kept; 0 for ever
    #[arg(long, value_name = "NUMBER", default_value_t = KEEP_DAYS, requires = "snapshot")]
    snapshot_keep_days: u32,
}

pub(crate) async fn run(options: &Options, ask: &Apply) -> Result<End, Failed> {
    let desk: &dyn Desk = options;
    if ask.dry_run {
        let (tried, exit) = ask.reports.run(desk).await?;
        let text = match options.output {
            Output::Markdown => markdown(&tried, COMMENT),
            _ => tried.to_string(),
        };
        return Ok(End { text, exit, json: json!(tried) });
    }
    let snapshot = ask.snapshot.as_ref().map(|directory| Dump {
        keep_days: Some(ask.snapshot_keep_days).filter(|days| *days > 0),
        ..Dump::into(directory)
    });
    let settings = Settings { snapshot, ..options.settings()? };
    // Of what is asked for beyond that, only the files can tell whether it makes sense.
    let need = if ask.to.is_none() && !ask.prove { Need::Difference } else { Need::Files };
    let (migrations, mut database) = desk.read_and_connect(settings, need).await?;
    let Some(migrations) = migrations else { return Ok(end(&database, &[], None)) };
    let waits = match ask.contract {
        true => None,
        false => {
            let waits = database.waits(&migrations).await;
            waits.map_err(|error| Failed::ended(error, Exit::Failed))?
        }
    };
    let waits = waits.filter(|first| ask.to.is_none_or(|to| to >= first.version));
    let to = waits.as_ref().map(|first| first.version - 1).or(ask.to);
    let tried = match ask.prove {
        true => {
            let tried = database.dry_run(&migrations).await;
            Some(tried.map_err(|error| Failed::ended(&error, error.exit()))?)
        }
        false => None,
    };
    if let Some(tried) = tried.as_ref().filter(|tried| tried.exit() != Exit::Done) {
        let text = format!("{tried}\nnothing was applied");
        return Ok(End { text, json: json!(tried), exit: tried.exit() });
    }
    let ran = database.apply(&migrations, to, &mut desk.tell()).await;
    let ran = ran.map_err(|error| Failed::ended(&error, error.exit()))?;
    if let Some(tried) = tried.filter(|_| !ran.is_empty()) {
        let kept = database.keep_proofs(&migrations, &tried).await;
        kept.map_err(|error| Failed::ended(&error, error.exit()))?;
    }
    Ok(end(&database, &ran, waits.as_ref()))
}

/// What is said of what ran, and of what waits.
fn end(database: &Database, ran: &[Ran], waits: Option<&MigrationId>) -> End {
    let text = match ran.len() {
        0 => format!("nothing to apply on {}", database.place()),
        count => format!("applied {count} on {}", database.place()),
    };
    let waiting = waits.map(|first| {
        format!(
            "\n{first} waits, and what is newer with it: it is `phase contract`, and an older version may still be running; once none \
             is: migrate --contract"
        )
    });
    let text = text + &waiting.unwrap_or_default();
    End { text, json: json!({ "applied": ran, "waits": waits }), exit: Exit::Done }
}
