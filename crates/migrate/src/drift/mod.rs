//! Whether somebody changed a database's schema between runs: it is read before and after each run, kept, and compared.

mod record;
mod run;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use liftlock_model::Actor;
use serde::Serialize;

use crate::apply::{finish, settle};
use crate::database::{Database, StatusError};
use crate::failure::Failure;
use crate::lock;
use crate::progress::Progress;
use crate::schema::{Change, Difference, ObjectChange, Schema};

pub(crate) use record::Action;
pub(crate) use run::SchemaRun;

/// How many lines of a difference a message shows.
const SHOWN: usize = 60;

/// What a run does about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// It touches nothing, and shows what changed.
    #[default]
    Refuse,
    /// It shows what changed, and goes on.
    Warn,
    /// It does not look. The schema is kept all the same.
    Ignore,
}

/// How a database's schema stands to what the last run left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Host, port and database.
    pub database: String,
    /// The run that left what the schema is compared with; nothing before the first.
    pub since: Option<Baseline>,
    /// Why it cannot be told whether there is drift, if so.
    pub unknown: Option<String>,
    /// What changed since then. Partitions that came or went with what is theirs are no drift: they hold rows.
    pub changes: Difference,
}

/// What the schema is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Baseline {
    /// `apply`, `rollback`, or `accept`.
    pub action: String,
    /// Who did it.
    pub by: Actor,
    /// When it ended; when it began, if it was cut off.
    pub at: Timestamp,
    /// Why, if it accepted a drift.
    pub reason: Option<String>,
}

impl Drift {
    /// Whether somebody changed the schema.
    pub fn is_seen(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What kept says of `live`.
    fn between(database: &str, kept: Option<&record::Kept>, live: &Schema) -> Self {
        let since = kept.map(|kept| kept.baseline.clone());
        let mut drift = Self {
            database: database.to_owned(),
            since,
            unknown: None,
            changes: Difference::default(),
        };
        match kept.map(|kept| &kept.schema) {
            None => {}
            Some(Err(reason)) => drift.unknown = Some(reason.clone()),
            Some(Ok(None)) => {}
            Some(Ok(Some(before))) => {
                drift.changes = without_partitions(Schema::compare(before, live));
            }
        }
        drift
    }

    /// In one line.
    pub fn headline(&self) -> String {
        if !self.is_seen() {
            return self.to_string();
        }
        let count = self.changes.objects().len();
        let objects = if count == 1 { "object" } else { "objects" };
        format!("{}: {count} {objects}; `migrate drift` shows them", self.title())
    }

    fn title(&self) -> String {
        let since = self.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        format!("the schema of {} has changed{since}", self.database)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "the last run ({} by {} at {at})", self.action, self.by)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.since, &self.unknown) {
            _ if self.is_seen() => write!(f, "{}:\n{}", self.title(), self.changes),
            (Some(since), None) => {
                write!(f, "the schema of {} is what {since} left", self.database)
            }
            (_, Some(reason)) => {
                let title = "whether the schema has changed cannot be told";
                write!(f, "{}: {title}: {reason}", self.database)
            }
            (None, None) => write!(
                f,
                "{}: no schema is kept yet: the first run that does something keeps it",
                self.database
            ),
        }
    }
}

/// Why a run is refused: what changed, cut short, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drifted(pub Box<Drift>);

impl fmt::Display for Drifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, by other means than migrations; nothing was touched:", self.0.title())?;
        let text = self.0.changes.to_string();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().take(SHOWN).try_for_each(|line| writeln!(f, "  {line}"))?;
        if lines.len() > SHOWN {
            writeln!(f, "  … and {} lines more", lines.len() - SHOWN)?;
        }
        f.write_str(
            "next: `migrate drift` shows it again; change it back, or take it as it is, on record, with \
             `migrate drift --accept REASON`; `--drift warn` goes on this once",
        )
    }
}

/// Leaves out partitions that were added or removed, and what is theirs.
fn without_partitions(difference: Difference) -> Difference {
    let came_or_went =
        |object: &ObjectChange| matches!(object.change, Change::Added | Change::Removed);
    let text = |object: &ObjectChange| format!("{}{}", object.before, object.after);
    let partitions: BTreeSet<String> = difference
        .objects()
        .iter()
        .filter(|object| came_or_went(object) && object.kind.ends_with("table"))
        .filter(|object| text(object).lines().any(|line| line.starts_with("partition of ")))
        .map(|object| object.name.clone())
        .collect();
    let of_a_partition = |object: &ObjectChange| {
        let on = |table: &String| {
            object.name.ends_with(&format!(" on {table}"))
                || object.kind == "index" && text(object).contains(&format!(" ON {table} USING "))
        };
        came_or_went(object) && (partitions.contains(&object.name) || partitions.iter().any(on))
    };
    difference.without(of_a_partition)
}

impl Database {
    /// How the schema stands to what the last run left. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the schema, or what was kept of it, cannot be read.
    pub async fn drift(&mut self) -> Result<Drift, StatusError> {
        let looked = look(&mut self.connection, &self.address.place).await;
        looked
            .map(|(drift, _)| drift)
            .map_err(|error| StatusError::new(&self.address.place, &error))
    }

    /// Takes the schema as it is for the one that the next run compares with, and writes down who did so, and why. Gives what
    /// had changed; if nothing had, it writes nothing.
    ///
    /// # Errors
    /// [`Failure`] says what kept it from that.
    pub async fn accept_drift(
        &mut self,
        reason: &str,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Drift, Failure> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        lock::acquire(bench.connection, wait, on).await?;
        let accepted = run::accept(&mut bench, reason).await;
        let accepted = settle(&mut bench, accepted).await;
        finish(&mut bench, accepted).await
    }
}

/// Reads the schema and what is kept of it.
async fn look(
    connection: &mut sqlx::PgConnection,
    place: &str,
) -> Result<(Drift, Schema), sqlx::Error> {
    let live = Schema::read(connection).await?;
    let kept = record::last(connection, &live.fingerprint()).await?;
    Ok((Drift::between(place, kept.as_ref(), &live), live))
}
