//! How migrations run.

use std::time::Duration;

use liftlock_model::{Actor, RunId};

use crate::drift::DriftPolicy;
use crate::lint::LintSettings;
use crate::snapshot::Dump;

/// How migrations run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a statement may wait for a lock (`lock_timeout`). While it waits, everybody who comes after it for the same
    /// table waits too, so this is short.
    pub lock_timeout: Duration,
    /// For how long a migration is tried again, from its beginning, that failed since others held a lock, or for a deadlock or
    /// a serialization failure. 0: not at all.
    pub lock_retry_budget: Duration,
    /// How long a statement may run (`statement_timeout`).
    pub statement_timeout: Duration,
    /// How long to wait for another migration run on the same database to end.
    pub wait: Duration,
    /// How long a statement that runs outside of a transaction, such as `CREATE INDEX CONCURRENTLY`, may wait for others in all:
    /// it blocks nobody meanwhile, so this is long.
    pub concurrent_budget: Duration,
    /// After how long it is told, once, that a migration is still running.
    pub alert_after: Duration,
    /// How often a long migration gives a sign of life.
    pub progress_every: Duration,
    /// Whether a rollback script that was changed since the migration was applied is run although nobody has tried it.
    pub accept_unproven: bool,
    /// How much the findings of a dry-run matter.
    pub lint: LintSettings,
    /// What to do if others have changed the schema since the last run.
    pub drift: DriftPolicy,
    /// Whether the database is a copy that is thrown away: nobody else is at work on it, nobody looks later at how its schema stood
    /// between runs, and what is written need not reach the disk.
    pub is_copy: bool,
    /// Of a schema with at least so many tables, a dry-run copies only what the migrations can reach.
    pub whole_copy_below: usize,
    /// Who runs them; kept in the history.
    pub actor: Actor,
    /// The run that they belong to, if any; kept in the history.
    pub run: Option<RunId>,
    /// Why; kept in the history.
    pub reason: Option<String>,
    /// The archive to make before anything is applied. Without it, nothing is.
    pub snapshot: Option<Dump>,
    /// The snapshot that was taken before; kept in the history.
    pub taken: Option<String>,
}

impl Settings {
    /// The defaults of an environment file: 2 s for locks and 10 min for retries, 5 min for statements, 1 min for another run,
    /// 30 min for the locks that concurrent work waits for, an alert after 5 min.
    pub fn new(actor: Actor) -> Self {
        Self {
            lock_timeout: Duration::from_secs(2),
            lock_retry_budget: Duration::from_secs(600),
            statement_timeout: Duration::from_secs(300),
            wait: Duration::from_secs(60),
            concurrent_budget: Duration::from_secs(30 * 60),
            alert_after: Duration::from_secs(300),
            progress_every: Duration::from_secs(10),
            accept_unproven: false,
            lint: LintSettings::default(),
            drift: DriftPolicy::Refuse,
            is_copy: false,
            whole_copy_below: 100,
            actor,
            run: None,
            reason: None,
            snapshot: None,
            taken: None,
        }
    }

    /// The same for a throw-away copy, of which no archive is made.
    pub(crate) fn on_a_copy(&self) -> Self {
        Self { snapshot: None, drift: DriftPolicy::Ignore, is_copy: true, ..self.clone() }
    }

    /// What the server's list of sessions calls ours, so that whoever waits for it knows whom to ask.
    pub(crate) fn application_name(&self) -> String {
        let name = format!("liftlock migrate, {}", self.actor);
        // PostgreSQL keeps 63 bytes, and only ASCII.
        name.chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
            .take(63)
            .collect()
    }
}
