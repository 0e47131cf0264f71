//! Why a run of migrations stopped.

use std::time::Duration;

use liftlock_model::{Exit, MigrationId};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use crate::check::Problem;
use crate::database::StatusError;
use crate::drift::Drifted;
use crate::files::FilesError;
use crate::lock::LockError;
use crate::outside::{Direction, HalfDone};
use crate::progress::Ran;
use crate::session::Session;
use crate::snapshot::SnapshotFailure;
use crate::text::{lines, printable};

/// Why a script failed. Inside of a transaction nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// PostgreSQL refused a statement.
    #[error("{}: {message}", place(.file, *.line))]
    Sql {
        /// The script.
        file: String,
        /// The line, if the server told the place.
        line: Option<usize>,
        /// The SQLSTATE.
        code: String,
        /// The server's words, with detail and hint.
        message: String,
    },
    /// A lock was not to be had within `lock_timeout`.
    #[error(
        "{}: no lock within {} ms; {}", place(.file, *.line), after.as_millis(), blocked(.by)
    )]
    LockTimeout {
        /// The script.
        file: String,
        /// The line, if the server told the place.
        line: Option<usize>,
        /// The limit.
        after: Duration,
        /// Who held it when it was last looked at.
        by: Vec<Session>,
    },
    /// A statement ran longer than `statement_timeout`.
    #[error(
        "{}: a statement ran longer than {} ms (statement_timeout); split the work, or allow more time", place(.file, *.line),
        after.as_millis()
    )]
    StatementTimeout {
        /// The script.
        file: String,
        /// The line, if the server told the place.
        line: Option<usize>,
        /// The limit.
        after: Duration,
    },
    /// Work that blocks nobody waited too long for others.
    #[error(
        "{}: it waited over {} s in all for others, and was cancelled; {}", place(.file, *.line), after.as_secs(), blocked(.by)
    )]
    LockBudget {
        /// The script.
        file: String,
        /// The statement's line.
        line: Option<usize>,
        /// The budget (`concurrent_budget`).
        after: Duration,
        /// Who was in its way when it was last looked at.
        by: Vec<Session>,
    },
    /// A statement was done, and its index is invalid.
    #[error(
        "{file}:{line}: the index {index} is invalid, although the statement says that all is well"
    )]
    InvalidIndex {
        /// The script.
        file: String,
        /// The statement's line.
        line: usize,
        /// The index.
        index: String,
    },
    /// The script ended its own transaction in a way that could not be seen beforehand.
    #[error(
        "{file}: the script ended the transaction that it runs in: take the statement out that does it"
    )]
    EndedTransaction {
        /// The script.
        file: String,
    },
    /// A row of the verify script was not true.
    #[error("{file}: the check says no: {row}")]
    Verify {
        /// The script.
        file: String,
        /// The row, as text.
        row: String,
    },
}

fn place(file: &str, line: Option<usize>) -> String {
    line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
}

fn blocked(by: &[Session]) -> String {
    if by.is_empty() {
        return "who held it could not be seen; try again when less is going on".into();
    }
    let by: Vec<String> = by.iter().map(ToString::to_string).collect();
    format!(
        "it is held by {}; wait until that has ended, or end it, and run this again",
        by.join(", ")
    )
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Files and history do not fit; nothing was touched.
    #[error("the migrations do not fit the database {database}; nothing was touched:{}", lines(.problems))]
    Refused {
        /// Host, port and database.
        database: String,
        /// What does not fit.
        problems: Vec<Problem>,
    },
    /// What is pending cannot run; nothing was touched.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is no migration of that number; nothing was touched.
    #[error("there is no migration V{wanted:04}: the newest is V{latest:04}")]
    NoSuchVersion {
        /// The number that was asked for.
        wanted: i32,
        /// The newest number that is there.
        latest: i32,
    },
    /// Fewer migrations are applied than are to be rolled back; nothing was touched.
    #[error("{steps} migrations cannot be rolled back: {applied} are applied")]
    TooManySteps {
        /// How many were to be rolled back.
        steps: u32,
        /// How many are applied.
        applied: usize,
    },
    /// The database keeps no rollback script of a migration; nothing was touched.
    #[error(
        "the database has no rollback script of {id}, since refinery applied it: run `migrate` once with its files, which keeps \
         the script, and then roll back"
    )]
    NoRollback {
        /// Which migration.
        id: MigrationId,
    },
    /// Rollback scripts were changed after their migrations were applied, and nobody has tried them; nothing was touched.
    #[error(
        "{} changed after its migration was applied, and nobody has tried it since: `migrate prove` tries it; \
         `--accept-unproven` runs it untried", .scripts.join(", ")
    )]
    Unproven {
        /// The scripts.
        scripts: Vec<String>,
    },
    /// A squash goes back whole or not at all; nothing was touched.
    #[error(
        "{id} stands for V{first:04} to V{:04} here, and the database does not have these one by one: it goes back whole, to an empty \
         database, with `migrate rollback --to 0`, or not at all", id.version
    )]
    Squashed {
        /// The squash.
        id: MigrationId,
        /// The first migration that it stands for.
        first: i32,
    },
    /// Others have changed the schema since the last run; nothing was touched.
    #[error("{0}")]
    Drift(Drifted),
    /// The snapshot that is to be made before could not be: nothing was applied.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFailure),
    /// Another run has the database, or the lock is not kept.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A script failed.
    #[error("{id} failed and was taken back whole: {source}")]
    Script {
        /// Which migration.
        id: MigrationId,
        /// Why.
        source: ScriptError,
    },
    /// It was tried again and again, and others were in its way each time. The last attempt was taken back as well.
    #[error("{last}; it was tried {attempts} times over {} s", over.as_secs())]
    GaveUp {
        /// How often.
        attempts: u32,
        /// From the end of the first attempt to the end of the last.
        over: Duration,
        /// What ended the last attempt.
        last: Box<Failure>,
    },
    /// A script failed that runs outside of a transaction. What was done before stays done.
    #[error("{}", half_failed(.id, *.direction, source, *.done, *.of, .remains))]
    Outside {
        /// Which migration.
        id: MigrationId,
        /// Which of its scripts.
        direction: Direction,
        /// How many of its statements are done.
        done: usize,
        /// How many there are.
        of: usize,
        /// What the failed statement left that could not be cleared away now. The next run does.
        remains: Vec<String>,
        /// Why.
        source: Box<ScriptError>,
    },
    /// The connection broke while a script ran outside of a transaction.
    #[error(
        "the connection to {database} broke at {file}:{line}, which runs outside of a transaction, so it is not known whether that \
         was done: {reason}; run this again: it looks, and goes on from there"
    )]
    Interrupted {
        /// Which migration.
        id: MigrationId,
        /// The script.
        file: String,
        /// The statement's line.
        line: usize,
        /// Host, port and database.
        database: String,
        /// What was seen.
        reason: String,
    },
    /// A statement was running when the last run died, and nothing shows whether it was done. Nothing was touched.
    #[error(
        "{file}:{line}: statement {statement} of {id} was running when the last run died, and it cannot be seen whether it was done: \
         look, and then say `migrate resolve V{:04} --statement {statement} --done`, or `--again` to run it again", id.version
    )]
    Doubt {
        /// Which migration.
        id: MigrationId,
        /// The script.
        file: String,
        /// The statement's line.
        line: usize,
        /// Its number, from 1.
        statement: usize,
    },
    /// A migration is half done and must be brought to an end first. Nothing was touched.
    #[error("{0}; nothing was touched")]
    HalfDone(HalfDone),
    /// A migration is half done, and a statement that was begun is not what it was. Nothing was touched.
    #[error(
        "{half}; but statement {statement} of its file, which ran already, has changed: put it back as it was (what comes after may be \
         mended); nothing was touched"
    )]
    ChangedHalf {
        /// What is half done.
        half: HalfDone,
        /// The statement's number, from 1.
        statement: usize,
    },
    /// There is nothing to say about that statement; nothing was touched.
    #[error(
        "statement {statement} of V{version:04} is not in doubt: `migrate status` shows what is half done"
    )]
    NotInDoubt {
        /// The migration's number.
        version: i32,
        /// The statement's number, from 1.
        statement: usize,
    },
    /// The connection broke while a transaction was being committed.
    #[error(
        "the connection to {database} broke while {id} was being committed, so it is not known whether it was: {reason}; \
         `migrate status` tells, and running this again goes on from there"
    )]
    InDoubt {
        /// Which migration.
        id: MigrationId,
        /// Host, port and database.
        database: String,
        /// What was seen.
        reason: String,
    },
    /// The database was changed by others in the middle of a rollback; it was taken back.
    #[error(
        "the tables that the rollback of {id} touches were changed by others meanwhile: run it again"
    )]
    Raced {
        /// Which migration.
        id: MigrationId,
    },
    /// The database failed us.
    #[error("database {database}: {reason}")]
    Database {
        /// Host, port and database.
        database: String,
        /// What was seen.
        reason: String,
        /// The SQLSTATE, if it was the server that said so.
        code: Option<String>,
    },
}

impl Failure {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. }
            | Self::Files(_)
            | Self::NoSuchVersion { .. }
            | Self::TooManySteps { .. }
            | Self::HalfDone(_)
            | Self::ChangedHalf { .. }
            | Self::NotInDoubt { .. }
            | Self::NoRollback { .. } => Exit::Usage,
            Self::Unproven { .. } | Self::Squashed { .. } | Self::Drift(_) => Exit::Refused,
            Self::Snapshot(SnapshotFailure(error)) => error.exit(),
            Self::Lock(LockError::Held { .. }) => Exit::Held,
            Self::Lock(LockError::Pooled) => Exit::Usage,
            Self::Script { .. } | Self::Raced { .. } | Self::Database { .. } => Exit::Failed,
            Self::Lock(LockError::Database(_)) => Exit::Failed,
            Self::GaveUp { last, .. } => last.exit(),
            Self::Outside { done: 0, remains, .. } if remains.is_empty() => Exit::Failed,
            Self::InDoubt { .. }
            | Self::Outside { .. }
            | Self::Interrupted { .. }
            | Self::Doubt { .. } => Exit::Stuck,
        }
    }

    pub(crate) fn database(database: &str, error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.map(|code| code.into_owned());
        Self::Database { database: database.to_owned(), reason: reason(error), code }
    }
}

impl From<StatusError> for Failure {
    fn from(StatusError { database, reason }: StatusError) -> Self {
        Self::Database { database, reason, code: None }
    }
}

fn half_failed(
    id: &MigrationId,
    direction: Direction,
    source: &ScriptError,
    done: usize,
    of: usize,
    remains: &[String],
) -> String {
    let left = match remains {
        [] => String::new(),
        remains => format!("; left is {}, which the next run clears away", remains.join(", ")),
    };
    let back = format!("`migrate rollback --to V{:04}`", id.version - 1);
    let (what, next) = match direction {
        Direction::Up => (
            "",
            format!(
                "`migrate` goes on with the first statement that is not done, {back} takes it back"
            ),
        ),
        Direction::Rollback => (
            "the rollback of ",
            format!("{back} goes on with the first statement that is not done"),
        ),
    };
    format!(
        "{what}{id} failed outside of a transaction: {source}; {done} of its {of} statements are done and stay so{left}; mend what is in its \
         way, and then {next}"
    )
}

/// Why applying stopped. What ran before stays applied.
#[derive(Debug, thiserror::Error)]
#[error("{failure}{}", before(.ran.len(), "applied"))]
pub struct ApplyError {
    /// What this run applied before it stopped.
    pub ran: Vec<Ran>,
    /// Why it stopped.
    #[source]
    pub failure: Failure,
}

/// Why rolling back stopped. What was rolled back before stays so.
#[derive(Debug, thiserror::Error)]
#[error("{failure}{}", before(.ran.len(), "rolled back"))]
pub struct RollbackError {
    /// What this run rolled back before it stopped.
    pub ran: Vec<Ran>,
    /// Why it stopped.
    #[source]
    pub failure: Failure,
}

fn before(count: usize, done: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(" (1 migration was {done} before)"),
        count => format!(" ({count} migrations were {done} before)"),
    }
}

impl ApplyError {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        self.failure.exit()
    }
}

impl RollbackError {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        self.failure.exit()
    }
}

/// The server's words for people.
pub(crate) fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let error = error.downcast_ref::<PgDatabaseError>();
            let parts = [Some(error.message()), error.detail(), error.hint()];
            let text: Vec<String> = parts.into_iter().flatten().map(printable).collect();
            format!("{} ({})", text.join("; "), error.code())
        }
        other => printable(&other.to_string()),
    }
}

/// Whether the connection is gone, by its error: the server ends a session with an error of its own.
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => true,
    }
}

/// Whether the server says where in the query the error is.
pub(crate) fn has_place(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| matches!(error.position(), Some(PgErrorPosition::Original(_))))
}

/// What went wrong in a script, from the error of its one query, or of a statement of it that begins at this byte;
/// `sql` is left out if it was another query.
pub(crate) fn explain(
    file: &str,
    sql: Option<&str>,
    begin: Option<usize>,
    error: &sqlx::Error,
) -> ScriptError {
    explain_after(0, file, sql, begin, error)
}

/// The same, where `lead` characters stood before the text in the query.
pub(crate) fn explain_after(
    lead: usize,
    file: &str,
    sql: Option<&str>,
    begin: Option<usize>,
    error: &sqlx::Error,
) -> ScriptError {
    let file = file.to_owned();
    let sqlx::Error::Database(database) = error else {
        return ScriptError::Sql { file, line: None, code: String::new(), message: reason(error) };
    };
    let database = database.downcast_ref::<PgDatabaseError>();
    let start = begin.unwrap_or(0);
    let sql = sql.unwrap_or_default();
    let first_line = 1 + sql[..start.min(sql.len())].matches('\n').count();
    let line = match database.position() {
        Some(PgErrorPosition::Original(position)) if !sql.is_empty() => {
            let before = sql[start..].chars().take(position.saturating_sub(lead + 1));
            Some(first_line + before.filter(|c| *c == '\n').count())
        }
        // Whatever it is about, it happened in the one statement.
        _ => begin.map(|_| first_line),
    };
    if database.message().contains(crate::transaction::GUARD) {
        return ScriptError::EndedTransaction { file };
    }
    ScriptError::Sql { file, line, code: database.code().to_owned(), message: reason(error) }
}
