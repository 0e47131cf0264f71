//! Reports as files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{markdown, sarif};
use crate::dry_run::DryRun;
use crate::finding::Finding;

/// What GitHub takes as the page of a step, in bytes.
const STEP_SUMMARY: usize = 1_048_576;
/// What GitHub takes as a comment, in bytes.
pub const COMMENT: usize = 65_536;

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the report {} cannot be written: {source}", path.display())]
pub struct ReportError {
    path: PathBuf,
    source: std::io::Error,
}

/// Writes findings to `file` as SARIF 2.1.0. `directory` is where the migrations are.
///
/// # Errors
/// [`ReportError`] if it cannot be written.
pub fn write_sarif(file: &Path, findings: &[Finding], directory: &Path) -> Result<(), ReportError> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let log = sarif(findings, directory, &here);
    let failed = |source| ReportError { path: file.to_owned(), source };
    std::fs::write(file, format!("{log:#}\n")).map_err(failed)
}

/// Writes a dry-run's Markdown to `file`, as long as a comment on GitHub may be.
///
/// # Errors
/// [`ReportError`] if it cannot be written.
pub fn write_markdown(file: &Path, run: &DryRun) -> Result<(), ReportError> {
    let failed = |source| ReportError { path: file.to_owned(), source };
    std::fs::write(file, markdown(run, COMMENT)).map_err(failed)
}

/// Appends a dry-run's Markdown to the page of a step in GitHub Actions (the file that `GITHUB_STEP_SUMMARY` names), as far as it
/// fits: other parts of the step may be there already.
///
/// # Errors
/// [`ReportError`] if it cannot be written.
pub fn append_step_summary(file: &Path, run: &DryRun) -> Result<(), ReportError> {
    let append = || {
        let mut page = OpenOptions::new().create(true).append(true).open(file)?;
        let there = usize::try_from(page.metadata()?.len()).unwrap_or(STEP_SUMMARY);
        let text = markdown(run, STEP_SUMMARY.saturating_sub(there + 1));
        page.write_all(text.as_bytes())?;
        page.write_all(b"\n")
    };
    append().map_err(|source| ReportError { path: file.to_owned(), source })
}
