//! Everything that is on record about a database's migrations, failures included.

use std::fmt;

use jiff::Timestamp;
use liftlock_model::{Actor, MigrationId, RunId};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row as _};

use super::Action;
use crate::ask;
use crate::text::printable;

/// One execution, or another thing that was done about a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Execution {
    /// What was done.
    pub action: Action,
    /// About which migration.
    pub id: MigrationId,
    /// When it began.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: Actor,
    /// As which user of the database.
    pub database_user: String,
    /// The run that it belongs to.
    pub run: Option<RunId>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// PostgreSQL's number of the transaction.
    pub transaction: String,
    /// How many statements its script has.
    pub statements: Option<u32>,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// The snapshot that was taken before.
    pub snapshot: Option<String>,
    /// The SQLSTATE of what went wrong; empty if it was not the server that said so.
    pub sqlstate: Option<String>,
    /// What went wrong, without data.
    pub error: Option<String>,
    /// Why it was done, where that was told.
    pub reason: Option<String>,
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let action = self.action.as_str();
        write!(f, "{at}  {action:<16}  {} by {}, {} ms", self.id, self.by, self.milliseconds)?;
        if let Some(attempts) = self.attempts.filter(|attempts| *attempts > 1) {
            write!(f, ", {attempts} attempts")?;
        }
        if let Some(run) = &self.run {
            write!(f, ", run {run}")?;
        }
        for text in [&self.reason, &self.error].into_iter().flatten() {
            write!(f, ": {}", printable(text))?;
        }
        Ok(())
    }
}

/// A row, as JSON: columns that an older table lacks are not there.
#[derive(Deserialize)]
struct Row {
    action: String,
    version: i32,
    name: String,
    started_at: Timestamp,
    actor: String,
    database_user: String,
    run: Option<String>,
    duration_ms: i64,
    transaction_id: String,
    statements: Option<u32>,
    attempts: Option<u32>,
    snapshot: Option<String>,
    sqlstate: Option<String>,
    error: Option<String>,
    reason: Option<String>,
}

/// All of it, oldest first; nothing if there is no table.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Vec<Execution>, sqlx::Error> {
    if !ask::is_there(connection, "liftlock_schema_history").await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "select (to_jsonb(h) - 'rollback_sql')::text as execution from liftlock_schema_history h order by id",
    );
    let mut all = Vec::new();
    for row in rows.fetch_all(connection).await? {
        let text: String = row.try_get("execution")?;
        let row: Row = serde_json::from_str(&text).map_err(|error| {
            sqlx::Error::Decode(format!("table liftlock_schema_history: {error}").into())
        })?;
        all.extend(row.known());
    }
    Ok(all)
}

impl Row {
    /// None for what a newer Liftlock wrote down and this one does not know.
    fn known(self) -> Option<Execution> {
        Some(Execution {
            action: Action::from_text(&self.action)?,
            id: MigrationId { version: self.version, name: self.name },
            at: self.started_at,
            by: Actor::new(&self.actor),
            database_user: self.database_user,
            run: self.run.and_then(|run| run.parse().ok()),
            milliseconds: u64::try_from(self.duration_ms).unwrap_or(0),
            transaction: self.transaction_id,
            statements: self.statements,
            attempts: self.attempts,
            snapshot: self.snapshot,
            sqlstate: self.sqlstate,
            error: self.error,
            reason: self.reason,
        })
    }
}
