//! What can go wrong with archives.

use std::path::{Path, PathBuf};

use liftlock_model::Exit;
use liftlock_postgres::{ClusterError, FilesError, NotFound};

use crate::connect::{ConnectError, ConnectErrorKind};
use crate::lock::LockError;
use crate::session::Session;
use crate::text::lines;

/// Why an archive could not be made, found, verified or restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// PostgreSQL's programs are not there.
    #[error("snapshots need PostgreSQL's own programs: {0}")]
    NotFound(#[from] NotFound),
    /// A file or directory cannot be used.
    #[error("{} cannot be used: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There is no such snapshot.
    #[error(
        "there is no snapshot {wanted} in {}: `migrate snapshot list` shows those that are there; a file is named by its path, \
         with a `/` in it", directory.display()
    )]
    Missing {
        /// Which was asked for.
        wanted: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// An id that will not do.
    #[error("{0}")]
    Id(String),
    /// The manifest is wrong.
    #[error("{} is not the manifest of a snapshot: {reason}", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program failed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What was read back is not what is in the database.
    #[error(
        "the archive of {database} does not hold what the database held; it was removed:{}", lines(.differences)
    )]
    ReadBack {
        /// Host, port and database.
        database: String,
        /// What differs.
        differences: Vec<String>,
    },
    /// No server to restore it on.
    #[error(
        "snapshot {id} could not be restored on a private server: {source}; `migrate restore` brings it back beside the live \
         database and verifies it there"
    )]
    NoPlace {
        /// Which snapshot.
        id: String,
        /// Why.
        source: ClusterError,
    },
    /// The database does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another run has the database.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database failed us.
    #[error("database {database}: {reason}")]
    Database {
        /// Host, port and database.
        database: String,
        /// What was seen.
        reason: String,
    },
    /// Nothing was touched, for a reason that the caller can mend.
    #[error("{0}")]
    Refused(String),
    /// The archive is not what was written.
    #[error("snapshot {id} is damaged, so nothing was restored: {damage}")]
    Damaged {
        /// Which snapshot.
        id: String,
        /// What is wrong with it.
        damage: String,
    },
    /// The restored database is not what was saved, or not like the live one.
    #[error(
        "database {restored} was restored beside {live}, but did not take its place:{}", lines(.reasons)
    )]
    NotReplaced {
        /// The live database.
        live: String,
        /// The restored one, which stays.
        restored: String,
        /// What differs.
        reasons: Vec<String>,
    },
    /// Others are connected to the live database.
    #[error(
        "database {restored} is restored and compared, but others are connected to {live}, which is as it was:{}\n  stop them, or \
         run the same command with --terminate-sessions; it goes on from here", lines(.sessions)
    )]
    InUse {
        /// The live database.
        live: String,
        /// The restored one, which stays.
        restored: String,
        /// Who is connected.
        sessions: Vec<Session>,
    },
    /// It took too long.
    #[error("no snapshot of {database} within {seconds} s: allow more time")]
    Late {
        /// Host, port and database.
        database: String,
        /// The limit.
        seconds: u64,
    },
}

impl ArchiveError {
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), reason: error.to_string() }
    }

    pub(super) fn database(place: &str, error: &sqlx::Error) -> Self {
        Self::Database { database: place.to_owned(), reason: crate::failure::reason(error) }
    }

    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) if error.kind() == ConnectErrorKind::Authentication => {
                Exit::Authentication
            }
            Self::Connect(error) if error.kind() == ConnectErrorKind::Unreachable => Exit::Failed,
            Self::Lock(LockError::Held { .. }) => Exit::Held,
            Self::InUse { .. } => Exit::Refused,
            Self::NotFound(_)
            | Self::Missing { .. }
            | Self::Id(_)
            | Self::Manifest { .. }
            | Self::NoPlace { .. }
            | Self::Connect(_)
            | Self::Lock(LockError::Pooled)
            | Self::Refused(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// The snapshot that must be there before migrations are applied is not: nothing was applied.
#[derive(Debug, thiserror::Error)]
#[error("no snapshot, so nothing was applied: {0}")]
pub struct SnapshotFailure(#[source] pub Box<ArchiveError>);
