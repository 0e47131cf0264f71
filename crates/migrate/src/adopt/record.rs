//! Writing what another tool's history says into ours.

use std::time::Duration;

use liftlock_model::MigrationId;
use serde::Serialize;
use time::OffsetDateTime;

use super::AdoptError;
use super::past::{self, Done, Row};
use super::stage::Conversion;
use super::tool::Tool;
use crate::apply::{finish, settle};
use crate::check;
use crate::database::Database;
use crate::failure::Failure;
use crate::files::Migration;
use crate::history::{self, Action, Applied, Entry};
use crate::lock;
use crate::progress::Progress;
use crate::refinery;
use crate::transaction::Workbench;

/// What refinery's table is called once its migrations have other numbers.
const BEFORE: &str = "refinery_schema_history_before_liftlock";

/// How the other tool's history stands to ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Host, port and database.
    pub database: String,
    /// The other tool's table.
    pub table: String,
    /// What it says is applied, under our names.
    pub applied: Vec<TakenOver>,
    /// Of these, what our history does not have yet.
    pub new: usize,
    /// What `migrate` would apply after that.
    pub pending: usize,
}

/// A migration that another tool applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenOver {
    /// Our name for it.
    pub id: MigrationId,
    /// When it was applied, if the other tool knows.
    pub at: Option<jiff::Timestamp>,
    /// What our history keeps of it.
    pub note: String,
}

/// What is to be written.
struct Todo<'a> {
    standing: Standing,
    new: Vec<(&'a Migration, TakenOver)>,
    /// refinery's own rows have other numbers.
    rename: bool,
    /// refinery's table has the rows already.
    rows_there: bool,
}

impl Database {
    /// What taking over the other tool's history would write. Writes nothing.
    ///
    /// # Errors
    /// [`AdoptError`] with everything that does not fit.
    pub async fn adoption(&mut self, conversion: &Conversion) -> Result<Standing, AdoptError> {
        let mut bench = self.workbench().await?;
        Ok(look(&mut bench, conversion).await?.standing)
    }

    /// Writes into our history what the other tool's says is applied, all of it or nothing; runs nothing. What our history
    /// has already stays as it is.
    ///
    /// # Errors
    /// [`AdoptError`]; nothing was written.
    pub async fn adopt(
        &mut self,
        conversion: &Conversion,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Standing, AdoptError> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        let before = look(&mut bench, conversion).await?;
        if before.new.is_empty() {
            return Ok(before.standing);
        }
        lock::acquire(bench.connection, wait, on).await.map_err(Failure::from)?;
        let adopted = adopt_locked(&mut bench, conversion).await;
        let released = finish(&mut bench, Ok(())).await;
        let adopted = adopted?;
        released?;
        Ok(adopted)
    }
}

async fn adopt_locked(
    bench: &mut Workbench<'_>,
    conversion: &Conversion,
) -> Result<Standing, AdoptError> {
    // Looked at again: another run may have been at work until we had the lock.
    let todo = look(bench, conversion).await?;
    let written = write(bench, &todo).await;
    settle(bench, written).await?;
    Ok(todo.standing)
}

async fn look<'a>(
    bench: &mut Workbench<'_>,
    conversion: &'a Conversion,
) -> Result<Todo<'a>, AdoptError> {
    let tool = conversion.asked.tool;
    let (table, rows) = rows(bench, conversion).await?;
    let done = past::compare(tool, &conversion.source, &rows).map_err(|problems| {
        AdoptError::History { database: bench.place.to_owned(), table: table.clone(), problems }
    })?;
    let all = conversion.migrations.all();
    let same_numbers = done.iter().all(|one| {
        conversion.source.migrations[one.index].key == all[one.index].id.version.to_string()
    });
    let rename = tool == Tool::Refinery && table != BEFORE && !same_numbers;
    let applied = if rename { Vec::new() } else { ours(bench, conversion).await? };
    let known = |migration: &Migration| {
        applied.iter().any(|one| one.version == migration.id.version && one.checksum.is_some())
    };
    let taken = done.iter().map(|one| (&all[one.index], taken_over(one, conversion)));
    let taken: Vec<(&Migration, TakenOver)> = taken.collect();
    let new: Vec<_> = taken.iter().filter(|(migration, _)| !known(migration)).cloned().collect();
    let beyond = applied
        .iter()
        .filter(|one| !done.iter().any(|done| all[done.index].id.version == one.version));
    let standing = Standing {
        database: bench.place.to_owned(),
        table,
        new: new.len(),
        pending: all.len() - taken.len() - beyond.count(),
        applied: taken.into_iter().map(|(_, taken)| taken).collect(),
    };
    let rows_there = tool == Tool::Refinery && !rename && standing.table != BEFORE;
    Ok(Todo { standing, new, rename, rows_there })
}

/// The other tool's rows, and the table that they are in.
async fn rows(
    bench: &mut Workbench<'_>,
    conversion: &Conversion,
) -> Result<(String, Vec<Row>), AdoptError> {
    let tool = conversion.asked.tool;
    let mut tables = vec![conversion.asked.table().to_owned()];
    if tool == Tool::Refinery {
        tables.insert(0, BEFORE.into());
    }
    for table in &tables {
        let rows = past::rows(bench.connection, tool, table, &conversion.source.project).await;
        if let Some(rows) = rows.map_err(|error| bench.failed(&error))? {
            return Ok((table.clone(), rows));
        }
    }
    let (database, table) = (bench.place.to_owned(), conversion.asked.table().to_owned());
    Err(AdoptError::NoTable { database, table, tool })
}

/// What our own history has, if that fits the files.
async fn ours(
    bench: &mut Workbench<'_>,
    conversion: &Conversion,
) -> Result<Vec<Applied>, AdoptError> {
    let applied = history::applied(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let problems = check::compare(&conversion.migrations, &applied).problems;
    if problems.is_empty() {
        return Ok(applied);
    }
    Err(Failure::Refused { database: bench.place.to_owned(), problems }.into())
}

fn taken_over(done: &Done, conversion: &Conversion) -> TakenOver {
    let foreign = &conversion.source.migrations[done.index];
    let id = conversion.migrations.all()[done.index].id.clone();
    let mut note = format!("from {}: {}", conversion.asked.tool.as_str(), foreign.up.file);
    if done.covered {
        note.push_str(", counted as applied by its baseline");
    }
    if let Some(by) = &done.by {
        note.push_str(&format!(", applied by {by}"));
    }
    if let Some(milliseconds) = done.milliseconds.filter(|_| !done.covered) {
        note.push_str(&format!(", took {milliseconds} ms"));
    }
    if done.at.is_none() {
        note.push_str(", when is not known");
    }
    TakenOver { id, at: done.at, note }
}

async fn write(bench: &mut Workbench<'_>, todo: &Todo<'_>) -> Result<(), Failure> {
    let transaction = bench.begin().await?;
    if todo.rename {
        bench.execute(format!("alter table refinery_schema_history rename to {BEFORE}")).await?;
        bench
            .execute(format!(
                "alter index if exists refinery_schema_history_pkey rename to {BEFORE}_pkey"
            ))
            .await?;
    }
    let written = write_rows(bench, todo, transaction.start.elapsed()).await;
    written.map_err(|error| bench.failed(&error))?;
    let nothing = MigrationId { version: 0, name: "history".into() };
    bench.commit(&nothing, "liftlock_schema_history").await
}

async fn write_rows(
    bench: &mut Workbench<'_>,
    todo: &Todo<'_>,
    took: Duration,
) -> Result<(), sqlx::Error> {
    history::make(bench.connection).await?;
    for (migration, taken) in &todo.new {
        if !todo.rows_there {
            let at = taken
                .at
                .and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at.as_nanosecond()).ok());
            let at = at.unwrap_or_else(OffsetDateTime::now_utc);
            refinery::record_at(bench.connection, (&migration.id, &migration.up.sql), at).await?;
        }
        let entry =
            Entry { reason: Some(taken.note.clone()), ..Entry::of(migration, Action::Adopt, took) };
        entry.write(bench.connection, bench.settings).await?;
    }
    Ok(())
}
