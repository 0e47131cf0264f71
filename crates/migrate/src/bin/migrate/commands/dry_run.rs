//! `migrate --dry-run`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use liftlock_migrate::{Database, DryRun, Migrations, markdown, sarif};
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, Output};
use crate::command::{End, Failed, connect, read};

/// What GitHub takes as a comment, and as the page of a step.
const COMMENT: usize = 65_536;
const STEP_SUMMARY: usize = 1_048_576;

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

fn write_reports(tried: &DryRun, reports: &Reports) -> Result<(), String> {
    if let Some(file) = &reports.sarif {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let log = sarif(&tried.findings, &tried.directory, &here);
        let written = std::fs::write(file, format!("{log:#}\n"));
        written.map_err(|error| cannot(file, &error))?;
    }
    match std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) {
        Some(file) => {
            append(Path::new(&file), tried).map_err(|error| cannot(Path::new(&file), &error))
        }
        None => Ok(()),
    }
}

/// Other steps' pages may be in the file already.
fn append(file: &Path, tried: &DryRun) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    let there = usize::try_from(file.metadata()?.len()).unwrap_or(STEP_SUMMARY);
    let text = markdown(tried, STEP_SUMMARY.saturating_sub(there + 1));
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")
}

fn cannot(file: &Path, error: &std::io::Error) -> String {
    format!("the report {} cannot be written: {error}", file.display())
}
