//! Rolling back, newest first, each migration in one transaction, with the script that the database keeps.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use liftlock_model::{MigrationChecksum, MigrationId};
use serde::Serialize;

use crate::apply::{finish, settle};
use crate::catalog::{self, Catalog, Changes};
use crate::database::Database;
use crate::drift::{self, SchemaRun};
use crate::failure::{Failure, RollbackError};
use crate::files::Script;
use crate::history::{self, Action, Applied, Entry, RollbackProof};
use crate::lock;
use crate::loss;
use crate::outside::half::Half;
use crate::outside::run::{self, Begin};
use crate::outside::{self, Direction};
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
    /// The snapshot that was taken before the migration was applied, if one was.
    pub snapshot: Option<String>,
}

impl Refused {
    /// What to do instead: the snapshot holds what the database had before the migration.
    pub fn instead(&self) -> Option<String> {
        let id = self.snapshot.as_ref()?;
        Some(format!(
            "snapshot {id} holds what the database had before {}; `migrate restore {id}` brings that back beside the live database \
             (an RDS snapshot: `liftlock migrate restore`)",
            self.id
        ))
    }
}

/// A migration to roll back.
struct Back {
    id: MigrationId,
    script: Script,
    checksum: MigrationChecksum,
    /// The snapshot that was taken before it was applied.
    snapshot: Option<String>,
    /// What an earlier run left half done of it.
    half: Option<Half>,
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
        if !bench.settings.is_copy && find(&mut bench, to).await?.is_empty() {
            return Ok(());
        }
        lock::acquire(bench.connection, wait, on).await?;
        let result = rollback_locked(&mut bench, to, accept_data_loss, done, on).await;
        finish(&mut bench, result).await
    }
}

/// What is to be rolled back, newest first.
async fn find(bench: &mut Workbench<'_>, to: To) -> Result<Vec<Back>, Failure> {
    let applied = history::applied_with_scripts(bench.connection).await;
    let applied = applied.map_err(|error| bench.failed(&error))?;
    let halves = outside::halves(bench.connection).await.map_err(|error| bench.failed(&error))?;
    // What was only begun is not applied, and all the same there is something to take back.
    let begun = halves.keys().copied().filter(|v| applied.iter().all(|one| one.version != *v));
    let mut versions: Vec<i32> = applied.iter().map(|one| one.version).chain(begun).collect();
    versions.sort_unstable();
    let count = how_many(&versions, to)?;
    let back = |version: i32| {
        let half = halves.get(&version).cloned();
        match applied.iter().find(|one| one.version == version) {
            Some(one) => Back::of(one, half).map(Some),
            None => Ok(half.map(Back::of_half)),
        }
    };
    let newest_first = versions.iter().copied().rev().take(count);
    let of_these = |one: &&Applied| versions.iter().rev().take(count).any(|v| *v == one.version);
    let changed =
        applied.iter().filter(of_these).filter(|one| one.rollback == RollbackProof::Changed);
    let scripts: Vec<String> = changed.map(|one| format!("{}.rollback.sql", one.id())).collect();
    if !scripts.is_empty() && !bench.settings.accept_unproven {
        return Err(Failure::Unproven { scripts });
    }
    let found: Result<Vec<Back>, Failure> =
        newest_first.filter_map(|version| back(version).transpose()).collect();
    let found = found?;
    match found.iter().find_map(Back::squashed).filter(|_| to != To::Version(0)) {
        Some((id, first)) => Err(Failure::Squashed { id, first }),
        None => Ok(found),
    }
}

/// How many of these, which are in order, are to be rolled back.
fn how_many(versions: &[i32], to: To) -> Result<usize, Failure> {
    match to {
        To::Version(to) => {
            let latest = versions.last().copied().unwrap_or(0);
            if to < 0 || (to > latest && latest > 0) {
                return Err(Failure::NoSuchVersion { wanted: to, latest });
            }
            Ok(versions.iter().filter(|version| **version > to).count())
        }
        To::Steps(steps) => {
            let count = usize::try_from(steps).unwrap_or(usize::MAX);
            if count > versions.len() {
                return Err(Failure::TooManySteps { steps, applied: versions.len() });
            }
            Ok(count)
        }
    }
}

impl Back {
    fn of(applied: &Applied, half: Option<Half>) -> Result<Self, Failure> {
        let id = applied.id();
        let kept = applied.rollback_sql.clone().zip(applied.checksum.clone());
        let Some((sql, checksum)) = kept else { return Err(Failure::NoRollback { id }) };
        let script = Script::kept(format!("{id}.rollback.sql"), sql);
        Ok(Self { id, script, checksum, snapshot: applied.snapshot.clone(), half })
    }

    fn of_half(half: Half) -> Self {
        let id = half.id.clone();
        let script = Script::kept(format!("{id}.rollback.sql"), half.rollback_sql.clone());
        Self { id, script, checksum: half.checksum.clone(), snapshot: None, half: Some(half) }
    }

    /// If it is a squash: it, and the first that it stands for.
    fn squashed(&self) -> Option<(MigrationId, i32)> {
        let first = self.script.directives.squashes.iter().map(|seal| seal.from).min()?;
        Some((self.id.clone(), first))
    }

    /// What can be tried in a transaction, to see what it would lose.
    fn inside(&self) -> Option<Cow<'_, Script>> {
        if self.script.directives.no_transaction {
            return run::inside_only(&self.script, self.half.as_ref()).map(Cow::Owned);
        }
        Some(Cow::Borrowed(&self.script))
    }

    fn entry<'a>(
        &'a self,
        id: &'a MigrationId,
        action: Action,
        duration: Duration,
        attempts: u32,
    ) -> Entry<'a> {
        Entry {
            action,
            id,
            checksum: self.checksum.clone(),
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
    let run = SchemaRun::begin(bench, drift::Action::Rollback, on).await?;
    let rolled = rollback_each(bench, to, accept_data_loss, done, on).await;
    run.end(bench, rolled, on).await
}

async fn rollback_each(
    bench: &mut Workbench<'_>,
    to: To,
    accept_data_loss: bool,
    done: &mut RolledBack,
    on: On<'_>,
) -> Result<(), Failure> {
    let todo = find(bench, to).await?;
    if !todo.is_empty() && !bench.own.has_tables {
        ready_tables(bench, on).await?;
    }
    for back in todo {
        on(&Progress::RollingBack { id: back.id.clone() });
        let one = if back.script.directives.no_transaction {
            let one = rollback_outside(bench, &back, accept_data_loss, on).await;
            if !matches!(one, Ok(Ok(_))) {
                bench.abort().await;
            }
            one?
        } else {
            rollback_one(bench, &back, accept_data_loss, on).await?
        };
        match one {
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
    let newest = todo.first().map(|back| back.id.clone());
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
        let Some(script) = back.inside() else { continue };
        let id = back.id.clone();
        let losses = run_without_loss(bench, &transaction, &id, &script, &mut |_| {}).await?;
        if !losses.is_empty() {
            return Ok(Some(Refused { id, losses, snapshot: back.snapshot.clone() }));
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
    let (id, start) = (back.id.clone(), Instant::now());
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
    let id = back.id.clone();
    let transaction = bench.begin().await?;
    if accept_data_loss {
        bench.run(&transaction, &id, &back.script, on).await?;
    } else {
        let losses = run_without_loss(bench, &transaction, &id, &back.script, on).await?;
        if !losses.is_empty() {
            let snapshot = back.snapshot.clone();
            return Ok(Err(Refused { id, losses, snapshot }));
        }
    }
    let duration = transaction.start.elapsed();
    let entry = back.entry(&id, Action::Rollback, duration, attempt);
    record(bench, &entry).await.map_err(|error| bench.failed(&error))?;
    if back.half.is_some() {
        outside::forget(bench, &back.id, &back.checksum).await?;
    }
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

/// Rolls back with a script that runs outside of a transaction. What of it can be tried in one is tried first, and taken back, to see
/// what it would lose.
async fn rollback_outside(
    bench: &mut Workbench<'_>,
    back: &Back,
    accept_data_loss: bool,
    on: On<'_>,
) -> Result<Result<Ran, Refused>, Failure> {
    let id = &back.id;
    if let Some(script) = back.inside().filter(|_| !accept_data_loss) {
        let transaction = bench.begin().await?;
        let losses = run_without_loss(bench, &transaction, id, &script, on).await?;
        if !losses.is_empty() {
            return Ok(Err(Refused { id: id.clone(), losses, snapshot: back.snapshot.clone() }));
        }
        bench.abort().await;
    }
    let begin = Begin {
        id,
        direction: Direction::Rollback,
        checksum: &back.checksum,
        script: &back.script,
        rollback_sql: &back.script.sql,
        half: back.half.as_ref(),
    };
    let executed = run::execute(bench, &begin, on).await?;
    let transaction = bench.begin().await?;
    let entry = back.entry(id, Action::Rollback, executed.since.elapsed(), 1);
    let recorded = record(bench, &entry).await;
    recorded.map_err(|error| bench.failed(&error))?;
    let ran = executed.ran(&begin, &transaction, 1);
    executed.commit(bench, &begin).await?;
    Ok(Ok(ran))
}

async fn record(bench: &mut Workbench<'_>, entry: &Entry<'_>) -> Result<(), sqlx::Error> {
    refinery::forget(bench.connection, entry.id.version).await?;
    entry.write(bench.connection, bench.settings).await
}
