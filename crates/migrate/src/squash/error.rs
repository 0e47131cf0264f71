//! Why nothing was squashed.

use std::path::PathBuf;

use liftlock_model::{Exit, MigrationId};
use liftlock_postgres::FilesError as DumpError;

use crate::connect::ConnectError;
use crate::failure::{ApplyError, Failure};
use crate::files::FilesError;
use crate::schema::Difference;
use crate::shadow::TrialError;
use crate::text::lines;

/// Why nothing was squashed. The files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum SquashError {
    /// One migration is one already.
    #[error("there is nothing to squash: {id} is the first")]
    Nothing {
        /// The migration.
        id: MigrationId,
    },
    /// A file has the squash's name.
    #[error("{file} is there already: squash up to another number")]
    Name {
        /// The file.
        file: String,
    },
    /// The migrations do what no dump of the database has.
    #[error(
        "what all databases of a server share is in no dump of one, and would be lost:{}\nput what a new server needs of it into a file, \
         so that it also runs where that is there already, and name it: --prelude FILE", lines(.found)
    )]
    Shared {
        /// Which file has what.
        found: Vec<String>,
    },
    /// Large objects cannot be written by a script.
    #[error("the migrations make {count} large objects, which no SQL script can hold")]
    LargeObjects {
        /// How many.
        count: u64,
    },
    /// The migrations do not make the same twice.
    #[error(
        "the migrations write something else each time they run (times, random values):{}\na squash would write the same to every \
         database from now on; if that does no harm: --freeze", lines(.differences)
    )]
    Volatile {
        /// What is different.
        differences: Vec<String>,
    },
    /// The squash does not make what the migrations make.
    #[error("the squash does not make what the migrations make:{}\n{difference}", lines(.rows))]
    Differs {
        /// From what the migrations make to what the squash makes.
        difference: Box<Difference>,
        /// What is different in rows and sequences.
        rows: Vec<String>,
    },
    /// The migrations do not run on an empty database.
    #[error("the migrations do not run on an empty database: {0}")]
    Migrations(Box<ApplyError>),
    /// The squash does not.
    #[error("the squash does not run on an empty database: {0}")]
    Squash(Box<ApplyError>),
    /// The dump cannot be one, or the files do not fit.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What the migrations make could not be dumped.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// There is no place to try it.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// That place does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database failed us, or its history does not fit.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Files could not be written or moved. Nothing is lost: run the command again.
    #[error("{source}; nothing is lost: mend that, and run the command again ({})", path.display())]
    File {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SquashError {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Volatile { .. } | Self::Shared { .. } | Self::LargeObjects { .. } => {
                Exit::Refused
            }
            Self::Differs { .. } | Self::Migrations(_) | Self::Squash(_) | Self::Dump(_) => {
                Exit::Failed
            }
            Self::File { .. } => Exit::Failed,
            Self::Failure(failure) => failure.exit(),
            Self::Nothing { .. }
            | Self::Name { .. }
            | Self::Files(_)
            | Self::Trial(_)
            | Self::Connect(_) => Exit::Usage,
        }
    }
}
