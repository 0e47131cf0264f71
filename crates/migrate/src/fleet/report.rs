//! What came of each database of a fleet.

use std::fmt;
use std::time::Duration;

use liftlock_model::{Exit, MigrationId};
use serde::Serialize;

use crate::progress::Ran;
use crate::rollback::Refused;

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
    /// What was newer was rolled back, newest first; nothing, if nothing was.
    RolledBack {
        /// What.
        ran: Vec<Ran>,
    },
    /// What came next in a rollback would have lost data, and stays applied.
    Refused {
        /// What was rolled back before.
        ran: Vec<Ran>,
        /// Which, and what would have been lost.
        refused: Refused,
    },
    /// It failed. What ran before stays done.
    Failed {
        /// What was applied, or rolled back, before.
        ran: Vec<Ran>,
        /// Why it stopped.
        error: String,
    },
    /// Too many others had failed.
    NotTried,
}

impl FleetOutcome {
    /// Whether it is not as it was to be.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Refused { .. })
    }

    /// What was applied, or rolled back.
    pub fn ran(&self) -> &[Ran] {
        match self {
            Self::Applied { ran, .. }
            | Self::RolledBack { ran }
            | Self::Refused { ran, .. }
            | Self::Failed { ran, .. } => ran,
            Self::UpToDate { .. } | Self::NotTried => &[],
        }
    }
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
        let failed = self.results.iter().any(|one| one.outcome.is_failure());
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
        let failed = |one: &&FleetResult| one.outcome.is_failure();
        let (bad, good): (Vec<_>, Vec<_>) = self.results.iter().partition(failed);
        for FleetResult { name, outcome, took } in good.into_iter().chain(bad) {
            writeln!(f, "{name:<width$}  {:>7.1} s  {outcome}", took.as_secs_f64())?;
        }
        let back = |one: &FleetOutcome| matches!(one, FleetOutcome::RolledBack { .. });
        let nothing = |one: &FleetOutcome| one.ran().is_empty();
        let rolled_back = self.count(|one| back(one) && !nothing(one));
        let refused = self.count(|one| matches!(one, FleetOutcome::Refused { .. }));
        write!(f, "{} databases: ", self.results.len())?;
        if self.count(back) + refused > 0 {
            let not = self.count(|one| back(one) && nothing(one));
            write!(f, "{rolled_back} rolled back, {not} had nothing newer, {refused} refused")?;
        } else {
            let applied = self.count(|one| matches!(one, FleetOutcome::Applied { .. }));
            let up_to_date = self.count(|one| matches!(one, FleetOutcome::UpToDate { .. }));
            write!(f, "{applied} applied, {up_to_date} up to date")?;
        }
        let failed = self.count(|one| matches!(one, FleetOutcome::Failed { .. }));
        let not_tried = self.count(|one| matches!(one, FleetOutcome::NotTried));
        write!(f, ", {failed} failed, {not_tried} not tried")?;
        if let Some(why) = &self.stopped {
            write!(
                f,
                "\nstopped: {why}\nnext: mend it (what is changed by hand for that in a schema has to be accepted: `migrate drift --accept REASON`) and run \
                 the same command again; what is done is not done twice"
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
            Self::RolledBack { ran } if ran.is_empty() => f.write_str("nothing is newer")?,
            Self::RolledBack { ran } => write!(f, "rolled back {}", ids(ran))?,
            Self::Refused { ran, refused } => {
                let losses = refused.losses.join(", ");
                write!(f, "REFUSED: the rollback of {} would lose {losses}", refused.id)?;
                if let Some(instead) = refused.instead() {
                    write!(f, "; instead: {instead}")?;
                }
                before(f, ran)?;
            }
            Self::Failed { ran, error } => {
                write!(f, "FAILED: {}", error.replace('\n', " "))?;
                before(f, ran)?;
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

fn before(f: &mut fmt::Formatter<'_>, ran: &[Ran]) -> fmt::Result {
    if ran.is_empty() { Ok(()) } else { write!(f, " (done before: {})", ids(ran)) }
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
