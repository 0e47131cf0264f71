//! One migration's transaction: what is set in it, and how it is kept whole even if a script tries to end it.

use std::time::{Duration, Instant};

use liftlock_model::MigrationId;
use sqlx::{
    AssertSqlSafe, Column as _, Either, PgConnection, Row as _, TypeInfo as _, ValueRef as _,
};

use crate::dry_run::Recorder;
use crate::failure::{Failure, ScriptError, explain};
use crate::files::Script;
use crate::progress::On;
use crate::session::{Session, Watcher};
use crate::settings::Settings;
use crate::text::printable;
use crate::watch::{Running, watched};

/// The constraint that fails when a script commits.
pub(crate) const GUARD: &str = "liftlock_one_transaction";
/// What a script may take beyond what its statements may: the way there and back.
const SLACK: Duration = Duration::from_secs(30);
/// How long taking back may take once something has gone wrong.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

/// Prepares a session. Outside of our own transactions nothing can be written: what follows a `ROLLBACK` that slipped into
/// a script fails. The table is this session's own: a script that commits finds two equal rows in it.
pub(crate) const PREPARE_SESSION: &str = "
    set default_transaction_read_only = off;
    create temporary table if not exists liftlock_guard (
        one integer, constraint liftlock_one_transaction unique (one) deferrable initially deferred
    ) on commit delete rows;
    set default_transaction_read_only = on;
    set client_connection_check_interval = '1s'";

/// The connection, what limits it, and who watches it.
pub(crate) struct Workbench<'a> {
    pub(crate) connection: &'a mut PgConnection,
    pub(crate) watcher: &'a mut Watcher,
    pub(crate) settings: &'a Settings,
    pub(crate) recorder: Option<&'a mut Recorder>,
    pub(crate) place: &'a str,
    pub(crate) pid: i32,
}

/// An open transaction.
pub(crate) struct Transaction {
    pub(crate) number: String,
    pub(crate) start: Instant,
}

impl Workbench<'_> {
    pub(crate) fn failed(&self, error: &sqlx::Error) -> Failure {
        Failure::database(self.place, error)
    }

    pub(crate) async fn execute(&mut self, sql: impl Into<String>) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut *self.connection).await;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Begins a transaction with its limits.
    pub(crate) async fn begin(&mut self) -> Result<Transaction, Failure> {
        let start = Instant::now();
        let limits = limits(self.settings);
        self.execute(format!(
            "begin isolation level read committed read write; {limits};
             insert into pg_temp.liftlock_guard values (1), (1)"
        ))
        .await?;
        let number = sqlx::query_scalar("select pg_current_xact_id()::text");
        let number =
            number.fetch_one(&mut *self.connection).await.map_err(|error| self.failed(&error))?;
        self.recorder.iter_mut().for_each(|recorder| recorder.begin());
        Ok(Transaction { number, start })
    }

    /// Runs a script to its end, and looks whether the transaction is still ours after it. Gives the first row, as text, whose
    /// first column is a boolean and not true.
    pub(crate) async fn run(
        &mut self,
        transaction: &Transaction,
        id: &MigrationId,
        script: &Script,
        on: On<'_>,
    ) -> Result<Option<String>, Failure> {
        let statements = u32::try_from(script.statements.len().max(1)).unwrap_or(u32::MAX);
        let limit =
            self.settings.statement_timeout.saturating_mul(statements).saturating_add(SLACK);
        let work = run_script(self.connection, script, self.recorder.as_deref_mut());
        let work = tokio::time::timeout(limit, work);
        let since = transaction.start;
        // The whole script is one query, and the server does not say how far in it is.
        let line = match &script.statements[..] {
            [only] => Some(only.line),
            _ => None,
        };
        let running = Running { id, script, since, line, budget: None };
        let (done, seen) = watched(work, self.watcher, self.pid, self.settings, &running, on).await;
        let script_error = |source| Failure::Script { id: id.clone(), source };
        let done = done.map_err(|_| {
            let reason = format!("no answer within {} s while {id} ran", limit.as_secs());
            Failure::Database { database: self.place.to_owned(), reason, code: None }
        })?;
        let refusal =
            done.map_err(|error| script_error(self.explain(script, &error, seen.blockers)))?;
        let still: Option<String> =
            sqlx::query_scalar("select pg_current_xact_id_if_assigned()::text")
                .fetch_one(&mut *self.connection)
                .await
                .map_err(|error| self.failed(&error))?;
        if still.as_deref() != Some(transaction.number.as_str()) {
            return Err(script_error(ScriptError::EndedTransaction { file: script.file.clone() }));
        }
        self.restore().await?;
        Ok(refusal)
    }

    /// Takes back whatever a script set for its session: role, search path, limits.
    async fn restore(&mut self) -> Result<(), Failure> {
        let limits = limits(self.settings);
        self.execute(format!(
            "reset session authorization; reset role; reset all; set default_transaction_read_only = on;
             set client_connection_check_interval = '1s'; {limits}"
        ))
        .await
    }

    /// Runs a verify script: it must run, and where a row begins with a boolean, that must be true. What it writes is taken back.
    pub(crate) async fn verify(
        &mut self,
        transaction: &Transaction,
        id: &MigrationId,
        script: &Script,
        on: On<'_>,
    ) -> Result<(), Failure> {
        self.execute("savepoint liftlock_verify").await?;
        let refusal = self.run(transaction, id, script, on).await?;
        self.execute("rollback to savepoint liftlock_verify").await?;
        let Some(row) = refusal else { return Ok(()) };
        let source = ScriptError::Verify { file: script.file.clone(), row };
        Err(Failure::Script { id: id.clone(), source })
    }

    /// Commits.
    pub(crate) async fn commit(&mut self, id: &MigrationId, file: &str) -> Result<(), Failure> {
        self.execute("delete from pg_temp.liftlock_guard").await?;
        let committed = sqlx::raw_sql("commit").execute(&mut *self.connection).await;
        committed.map(drop).map_err(|error| match &error {
            // A deferred constraint of the application itself.
            sqlx::Error::Database(_) => {
                let source = explain(file, "", None, &error);
                Failure::Script { id: id.clone(), source }
            }
            other => Failure::InDoubt {
                id: id.clone(),
                database: self.place.to_owned(),
                reason: crate::failure::reason(other),
            },
        })
    }

    /// Takes the transaction back. If even that fails, the connection is gone, and the server takes it back by itself.
    pub(crate) async fn abort(&mut self) {
        let aborted = sqlx::raw_sql("rollback").execute(&mut *self.connection);
        if let Ok(Err(error)) = tokio::time::timeout(ABORT_LIMIT, aborted).await {
            tracing::debug!(%error, "rollback failed");
        }
    }

    fn explain(&self, script: &Script, error: &sqlx::Error, by: Vec<Session>) -> ScriptError {
        // Statement by statement, places are told from the statement's beginning.
        let begin = self.recorder.as_ref().and_then(|recorder| recorder.offset);
        let explained = explain(&script.file, &script.sql, begin, error);
        let ScriptError::Sql { file, line, code, message } = explained else { return explained };
        match code.as_str() {
            "55P03" => {
                ScriptError::LockTimeout { file, line, after: self.settings.lock_timeout, by }
            }
            "57014" if message.contains("statement timeout") => {
                ScriptError::StatementTimeout { file, line, after: self.settings.statement_timeout }
            }
            _ => ScriptError::Sql { file, line, code, message },
        }
    }
}

fn limits(settings: &Settings) -> String {
    format!(
        "set local lock_timeout = '{}ms'; set local statement_timeout = '{}ms';
         set local idle_in_transaction_session_timeout = '60s'",
        settings.lock_timeout.as_millis(),
        settings.statement_timeout.as_millis()
    )
}

/// Runs a script: as one text, or statement by statement if somebody wants to know what each of them does.
async fn run_script(
    connection: &mut PgConnection,
    script: &Script,
    recorder: Option<&mut Recorder>,
) -> Result<Option<String>, sqlx::Error> {
    match recorder {
        None => first_refusal(connection, &script.sql).await,
        Some(recorder) => recorder.run(connection, script).await,
    }
}

/// Runs a text. Gives the first row whose first column is a boolean and not true.
pub(crate) async fn first_refusal(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<Option<String>, sqlx::Error> {
    use futures_util::TryStreamExt as _;
    let mut results = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(connection);
    let mut refused = None;
    while let Some(result) = results.try_next().await? {
        let Either::Right(row) = result else { continue };
        let boolean =
            row.columns().first().is_some_and(|column| column.type_info().name() == "BOOL");
        if refused.is_none() && boolean && row.try_get::<Option<bool>, _>(0)? != Some(true) {
            refused = Some(row_text(&row));
        }
    }
    Ok(refused)
}

/// A row for people: its columns by name. The simple protocol sends every value as text.
fn row_text(row: &sqlx::postgres::PgRow) -> String {
    let column = |index: usize| {
        let value = row.try_get_raw(index).ok().filter(|value| !value.is_null());
        let text = value
            .and_then(|value| value.as_str().ok().map(printable))
            .unwrap_or_else(|| "null".into());
        format!("{} = {text}", printable(row.columns()[index].name()))
    };
    (0..row.len()).map(column).collect::<Vec<_>>().join(", ")
}
