//! What a run tells while it goes on.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use liftlock_model::MigrationId;
use serde::Serialize;

use crate::session::Session;

/// Whom a run tells.
pub(crate) type On<'a> = &'a mut (dyn FnMut(&Progress) + Send);

/// A migration that was applied or rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Which migration.
    pub id: MigrationId,
    /// From its transaction's begin to its end.
    pub duration: Duration,
    /// Whether a verify script ran and was content.
    pub verified: bool,
    /// PostgreSQL's number of the transaction.
    pub transaction: String,
    /// How many statements its script has.
    pub statements: usize,
    /// How often it was tried, the last time included.
    pub attempts: u32,
}

/// Something that happened, or a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// Another run holds the database.
    Waiting {
        /// Who, as far as the server tells.
        by: Option<Session>,
        /// How long we will wait.
        at_most: Duration,
    },
    /// A snapshot is being made before anything is applied.
    TakingSnapshot,
    /// The snapshot is there, and was read back.
    SnapshotTaken {
        /// Its id.
        id: String,
        /// The size of its archive.
        bytes: u64,
        /// Its archive.
        file: PathBuf,
    },
    /// A migration applied by refinery was taken over: its rollback script is kept from now on.
    Adopted {
        /// Which migration.
        id: MigrationId,
    },
    /// The rollback script of an applied migration was replaced by a mended one.
    RollbackReplaced {
        /// Which migration.
        id: MigrationId,
    },
    /// Others have changed the schema since the last run, or it is not known whether they have; the run goes on.
    Drift {
        /// What changed.
        text: String,
    },
    /// What the run left of the schema could not be kept: the next run cannot tell whether others change it.
    SchemaNotKept {
        /// What was seen.
        reason: String,
    },
    /// A migration's script begins.
    Applying {
        /// Which migration.
        id: MigrationId,
        /// Its place among those of this run, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A rollback script begins.
    RollingBack {
        /// Which migration.
        id: MigrationId,
    },
    /// A statement of a script that runs outside of a transaction begins.
    Statement {
        /// Which migration.
        id: MigrationId,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its line.
        line: usize,
    },
    /// What an earlier attempt left half done was cleared away.
    Cleaned {
        /// Which migration.
        id: MigrationId,
        /// What it was.
        what: String,
    },
    /// A statement whose end nobody had seen turned out to be done.
    FoundDone {
        /// Which migration.
        id: MigrationId,
        /// Its number, from 1.
        number: usize,
        /// Its line.
        line: usize,
    },
    /// A script waits for locks of others.
    Blocked {
        /// Which migration.
        id: MigrationId,
        /// By whom.
        by: Vec<Session>,
    },
    /// Others were in the way: the transaction was taken back, and is run again from its beginning after a pause.
    Retrying {
        /// Which migration.
        id: MigrationId,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// How long the pause is.
        after: Duration,
        /// For how long attempts go on.
        left: Duration,
        /// Why it failed.
        reason: String,
        /// Who held the lock, where that was seen.
        by: Vec<Session>,
    },
    /// A failure could not be written to the history.
    NotRecorded {
        /// Which migration.
        id: MigrationId,
        /// Why not.
        reason: String,
    },
    /// A script is still running.
    Running {
        /// Which migration.
        id: MigrationId,
        /// For how many seconds.
        seconds: u64,
        /// The line of the statement that is running, as far as is known.
        line: Option<usize>,
        /// How far that is, for the commands of which PostgreSQL tells.
        phase: Option<String>,
        /// How much of that phase is done.
        percent: Option<u8>,
    },
    /// A migration has been running for so long that people are to know. It goes on.
    Long {
        /// Which migration.
        id: MigrationId,
        /// For how many seconds.
        seconds: u64,
        /// The script.
        file: String,
        /// The line of the statement that is running, as far as is known.
        line: Option<usize>,
        /// Whose locks it waits for.
        blocked_by: Vec<Session>,
    },
    /// A migration was applied, verified and recorded.
    Applied {
        /// How.
        ran: Ran,
    },
    /// A migration was rolled back, and that was recorded.
    RolledBack {
        /// How.
        ran: Ran,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { by: Some(by), at_most } => {
                write!(f, "waiting up to {} s for another migration run: {by}", at_most.as_secs())
            }
            Self::Waiting { by: None, at_most } => {
                write!(f, "waiting up to {} s for another migration run", at_most.as_secs())
            }
            Self::TakingSnapshot => f.write_str("making a snapshot before anything is applied"),
            Self::SnapshotTaken { id, bytes, file } => {
                write!(f, "snapshot {id} made and read back: {bytes} bytes in {}", file.display())
            }
            Self::Adopted { id } => {
                write!(f, "{id} was applied by refinery: its rollback script is kept from now on")
            }
            Self::RollbackReplaced { id } => {
                write!(f, "{id}: its rollback script has changed; the new one is kept")
            }
            Self::Drift { text } => write!(f, "note: {text}"),
            Self::SchemaNotKept { reason } => write!(
                f,
                "note: the schema after this run could not be kept, so that the next one cannot tell whether others change \
                 it: {reason}"
            ),
            Self::Applying { id, number, of } => write!(f, "applying {id} ({number} of {of})"),
            Self::RollingBack { id } => write!(f, "rolling back {id}"),
            Self::Statement { id, number, of, line } => {
                write!(f, "{id}: statement {number} of {of}, line {line}")
            }
            Self::Cleaned { id, what } => write!(f, "{id}: cleared away {what}"),
            Self::FoundDone { id, number, line } => {
                write!(f, "{id}: statement {number}, line {line}, is done already")
            }
            Self::Blocked { id, by } => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                write!(f, "{id} waits for a lock that is held by {}", by.join(", "))
            }
            Self::Running { id, seconds, line, phase, percent } => {
                write!(f, "{id} has been running for {seconds} s")?;
                line.iter().try_for_each(|line| write!(f, ", line {line}"))?;
                phase.iter().try_for_each(|phase| write!(f, ", {phase}"))?;
                percent.iter().try_for_each(|percent| write!(f, " ({percent} %)"))
            }
            Self::Long { id, seconds, file, line, blocked_by } => {
                let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
                write!(f, "{id} is STILL RUNNING after {seconds} s, at {place}")?;
                if blocked_by.is_empty() {
                    return Ok(());
                }
                let by: Vec<String> = blocked_by.iter().map(ToString::to_string).collect();
                write!(f, "; it waits for a lock that is held by {}", by.join(", "))
            }
            Self::Retrying { id, attempt, after, left, reason, .. } => write!(
                f,
                "{id}, attempt {attempt}: {reason}; tried again in {:.1} s, and for at most {} s more",
                after.as_secs_f64(),
                left.as_secs()
            ),
            Self::NotRecorded { id, reason } => {
                write!(f, "the failure of {id} could not be written to the history: {reason}")
            }
            Self::Applied { ran } => {
                let verified = if ran.verified { ", verified" } else { "" };
                write!(f, "applied {} in {} ms{verified}", ran.id, ran.duration.as_millis())
            }
            Self::RolledBack { ran } => {
                write!(f, "rolled back {} in {} ms", ran.id, ran.duration.as_millis())
            }
        }
    }
}
