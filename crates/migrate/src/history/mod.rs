//! What a database says of its migrations: refinery's table says which are applied, and Liftlock's own, which only
//! grows, says who did what, when, how long it took, and with which scripts.

mod entry;
mod failed;
mod log;
pub(crate) mod prepared;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use liftlock_model::{Actor, MigrationChecksum, MigrationId, RunId};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::{ask, refinery};

pub use entry::Action;
pub(crate) use entry::{Entry, fit_to_keep};
pub(crate) use failed::record as record_failure;
pub use log::Execution;
pub(crate) use log::read as log;
pub(crate) use table::make;

/// What is known of an applied migration's rollback script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackProof {
    /// It took the migration back on a copy of the schema.
    Proven,
    /// Nobody has tried it, as far as is on record.
    Unproven,
    /// It was changed after the migration was applied, and nobody has tried it since.
    Changed,
}

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its number.
    pub version: i32,
    /// Its name.
    pub name: String,
    /// When it was applied.
    pub at: Timestamp,
    /// Who applied it; unknown if it was not Liftlock.
    pub by: Option<Actor>,
    /// The run that applied it.
    pub run: Option<RunId>,
    /// How long it took, in milliseconds.
    pub milliseconds: Option<u64>,
    /// How it came to be taken over from another tool, or why it was applied, where that is known.
    pub reason: Option<String>,
    /// What is known of its rollback script.
    pub rollback: RollbackProof,
    /// The snapshot that was taken before it.
    pub snapshot: Option<String>,
    /// The checksums of its scripts; unknown as long as only refinery has seen it.
    pub checksum: Option<MigrationChecksum>,
    /// Its rollback script, as the database keeps it.
    #[serde(skip)]
    pub(crate) rollback_sql: Option<String>,
    /// refinery's checksum.
    #[serde(skip)]
    pub(crate) refinery: u64,
}

impl Applied {
    /// Its number and name.
    pub fn id(&self) -> MigrationId {
        MigrationId { version: self.version, name: self.name.clone() }
    }

    /// How long it took, if Liftlock applied it.
    pub fn duration(&self) -> Option<Duration> {
        self.milliseconds.map(Duration::from_millis)
    }
}

/// The newest of Liftlock's rows about one migration.
struct Kept {
    checksum: MigrationChecksum,
    rollback_sql: Option<String>,
    reason: Option<String>,
    proof: RollbackProof,
    applied: Option<How>,
}

/// How a migration was applied.
struct How {
    by: Actor,
    run: Option<RunId>,
    milliseconds: u64,
    snapshot: Option<String>,
}

/// Which migrations the database has, in order. Writes nothing, and takes no history table for no migrations.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
    read(connection, "null::text").await
}

/// The same, with the rollback scripts' texts, which may be long.
pub(crate) async fn applied_with_scripts(
    connection: &mut PgConnection,
) -> Result<Vec<Applied>, sqlx::Error> {
    read(connection, "rollback_sql").await
}

async fn read(connection: &mut PgConnection, script: &str) -> Result<Vec<Applied>, sqlx::Error> {
    let mut kept = kept(connection, script).await?;
    let mut all = Vec::new();
    for migration in refinery::applied(connection).await? {
        let kept = kept.remove(&migration.version());
        all.push(merge(&migration, kept)?);
    }
    Ok(all)
}

fn merge(migration: &refinery_core::Migration, kept: Option<Kept>) -> Result<Applied, sqlx::Error> {
    let at = migration.applied_on().map_or(0, |time| time.unix_timestamp_nanos());
    let at = Timestamp::from_nanosecond(at).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let rollback = kept.as_ref().map_or(RollbackProof::Unproven, |kept| kept.proof);
    let (checksum, rollback_sql, reason, applied) = kept.map_or((None, None, None, None), |kept| {
        (Some(kept.checksum), kept.rollback_sql, kept.reason, kept.applied)
    });
    let (by, run, milliseconds, snapshot) = match applied {
        Some(How { by, run, milliseconds, snapshot }) => {
            (Some(by), run, Some(milliseconds), snapshot)
        }
        None => (None, None, None, None),
    };
    Ok(Applied {
        version: migration.version(),
        name: migration.name().to_owned(),
        at,
        by,
        run,
        milliseconds,
        reason,
        rollback,
        snapshot,
        checksum,
        rollback_sql,
        refinery: migration.checksum(),
    })
}

/// Liftlock's newest knowledge of each migration that it has not rolled back.
async fn kept(
    connection: &mut PgConnection,
    script: &str,
) -> Result<BTreeMap<i32, Kept>, sqlx::Error> {
    let mut kept: BTreeMap<i32, Kept> = BTreeMap::new();
    if !ask::is_there(connection, "liftlock_schema_history").await? {
        return Ok(kept);
    }
    // A history from before there were reasons or snapshots has no such columns: then the names mean those beside it.
    let query = format!(
        "select kept.* from (select null::text as reason, null::text as snapshot) older, lateral (
             select id, action, version, up_sha256, rollback_sha256, {script} as rollback_sql, actor, run, duration_ms, reason, snapshot
             from liftlock_schema_history) kept order by kept.id"
    );
    for row in sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(connection).await? {
        let action: String = row.try_get("action")?;
        let version: i32 = row.try_get("version")?;
        let (applies, proof) = match Action::from_text(&action) {
            Some(Action::Rollback) => {
                kept.remove(&version);
                continue;
            }
            // What failed left nothing; what a newer Liftlock writes down is not for us.
            Some(Action::Failed | Action::RollbackFailed) | None => continue,
            Some(Action::ReplaceRollback) => (false, RollbackProof::Changed),
            Some(Action::ProveRollback) => (false, RollbackProof::Proven),
            Some(action) => (action == Action::Apply, RollbackProof::Unproven),
        };
        let milliseconds = u64::try_from(row.try_get::<i64, _>("duration_ms")?).unwrap_or(0);
        let run = row.try_get::<Option<String>, _>("run")?.and_then(|run| run.parse().ok());
        let mut reason: Option<String> = row.try_get("reason")?;
        let mut applied = Some(How {
            by: Actor::new(row.try_get("actor")?),
            run,
            milliseconds,
            snapshot: row.try_get("snapshot")?,
        });
        if !applies {
            let before = kept.remove(&version);
            if action != Action::Adopt.as_str() {
                reason = before.as_ref().and_then(|before| before.reason.clone());
            }
            applied = before.and_then(|before| before.applied);
        }
        let checksum = MigrationChecksum {
            up: row.try_get("up_sha256")?,
            rollback: row.try_get("rollback_sha256")?,
        };
        kept.insert(
            version,
            Kept { checksum, rollback_sql: row.try_get("rollback_sql")?, reason, proof, applied },
        );
    }
    Ok(kept)
}
