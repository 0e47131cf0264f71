//! `migrate squash`.

use std::path::PathBuf;

use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed, version};
use crate::squash::{Squash as Ask, Squashed, WayBack};

/// What to make one of.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Squash {
    /// The newest migration to go into it, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: i32,
    /// Proves it, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Removes the files that it stands for, in place of moving them to `squashed` in the directory
    #[arg(long)]
    delete: bool,
    /// Keeps values that are others each time the migrations run (times, random values): they are the same everywhere from then on
    #[arg(long)]
    freeze: bool,
    /// A file of SQL that comes first: what a new server needs, such as roles, that no dump of a database has
    #[arg(long, value_name = "FILE")]
    prelude: Option<PathBuf>,
}

impl Squash {
    /// Squashes, or finishes a squash that was cut off.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let finished = Ask::finish(desk.directory());
        let finished = finished.map_err(|error| Failed::ended(&error, error.exit()))?;
        if let Some(files) = finished {
            let text =
                "finished the squash that was cut off; run the command again for another".into();
            return Ok(End { text, json: json!({ "finished": files }), exit: Exit::Done });
        }
        let migrations = desk.migrations()?;
        let ask = self.ask()?;
        let mut database = desk.connect().await?;
        let done = database.squash(&migrations, &ask).await;
        let done = done.map_err(|error| Failed::ended(&error, error.exit()))?;
        Ok(End { text: text(&done), json: json!(done), exit: Exit::Done })
    }

    fn ask(&self) -> Result<Ask, Failed> {
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file);
            text.map_err(|error| {
                Failed::usage(format!("{} cannot be read: {error}", file.display()))
            })
        };
        Ok(Ask {
            to: self.to,
            prelude: self.prelude.as_ref().map(read).transpose()?,
            freeze: self.freeze,
            delete: self.delete,
            dry_run: self.dry_run,
        })
    }
}

fn text(done: &Squashed) -> String {
    let count = done.replaces.len();
    let rows: u64 = done.rows.values().sum();
    let did = if done.written { "is in place of" } else { "could be put in place of" };
    let mut lines = vec![format!("{} {did} {count} migrations", done.id)];
    lines.push(format!(
        "  proven   the same {} objects and {rows} rows, tried in {}",
        done.objects, done.proven_on
    ));
    let tables = done.rows.iter().map(|(table, rows)| format!("  rows     {table}: {rows}"));
    lines.extend(tables);
    lines.push(format!("  rollback {}", way_back(&done.way_back)));
    if done.written {
        lines.extend(done.files.iter().map(|file| format!("  wrote    {}", file.display())));
        lines.push(match &done.kept_in {
            Some(kept) => format!("  moved    the others to {}", kept.display()),
            None => "  removed  the others".into(),
        });
    } else {
        lines.push("  nothing was written".into());
    }
    lines.extend(done.notes.iter().map(|note| format!("  note     {note}")));
    lines.join("\n")
}

pub(super) fn way_back(way: &WayBack) -> String {
    match way {
        WayBack::Drops => "drops all that it makes, and leaves nothing: tried".into(),
        WayBack::Scripts => {
            "runs the rollback scripts of those, newest first, and leaves nothing: tried".into()
        }
        WayBack::Refuses { reason } => format!("refuses: {reason}"),
    }
}
