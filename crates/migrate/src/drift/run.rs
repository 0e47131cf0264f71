//! A run, from the look at the schema before its first migration to the one after its last.

use liftlock_model::MigrationId;

use super::{Action, Drift, DriftPolicy, Drifted, look, record};
use crate::apply::settle;
use crate::failure::Failure;
use crate::history;
use crate::progress::{On, Progress};
use crate::retry::Attempts;
use crate::schema::Schema;
use crate::transaction::Workbench;

/// A run that is on record as begun. Whoever holds the run lock has one.
pub(crate) struct SchemaRun {
    /// Its number; none if the schema is not kept.
    id: Option<i64>,
}

impl SchemaRun {
    /// Looks at the schema, refuses if others changed it and the settings say so, and writes down that a run begins: one that
    /// is cut off is known by that.
    pub(crate) async fn begin(
        bench: &mut Workbench<'_>,
        action: Action,
        on: On<'_>,
    ) -> Result<Self, Failure> {
        if bench.settings.is_copy {
            return Ok(Self { id: None });
        }
        let mut attempts = Attempts::new(bench.settings.lock_retry_budget);
        loop {
            let begun = begin(bench, action, on).await;
            let begun = settle(bench, begun).await;
            if let Some(run) = attempts.ended(&history_id(), begun, on).await? {
                return Ok(run);
            }
        }
    }

    /// Looks at the schema again, and writes down how the run ended with `result`, which it gives back: what was done is done,
    /// also if this fails.
    pub(crate) async fn end<T>(
        self,
        bench: &mut Workbench<'_>,
        result: Result<T, Failure>,
        on: On<'_>,
    ) -> Result<T, Failure> {
        let Some(id) = self.id else { return result };
        // It keeps what the last transaction did, and that is not to be this one.
        let recorder = bench.recorder.take();
        let ended = end(bench, id, result.is_ok(), None).await;
        if let Err(failure) = settle(bench, ended).await {
            on(&Progress::SchemaNotKept { reason: failure.to_string() });
        }
        bench.recorder = recorder;
        result
    }
}

/// The drift that a run begins with, and how it is told.
fn judge(policy: DriftPolicy, drift: Drift, on: On<'_>) -> Result<(), Failure> {
    match policy {
        DriftPolicy::Ignore => {}
        DriftPolicy::Refuse if drift.is_seen() => {
            return Err(Failure::Drift(Drifted(Box::new(drift))));
        }
        DriftPolicy::Warn | DriftPolicy::Refuse => {
            if drift.is_seen() || drift.unknown.is_some() {
                on(&Progress::Drift { text: drift.to_string() });
            }
        }
    }
    Ok(())
}

async fn begin(
    bench: &mut Workbench<'_>,
    action: Action,
    on: On<'_>,
) -> Result<SchemaRun, Failure> {
    bench.begin().await?;
    let (drift, live) = look(bench.connection, bench.place).await.map_err(|e| unread(bench, &e))?;
    judge(bench.settings.drift, drift, on)?;
    let id = write_begin(bench, action, &live).await.map_err(|error| bench.failed(&error))?;
    commit(bench).await?;
    Ok(SchemaRun { id: Some(id) })
}

async fn write_begin(
    bench: &mut Workbench<'_>,
    action: Action,
    live: &Schema,
) -> Result<i64, sqlx::Error> {
    history::make(bench.connection).await?;
    record::create_tables(bench.connection).await?;
    let before = record::keep(bench.connection, live).await?;
    record::begin(bench.connection, action, bench.settings, &before).await
}

async fn end(
    bench: &mut Workbench<'_>,
    id: i64,
    succeeded: bool,
    why: Option<&str>,
) -> Result<(), Failure> {
    bench.begin().await?;
    let schema = Schema::read(bench.connection).await.map_err(|error| unread(bench, &error))?;
    let after = record::keep(bench.connection, &schema).await;
    let after = after.map_err(|error| bench.failed(&error))?;
    let ended = record::end(bench.connection, id, succeeded, why, &after).await;
    ended.map_err(|error| bench.failed(&error))?;
    commit(bench).await
}

/// Takes the schema as it is. The run lock is held.
pub(super) async fn accept(bench: &mut Workbench<'_>, why: &str) -> Result<Drift, Failure> {
    bench.begin().await?;
    let (drift, live) = look(bench.connection, bench.place).await.map_err(|e| unread(bench, &e))?;
    let nothing_new = drift.since.is_some() && drift.unknown.is_none() && !drift.is_seen();
    if nothing_new {
        bench.abort().await;
        return Ok(drift);
    }
    let written = async {
        let id = write_begin(bench, Action::Accept, &live).await?;
        record::end(bench.connection, id, true, Some(why), &live.fingerprint()).await
    };
    written.await.map_err(|error| bench.failed(&error))?;
    commit(bench).await?;
    Ok(drift)
}

fn unread(bench: &Workbench<'_>, error: &sqlx::Error) -> Failure {
    let failure = Failure::database(bench.place, error);
    let Failure::Database { database, reason, code } = failure else { return failure };
    let reason = format!("its schema could not be read, so run this again: {reason}");
    Failure::Database { database, reason, code }
}

async fn commit(bench: &mut Workbench<'_>) -> Result<(), Failure> {
    bench.commit(&history_id(), "liftlock_schema_run").await
}

/// What messages call our own transactions.
fn history_id() -> MigrationId {
    MigrationId { version: 0, name: "history".into() }
}
