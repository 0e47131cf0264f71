//! `migrate --dry-run`.

use std::path::{Path, PathBuf};

use crate::{DryRun, ReportError, append_step_summary, write_markdown, write_sarif};
use clap::Args;
use liftlock_model::Exit;

use super::{Desk, Failed};

/// What a dry-run leaves.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Reports {
    /// Writes the findings of a dry-run to this file as SARIF 2.1.0, for code scanning
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    sarif: Option<PathBuf>,
    /// Writes the report of a dry-run to this file as Markdown, as long as a comment on GitHub may be
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    markdown: Option<PathBuf>,
    /// Ends with 1 if a dry-run finds as much as a warning
    #[arg(long, requires = "dry_run")]
    strict: bool,
    /// Tries it on a copy of the whole schema, also where it is large and the migrations can reach only a part of it
    #[arg(long, requires = "dry_run")]
    whole_copy: bool,
}

impl Reports {
    /// Tries what is pending, writes the reports, and says what must be mended.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<(DryRun, Exit), Failed> {
        let migrations = desk.migrations()?;
        let connected = desk.connect().await;
        // A database that does not answer leaves us without an answer, which is no failure of the migrations.
        let mut database = connected.map_err(|failed| match failed.exit {
            Exit::Failed => Failed { exit: Exit::Usage, ..failed },
            _ => failed,
        })?;
        if self.whole_copy {
            database.settings.whole_copy_below = usize::MAX;
        }
        let tried = database.dry_run(&migrations).await;
        let tried = tried.map_err(|error| Failed::ended(&error, error.exit()))?;
        write_reports(&tried, self).map_err(Failed::usage)?;
        let exit = if self.strict { tried.exit_strict() } else { tried.exit() };
        Ok((tried, exit))
    }
}

fn write_reports(tried: &DryRun, reports: &Reports) -> Result<(), ReportError> {
    if let Some(file) = &reports.sarif {
        write_sarif(file, &tried.findings, &tried.directory)?;
    }
    if let Some(file) = &reports.markdown {
        write_markdown(file, tried)?;
    }
    match std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) {
        Some(file) => append_step_summary(Path::new(&file), tried),
        None => Ok(()),
    }
}
