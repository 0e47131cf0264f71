//! Writing Liftlock's table.

use std::time::Duration;

use liftlock_model::{MigrationChecksum, MigrationId};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::failure::{Failure, ScriptError};
use crate::files::Migration;
use crate::settings::Settings;
use crate::text::quoted;

/// The longest error text that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A migration was applied.
    #[serde(rename = "apply")]
    Apply,
    /// A migration was rolled back.
    #[serde(rename = "rollback")]
    Rollback,
    /// It was there before Liftlock: applied by another tool, or by hand. Its rollback script is kept from now on.
    #[serde(rename = "adopt")]
    Adopt,
    /// The rollback script was mended after the migration was applied.
    #[serde(rename = "replace rollback")]
    ReplaceRollback,
    /// The rollback script was run on a copy of the schema, and takes the migration back.
    #[serde(rename = "prove rollback")]
    ProveRollback,
    /// A migration failed, and left nothing.
    #[serde(rename = "failed")]
    Failed,
    /// A rollback failed, and left nothing.
    #[serde(rename = "rollback failed")]
    RollbackFailed,
}

impl Action {
    const ALL: [Self; 7] = [
        Self::Apply,
        Self::Rollback,
        Self::Adopt,
        Self::ReplaceRollback,
        Self::ProveRollback,
        Self::Failed,
        Self::RollbackFailed,
    ];

    /// As the table has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Adopt => "adopt",
            Self::ReplaceRollback => "replace rollback",
            Self::ProveRollback => "prove rollback",
            Self::Failed => "failed",
            Self::RollbackFailed => "rollback failed",
        }
    }

    /// None for what this version does not know.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// One row of Liftlock's table, to be written in the transaction of what it tells.
pub(crate) struct Entry<'a> {
    pub(crate) action: Action,
    pub(crate) id: &'a MigrationId,
    pub(crate) checksum: MigrationChecksum,
    pub(crate) rollback_sql: &'a str,
    pub(crate) duration: Duration,
    /// How many statements the script that ran has.
    pub(crate) statements: Option<usize>,
    /// How often its transaction was begun.
    pub(crate) attempts: Option<u32>,
    /// SQLSTATE and text of what went wrong.
    pub(crate) error: Option<(String, String)>,
    /// Why; if left out, what the settings say.
    pub(crate) reason: Option<String>,
}

impl<'a> Entry<'a> {
    /// About a migration of which nothing ran.
    pub(crate) fn of(migration: &'a Migration, action: Action, duration: Duration) -> Self {
        let (id, rollback_sql) = (&migration.id, migration.rollback.sql.as_str());
        let checksum = migration.checksum();
        let (statements, attempts, error, reason) = (None, None, None, None);
        Self { action, id, checksum, rollback_sql, duration, statements, attempts, error, reason }
    }

    /// With how many statements ran, and how often that was tried.
    pub(crate) fn ran(mut self, statements: usize, attempts: u32) -> Self {
        (self.statements, self.attempts) = (Some(statements), Some(attempts));
        self
    }

    /// With what went wrong.
    pub(crate) fn failed(mut self, failure: &Failure) -> Self {
        if let Failure::GaveUp { attempts, .. } = failure {
            self.attempts = Some(*attempts);
        }
        self.error = Some(fit_to_keep(failure));
        self
    }

    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        settings: &Settings,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.sql(settings))).execute(connection).await.map(drop)
    }

    /// When it began, as the server tells the time, and how long it took, in milliseconds, both for SQL.
    pub(super) fn timing(&self) -> (String, String) {
        let milliseconds = i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX);
        let started = format!("clock_timestamp() - interval '{milliseconds} milliseconds'");
        (started, milliseconds.to_string())
    }

    /// The statement that writes it. Gives the number of the transaction.
    pub(crate) fn sql(&self, settings: &Settings) -> String {
        let (started, milliseconds) = self.timing();
        let (sqlstate, error) = self.error.as_ref().map(|(code, text)| (code, text)).unzip();
        let values = [
            quoted(self.action.as_str()),
            self.id.version.to_string(),
            quoted(&self.id.name),
            quoted(&self.checksum.up),
            quoted(&self.checksum.rollback),
            quoted(self.rollback_sql),
            quoted(settings.actor.as_str()),
            or_null(settings.run.as_ref().map(|run| quoted(run.as_str()))),
            started,
            milliseconds,
            or_null(self.statements),
            or_null(self.attempts),
            or_null(sqlstate.map(|code| quoted(code))),
            or_null(error.map(|text| quoted(text))),
            or_null(self.reason.as_ref().or(settings.reason.as_ref()).map(|text| quoted(text))),
            or_null(settings.taken.as_deref().map(quoted)),
        ];
        format!(
            "insert into liftlock_schema_history
                 (action, version, name, up_sha256, rollback_sha256, rollback_sql, actor, run, started_at, duration_ms,
                  statements, attempts, sqlstate, error, reason, snapshot)
             values ({}) returning transaction_id",
            values.join(", ")
        )
    }
}

pub(super) fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// SQLSTATE and text of a failure, without what may be data: the history is kept for long and read by many.
pub(crate) fn fit_to_keep(failure: &Failure) -> (String, String) {
    let (code, text) = match failure {
        Failure::GaveUp { last, .. } => return fit_to_keep(last),
        Failure::Outside { id, source, .. } => {
            let (id, source) = (id.clone(), (**source).clone());
            return fit_to_keep(&Failure::Script { id, source });
        }
        Failure::Script { source: ScriptError::Sql { file, line, code, message }, .. } => {
            let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
            (code.clone(), format!("{place}: {}", without_data(code, message)))
        }
        Failure::Script { source: ScriptError::Verify { file, .. }, .. } => {
            (String::new(), format!("{file}: the check says no"))
        }
        Failure::Script { source: ScriptError::LockTimeout { file, after, .. }, .. } => {
            ("55P03".into(), format!("{file}: no lock within {} ms", after.as_millis()))
        }
        Failure::Script { source: ScriptError::StatementTimeout { .. }, .. } => {
            ("57014".into(), failure.to_string())
        }
        Failure::Database { code: Some(code), reason, .. } => {
            (code.clone(), without_data(code, reason))
        }
        other => (String::new(), other.to_string()),
    };
    (code, text.chars().take(LONGEST_ERROR).collect())
}

/// The server's first words: its details and hints show rows. Where even these words show values, or are a script's own, only
/// the SQLSTATE is left.
fn without_data(code: &str, message: &str) -> String {
    let shows_values = ["22", "P0", "42601", "XX", ""].iter().any(|class| match *class {
        "" => code.is_empty(),
        class => code.starts_with(class),
    });
    if shows_values {
        return format!("SQLSTATE {code}; the server's words may show data and are not kept");
    }
    let first = message.split("; ").next().unwrap_or_default();
    first.strip_suffix(&format!(" ({code})")).unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_as_it_is_written() {
        for action in Action::ALL {
            assert_eq!(Action::from_text(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(Action::from_text("something newer"), None);
    }

    #[test]
    fn no_data_is_kept_with_an_error() {
        let kept = |code: &str, message: &str| without_data(code, message);
        let duplicate = "duplicate key value violates unique constraint \"u\"; Key (mail)=(a@b.c) already exists. (23505)";
        assert_eq!(
            kept("23505", duplicate),
            "duplicate key value violates unique constraint \"u\""
        );
        assert_eq!(
            kept("42703", "column \"x\" does not exist (42703)"),
            "column \"x\" does not exist"
        );
        assert!(
            !kept("22P02", "invalid input syntax for type integer: \"hunter2\" (22P02)")
                .contains("hunter2")
        );
        assert!(!kept("P0001", "customer Smith is wrong (P0001)").contains("Smith"));
    }
}
