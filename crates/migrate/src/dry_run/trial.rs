//! What one migration did on the copy, and how its rollback did.

use liftlock_model::{MigrationId, Phase};
use serde::Serialize;

use super::losses::Loss;
use super::statement::{Lock, StatementTrial};
use crate::files::Migration;

/// Whether a rollback script takes its migration back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It was not run, since the migration itself failed.
    #[default]
    NotTried,
    /// The schema is as before.
    Exact,
    /// The schema is as before, but for the order of columns: one that was dropped and added again comes last.
    ColumnOrder {
        /// A unified difference.
        difference: String,
    },
    /// Something is left.
    Leaves {
        /// What is different from before, such as `index a_b_idx (added)`.
        objects: Vec<String>,
        /// A unified difference.
        difference: String,
    },
    /// The migration changes something, and the rollback changes nothing.
    DoesNothing,
    /// It raises an exception of its own.
    Refuses {
        /// Its words.
        message: String,
    },
    /// PostgreSQL does not run it.
    CannotRun {
        /// Why.
        message: String,
    },
}

impl Verdict {
    /// Whether the schema is as before, as far as a rollback can bring that about.
    pub fn restores(&self) -> bool {
        matches!(self, Self::Exact | Self::ColumnOrder { .. })
    }
}

/// Whether a migration runs again after its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Again {
    /// It was not tried, since the rollback did not run.
    #[default]
    NotTried,
    /// It gives the same schema as the first time.
    Same,
    /// It gives another one.
    Differs {
        /// A unified difference.
        difference: String,
    },
    /// It does not run.
    Fails {
        /// Why.
        message: String,
    },
}

/// What one migration did on the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Which migration.
    pub id: MigrationId,
    /// The file's name.
    pub file: String,
    /// When it runs.
    pub phase: Phase,
    /// How long it took on tables without rows, in milliseconds.
    pub milliseconds: u64,
    /// Whether a verify script ran and was content.
    pub verified: bool,
    /// Why it failed; then nothing else is known.
    pub failure: Option<String>,
    /// What it changes in the schema, as a unified difference.
    pub schema_change: String,
    /// The strongest lock on each thing that was there before it.
    pub locks: Vec<Lock>,
    /// Each statement of the script, and of the verify script.
    pub statements: Vec<StatementTrial>,
    /// What it takes away itself, of what the database holds today.
    pub loses: Vec<Loss>,
    /// Whether its rollback takes it back.
    pub rollback: Verdict,
    /// Each statement of the rollback script.
    pub rollback_statements: Vec<StatementTrial>,
    /// What the rollback takes away.
    pub rollback_loses: Vec<Loss>,
    /// Whether it runs again after its rollback.
    pub again: Again,
}

impl Trial {
    pub(super) fn of(migration: &Migration) -> Self {
        Self {
            id: migration.id.clone(),
            file: migration.up.file.clone(),
            phase: migration.phase(),
            milliseconds: 0,
            verified: false,
            failure: None,
            schema_change: String::new(),
            locks: Vec::new(),
            statements: Vec::new(),
            loses: Vec::new(),
            rollback: Verdict::NotTried,
            rollback_statements: Vec::new(),
            rollback_loses: Vec::new(),
            again: Again::NotTried,
        }
    }

    /// Whether the rollback script runs and restores the schema, the order of columns apart.
    pub fn rollback_restores(&self) -> bool {
        self.rollback.restores()
    }
}
