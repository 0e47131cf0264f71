//! `migrate --dry-run`.

use std::path::{Path, PathBuf};

use clap::Args;
use liftlock_migrate::{
    Database, DryRun, Migrations, ReportError, append_step_summary, markdown, write_sarif,
};
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, Output};
use crate::command::{End, Failed, connect, read};

/// What GitHub takes as a comment.
const COMMENT: usize = 65_536;

/// What a dry-run leaves.
#[derive(Debug, Args)]
pub(crate) struct Reports {
    /// Writes the findings of a dry-run to this file as SARIF 2.1.0, for code scanning
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    sarif: Option<PathBuf>,
    /// Ends with 1 if a dry-run finds as much as a warning
    #[arg(long, requires = "dry_run")]
    strict: bool,
}

pub(crate) async fn run(options: &Options, reports: &Reports) -> Result<End, Failed> {
    let migrations = read(options)?;
    let connected = connect(options).await;
    // A database that does not answer leaves us without an answer, which is no failure of the migrations.
    let mut database = connected.map_err(|failed| match failed.exit {
        Exit::Failed => Failed { exit: Exit::Usage, ..failed },
        _ => failed,
    })?;
    let tried = tried(&mut database, &migrations).await?;
    write_reports(&tried, reports).map_err(Failed::usage)?;
    let text = match options.output {
        Output::Markdown => markdown(&tried, COMMENT),
        _ => tried.to_string(),
    };
    let exit = if reports.strict { tried.exit_strict() } else { tried.exit() };
    Ok(End { text, exit, json: json!(tried) })
}

/// What a dry-run shows.
pub(crate) async fn tried(
    database: &mut Database,
    migrations: &Migrations,
) -> Result<DryRun, Failed> {
    let tried = database.dry_run(migrations).await;
    tried.map_err(|error| Failed::ended(&error, error.exit()))
}

fn write_reports(tried: &DryRun, reports: &Reports) -> Result<(), ReportError> {
    if let Some(file) = &reports.sarif {
        write_sarif(file, &tried.findings, &tried.directory)?;
    }
    match std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) {
        Some(file) => append_step_summary(Path::new(&file), tried),
        None => Ok(()),
    }
}
