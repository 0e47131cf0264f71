//! What came of each database of a fleet.

use std::fmt;
use std::time::Duration;

use liftlock_model::{Exit, MigrationId};
use serde::Serialize;

use crate::progress::Ran;

/// What came of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FleetOutcome {
    /// What was pending was applied.
    Applied {
        /// What.
        ran: Vec<Ran>,
        /// The first migration that waits for older versions to be gone.
        waits: Option<MigrationId>,
    },
    /// Nothing was pending.
    UpToDate {
        /// The first migration that waits for older versions to be gone.
        waits: Option<MigrationId>,
    },
    /// It failed. What ran before stays applied.
    Failed {
        /// What was applied before.
        ran: Vec<Ran>,
        /// Why it stopped.
        error: String,
    },
    /// Too many others had failed.
    NotTried,
}

/// What came of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetResult {
    /// Which.
    pub name: String,
    /// What came of it.
    pub outcome: FleetOutcome,
    /// From connecting to the end.
    pub took: Duration,
}

/// What came of a fleet, in the order in which the databases ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FleetReport {
    /// Each database.
    pub results: Vec<FleetResult>,
    /// Why not all were tried.
    pub stopped: Option<String>,
}

impl FleetReport {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        let failed =
            self.results.iter().any(|one| matches!(one.outcome, FleetOutcome::Failed { .. }));
        if failed { Exit::Failed } else { Exit::Done }
    }

    fn count(&self, which: impl Fn(&FleetOutcome) -> bool) -> usize {
        self.results.iter().filter(|one| which(&one.outcome)).count()
    }
}

impl fmt::Display for FleetReport {
    /// A table, failures last, so that they are what is seen; then the sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.results.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
        let failed = |one: &&FleetResult| matches!(one.outcome, FleetOutcome::Failed { .. });
        let (bad, good): (Vec<_>, Vec<_>) = self.results.iter().partition(failed);
        for FleetResult { name, outcome, took } in good.into_iter().chain(bad) {
            writeln!(f, "{name:<width$}  {:>7.1} s  {outcome}", took.as_secs_f64())?;
        }
        write!(
            f,
            "{} databases: {} applied, {} up to date, {} failed, {} not tried",
            self.results.len(),
            self.count(|one| matches!(one, FleetOutcome::Applied { .. })),
            self.count(|one| matches!(one, FleetOutcome::UpToDate { .. })),
            self.count(|one| matches!(one, FleetOutcome::Failed { .. })),
            self.count(|one| matches!(one, FleetOutcome::NotTried)),
        )?;
        if let Some(why) = &self.stopped {
            write!(
                f,
                "\nstopped: {why}\nnext: mend it and run the same command again; what is done is not done twice"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for FleetOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { ran, .. } => write!(f, "applied {}", ids(ran))?,
            Self::UpToDate { .. } => f.write_str("up to date")?,
            Self::Failed { ran, error } => {
                let error = error.replace('\n', " ");
                write!(f, "FAILED: {error}")?;
                if !ran.is_empty() {
                    write!(f, " (applied before: {})", ids(ran))?;
                }
            }
            Self::NotTried => f.write_str("not tried")?,
        }
        match self {
            Self::Applied { waits: Some(first), .. } | Self::UpToDate { waits: Some(first) } => {
                write!(f, "; {first} waits (phase contract)")
            }
            _ => Ok(()),
        }
    }
}

/// `V0004`, or `V0004 to V0007`.
fn ids(ran: &[Ran]) -> String {
    let number = |one: &Ran| format!("V{:04}", one.id.version);
    match ran {
        [] => String::new(),
        [one] => number(one),
        [first, .., last] => format!("{} to {}", number(first), number(last)),
    }
}
