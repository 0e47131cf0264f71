//! `migrate baseline`.

use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::squash::way_back;
use super::{Desk, End, Failed, version};
use crate::baseline::{FirstMade, FromDatabase};

/// What a database has that was there before its migrations.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Baseline {
    /// The newest migration whose change the database has, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version, required_unless_present = "from_database")]
    at: Option<i32>,
    /// Records it without comparing the schema with what the migrations make, for this reason
    #[arg(long, value_name = "REASON")]
    unproven: Option<String>,
    /// Makes the first migration of the database's schema in a directory that has none, proves it, and records it as applied
    #[arg(long, conflicts_with_all = ["at", "unproven"])]
    from_database: bool,
    /// The first migration's name, in words
    #[arg(long, value_name = "NAME", default_value = "baseline", requires = "from_database")]
    name: String,
    /// With who owns what, but for what the user owns who runs it
    #[arg(long, requires = "from_database")]
    owners: bool,
    /// Proves the first migration, and writes nothing
    #[arg(long, requires = "from_database")]
    dry_run: bool,
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
        let Some(at) = self.at else { return self.first(desk).await };
        let migrations = desk.migrations()?;
        let mut database = desk.connect().await?;
        let done =
            database.baseline(&migrations, at, self.unproven.as_deref(), &mut desk.tell()).await;
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

    async fn first(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let ask =
            FromDatabase { name: self.name.clone(), owners: self.owners, dry_run: self.dry_run };
        let mut database = desk.connect().await?;
        let made = database.baseline_from_database(desk.directory(), &ask, &mut desk.tell()).await;
        let made = made.map_err(|error| Failed::ended(&error, error.exit()))?;
        Ok(End { text: first(&made), json: json!(made), exit: Exit::Done })
    }
}

fn first(made: &FirstMade) -> String {
    let database = &made.baselined.database;
    let mut lines = vec![match made.written {
        true => format!("{} is what {database} is, and recorded as applied there", made.id),
        false => format!("{} could be written: it is what {database} is", made.id),
    }];
    lines
        .push(format!("  proven   the same {} objects, tried in {}", made.objects, made.proven_on));
    lines.push(format!("  rollback {}", way_back(&made.way_back)));
    if made.written {
        lines.extend(made.files.iter().map(|file| format!("  wrote    {}", file.display())));
    } else {
        lines.push("  nothing was written".into());
    }
    lines.extend(made.notes.iter().map(|note| format!("  note     {note}")));
    lines.join("\n")
}
