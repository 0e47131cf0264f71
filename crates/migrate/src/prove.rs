//! Proving rollback scripts of migrations that are applied: on an empty database all migrations are applied in order, each
//! rolled back, and applied again, and the schema must come out as it was. What a script leaves cannot be seen on a copy of the
//! live schema, where the migration has been applied already.

use std::fmt;

use liftlock_model::{Exit, MigrationId};
use serde::Serialize;

use crate::apply::{finish, settle};
use crate::check::{Problem, compare};
use crate::connect::ConnectError;
use crate::database::Database;
use crate::dry_run::DryRun;
use crate::failure::{Failure, reason};
use crate::files::{Migration, Migrations, Script};
use crate::history::{self, Action, Applied, Entry, RollbackProof};
use crate::lock;
use crate::progress::Progress;
use crate::schema::Schema;
use crate::shadow::{Shadow, TrialError};
use crate::text::lines;
use crate::transaction::Workbench;

/// Why nothing could be proven. The database was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
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
    /// The history could not be read or written.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl ProveError {
    /// The exit code that a command ends with: 2, since it could not be told.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failure(failure) => failure.exit(),
            Self::Refused { .. } | Self::Trial(_) | Self::Connect(_) => Exit::Usage,
        }
    }
}

/// What came of one rollback script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Which migration.
    pub id: MigrationId,
    /// Why it proves nothing; none if it takes the migration back.
    pub problem: Option<String>,
}

/// What proving showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proving {
    /// Host, port and database.
    pub database: String,
    /// Where they were tried; nothing if there was nothing to prove.
    pub tried_on: Option<String>,
    /// Each, newest first. What is newer than one that does not run again could not be tried.
    pub proofs: Vec<Proof>,
}

impl Proving {
    /// The exit code that a command ends with: 1 if there is something to mend.
    pub fn exit(&self) -> Exit {
        let wrong = self.proofs.iter().any(|proof| proof.problem.is_some());
        if wrong { Exit::Failed } else { Exit::Done }
    }
}

impl fmt::Display for Proving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tried_on) = &self.tried_on else {
            return write!(f, "every rollback script of {} is proven", self.database);
        };
        write!(f, "tried in {tried_on}")?;
        for Proof { id, problem } in &self.proofs {
            match problem {
                None => write!(f, "\n  proven  {id}: its rollback takes it back")?,
                Some(problem) => {
                    write!(f, "\n  WRONG   {id}: {}", problem.replace('\n', "\n    "))?
                }
            }
        }
        Ok(())
    }
}

impl Database {
    /// Tries the rollback scripts of what is applied, from the oldest that is not proven (or from what is newer than `to`) to the
    /// newest, on a database of their own, and puts on record which of them take their migrations back.
    ///
    /// # Errors
    /// [`ProveError`] if nothing could be tried. What the trial shows, good or bad, is in the [`Proving`].
    pub async fn prove_rollbacks(
        &mut self,
        migrations: &Migrations,
        to: Option<i32>,
    ) -> Result<Proving, ProveError> {
        let database = self.address.place.clone();
        let place = database.clone();
        let applied = history::applied(&mut self.connection).await;
        let applied = applied.map_err(|error| Failure::database(&place, &error))?;
        let comparison = compare(migrations, &applied);
        if !comparison.problems.is_empty() {
            return Err(ProveError::Refused { database, problems: comparison.problems });
        }
        let mended: Vec<i32> = comparison.mended.iter().map(|one| one.id.version).collect();
        // What a squash stands for keeps the rollback scripts that it had.
        let stood_for = comparison.stood_for;
        let own: Vec<&Applied> = applied.iter().filter(|one| one.version > stood_for).collect();
        let to = to.or_else(|| oldest_unproven(&own, &mended).map(|oldest| oldest - 1));
        let to = to.map(|to| to.max(stood_for));
        let mut proving = Proving { database, tried_on: None, proofs: Vec::new() };
        let Some(to) = to else { return Ok(proving) };
        let newest = applied.last().map_or(0, |one| one.version);
        let wanted = |one: &&Migration| (to + 1..=newest).contains(&one.id.version);
        let scripts: Vec<&Migration> = migrations.all().iter().filter(wanted).collect();
        let texts: Vec<&Script> = scripts.iter().flat_map(|one| [&one.up, &one.rollback]).collect();
        let shadow = Shadow::empty(self, &texts).await?;
        proving.tried_on = Some(shadow.place());
        let mut copy = Self::connect(&shadow.url, self.settings.on_a_copy()).await?;
        proving.proofs = try_each(&mut copy, migrations, &scripts).await?;
        drop(copy);
        drop(shadow);
        let proven = |one: &&&Migration| {
            let proof = proving.proofs.iter().find(|proof| proof.id == one.id);
            proof.is_some_and(|proof| proof.problem.is_none())
        };
        let proven: Vec<&Migration> = scripts.iter().filter(proven).copied().collect();
        self.put_on_record(&proven).await?;
        Ok(proving)
    }

    /// Puts on record that the rollback scripts of what was applied since `dry_run` were tried by it and take their migrations
    /// back.
    ///
    /// # Errors
    /// [`Failure`] if that could not be written; it can be proven again later.
    pub async fn keep_proofs(
        &mut self,
        migrations: &Migrations,
        dry_run: &DryRun,
    ) -> Result<(), Failure> {
        let place = self.address.place.clone();
        let applied = history::applied(&mut self.connection).await;
        let applied = applied.map_err(|error| Failure::database(&place, &error))?;
        let is_applied = |id: &MigrationId| applied.iter().any(|one| one.version == id.version);
        let tried = dry_run.migrations.iter().filter(|trial| trial.rollback_restores());
        let tried: Vec<&MigrationId> = tried.map(|trial| &trial.id).collect();
        let proven = migrations.all().iter();
        let proven: Vec<&Migration> =
            proven.filter(|one| tried.contains(&&one.id) && is_applied(&one.id)).collect();
        self.put_on_record(&proven).await
    }

    async fn put_on_record(&mut self, proven: &[&Migration]) -> Result<(), Failure> {
        if proven.is_empty() {
            return Ok(());
        }
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        lock::acquire(bench.connection, wait, &mut |_| {}).await?;
        let written = write(&mut bench, proven).await;
        let written = settle(&mut bench, written).await;
        finish(&mut bench, written).await
    }
}

/// The oldest migration whose rollback script nobody has tried, as it is now.
fn oldest_unproven(applied: &[&Applied], mended: &[i32]) -> Option<i32> {
    let unproven =
        |one: &&&Applied| one.rollback != RollbackProof::Proven || mended.contains(&one.version);
    applied.iter().filter(unproven).map(|one| one.version).min()
}

async fn write(bench: &mut Workbench<'_>, proven: &[&Migration]) -> Result<(), Failure> {
    let transaction = bench.begin().await?;
    let failed = |error: &sqlx::Error, place: &str| Failure::database(place, error);
    history::make(bench.connection).await.map_err(|error| failed(&error, bench.place))?;
    for migration in proven {
        // The script that was tried is the one that is kept from now on.
        let entry = Entry::of(migration, Action::ProveRollback, transaction.start.elapsed());
        let written = entry.write(bench.connection, bench.settings).await;
        written.map_err(|error| failed(&error, bench.place))?;
    }
    let nothing = MigrationId { version: 0, name: "history".into() };
    bench.commit(&nothing, "liftlock_schema_history").await
}

/// Applies what is before them, and then each of them, its rollback, and it again.
async fn try_each(
    copy: &mut Database,
    migrations: &Migrations,
    scripts: &[&Migration],
) -> Result<Vec<Proof>, ProveError> {
    let mut quiet = |_: &Progress| {};
    let mut proofs = Vec::new();
    let Some(first) = scripts.first() else { return Ok(proofs) };
    if first.before() > 0 {
        let before = copy.apply(migrations, Some(first.before()), &mut quiet).await;
        before.map_err(|error| error.failure)?;
    }
    let mut schema = read(copy).await?;
    for migration in scripts {
        let (id, version) = (migration.id.clone(), migration.id.version);
        copy.apply(migrations, Some(version), &mut quiet).await.map_err(|error| error.failure)?;
        let up = read(copy).await?;
        let problem = match copy.rollback(migration.before(), true, &mut quiet).await {
            Err(error) => Some(format!("its rollback does not run: {}", error.failure)),
            Ok(_) => {
                let problem = judge(&schema, &up, &read(copy).await?);
                let again = copy.apply(migrations, Some(version), &mut quiet).await;
                let fails = again.err().map(|error| {
                    format!("it does not run again after its rollback: {}", error.failure)
                });
                let ends = fails.is_some();
                proofs.push(Proof { id, problem: problem.or(fails) });
                if ends {
                    break;
                }
                schema = read(copy).await?;
                continue;
            }
        };
        proofs.push(Proof { id, problem });
        schema = up;
    }
    proofs.reverse();
    Ok(proofs)
}

/// Why a rollback from `up` to `down` does not restore `before`.
fn judge(before: &Schema, up: &Schema, down: &Schema) -> Option<String> {
    let left = Schema::compare(before, down);
    if left.is_empty() || left.only_column_order() {
        return None;
    }
    if Schema::compare(up, down).is_empty() {
        return Some("its rollback changes nothing".into());
    }
    Some(format!("its rollback leaves:\n{left}"))
}

async fn read(copy: &mut Database) -> Result<Schema, TrialError> {
    let schema = Schema::read(&mut copy.connection).await;
    schema.map_err(|error| TrialError::Database {
        database: copy.address.place.clone(),
        reason: reason(&error),
    })
}
