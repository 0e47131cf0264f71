//! `migrate adopt`.

use std::path::PathBuf;

use crate::{AdoptError, Adoption, Conversion, Standing, Tool};
use clap::{Args, ValueEnum};
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed};

/// What to take over.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Adopt {
    /// The other tool
    #[arg(long, value_enum, value_name = "TOOL")]
    from: From,
    /// The other tool's directory, if it is not the usual one
    #[arg(long, value_name = "DIRECTORY")]
    source: Option<PathBuf>,
    /// Also records in the database what the other tool's history says is applied; runs nothing
    #[arg(long)]
    database_too: bool,
    /// Shows what would be done, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// What to do where the other tool has no rollback script
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Missing::Stop)]
    missing_rollback: Missing,
    /// Leaves out BEGIN and COMMIT, also in the middle of a script
    #[arg(long)]
    strip_transaction: bool,
    /// Writes `-- migrate: no-transaction` above scripts that cannot run in a transaction
    #[arg(long)]
    mark_no_transaction: bool,
    /// Adds a statement that does nothing to scripts that have none
    #[arg(long)]
    fill_empty: bool,
    /// A file that is not converted; may be given again
    #[arg(long, value_name = "FILE")]
    leave_out: Vec<String>,
    /// The other tool's history table, if it is not the usual one
    #[arg(long, value_name = "TABLE", requires = "database_too")]
    history_table: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    Refinery,
    Sqlx,
    Diesel,
    Flyway,
    Dbmate,
    GolangMigrate,
    Sqitch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Missing {
    /// Stop, and name them
    Stop,
    /// Write one that refuses
    Refuse,
}

impl From {
    fn tool(self) -> Tool {
        match self {
            Self::Refinery => Tool::Refinery,
            Self::Sqlx => Tool::Sqlx,
            Self::Diesel => Tool::Diesel,
            Self::Flyway => Tool::Flyway,
            Self::Dbmate => Tool::Dbmate,
            Self::GolangMigrate => Tool::GolangMigrate,
            Self::Sqitch => Tool::Sqitch,
        }
    }
}

impl Adopt {
    /// Whether the database's history is to be written.
    pub fn writes_history(&self) -> bool {
        self.database_too && !self.dry_run
    }

    /// Takes the files over, and the history where that is asked for.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let failed = |error: AdoptError| Failed::ended(&error, error.exit());
        let tool = self.from.tool();
        let source = self.source.clone().unwrap_or_else(|| tool.default_source().into());
        let adoption = Adoption {
            leave_out: self.leave_out.clone(),
            strip_transaction: self.strip_transaction,
            mark_no_transaction: self.mark_no_transaction,
            refuse_missing_rollbacks: self.missing_rollback == Missing::Refuse,
            fill_empty: self.fill_empty,
            history_table: self.history_table.clone(),
            ..Adoption::new(tool, source, desk.directory())
        };
        let conversion = adoption.convert().map_err(failed)?;
        let mut standing = None;
        if self.database_too {
            let mut database = desk.connect().await?;
            standing = Some(database.adoption(&conversion).await.map_err(failed)?);
            if !self.dry_run {
                conversion.write().map_err(failed)?;
                standing =
                    Some(database.adopt(&conversion, &mut desk.tell()).await.map_err(failed)?);
            }
        } else if !self.dry_run {
            conversion.write().map_err(failed)?;
        }
        let json = json!({
            "dry_run": self.dry_run, "tool": tool, "mapping": conversion.mapping(), "files": conversion.files(), "history": standing,
        });
        Ok(End {
            text: text(&adoption, &conversion, standing.as_ref(), self.dry_run),
            json,
            exit: Exit::Done,
        })
    }
}

fn text(
    adoption: &Adoption,
    conversion: &Conversion,
    standing: Option<&Standing>,
    dry_run: bool,
) -> String {
    let tool = adoption.tool.as_str();
    let (source, directory) = (adoption.source.display(), adoption.directory.display());
    let mut lines = vec![format!("{tool} in {source} to {directory}:")];
    for one in conversion.mapping() {
        lines.push(format!("  {}  ->  {}{}", one.from, one.id, state(standing, &one.id)));
        lines.extend(one.told.iter().map(|told| format!("      {told}")));
    }
    let files = conversion.files().len();
    lines.push(match (files, dry_run) {
        (0, _) => "the files are there already".to_owned(),
        (_, true) => format!("would write {files} files"),
        (_, false) => format!("wrote {files} files"),
    });
    if let Some(Standing { database, table, new, pending, .. }) = standing {
        lines.push(match (new, dry_run) {
            (0, _) => format!("nothing to record: {database} has it already; {pending} pending"),
            (_, true) => format!("would record {new} as applied on {database}; {pending} pending"),
            (_, false) => format!("recorded {new} as applied on {database}; {pending} pending"),
        });
        lines.push(format!(
            "{table} keeps what it says; see that {tool} is not run there any more, and go on with `migrate --dry-run`"
        ));
    }
    lines.join("\n")
}

fn state(standing: Option<&Standing>, id: &liftlock_model::MigrationId) -> String {
    let Some(standing) = standing else { return String::new() };
    let Some(one) = standing.applied.iter().find(|one| one.id == *id) else {
        return "  (not applied by it)".into();
    };
    match one.at {
        Some(at) => format!("  (applied {})", at.strftime("%Y-%m-%d %H:%M:%S UTC")),
        None => "  (applied)".into(),
    }
}
