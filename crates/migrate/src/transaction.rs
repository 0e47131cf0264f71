//! One migration's transaction: what is set in it, and how it is kept whole even if a script tries to end it.

use std::time::{Duration, Instant};

use liftlock_model::MigrationId;
use sqlx::{
    AssertSqlSafe, Column as _, Either, PgConnection, Row as _, TypeInfo as _, ValueRef as _,
};

use crate::connect::LIMITED;
use crate::dry_run::Recorder;
use crate::failure::{Failure, ScriptError, explain, explain_after, has_place};
use crate::files::Script;
use crate::parts::parts;
use crate::progress::On;
use crate::session::{Session, Watcher};
use crate::settings::Settings;
use crate::text::printable;
use crate::watch::{Running, watched};

/// What the error says that a script meets which ends its transaction.
pub(crate) const GUARD: &str = "liftlock_one_transaction";
/// What a script may take beyond what its statements may: the way there and back.
const SLACK: Duration = Duration::from_secs(30);
/// How many statements that take as long as they may a transaction may last.
const MOST_STATEMENTS: u32 = 20;
/// How long taking back may take once something has gone wrong.
const ABORT_LIMIT: Duration = Duration::from_secs(10);
/// How long a transaction may lie idle: nobody is left here to end it.
const MOST_IDLE: Duration = Duration::from_secs(60);
/// How often the server looks, during a statement, whether we are still there.
const CHECK_CONNECTION: Duration = Duration::from_secs(1);

/// What holds in a session. Outside of our own transactions nothing can be written: what follows a `ROLLBACK` that slipped
/// into a script fails. Strings are read as `script.rs` reads them, whatever the database says.
pub(crate) const PREPARE_SESSION: &str = "set default_transaction_read_only = on;
    set standard_conforming_strings = on; set client_connection_check_interval = '1s'";

/// The same and the limits, as a session has them from its beginning.
pub(crate) fn session_settings(settings: &Settings) -> Vec<(&'static str, String)> {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    let on_disk = settings.is_copy.then(|| ("synchronous_commit", "off".to_owned()));
    let settings = [
        ("default_transaction_read_only", "on".into()),
        ("standard_conforming_strings", "on".into()),
        ("client_connection_check_interval", milliseconds(CHECK_CONNECTION)),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
        ("statement_timeout", milliseconds(settings.statement_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(MOST_IDLE)),
        (LIMITED, "on".into()),
    ];
    settings.into_iter().chain(on_disk).collect()
}

/// What is known of the server's session that serves a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSession {
    /// Its process.
    pub(crate) pid: i32,
    /// Whether [`session_settings`] hold since its beginning.
    pub(crate) limited: bool,
    /// Whether it knows the prepared statement that records what was applied.
    pub(crate) prepared: bool,
    /// Whether the history's tables are there and up to date, which nobody else can change on a copy.
    pub(crate) has_tables: bool,
}

/// The connection, what limits it, and who watches it.
pub(crate) struct Workbench<'a> {
    pub(crate) connection: &'a mut PgConnection,
    pub(crate) watcher: &'a mut Watcher,
    pub(crate) settings: &'a Settings,
    pub(crate) recorder: Option<&'a mut Recorder>,
    pub(crate) place: &'a str,
    pub(crate) own: &'a mut OwnSession,
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

    /// Begins a transaction with its limits and its guard: a cursor that outlives its transaction is run to its end when that
    /// commits, and this one fails. So a commit that slipped into a script fails, and takes all back.
    pub(crate) async fn begin(&mut self) -> Result<Transaction, Failure> {
        let start = Instant::now();
        let sql = format!(
            "{};
             declare liftlock_guard no scroll cursor with hold for select {};
             select pg_catalog.pg_current_xact_id()::pg_catalog.text",
            self.opening(),
            fails_when_run()
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *self.connection).await;
        let number = rows
            .and_then(|rows| rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0))
            .map_err(|error| self.failed(&error))?;
        self.recorder.iter_mut().for_each(|recorder| recorder.begin());
        Ok(Transaction { number, start })
    }

    /// Begins a transaction with its limits.
    pub(crate) fn opening(&self) -> String {
        let limits = self.limits();
        let limits = limits.iter().map(|limit| format!("; {limit}"));
        let begin = "begin isolation level read committed read write";
        std::iter::once(begin.to_owned()).chain(limits).collect()
    }

    /// What limits a transaction and is not there from the session's beginning.
    fn limits(&self) -> Vec<String> {
        let milliseconds = |limit: Duration| limit.as_millis();
        let mut limits = Vec::new();
        if !self.own.limited {
            limits = vec![
                format!(
                    "set local lock_timeout = '{}ms'",
                    milliseconds(self.settings.lock_timeout)
                ),
                format!(
                    "set local statement_timeout = '{}ms'",
                    milliseconds(self.settings.statement_timeout)
                ),
                format!(
                    "set local idle_in_transaction_session_timeout = '{}ms'",
                    milliseconds(MOST_IDLE)
                ),
            ];
        }
        if self.connection.server_version_num().is_some_and(|version| version >= 170_000) {
            // The whole transaction, for the case that nobody is left here to end it.
            let whole = self.settings.statement_timeout.saturating_mul(MOST_STATEMENTS);
            limits.push(format!("set local transaction_timeout = '{}ms'", milliseconds(whole)));
        }
        limits
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
        let refusal = self.run_script(transaction, id, script, on).await?;
        self.after_script(transaction, id, script).await?;
        Ok(refusal)
    }

    /// Runs a script to its end. What it did to the session and to the transaction is for the caller to look at.
    pub(crate) async fn run_script(
        &mut self,
        transaction: &Transaction,
        id: &MigrationId,
        script: &Script,
        on: On<'_>,
    ) -> Result<Option<String>, Failure> {
        self.run_after("", transaction.start, (id, script), on).await
    }

    /// The same, with `lead` before it, in one message with its first statements.
    pub(crate) async fn run_after(
        &mut self,
        lead: &str,
        since: Instant,
        (id, script): (&MigrationId, &Script),
        on: On<'_>,
    ) -> Result<Option<String>, Failure> {
        let statements = u32::try_from(script.statements.len().max(1)).unwrap_or(u32::MAX);
        let limit =
            self.settings.statement_timeout.saturating_mul(statements).saturating_add(SLACK);
        let work = run_script(self.connection, lead, script, self.recorder.as_deref_mut());
        let work = tokio::time::timeout(limit, work);
        // The whole script is one query, and the server does not say how far in it is.
        let line = match &script.statements[..] {
            [only] => Some(only.line),
            _ => None,
        };
        let running = Running { id, script, since, line, budget: None };
        let (done, seen) =
            watched(work, self.watcher, self.own.pid, self.settings, &running, on).await;
        let script_error = |source| Failure::Script { id: id.clone(), source };
        let done = done.map_err(|_| {
            let reason = format!("no answer within {} s while {id} ran", limit.as_secs());
            Failure::Database { database: self.place.to_owned(), reason, code: None }
        })?;
        done.map_err(|stop| script_error(self.explain(script, &stop, seen.blockers)))
    }

    /// Takes back whatever a script set for its session, and fails if the transaction is not ours any more.
    pub(crate) async fn after_script(
        &mut self,
        transaction: &Transaction,
        id: &MigrationId,
        script: &Script,
    ) -> Result<(), Failure> {
        let sql = self.restore_and_check(transaction);
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.connection).await;
        done.map(drop).map_err(|error| self.explain_end(id, &script.file, &error))
    }

    fn restore_and_check(&self, transaction: &Transaction) -> String {
        format!(
            "{}; select case pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text when '{}' then 0 else {} end",
            self.restore(),
            transaction.number,
            fails_when_run()
        )
    }

    /// Takes back whatever a script set for its session: role, search path, limits.
    pub(crate) fn restore(&self) -> String {
        let prepare = (!self.own.limited).then(|| PREPARE_SESSION.to_owned());
        let reset = ["reset session authorization", "reset role", "reset all"].map(str::to_owned);
        let all: Vec<String> = reset.into_iter().chain(prepare).chain(self.limits()).collect();
        all.join("; ")
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
        let refusal = self.run_script(transaction, id, script, on).await?;
        let undone = sqlx::raw_sql("rollback to savepoint liftlock_verify");
        let undone = undone.execute(&mut *self.connection).await;
        undone.map_err(|error| self.explain_end(id, &script.file, &error))?;
        let Some(row) = refusal else { return Ok(()) };
        let source = ScriptError::Verify { file: script.file.clone(), row };
        Err(Failure::Script { id: id.clone(), source })
    }

    /// After a script: looks whether the transaction is still ours, writes `records`, and commits, all in one message, which
    /// the server stops at the first error in it. So nothing is committed that did not hold.
    pub(crate) async fn finish(
        &mut self,
        transaction: &Transaction,
        id: &MigrationId,
        file: &str,
        records: &str,
    ) -> Result<(), Failure> {
        if !records.is_ascii() {
            // The script may have changed how the server reads such text.
            self.execute(self.restore()).await?;
        }
        let check = self.restore_and_check(transaction);
        self.end(format!("{check}; {records}; close all; commit"), id, file).await.map(drop)
    }

    /// Commits.
    pub(crate) async fn commit(&mut self, id: &MigrationId, file: &str) -> Result<(), Failure> {
        self.end("close all; commit".into(), id, file).await.map(drop)
    }

    /// Sends what ends with a commit. Gives the first value that comes back; no text if none does.
    pub(crate) async fn end(
        &mut self,
        sql: String,
        id: &MigrationId,
        file: &str,
    ) -> Result<String, Failure> {
        let limit = self.settings.statement_timeout.saturating_add(SLACK);
        let ended = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *self.connection);
        let reason = match tokio::time::timeout(limit, ended).await {
            Ok(Ok(rows)) => {
                let first = rows.first().and_then(|row| row.try_get(0).ok());
                return Ok(first.unwrap_or_default());
            }
            Ok(Err(error @ sqlx::Error::Database(_))) => {
                return Err(self.explain_end(id, file, &error));
            }
            Ok(Err(error)) => crate::failure::reason(&error),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        Err(Failure::InDoubt { id: id.clone(), database: self.place.to_owned(), reason })
    }

    /// What went wrong once the script had run: it was not in its transaction any more, a record could not be written, or a
    /// deferred constraint of the application does not hold.
    fn explain_end(&self, id: &MigrationId, file: &str, error: &sqlx::Error) -> Failure {
        let source = match error.as_database_error().and_then(|error| error.code()).as_deref() {
            None => return self.failed(error),
            // There is no transaction, or not the one with our savepoint.
            Some("25P01" | "3B001") => ScriptError::EndedTransaction { file: file.to_owned() },
            Some(_) => explain(file, None, None, error),
        };
        Failure::Script { id: id.clone(), source }
    }

    /// Takes the transaction back. If even that fails, the connection is gone, and the server takes it back by itself.
    pub(crate) async fn abort(&mut self) {
        let aborted = sqlx::raw_sql("rollback").execute(&mut *self.connection);
        if let Ok(Err(error)) = tokio::time::timeout(ABORT_LIMIT, aborted).await {
            tracing::debug!(%error, "rollback failed");
        }
    }

    fn explain(&self, script: &Script, stop: &Stop, by: Vec<Session>) -> ScriptError {
        // Statement by statement, places are told from the statement's beginning.
        let statement = self.recorder.as_ref().and_then(|recorder| recorder.offset);
        let begin = statement.or(stop.part);
        let explained =
            explain_after(stop.lead, &script.file, Some(&script.sql), begin, &stop.error);
        let ScriptError::Sql { file, mut line, code, message } = explained else {
            return explained;
        };
        if statement.is_none() && !has_place(&stop.error) {
            // It was somewhere in a part of many statements.
            line = None;
        }
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

/// An expression that fails when it is evaluated, and not before, with [`GUARD`] in its message.
fn fails_when_run() -> String {
    format!("pg_catalog.concat('{GUARD} ', pg_catalog.clock_timestamp())::pg_catalog.int4")
}

/// What stopped a script, and where the part of it began that was running, if that is not all of it.
struct Stop {
    part: Option<usize>,
    /// How many characters stood before the script in that message.
    lead: usize,
    error: sqlx::Error,
}

/// Runs a script: as one text, or in parts if it is large, or statement by statement if somebody wants to know what each of
/// them does.
async fn run_script(
    connection: &mut PgConnection,
    lead: &str,
    script: &Script,
    recorder: Option<&mut Recorder>,
) -> Result<Option<String>, Stop> {
    if let Some(recorder) = recorder {
        let ran = recorder.run(connection, script).await;
        return ran.map_err(|error| Stop { part: None, lead: 0, error });
    }
    let mut refused = None;
    for part in parts(script) {
        let begin = Some(part.start).filter(|start| *start > 0);
        let lead = if begin.is_none() { lead } else { "" };
        let ran = first_refusal(connection, format!("{lead}{}", &script.sql[part])).await;
        let stop = |error| Stop { part: begin, lead: lead.chars().count(), error };
        refused = refused.or(ran.map_err(stop)?);
    }
    Ok(refused)
}

/// Runs a text. Gives the first row whose first column is a boolean and not true.
pub(crate) async fn first_refusal(
    connection: &mut PgConnection,
    sql: String,
) -> Result<Option<String>, sqlx::Error> {
    use futures_util::TryStreamExt as _;
    let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
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
