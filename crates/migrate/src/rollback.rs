//! Rolling back, newest first, each migration in one transaction, with the script that the database keeps.

use std::time::{Duration, Instant};

use liftlock_model::MigrationId;
use serde::Serialize;

use crate::apply::{finish, settle};
use crate::catalog::{self, Catalog, Changes};
use crate::database::Database;
use crate::failure::{Failure, RollbackError};
use crate::files::Script;
use crate::history::{self, Action, Applied, Entry};
use crate::lock;
use crate::loss;
use crate::progress::{On, Progress, Ran};
use crate::refinery;
use crate::retry::Attempts;
use crate::transaction::{Transaction, Workbench};

/// What a rollback did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RolledBack {
    /// What was rolled back, newest first.
    pub ran: Vec<Ran>,
    /// Where it stopped because data would have been lost; this migration and all before it stay applied.
    pub refused: Option<Refused>,
}

/// A rollback that would lose data, and was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Which migration.
    pub id: MigrationId,
    /// What would be lost, such as `table orders: 3 rows` or `column users.nickname: 2 values`.
    pub losses: Vec<String>,
}

/// A migration to roll back.
struct Back {
    applied: Applied,
    script: Script,
}

/// How far to roll back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// To this migration, which stays; 0 keeps none.
    Version(i32),
    /// So many migrations.
    Steps(u32),
}

impl From<i32> for To {
    fn from(version: i32) -> Self {
        Self::Version(version)
    }
}

impl Database {
    /// Rolls back every migration that is newer than `to` (0: all), or so many steps, newest first, with the rollback scripts
    /// that the database keeps. One that would lose data is refused, and it and all before it stay, unless `accept_data_loss`.
    ///
    /// # Errors
    /// [`RollbackError`] says why it stopped and what had been rolled back by then. The rollback that failed left nothing.
    pub async fn rollback(
        &mut self,
        to: impl Into<To>,
        accept_data_loss: bool,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<RolledBack, RollbackError> {
        let mut done = RolledBack::default();
        match self.rollback_all(to.into(), accept_data_loss, &mut done, on).await {
            Ok(()) => Ok(done),
            Err(failure) => Err(RollbackError { ran: done.ran, failure }),
        }
    }

    /// What [`Database::rollback`] to the same version would refuse, and why: tried whole in one transaction that is taken
    /// back. None when it would lose nothing.
    ///
    /// # Errors
    /// [`RollbackError`] when a script cannot be run; nothing is left of it.
    pub async fn would_lose(&mut self, to: i32) -> Result<Option<Refused>, RollbackError> {
        self.try_all(to).await.map_err(|failure| RollbackError { ran: Vec::new(), failure })
    }

    async fn try_all(&mut self, to: i32) -> Result<Option<Refused>, Failure> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        if find(&mut bench, to.into()).await?.is_empty() {
            return Ok(None);
        }
        lock::acquire(bench.connection, wait, &mut |_| {}).await?;
        let tried = try_locked(&mut bench, to).await;
        finish(&mut bench, tried).await
    }

    async fn rollback_all(
        &mut self,
        to: To,
        accept_data_loss: bool,
        done: &mut RolledBack,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        if find(&mut bench, to).await?.is_empty() {
            return Ok(());
        }
        lock::acquire(bench.connection, wait, on).await?;
        let result = rollback_locked(&mut bench, to, accept_data_loss, done, on).await;
        finish(&mut bench, result).await
    }
}

/// What is to be rolled back, newest first.
async fn find(bench: &mut Workbench<'_>, to: To) -> Result<Vec<Back>, Failure> {
    let applied = history::applied(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let count = how_many(&applied, to)?;
    applied.into_iter().rev().take(count).map(Back::of).collect()
}

/// How many of those that are applied are to be rolled back.
fn how_many(applied: &[Applied], to: To) -> Result<usize, Failure> {
    match to {
        To::Version(to) => {
            let latest = applied.last().map_or(0, |one| one.version);
            if to < 0 || (to > latest && latest > 0) {
                return Err(Failure::NoSuchVersion { wanted: to, latest });
            }
            Ok(applied.iter().filter(|one| one.version > to).count())
        }
        To::Steps(steps) => {
            let count = usize::try_from(steps).unwrap_or(usize::MAX);
            if count > applied.len() {
                return Err(Failure::TooManySteps { steps, applied: applied.len() });
            }
            Ok(count)
        }
    }
}

impl Back {
    fn of(applied: Applied) -> Result<Self, Failure> {
        let Some(sql) = applied.rollback_sql.clone() else {
            return Err(Failure::NoRollback { id: applied.id() });
        };
        let script = Script::kept(format!("{}.rollback.sql", applied.id()), sql);
        Ok(Self { applied, script })
    }

    fn entry<'a>(
        &'a self,
        id: &'a MigrationId,
        action: Action,
        duration: Duration,
        attempts: u32,
    ) -> Entry<'a> {
        let kept = self.applied.checksum.clone();
        Entry {
            action,
            id,
            checksum: kept.expect("a rollback script is kept with its checksum"),
            rollback_sql: &self.script.sql,
            duration,
            statements: Some(self.script.statements.len()),
            attempts: Some(attempts),
            error: None,
            reason: None,
        }
    }
}

async fn rollback_locked(
    bench: &mut Workbench<'_>,
    to: To,
    accept_data_loss: bool,
    done: &mut RolledBack,
    on: On<'_>,
) -> Result<(), Failure> {
    let todo = find(bench, to).await?;
    if !todo.is_empty() {
        ready_tables(bench, on).await?;
    }
    for back in todo {
        on(&Progress::RollingBack { id: back.applied.id() });
        match rollback_one(bench, &back, accept_data_loss, on).await? {
            Ok(ran) => {
                on(&Progress::RolledBack { ran: ran.clone() });
                done.ran.push(ran);
            }
            Err(refused) => {
                done.refused = Some(refused);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Brings the history tables up to date, where they are of an older version.
async fn ready_tables(bench: &mut Workbench<'_>, on: On<'_>) -> Result<(), Failure> {
    let nothing = MigrationId { version: 0, name: "history".into() };
    let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
    loop {
        let tried = try_ready_tables(bench, &nothing).await;
        let tried = settle(bench, tried).await;
        if attempts.ended(&nothing, tried, on).await?.is_some() {
            return Ok(());
        }
    }
}

async fn try_ready_tables(bench: &mut Workbench<'_>, nothing: &MigrationId) -> Result<(), Failure> {
    bench.begin().await?;
    history::make(bench.connection).await.map_err(|error| bench.failed(&error))?;
    bench.commit(nothing, "liftlock_schema_history").await
}

async fn try_locked(bench: &mut Workbench<'_>, to: i32) -> Result<Option<Refused>, Failure> {
    let todo = find(bench, to.into()).await?;
    let newest = todo.first().map(|back| back.applied.id());
    let id = newest.unwrap_or_else(|| MigrationId { version: 0, name: "nothing".into() });
    let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
    loop {
        let tried = try_whole(bench, &todo).await;
        bench.abort().await;
        if let Some(refused) = attempts.ended(&id, tried, &mut |_| {}).await? {
            return Ok(refused);
        }
    }
}

/// Runs all of them in one transaction, which the caller takes back.
async fn try_whole(bench: &mut Workbench<'_>, todo: &[Back]) -> Result<Option<Refused>, Failure> {
    let transaction = bench.begin().await?;
    for back in todo {
        let id = back.applied.id();
        let losses = run_without_loss(bench, &transaction, &id, &back.script, &mut |_| {}).await?;
        if !losses.is_empty() {
            return Ok(Some(Refused { id, losses }));
        }
    }
    Ok(None)
}

/// Rolls one migration back, as often as the budget for retries allows, and puts it on record if that fails for good.
async fn rollback_one(
    bench: &mut Workbench<'_>,
    back: &Back,
    accept_data_loss: bool,
    on: On<'_>,
) -> Result<Result<Ran, Refused>, Failure> {
    let (id, start) = (back.applied.id(), Instant::now());
    let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
    loop {
        let tried = try_one(bench, back, accept_data_loss, attempts.number(), on).await;
        if !matches!(tried, Ok(Ok(_))) {
            bench.abort().await;
        }
        match attempts.ended(&id, tried, on).await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(failure) => {
                let entry =
                    back.entry(&id, Action::RollbackFailed, start.elapsed(), attempts.number());
                history::record_failure(bench, entry, &failure, on).await;
                return Err(failure);
            }
        }
    }
}

async fn try_one(
    bench: &mut Workbench<'_>,
    back: &Back,
    accept_data_loss: bool,
    attempt: u32,
    on: On<'_>,
) -> Result<Result<Ran, Refused>, Failure> {
    let id = back.applied.id();
    let transaction = bench.begin().await?;
    if accept_data_loss {
        bench.run(&transaction, &id, &back.script, on).await?;
    } else {
        let losses = run_without_loss(bench, &transaction, &id, &back.script, on).await?;
        if !losses.is_empty() {
            return Ok(Err(Refused { id, losses }));
        }
    }
    let duration = transaction.start.elapsed();
    let entry = back.entry(&id, Action::Rollback, duration, attempt);
    record(bench, &entry).await.map_err(|error| bench.failed(&error))?;
    bench.commit(&id, &back.script.file).await?;
    Ok(Ok(Ran {
        id,
        duration: transaction.start.elapsed(),
        verified: false,
        transaction: transaction.number,
        statements: back.script.statements.len(),
        attempts: attempt,
    }))
}

/// Runs the script and says what it lost. Twice: first to see which tables it is about, which is taken back; then, with these
/// tables locked and looked at, for good. A row that somebody writes in between is seen.
async fn run_without_loss(
    bench: &mut Workbench<'_>,
    transaction: &Transaction,
    id: &MigrationId,
    script: &Script,
    on: On<'_>,
) -> Result<Vec<String>, Failure> {
    // Row security would hide rows from the look.
    bench.execute("set local row_security = off; savepoint liftlock_look").await?;
    let (before, expected) = scout(bench, transaction, id, script, on).await?;
    let failed = |error: sqlx::Error| Failure::database(bench.place, &error);
    loss::lock(bench.connection, &before, &expected).await.map_err(failed)?;
    let held = loss::look(bench.connection, &before, &expected).await.map_err(failed)?;
    let baseline = catalog::read(bench.connection).await.map_err(failed)?;
    bench.run(transaction, id, script, on).await?;
    let failed = |error: sqlx::Error| Failure::database(bench.place, &error);
    let after = catalog::read(bench.connection).await.map_err(failed)?;
    let changes = Changes::between(&baseline, &after);
    if !changes.tables().is_subset(&expected.tables()) {
        return Err(Failure::Raced { id: id.clone() });
    }
    // What either run did is looked at: counters go by what was tried.
    let left =
        loss::look_again(bench.connection, &before, &after, &expected).await.map_err(failed)?;
    Ok(loss::losses(&before, &expected, &held, &left))
}

/// Runs the script, notes which tables it changes how, and takes it back.
async fn scout(
    bench: &mut Workbench<'_>,
    transaction: &Transaction,
    id: &MigrationId,
    script: &Script,
    on: On<'_>,
) -> Result<(Catalog, Changes), Failure> {
    let failed = |error: sqlx::Error, place: &str| Failure::database(place, &error);
    let before = catalog::read(bench.connection).await.map_err(|e| failed(e, bench.place))?;
    bench.run(transaction, id, script, on).await?;
    let after = catalog::read(bench.connection).await.map_err(|e| failed(e, bench.place))?;
    bench.execute("rollback to savepoint liftlock_look; set local row_security = off").await?;
    let changes = Changes::between(&before, &after);
    Ok((before, changes))
}

async fn record(bench: &mut Workbench<'_>, entry: &Entry<'_>) -> Result<(), sqlx::Error> {
    refinery::forget(bench.connection, entry.id.version).await?;
    entry.write(bench.connection, bench.settings).await
}
