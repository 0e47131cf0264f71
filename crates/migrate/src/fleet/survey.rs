//! How each database of a fleet stands: its migrations, what is pending, whether others have changed its schema. Nothing is written.

use std::fmt;

use liftlock_model::Exit;
use serde::Serialize;

use crate::database::Status;
use crate::files::Migrations;
use crate::fleet::targets::FleetTarget;
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
pub async fn survey(
    targets: Vec<FleetTarget>,
    migrations: &Migrations,
    settings: &Settings,
    at_once: usize,
) -> Survey {
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
    Survey { databases }
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

    fn is_behind(&self) -> bool {
        self.status().is_some_and(|status| !status.pending.is_empty())
    }
}

impl Survey {
    /// The exit code that a command ends with: what is pending is no failure.
    pub fn exit(&self) -> Exit {
        if self.databases.iter().all(Surveyed::is_fine) { Exit::Done } else { Exit::Failed }
    }

    fn count(&self, which: impl Fn(&Surveyed) -> bool) -> usize {
        self.databases.iter().filter(|one| which(one)).count()
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
        let has = |what: fn(&Status) -> bool| self.count(|one| one.status().is_some_and(what));
        write!(
            f,
            "{} databases: {} up to date, {} behind, {} drifted, {} with problems, {} not known",
            self.databases.len(),
            self.count(|one| one.is_fine() && !one.is_behind()),
            self.count(Surveyed::is_behind),
            has(|status| status.drift.is_seen()),
            has(|status| !(status.problems.is_empty() && status.half_done.is_empty())),
            self.count(|one| one.status().is_none()),
        )
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
            [] => f.write_str("  up to date")?,
            [one] => write!(f, "  pending V{:04}", one.version)?,
            [first, .., last] => write!(
                f,
                "  {} pending, V{:04} to V{:04}",
                status.pending.len(),
                first.version,
                last.version
            )?,
        }
        for half in &status.half_done {
            write!(f, "; HALF DONE: {half}")?;
        }
        for problem in &status.problems {
            write!(f, "; PROBLEM: {problem}")?;
        }
        if status.drift.is_seen() {
            write!(f, "; DRIFT: {}", status.drift.headline())?;
        }
        Ok(())
    }
}
