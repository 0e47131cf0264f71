//! Taking over migrations from another tool: its directory, and what its history says is applied.

mod convert;
mod dbmate;
mod diesel;
mod pairs;
mod past;
mod record;
mod source;
mod sqitch;
mod stage;
mod tool;
mod versioned;

use std::path::PathBuf;

use liftlock_model::Exit;

use crate::failure::Failure;
use crate::files::FileProblem;
use crate::text::lines;

pub use record::{Standing, TakenOver};
pub use stage::{Conversion, Mapped};
pub use tool::Tool;

/// What is to be taken over, and what may be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Whose migrations they are.
    pub tool: Tool,
    /// The other tool's directory.
    pub source: PathBuf,
    /// Where ours are to be.
    pub directory: PathBuf,
    /// Files that are not converted, by their names or paths within the directory.
    pub leave_out: Vec<String>,
    /// Leave out `BEGIN` and `COMMIT`, also in the middle of a script.
    pub strip_transaction: bool,
    /// Write `-- migrate: no-transaction` above what cannot run in a transaction, or was told not to.
    pub mark_no_transaction: bool,
    /// Write rollback scripts that refuse where there are none.
    pub refuse_missing_rollbacks: bool,
    /// Add a statement that does nothing where a script has none.
    pub fill_empty: bool,
    /// The history table, if it has another name than usual.
    pub history_table: Option<String>,
}

impl Adoption {
    /// Takes over everything as it is, and stops where that cannot be.
    pub fn new(tool: Tool, source: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        Self {
            tool,
            source: source.into(),
            directory: directory.into(),
            leave_out: Vec::new(),
            strip_transaction: false,
            mark_no_transaction: false,
            refuse_missing_rollbacks: false,
            fill_empty: false,
            history_table: None,
        }
    }

    fn table(&self) -> &str {
        self.history_table.as_deref().unwrap_or_else(|| self.tool.default_table())
    }
}

/// An [`Adoption`], and whether the files stay in their directory.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    adoption: Adoption,
    pub(crate) in_place: bool,
}

impl std::ops::Deref for Asked {
    type Target = Adoption;

    fn deref(&self) -> &Adoption {
        &self.adoption
    }
}

/// Why migrations were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The directory holds what cannot be taken over as it is. Nothing was written.
    #[error("the migrations of {} in {} cannot be taken over as they are:{}", tool.as_str(), directory.display(), lines(.problems))]
    Source {
        /// Whose.
        tool: Tool,
        /// The directory.
        directory: PathBuf,
        /// Everything that is in the way.
        problems: Vec<FileProblem>,
    },
    /// The target directory holds something else. Nothing was written.
    #[error("{} cannot take the migrations:{}", directory.display(), lines(.problems))]
    Target {
        /// The directory.
        directory: PathBuf,
        /// Everything that is in the way.
        problems: Vec<FileProblem>,
    },
    /// The other tool's history does not fit its files. Nothing was written.
    #[error("the history in {table} of {database} cannot be taken over; nothing was written:{}", lines(.problems))]
    History {
        /// Host, port and database.
        database: String,
        /// The table.
        table: String,
        /// Everything that does not fit.
        problems: Vec<String>,
    },
    /// The other tool was not here.
    #[error("{database} has no table {table}: name the database that {} has migrated, or its table with --history-table", tool.as_str())]
    NoTable {
        /// Host, port and database.
        database: String,
        /// The table.
        table: String,
        /// Whose.
        tool: Tool,
    },
    /// A file could not be written.
    #[error("{} cannot be written: {source}; run this again when it can", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database failed us, or our own history does not fit.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl AdoptError {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Source { .. }
            | Self::Target { .. }
            | Self::History { .. }
            | Self::NoTable { .. } => Exit::Usage,
            Self::Write { .. } => Exit::Failed,
            Self::Failure(failure) => failure.exit(),
        }
    }
}
