//! Trying what is pending: for real, on a database that is there for the trial only.

mod alone;
mod bench;
mod breaks;
mod bystander;
mod combine;
pub(crate) mod dangers;
pub(crate) mod findings;
mod losses;
mod recorder;
mod report;
mod statement;
mod surface;
mod trial;

use std::collections::BTreeMap;
use std::path::PathBuf;

use liftlock_model::{Exit, MigrationId};
use serde::Serialize;

use crate::check::{Problem, compare};
use crate::connect::{ConnectError, ConnectErrorKind};
use crate::database::Database;
use crate::failure::reason;
use crate::files::{Migration, Migrations};
use crate::finding::{Finding, Severity};
use crate::history;
use crate::lint::lint;
pub use crate::shadow::Copied;
use crate::shadow::TrialError;
use crate::shadow::sizes::{self, TableSize};
use crate::text::lines;
use bench::Bench;
pub use losses::Loss;
pub(crate) use recorder::Recorder;
pub use report::{
    COMMENT, ReportError, append_step_summary, markdown, sarif, write_markdown, write_sarif,
};
pub use statement::{Blocks, Lock, RowsTouched, StatementTrial};
pub use trial::{Again, Trial, Verdict};

/// The version of [`DryRun`] as JSON. It grows when a member changes its meaning or goes.
const REPORT_VERSION: u32 = 1;

/// Why nothing could be tried. The database itself was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// Files and history do not fit.
    #[error("the migrations do not fit the database {database}; nothing was tried:{}", lines(.problems))]
    Refused {
        /// Host, port and database.
        database: String,
        /// What does not fit.
        problems: Vec<Problem>,
    },
    /// There is no place to try them.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The place does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl DryRunError {
    /// The exit code that a command ends with: 2, since it could not be told whether something must be mended.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) if error.kind() == ConnectErrorKind::Authentication => {
                Exit::Authentication
            }
            Self::Refused { .. } | Self::Trial(_) | Self::Connect(_) => Exit::Usage,
        }
    }
}

/// What a dry-run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// The version of this report's form.
    pub version: u32,
    /// Host, port and database whose migrations were tried.
    pub database: String,
    /// Where the files are.
    pub directory: PathBuf,
    /// Where they were tried; nothing if nothing is pending.
    pub tried_on: Option<String>,
    /// How much of the schema the copy had; nothing if it was not asked for less than all.
    pub copied: Option<Copied>,
    /// What is pending, in order, as far as it could be tried.
    pub migrations: Vec<Trial>,
    /// What is pending and was not tried, since one before it failed.
    pub not_tried: Vec<MigrationId>,
    /// What people should know, at its place, by file and line.
    pub findings: Vec<Finding>,
    /// The sizes, on the database itself, of the tables that this report names.
    pub sizes: BTreeMap<String, TableSize>,
    /// What of the schema could not be copied: what goes wrong may then be the copy's fault.
    pub missing: Vec<String>,
    /// What a dry-run cannot show, and where the copy differs from the database.
    pub notes: Vec<String>,
}

impl DryRun {
    fn of(database: String, migrations: &Migrations) -> Self {
        Self {
            version: REPORT_VERSION,
            database,
            directory: migrations.directory().to_owned(),
            tried_on: None,
            copied: None,
            migrations: Vec::new(),
            not_tried: Vec::new(),
            findings: Vec::new(),
            sizes: BTreeMap::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether there is nothing to mend.
    pub fn is_clean(&self) -> bool {
        self.not_tried.is_empty() && self.count(Severity::Error) == 0
    }

    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The exit code that a command ends with: 1 if there is something to mend; 2 if that may be the fault of an incomplete copy.
    pub fn exit(&self) -> Exit {
        match self.is_clean() {
            true => Exit::Done,
            false if self.missing.is_empty() => Exit::Failed,
            false => Exit::Usage,
        }
    }

    /// The same, with warnings as something to mend.
    pub fn exit_strict(&self) -> Exit {
        match self.exit() {
            Exit::Done if self.count(Severity::Warning) > 0 => Exit::Failed,
            exit => exit,
        }
    }
}

impl Database {
    /// Tries what is pending on a database of its own, with this one's schema and none of its rows: each migration up, its
    /// rollback, and up again. What the lint says of their texts is told, too, but where the trial has seen for itself. This database is
    /// only read, and nothing is left, also if the trial fails or is dropped.
    ///
    /// # Errors
    /// [`DryRunError`] if nothing could be tried. What the trial shows, good or bad, is in the [`DryRun`].
    pub async fn dry_run(&mut self, migrations: &Migrations) -> Result<DryRun, DryRunError> {
        let database = self.address.place.clone();
        let failed = |error: sqlx::Error| TrialError::Database {
            database: database.clone(),
            reason: reason(&error),
        };
        let applied = history::applied(&mut self.connection).await.map_err(failed)?;
        let comparison = compare(migrations, &applied);
        if !comparison.problems.is_empty() {
            return Err(DryRunError::Refused { database, problems: comparison.problems });
        }
        let mut result = DryRun::of(database.clone(), migrations);
        let pending = comparison.pending;
        if pending.is_empty() {
            return Ok(result);
        }
        let tables = sizes::tables(&mut self.connection).await.map_err(failed)?.len();
        result.findings = findings::order(&pending);
        try_all(self, migrations, &pending, tables, &mut result).await?;
        let known = self.known().await.map_err(|error| TrialError::Database {
            database: error.database.clone(),
            reason: error.reason.clone(),
        })?;
        let said = lint(migrations, &known, &self.settings.lint);
        let shown = std::mem::take(&mut result.findings);
        result.findings = combine::combine(shown, said, &result.migrations, &self.settings.lint);
        Ok(result)
    }
}

/// Tries them on a copy that has what they can reach of so many tables. What fails there is tried again on a whole one before it is
/// told.
async fn try_all(
    target: &mut Database,
    migrations: &Migrations,
    pending: &[&Migration],
    tables: usize,
    result: &mut DryRun,
) -> Result<(), DryRunError> {
    let ordered = result.findings.clone();
    let needed = tables >= target.settings.whole_copy_below;
    let mut bench = Bench::open(target, migrations, pending, needed).await?;
    if let Some(doubt) = try_each(&mut bench, pending, result).await? {
        tracing::debug!(%doubt, "tried again on a whole copy");
        bench.begin_whole(doubt).await?;
        result.migrations.clear();
        result.findings = ordered;
        try_each(&mut bench, pending, result).await?;
    }
    let shadow = bench.shadow();
    result.tried_on = Some(shadow.place());
    result.missing.clone_from(&shadow.missing);
    result.copied.clone_from(&bench.copied);
    result.notes.push(
        "tried without the tables' rows: times, plans and what depends on data are not known; sizes are those of the database".into(),
    );
    result.notes.extend(result.copied.iter().map(ToString::to_string));
    result.notes.extend(shadow.notes.iter().cloned());
    result.sizes = named(result, &bench.sizes);
    Ok(())
}

/// Gives why the copy may be to blame for what was seen.
async fn try_each(
    bench: &mut Bench<'_>,
    pending: &[&Migration],
    result: &mut DryRun,
) -> Result<Option<String>, DryRunError> {
    let mut left = pending.iter();
    for migration in left.by_ref() {
        let (trial, goes_on) = bench.try_one(migration).await?;
        let doubt = bench.doubt(&trial).await?;
        result.migrations.push(trial);
        if doubt.is_some() {
            return Ok(doubt);
        }
        if !goes_on {
            break;
        }
    }
    result.not_tried = left.map(|migration| migration.id.clone()).collect();
    result.findings.append(&mut bench.findings);
    Ok(None)
}

/// The sizes of what the report names.
fn named(result: &DryRun, sizes: &sizes::Sizes) -> BTreeMap<String, TableSize> {
    let locks = result.migrations.iter().flat_map(|trial| {
        let rollback = trial.rollback_statements.iter().flat_map(|one| &one.locks);
        trial.locks.iter().chain(rollback)
    });
    locks
        .filter_map(|lock| {
            let full = if lock.table.contains('.') {
                lock.table.clone()
            } else {
                format!("public.{}", lock.table)
            };
            sizes.get(&full).map(|size| (lock.table.clone(), *size))
        })
        .collect()
}
