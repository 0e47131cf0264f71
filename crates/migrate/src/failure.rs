//! Why a run of migrations stopped.

use std::time::Duration;

use liftlock_model::{Exit, MigrationId};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use crate::check::Problem;
use crate::files::FilesError;
use crate::lock::LockError;
use crate::progress::Ran;
use crate::session::Session;
use crate::text::{lines, printable};

/// Why a script failed. Its transaction was rolled back: nothing of it is left.
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
            | Self::NoRollback { .. } => Exit::Usage,
            Self::Lock(LockError::Held { .. }) => Exit::Held,
            Self::Lock(LockError::Pooled) => Exit::Usage,
            Self::Script { .. } | Self::Raced { .. } | Self::Database { .. } => Exit::Failed,
            Self::Lock(LockError::Database(_)) => Exit::Failed,
            Self::GaveUp { last, .. } => last.exit(),
            Self::InDoubt { .. } => Exit::Stuck,
        }
    }

    pub(crate) fn database(database: &str, error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.map(|code| code.into_owned());
        Self::Database { database: database.to_owned(), reason: reason(error), code }
    }
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

/// What went wrong in a script, from the error of its one query, or of a statement of it that begins at this byte.
pub(crate) fn explain(
    file: &str,
    sql: &str,
    begin: Option<usize>,
    error: &sqlx::Error,
) -> ScriptError {
    let file = file.to_owned();
    let sqlx::Error::Database(database) = error else {
        return ScriptError::Sql { file, line: None, code: String::new(), message: reason(error) };
    };
    let database = database.downcast_ref::<PgDatabaseError>();
    let start = begin.unwrap_or(0);
    let first_line = 1 + sql[..start].matches('\n').count();
    let line = match database.position() {
        Some(PgErrorPosition::Original(position)) => {
            let before = sql[start..].chars().take(position.saturating_sub(1));
            Some(first_line + before.filter(|c| *c == '\n').count())
        }
        // Whatever it is about, it happened in the one statement.
        _ => begin.map(|_| first_line),
    };
    if database.constraint() == Some(crate::transaction::GUARD) {
        return ScriptError::EndedTransaction { file };
    }
    ScriptError::Sql { file, line, code: database.code().to_owned(), message: reason(error) }
}
