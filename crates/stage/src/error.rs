//! What can go wrong with a stage.

use std::path::PathBuf;

/// Why a stage could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The stage's directory cannot be used.
    #[error("the stage's directory {} cannot be used: {reason}", path.display())]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// What an earlier stage left cannot be read.
    #[error("{} cannot be read: {reason}: `liftlock local reset` begins anew", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process serves this directory.
    #[error("a stage serves {} already: `liftlock stage status` shows it", path.display())]
    AlreadyRunning {
        /// The stage's directory.
        path: PathBuf,
    },
    /// No stage serves this directory.
    #[error("no stage serves {}: `liftlock stage start` starts one", path.display())]
    NotRunning {
        /// The stage's directory.
        path: PathBuf,
    },
    /// The variable that says how long a minute is says something else.
    #[error("{variable}: {reason}")]
    Minute {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No port could be opened.
    #[error("the stage cannot listen on 127.0.0.1: {reason}")]
    Listen {
        /// What the system says.
        reason: String,
    },
    /// The stage's process could not be started at all.
    #[error("the stage's program {} cannot be started: {reason}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The stage's process ended, or was not ready in time.
    #[error("the stage of {} did not start: {reason}\n  the end of {}:\n{tail}", directory.display(), log.display())]
    NotReady {
        /// The stage's directory.
        directory: PathBuf,
        /// What was seen.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it, indented.
        tail: String,
    },
    /// The database could not be started.
    #[error("the stage's database: {0}")]
    Database(#[from] liftlock_postgres::ClusterError),
    /// The stage does not take the topology.
    #[error("the stage does not take the topology: {0}")]
    Topology(String),
    /// The stage does not take the faults.
    #[error("the stage does not take the fault: {0}")]
    Fault(String),
    /// The stage does not answer.
    #[error(
        "the stage at {endpoint} does not answer: {reason}: see `liftlock stage status`, or stop it with `liftlock stage stop`"
    )]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
    /// The stage does not end.
    #[error(
        "the stage's process {pid} did not end within {seconds} s, not even when it was killed"
    )]
    NotStopped {
        /// The process.
        pid: u32,
        /// How long it was waited for.
        seconds: u64,
    },
}

impl StageError {
    pub(crate) fn directory(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::Directory { path: path.into(), reason: error.to_string() }
    }
}
