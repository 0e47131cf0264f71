//! Applying what is pending, each migration in one transaction with its check and its records.

use std::collections::BTreeMap;
use std::time::Instant;

use liftlock_model::MigrationId;

use crate::check::compare;
use crate::database::Database;
use crate::drift::{self, SchemaRun};
use crate::failure::{ApplyError, Failure, ScriptError};
use crate::files::{FilesError, Migration, Migrations};
use crate::history::{self, Action, Entry, prepared};
use crate::in_two::is_plain;
use crate::lock::{self, LockError};
use crate::outside::half::Half;
use crate::outside::run::{self, Begin, Executed};
use crate::outside::{self, Direction, rule};
use crate::progress::{On, Progress, Ran};
use crate::refinery;
use crate::retry::Attempts;
use crate::snapshot::SnapshotFailure;
use crate::transaction::Workbench;

/// From how many pending migrations on it is worth the while to prepare the statement that records them.
const MANY: usize = 5;

impl Database {
    /// Applies what is pending, in order, up to `to` (all of it if left out). Files and history are checked before anything
    /// is touched; only one run at a time gets as far as that.
    ///
    /// # Errors
    /// [`ApplyError`] says why it stopped and what had been applied by then. The migration that failed left nothing.
    pub async fn apply(
        &mut self,
        migrations: &Migrations,
        to: Option<i32>,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Vec<Ran>, ApplyError> {
        let mut ran = Vec::new();
        match self.apply_all(migrations, to, &mut ran, on).await {
            Ok(()) => Ok(ran),
            Err(failure) => Err(ApplyError { ran, failure }),
        }
    }

    async fn apply_all(
        &mut self,
        migrations: &Migrations,
        to: Option<i32>,
        ran: &mut Vec<Ran>,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let latest = migrations.latest().unwrap_or(0);
        if let Some(wanted) = to.filter(|wanted| *wanted > latest || *wanted < 0) {
            return Err(Failure::NoSuchVersion { wanted, latest });
        }
        // What is run on a throw-away copy is run since it is not there.
        let is_copy = self.settings.is_copy;
        if !is_copy && self.is_current(migrations).await? {
            return Ok(());
        }
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        if !is_copy && Todo::find(&mut bench, migrations, to).await?.is_empty() {
            return Ok(());
        }
        lock::acquire(bench.connection, wait, on).await?;
        let snapshot = self.snapshot_first(migrations, to, on).await;
        let mut bench = self.workbench().await?;
        let applied = match snapshot {
            Ok(()) => apply_locked(&mut bench, migrations, to, ran, on).await,
            Err(failure) => Err(failure),
        };
        finish(&mut bench, applied).await
    }

    /// Makes the snapshot that is asked for, if something is going to be applied. The run lock is held: nobody else applies
    /// anything between it and what follows.
    async fn snapshot_first(
        &mut self,
        migrations: &Migrations,
        to: Option<i32>,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let Some(ask) = self.settings.snapshot.clone() else { return Ok(()) };
        let mut bench = self.workbench().await?;
        if Todo::find(&mut bench, migrations, to).await?.pending.is_empty() {
            return Ok(());
        }
        on(&Progress::TakingSnapshot);
        let made = self.dump(&ask).await;
        let made = made.map_err(|error| Failure::Snapshot(SnapshotFailure(Box::new(error))))?;
        let manifest = &made.snapshot.manifest;
        on(&Progress::SnapshotTaken {
            id: manifest.id.clone(),
            bytes: manifest.dump.bytes,
            file: made.snapshot.dump(),
        });
        self.note_snapshot(&manifest.id);
        Ok(())
    }

    /// Says which snapshot was taken before, for the history.
    pub fn note_snapshot(&mut self, id: &str) {
        self.settings.taken = Some(id.to_owned());
    }
}

/// Gives the lock back after `result`, which comes first if both fail.
pub(crate) async fn finish<T>(
    bench: &mut Workbench<'_>,
    result: Result<T, Failure>,
) -> Result<T, Failure> {
    let release =
        tokio::time::timeout(std::time::Duration::from_secs(10), lock::release(bench.connection));
    let released = match release.await {
        Ok(released) => released,
        Err(_) => Err(LockError::Database(sqlx::Error::WorkerCrashed)),
    };
    match (result, released) {
        (Ok(value), Ok(())) => Ok(value),
        (Err(failure), _) => Err(failure),
        (Ok(_), Err(error)) => Err(error.into()),
    }
}

/// What is to be done.
struct Todo<'a> {
    pending: Vec<&'a Migration>,
    unknown: Vec<&'a Migration>,
    mended: Vec<&'a Migration>,
    halves: BTreeMap<i32, Half>,
}

impl<'a> Todo<'a> {
    async fn find(
        bench: &mut Workbench<'_>,
        migrations: &'a Migrations,
        to: Option<i32>,
    ) -> Result<Self, Failure> {
        let applied =
            history::applied(bench.connection).await.map_err(|error| bench.failed(&error))?;
        let comparison = compare(migrations, &applied);
        if !comparison.problems.is_empty() {
            let (database, problems) = (bench.place.to_owned(), comparison.problems);
            return Err(Failure::Refused { database, problems });
        }
        let wanted = |migration: &&Migration| to.is_none_or(|to| migration.id.version <= to);
        let pending: Vec<&Migration> = comparison.pending.into_iter().filter(wanted).collect();
        let problems: Vec<_> = pending.iter().copied().flat_map(rule::problems).collect();
        if !problems.is_empty() {
            let directory = migrations.directory().to_owned();
            return Err(FilesError { directory, problems }.into());
        }
        let halves =
            outside::halves(bench.connection).await.map_err(|error| bench.failed(&error))?;
        Ok(Self { pending, unknown: comparison.unknown, mended: comparison.mended, halves })
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty()
            && self.unknown.is_empty()
            && self.mended.is_empty()
            && self.halves.is_empty()
    }
}

async fn apply_locked(
    bench: &mut Workbench<'_>,
    migrations: &Migrations,
    to: Option<i32>,
    ran: &mut Vec<Ran>,
    on: On<'_>,
) -> Result<(), Failure> {
    // Looked at again: another run may have been at work until we had the lock.
    let todo = Todo::find(bench, migrations, to).await?;
    if todo.is_empty() {
        return Ok(());
    }
    let run = SchemaRun::begin(bench, drift::Action::Apply, on).await?;
    let applied = apply_todo(bench, todo, ran, on).await;
    run.end(bench, applied, on).await
}

async fn apply_todo(
    bench: &mut Workbench<'_>,
    todo: Todo<'_>,
    ran: &mut Vec<Ran>,
    on: On<'_>,
) -> Result<(), Failure> {
    keep_books(bench, &todo, on).await?;
    // Nothing comes after what is half done. A rollback script that was mended is kept all the same: that one needs it.
    if let Some(refusal) = run::refusal(todo.halves.values(), &todo.pending) {
        return Err(refusal);
    }
    let of = todo.pending.len();
    if of >= MANY && bench.recorder.is_none() {
        bench.prepare(&prepared::prepare()).await?;
    }
    for (index, migration) in todo.pending.into_iter().enumerate() {
        on(&Progress::Applying { id: migration.id.clone(), number: index + 1, of });
        let one = apply_one(bench, migration, on).await?;
        on(&Progress::Applied { ran: one.clone() });
        ran.push(one);
    }
    Ok(())
}

/// Takes the transaction back if what was done in it failed.
pub(crate) async fn settle<T>(
    bench: &mut Workbench<'_>,
    result: Result<T, Failure>,
) -> Result<T, Failure> {
    if result.is_err() {
        bench.abort().await;
    }
    result
}

/// Makes the history tables, and keeps the rollback scripts of what was applied without us.
async fn keep_books(bench: &mut Workbench<'_>, todo: &Todo<'_>, on: On<'_>) -> Result<(), Failure> {
    if bench.own.has_tables && todo.unknown.is_empty() && todo.mended.is_empty() {
        return Ok(());
    }
    let nothing = MigrationId { version: 0, name: "history".into() };
    let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
    loop {
        let kept = try_keep_books(bench, todo, &nothing).await;
        let kept = settle(bench, kept).await;
        if attempts.ended(&nothing, kept, on).await?.is_some() {
            break;
        }
    }
    bench.own.has_tables = bench.settings.is_copy;
    for migration in &todo.unknown {
        on(&Progress::Adopted { id: migration.id.clone() });
    }
    for migration in &todo.mended {
        on(&Progress::RollbackReplaced { id: migration.id.clone() });
    }
    Ok(())
}

async fn try_keep_books(
    bench: &mut Workbench<'_>,
    todo: &Todo<'_>,
    nothing: &MigrationId,
) -> Result<(), Failure> {
    let transaction = bench.begin().await?;
    history::make(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let unknown = todo.unknown.iter().map(|migration| (*migration, Action::Adopt));
    let mended = todo.mended.iter().map(|migration| (*migration, Action::ReplaceRollback));
    for (migration, action) in unknown.chain(mended) {
        let entry = Entry::of(migration, action, transaction.start.elapsed());
        let written = entry.write(bench.connection, bench.settings).await;
        written.map_err(|error| bench.failed(&error))?;
    }
    bench.commit(nothing, "liftlock_schema_history").await
}

/// Applies one migration, as often as the budget for retries allows, and puts it on record if it fails for good.
async fn apply_one(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let start = Instant::now();
    let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
    loop {
        let tried = if migration.up.directives.no_transaction {
            try_outside(bench, migration, attempts.number(), on).await
        } else {
            inside(bench, migration, attempts.number(), on).await
        };
        match attempts.ended(&migration.id, tried, on).await {
            Ok(Some(ran)) => return Ok(ran),
            Ok(None) => {}
            Err(failure) => {
                let entry = Entry::of(migration, Action::Failed, start.elapsed())
                    .ran(migration.up.statements.len(), attempts.number());
                history::record_failure(bench, entry, &failure, on).await;
                return Err(failure);
            }
        }
    }
}

/// In one transaction, and once more where a function that a script called has dropped what was prepared.
async fn inside(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    attempt: u32,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let tried = try_inside(bench, migration, attempt, on).await;
    let tried = settle(bench, tried).await;
    if bench.own.prepared && tried.as_ref().is_err_and(lacks_prepared) {
        bench.own.prepared = false;
        let tried = try_inside(bench, migration, attempt, on).await;
        return settle(bench, tried).await;
    }
    tried
}

fn lacks_prepared(failure: &Failure) -> bool {
    matches!(failure, Failure::Script { source: ScriptError::Sql { code, .. }, .. } if code == prepared::NOT_THERE)
}

/// In one transaction.
async fn try_inside(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    attempt: u32,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let plain = is_plain(&migration.up);
    if plain && migration.verify.is_none() && bench.recorder.is_none() {
        return try_in_two(bench, migration, attempt, on).await;
    }
    // It may drop what is prepared.
    bench.own.prepared &= plain;
    let transaction = bench.begin().await?;
    bench.run_script(&transaction, &migration.id, &migration.up, on).await?;
    if let Some(verify) = &migration.verify {
        bench.after_script(&transaction, &migration.id, &migration.up).await?;
        bench.verify(&transaction, &migration.id, verify, on).await?;
    }
    let number = transaction.number.clone();
    let ran = ran(migration, transaction.start, number, attempt);
    let records = records(bench, migration, &ran).map_err(|error| bench.failed(&error))?;
    bench.finish(&transaction, &migration.id, &migration.up.file, &records).await?;
    Ok(Ran { duration: transaction.start.elapsed(), ..ran })
}

/// The same with a plain script.
async fn try_in_two(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    attempt: u32,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let start = bench.begin_with(&migration.id, &migration.up, on).await?;
    let ran = ran(migration, start, String::new(), attempt);
    let records = if bench.own.prepared {
        let row = refinery::Row::now(&migration.id, &migration.up.sql);
        let row = row.map_err(|error| bench.failed(&error))?;
        prepared::execute(&entry(migration, &ran), bench.settings, &row)
    } else {
        records(bench, migration, &ran).map_err(|error| bench.failed(&error))?
    };
    let transaction = bench.end_with(&migration.id, &migration.up.file, &records).await?;
    Ok(Ran { duration: start.elapsed(), transaction, ..ran })
}

fn ran(migration: &Migration, start: Instant, transaction: String, attempts: u32) -> Ran {
    Ran {
        id: migration.id.clone(),
        duration: start.elapsed(),
        verified: migration.verify.is_some(),
        transaction,
        statements: migration.up.statements.len(),
        attempts,
    }
}

/// With a script that runs outside of a transaction; its check and its records have one.
async fn try_outside(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    attempt: u32,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let halves = outside::halves(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let begin = Begin {
        id: &migration.id,
        direction: Direction::Up,
        checksum: &migration.checksum(),
        script: &migration.up,
        rollback_sql: &migration.rollback.sql,
        half: halves.get(&migration.id.version),
    };
    let executed = run::execute(bench, &begin, on).await?;
    let ended = end_outside(bench, migration, &begin, &executed, attempt, on).await;
    settle(bench, ended).await.map_err(|failure| run::after_script(&begin, failure))
}

async fn end_outside(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    begin: &Begin<'_>,
    executed: &Executed,
    attempt: u32,
    on: On<'_>,
) -> Result<Ran, Failure> {
    let transaction = bench.begin().await?;
    if let Some(verify) = &migration.verify {
        bench.verify(&transaction, &migration.id, verify, on).await?;
    }
    let verified = migration.verify.is_some();
    let ran = Ran { verified, ..executed.ran(begin, &transaction, attempt) };
    let recorded = record(bench, migration, &ran).await;
    recorded.map_err(|error| bench.failed(&error))?;
    executed.commit(bench, begin).await?;
    Ok(ran)
}

async fn record(
    bench: &mut Workbench<'_>,
    migration: &Migration,
    ran: &Ran,
) -> Result<(), sqlx::Error> {
    let sql = records(bench, migration, ran)?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *bench.connection).await.map(drop)
}

/// The statements that put an applied migration on record.
fn records(bench: &Workbench<'_>, migration: &Migration, ran: &Ran) -> Result<String, sqlx::Error> {
    let refinery = refinery::record(&migration.id, &migration.up.sql)?;
    Ok(format!("{refinery}; {}", entry(migration, ran).sql(bench.settings)))
}

fn entry<'a>(migration: &'a Migration, ran: &Ran) -> Entry<'a> {
    Entry::of(migration, Action::Apply, ran.duration).ran(ran.statements, ran.attempts)
}
