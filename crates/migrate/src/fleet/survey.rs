//! How each database of a fleet stands: its migrations, what is pending, whether others have changed its schema. Nothing is written.

use std::fmt;

use liftlock_model::{Exit, Phase};
use serde::Serialize;

use crate::database::Status;
use crate::files::Migrations;
use crate::fleet::targets::{FleetError, FleetTarget, each_once};
use crate::settings::Settings;

/// How one database stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Surveyed {
    /// Which.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
}

/// How one database stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It told.
    Known {
        /// How.
        status: Box<Status>,
    },
    /// It did not tell.
    Unknown {
        /// Why.
        error: String,
    },
}

/// How a fleet stands, in the order of its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Each database.
    pub databases: Vec<Surveyed>,
}

/// Asks each database of a fleet, at most `at_once` at a time.
///
/// # Errors
/// [`FleetError`] if two have one name.
pub async fn survey(
    targets: Vec<FleetTarget>,
    migrations: &Migrations,
    settings: &Settings,
    at_once: usize,
) -> Result<Survey, FleetError> {
    each_once(&targets)?;
    let order: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let found = super::each(targets, settings, at_once, |_, mut database| async move {
        database.status(migrations).await.map_err(|error| error.to_string())
    });
    let mut databases: Vec<Surveyed> = Vec::new();
    for (name, status) in found.await {
        let standing = match status {
            Ok(status) => Standing::Known { status: Box::new(status) },
            Err(error) => Standing::Unknown { error },
        };
        databases.push(Surveyed { name, standing });
    }
    databases.sort_by_cached_key(|one| order.iter().position(|name| *name == one.name));
    Ok(Survey { databases })
}

impl Surveyed {
    fn status(&self) -> Option<&Status> {
        match &self.standing {
            Standing::Known { status } => Some(status),
            Standing::Unknown { .. } => None,
        }
    }

    /// Whether a run would find it as the last one left it.
    fn is_fine(&self) -> bool {
        self.status().is_some_and(Status::is_fine)
    }

    /// What it is counted as: the first that holds.
    fn kind(&self) -> Kind {
        let Some(status) = self.status() else { return Kind::Unknown };
        match status.pending.first().map(|first| first.phase) {
            _ if !(status.problems.is_empty() && status.half_done.is_empty()) => Kind::Problems,
            _ if status.drift.is_seen() => Kind::Drifted,
            Some(Phase::Contract) => Kind::Waits,
            Some(_) => Kind::Behind,
            None => Kind::UpToDate,
        }
    }
}

/// What a database is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    UpToDate,
    Waits,
    Behind,
    Drifted,
    Problems,
    Unknown,
}

impl Survey {
    /// The exit code that a command ends with: what is pending is no failure.
    pub fn exit(&self) -> Exit {
        if self.databases.iter().all(Surveyed::is_fine) { Exit::Done } else { Exit::Failed }
    }
}

impl fmt::Display for Survey {
    /// A table, what is not fine last, so that it is what is seen; then the sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.databases.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
        let (good, bad): (Vec<_>, Vec<_>) = self.databases.iter().partition(|one| one.is_fine());
        for Surveyed { name, standing } in good.into_iter().chain(bad) {
            writeln!(f, "{name:<width$}  {standing}")?;
        }
        write!(f, "{} databases", self.databases.len())?;
        let kinds = [
            (Kind::UpToDate, "up to date"),
            (Kind::Waits, "waiting for the contract phase"),
            (Kind::Behind, "behind"),
            (Kind::Drifted, "drifted"),
            (Kind::Problems, "with problems"),
            (Kind::Unknown, "not known"),
        ];
        let mut between = ": ";
        for (kind, name) in kinds {
            let count = self.databases.iter().filter(|one| one.kind() == kind).count();
            if count > 0 {
                write!(f, "{between}{count} {name}")?;
                between = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self {
            Self::Known { status } => status,
            Self::Unknown { error } => return write!(f, "NOT KNOWN: {}", error.replace('\n', " ")),
        };
        match status.applied.iter().map(|one| one.version).max() {
            Some(newest) => write!(f, "V{newest:04}")?,
            None => f.write_str("  -  ")?,
        }
        match status.pending.as_slice() {
            [] if status.problems.is_empty() => f.write_str("  up to date")?,
            [] => f.write_str("  ")?,
            [one] => write!(f, "  pending {one}")?,
            [first, .., last] => {
                write!(f, "  {} pending, {first} to {last}", status.pending.len())?;
            }
        }
        for half in &status.half_done {
            write!(f, "; HALF DONE: {half}")?;
        }
        for problem in &status.problems {
            write!(f, "; PROBLEM: {problem}")?;
        }
        let drift = &status.drift;
        if drift.is_seen() || drift.unknown.is_some() {
            write!(f, "; DRIFT: {}", drift.headline())?;
        }
        Ok(())
    }
}
