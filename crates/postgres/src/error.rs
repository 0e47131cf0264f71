//! What can go wrong with a cluster.

use std::path::PathBuf;

use crate::NotFound;
use crate::run::RunError;

/// Why a private cluster could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// PostgreSQL is not installed.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// This process is root's, and there is no other account to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and this system has neither a user `postgres` nor a user `nobody`: run \
         this command as another user"
    )]
    NoAccount,
    /// The directory cannot be made or written.
    #[error("the PostgreSQL cluster's directory {} cannot be used: {reason}", path.display())]
    Directory {
        /// Which directory or file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There is no room on the disk.
    #[error("there is no space left on the disk that holds {}: free some and run the command again", path.display())]
    DiskFull {
        /// The cluster's directory.
        path: PathBuf,
    },
    /// The directory was made by another major version.
    #[error(
        "the PostgreSQL cluster in {} was made by version {data}, but the programs in {} are version {programs}: \
         set PG_BIN to the programs of version {data}, or remove that directory to begin anew",
        path.display(), bin.display()
    )]
    Version {
        /// The cluster's directory.
        path: PathBuf,
        /// The version that made it.
        data: String,
        /// The version of the programs.
        programs: u32,
        /// Where the programs are.
        bin: PathBuf,
    },
    /// Another process is starting the same cluster and does not come to an end.
    #[error("another process has been starting the PostgreSQL cluster in {} for too long: wait for it, or end it", path.display())]
    Busy {
        /// The cluster's directory.
        path: PathBuf,
    },
    /// It runs already.
    #[error("the PostgreSQL cluster in {} runs already, on port {port}", path.display())]
    AlreadyRunning {
        /// The cluster's directory.
        path: PathBuf,
        /// Its port.
        port: u16,
    },
    /// It does not run.
    #[error("the PostgreSQL cluster in {} does not run", path.display())]
    NotRunning {
        /// The cluster's directory.
        path: PathBuf,
    },
    /// The port that was asked for is taken.
    #[error(
        "port {port} on 127.0.0.1 is in use by another program: end that program, or choose another port"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// `initdb` failed.
    #[error("initdb could not make a PostgreSQL cluster in {}: {reason}", path.display())]
    Init {
        /// The cluster's directory.
        path: PathBuf,
        /// What initdb said.
        reason: String,
    },
    /// The server ended before it took connections, or took too long.
    #[error("the PostgreSQL server in {} did not start: {reason}\n  the end of {}:\n{tail}", path.display(), log.display())]
    Start {
        /// The cluster's directory.
        path: PathBuf,
        /// What was seen.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of its log, indented.
        tail: String,
    },
    /// `pg_ctl stop` failed.
    #[error("the PostgreSQL server in {} could not be stopped: {reason}", path.display())]
    Stop {
        /// The cluster's directory.
        path: PathBuf,
        /// What pg_ctl said.
        reason: String,
    },
    /// A statement failed.
    #[error("the PostgreSQL server on port {port} refused `{statement}`: {reason}")]
    Sql {
        /// The server's port.
        port: u16,
        /// The statement.
        statement: String,
        /// What psql said.
        reason: String,
    },
    /// A name that would need quoting.
    #[error(
        "{name:?} is not a database name: use lower-case letters, digits and `_`, at most 63, first a letter"
    )]
    Name {
        /// The name.
        name: String,
    },
}

/// Whether a program's own words say that the disk is full.
pub(crate) fn says_disk_full(text: &str) -> bool {
    text.contains("No space left on device") || text.contains("Disk quota exceeded")
}

/// Whether the server's words say that its port is taken.
pub(crate) fn says_port_taken(text: &str) -> bool {
    text.contains("Address already in use")
}

impl ClusterError {
    pub(crate) fn directory(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path }
            }
            _ => Self::Directory { path, reason: error.to_string() },
        }
    }

    pub(crate) fn init(path: impl Into<PathBuf>, error: &RunError) -> Self {
        let (path, reason) = (path.into(), error.to_string());
        if says_disk_full(&reason) { Self::DiskFull { path } } else { Self::Init { path, reason } }
    }
}
