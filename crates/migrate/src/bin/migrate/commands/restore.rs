//! `migrate restore`: a snapshot comes back.

use std::time::Duration;

use clap::Args;
use liftlock_migrate::commands::archives::outcome;
use liftlock_migrate::commands::{Desk as _, End, Failed};
use liftlock_migrate::snapshot::{self, Owners, Replace, Restored};
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, duration};
use crate::command::say;
use crate::commands::snapshot::Where;

/// Brings a snapshot back: into a new database beside the live one, or, with `--replace`, in its place.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The snapshot's id, or the path of its file (with a `/` in it)
    #[arg(value_name = "ID|FILE")]
    snapshot: String,
    #[command(flatten)]
    place: Where,
    /// The new database's name; the live one's with `_restored_` and the time if left out
    #[arg(long, value_name = "DATABASE", conflicts_with = "replace")]
    into: Option<String>,
    /// Puts it in the live database's place, which keeps everything under another name
    #[arg(long, requires = "yes_replace")]
    replace: bool,
    /// The live database's name, typed by whoever means it
    #[arg(long, value_name = "DATABASE", requires = "replace")]
    yes_replace: Option<String>,
    /// Ends the sessions of others that stand in the way
    #[arg(long, requires = "replace")]
    terminate_sessions: bool,
    /// Also if this snapshot was put in place before
    #[arg(long, requires = "replace")]
    again: bool,
    /// Gives everything to the user who restores, and no rights to others
    #[arg(long)]
    no_owner: bool,
    /// How long `pg_restore` may take
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = duration)]
    time_limit: Duration,
}

pub(crate) async fn run(options: &Options, ask: &Restore) -> Result<End, Failed> {
    let url = options.url().await?;
    let settings = options.settings()?;
    let failed = |error: snapshot::ArchiveError| Failed::ended(&error, error.exit());
    let kept = ask.place.archives().find(&ask.snapshot).map_err(failed)?;
    let how = snapshot::Restore {
        into: ask.into.clone(),
        owners: if ask.no_owner { Owners::Dropped } else { Owners::Kept },
        timeout: ask.time_limit,
    };
    let mut tell = |text: String| say(&text);
    let restored = if ask.replace {
        let confirmed = ask.yes_replace.clone().unwrap_or_default();
        let replace = Replace { confirmed, terminate: ask.terminate_sessions, again: ask.again };
        snapshot::replace(&url, &settings, &kept, &how, &replace, &mut tell).await
    } else {
        snapshot::restore(&url, &settings, &kept, &how, &mut tell).await
    };
    let restored = restored.map_err(failed)?;
    let good = restored.verified.as_ref().is_none_or(|verified| verified.differences.is_empty());
    let exit = if good { Exit::Done } else { Exit::Failed };
    Ok(End { text: text(&restored, ask), json: json!(restored), exit })
}

fn text(restored: &Restored, ask: &Restore) -> String {
    let Restored { server, database, verified, before, notes } = restored;
    let mut lines = Vec::new();
    lines.extend(verified.as_ref().map(outcome));
    match before {
        Some(before) => lines.push(format!(
            "database {database} on {server} has what the snapshot had; what it was before is database {before}"
        )),
        None if ask.replace => lines.push(format!("database {database} on {server} has what the snapshot had")),
        None => lines.push(format!(
            "it is in database {database} on {server}; the live database was not touched\n  to put it in the live one's place: \
             migrate restore {} --replace --yes-replace NAME-OF-THE-LIVE-DATABASE",
            ask.snapshot
        )),
    }
    lines.extend(notes.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}
