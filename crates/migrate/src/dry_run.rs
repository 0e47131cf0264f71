//! Trying what is pending: for real, on a database that is there for the trial only.

use std::fmt;
use std::time::{Duration, Instant};

use liftlock_model::{Exit, MigrationId};
use secrecy::SecretString;
use serde::Serialize;

use crate::check::{Problem, compare};
use crate::connect::ConnectError;
use crate::database::Database;
use crate::failure::reason;
use crate::files::{Migration, Migrations};
use crate::history;
use crate::refinery;
use crate::schema_text::{difference, normalise};
use crate::table_locks::{LockRecorder, TableLock};
use crate::text::lines;
use crate::throwaway::{Throwaway, TrialError};

/// How long a look at the schema may take.
const SCHEMA_LIMIT: Duration = Duration::from_secs(300);

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
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. }
            | Self::Trial(TrialError::NoPlace { .. } | TrialError::NotFound(_)) => Exit::Usage,
            Self::Trial(_) | Self::Connect(_) => Exit::Failed,
        }
    }
}

/// What a dry-run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Host, port and database whose migrations were tried.
    pub database: String,
    /// Where they were tried; nothing if nothing is pending.
    pub tried_on: Option<String>,
    /// What is pending, in order, as far as it could be tried.
    pub migrations: Vec<Trial>,
    /// What is pending and was not tried, since one before it failed.
    pub not_tried: Vec<MigrationId>,
    /// What a dry-run cannot show, and where the copy differs from the database.
    pub notes: Vec<String>,
}

/// What one migration did on the copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Trial {
    /// Which file.
    pub file: String,
    /// How long the script took on tables without rows, in milliseconds.
    pub milliseconds: u64,
    /// Whether a verify script ran and was content.
    pub verified: bool,
    /// What it changes in the schema, as a unified difference.
    pub schema_change: String,
    /// The locks that it held on tables that were there before it.
    pub locks: Vec<TableLock>,
    /// What is left of the change after the rollback script, as a unified difference; empty if it restores the schema.
    pub rollback_leaves: String,
    /// What went wrong, in order: the script, its rollback, or the script again after its rollback.
    pub problems: Vec<String>,
}

impl Trial {
    /// Whether the rollback script runs and restores the schema exactly.
    pub fn rollback_restores(&self) -> bool {
        self.problems.is_empty() && self.rollback_leaves.is_empty()
    }
}

impl DryRun {
    /// Whether there is nothing to mend.
    pub fn is_clean(&self) -> bool {
        self.not_tried.is_empty() && self.migrations.iter().all(Trial::rollback_restores)
    }

    /// The exit code that a command ends with: 1 if there is something to mend.
    pub fn exit(&self) -> Exit {
        if self.is_clean() { Exit::Done } else { Exit::Failed }
    }
}

impl Database {
    /// Tries what is pending on a database of its own, with this one's schema and none of its rows: each migration up, its
    /// rollback, and up again. This database is only read, and nothing is left, also if the trial fails or is dropped.
    ///
    /// # Errors
    /// [`DryRunError`] if nothing could be tried. What the trial shows, good or bad, is in the [`DryRun`].
    pub async fn dry_run(&mut self, migrations: &Migrations) -> Result<DryRun, DryRunError> {
        let database = self.address.place.clone();
        let applied = history::applied(&mut self.connection).await;
        let applied = applied.map_err(|error| TrialError::Database {
            database: database.clone(),
            reason: reason(&error),
        })?;
        let comparison = compare(migrations, &applied);
        if !comparison.problems.is_empty() {
            return Err(DryRunError::Refused { database, problems: comparison.problems });
        }
        let mut result = DryRun {
            database,
            tried_on: None,
            migrations: vec![],
            not_tried: vec![],
            notes: vec![],
        };
        if comparison.pending.is_empty() {
            return Ok(result);
        }
        let throwaway = Throwaway::like(self).await?;
        result.tried_on = Some(throwaway.place());
        result.notes.push(
            "tried without the tables' rows: times, and what depends on data, are not known".into(),
        );
        result.notes.extend(throwaway.notes.iter().cloned());
        let mut bench = Bench::open(&throwaway, self, migrations).await?;
        let mut pending = comparison.pending.into_iter();
        for migration in pending.by_ref() {
            let (trial, goes_on) = bench.try_one(migration).await?;
            result.migrations.push(trial);
            if !goes_on {
                break;
            }
        }
        result.not_tried = pending.map(|migration| migration.id.clone()).collect();
        Ok(result)
    }
}

/// The throw-away database at work.
struct Bench<'a> {
    throwaway: &'a Throwaway,
    database: Database,
    migrations: &'a Migrations,
    schema: String,
}

impl<'a> Bench<'a> {
    async fn open(
        throwaway: &'a Throwaway,
        like: &Database,
        migrations: &'a Migrations,
    ) -> Result<Self, DryRunError> {
        let url: &SecretString = &throwaway.url;
        let mut database = Database::connect(url, like.settings.clone()).await?;
        database.recorder = Some(LockRecorder::default());
        let schema = read_schema(throwaway).await?;
        Ok(Self { throwaway, database, migrations, schema })
    }

    /// Up, down, up. The second value says whether the next one can be tried.
    async fn try_one(&mut self, migration: &Migration) -> Result<(Trial, bool), DryRunError> {
        let mut trial = Trial { file: migration.up.file.clone(), ..Trial::default() };
        let before = self.schema.clone();
        let start = Instant::now();
        let worked = self.up(migration, &mut trial).await;
        trial.milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !worked {
            return Ok((trial, false));
        }
        trial.locks = self.database.recorder.as_ref().map(|r| r.locks.clone()).unwrap_or_default();
        trial.verified = migration.verify.is_some();
        let up = read_schema(self.throwaway).await?;
        trial.schema_change = difference(&before, &up);
        self.schema = up;
        let version = migration.id.version - 1;
        if let Err(error) = self.database.rollback(version, true, &mut |_| {}).await {
            trial.problems.push(error.to_string());
            return Ok((trial, true));
        }
        let down = read_schema(self.throwaway).await?;
        trial.rollback_leaves = difference(&before, &down);
        let again = self.up(migration, &mut trial).await;
        if let Some(problem) = trial.problems.last_mut().filter(|_| !again) {
            problem.insert_str(0, "it does not run again after its rollback: ");
        }
        self.schema = read_schema(self.throwaway).await?;
        Ok((trial, again))
    }

    async fn up(&mut self, migration: &Migration, trial: &mut Trial) -> bool {
        let to = Some(migration.id.version);
        let applied = self.database.apply(self.migrations, to, &mut |_| {}).await;
        let worked = applied.is_ok();
        trial.problems.extend(applied.err().map(|error| error.failure.to_string()));
        worked
    }
}

async fn read_schema(throwaway: &Throwaway) -> Result<String, DryRunError> {
    let histories = [refinery::TABLE, "liftlock_schema_history"];
    let dump =
        liftlock_postgres::schema(&throwaway.programs, &throwaway.url, &histories, SCHEMA_LIMIT);
    Ok(normalise(&dump.await.map_err(TrialError::Copy)?))
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tried_on) = &self.tried_on else {
            return write!(f, "nothing is pending on {}", self.database);
        };
        writeln!(f, "tried what is pending on {} in {tried_on}", self.database)?;
        for trial in &self.migrations {
            write!(f, "\n{trial}")?;
        }
        for id in &self.not_tried {
            writeln!(f, "\n{id}: not tried, since one before it failed")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verified = if self.verified { ", verified" } else { "" };
        writeln!(f, "{} ({} ms{verified})", self.file, self.milliseconds)?;
        for problem in &self.problems {
            writeln!(f, "  FAILED: {problem}")?;
        }
        for TableLock { table, mode, blocks } in &self.locks {
            writeln!(f, "  lock on {table}: {mode}; blocks {blocks}")?;
        }
        indented(f, "schema:", &self.schema_change)?;
        if self.rollback_restores() {
            writeln!(f, "  rollback: restores the schema exactly")?;
        }
        indented(f, "rollback: does NOT restore the schema; left is:", &self.rollback_leaves)
    }
}

fn indented(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    text.lines().try_for_each(|line| writeln!(f, "    {line}"))
}
