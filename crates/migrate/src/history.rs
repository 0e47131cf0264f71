//! What a database says of its migrations: refinery's table says which are applied, and Liftlock's own, which only
//! grows, says who did what, when, how long it took, and with which scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use liftlock_model::{Actor, MigrationChecksum, MigrationId, RunId};
use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use crate::files::Migration;
use crate::refinery;
use crate::settings::Settings;

/// Liftlock's table. The rollback script's text is kept, so that a rollback works on a machine without the files of
/// that version.
const CREATE_TABLE: &str = "
    create table if not exists liftlock_schema_history (
        id bigint generated always as identity primary key,
        action text not null check (action in ('apply', 'rollback', 'adopt', 'replace rollback')),
        version integer not null,
        name text not null,
        up_sha256 text not null,
        rollback_sha256 text not null,
        rollback_sql text not null,
        actor text not null,
        database_user text not null default session_user,
        run text,
        started_at timestamptz not null,
        duration_ms bigint not null,
        transaction_id text not null default pg_current_xact_id()::text
    )";

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Apply,
    Rollback,
    /// It was applied by refinery; Liftlock keeps its rollback script from now on.
    Adopt,
    /// The rollback script was mended after the migration was applied.
    ReplaceRollback,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Adopt => "adopt",
            Self::ReplaceRollback => "replace rollback",
        }
    }
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
    rollback_sql: String,
    applied: Option<(Actor, Option<RunId>, u64)>,
}

/// Makes both tables if they are not there. To be called inside a transaction that may write.
pub(crate) async fn create_tables(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(CREATE_TABLE).execute(&mut *connection).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(refinery::create_table())).execute(connection).await?;
    Ok(())
}

/// Which migrations the database has, in order. Writes nothing, and takes no history table for no migrations.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
    let mut kept = kept(connection).await?;
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
    let (checksum, rollback_sql, applied) = kept.map_or((None, None, None), |kept| {
        (Some(kept.checksum), Some(kept.rollback_sql), kept.applied)
    });
    let (by, run, milliseconds) = applied
        .map_or((None, None, None), |(by, run, milliseconds)| (Some(by), run, Some(milliseconds)));
    Ok(Applied {
        version: migration.version(),
        name: migration.name().to_owned(),
        at,
        by,
        run,
        milliseconds,
        checksum,
        rollback_sql,
        refinery: migration.checksum(),
    })
}

/// Liftlock's newest knowledge of each migration that it has not rolled back.
async fn kept(connection: &mut PgConnection) -> Result<BTreeMap<i32, Kept>, sqlx::Error> {
    let there: bool =
        sqlx::query_scalar("select to_regclass('liftlock_schema_history') is not null")
            .fetch_one(&mut *connection)
            .await?;
    let mut kept: BTreeMap<i32, Kept> = BTreeMap::new();
    if !there {
        return Ok(kept);
    }
    let rows = sqlx::query(
        "select action, version, up_sha256, rollback_sha256, rollback_sql, actor, run, duration_ms
         from liftlock_schema_history order by id",
    );
    for row in rows.fetch_all(connection).await? {
        let action: String = row.try_get("action")?;
        let version: i32 = row.try_get("version")?;
        if action == Action::Rollback.as_str() {
            kept.remove(&version);
            continue;
        }
        let milliseconds = u64::try_from(row.try_get::<i64, _>("duration_ms")?).unwrap_or(0);
        let run = row.try_get::<Option<String>, _>("run")?.and_then(|run| run.parse().ok());
        let applied = if action == Action::Apply.as_str() {
            Some((Actor::new(row.try_get("actor")?), run, milliseconds))
        } else {
            kept.remove(&version).and_then(|before| before.applied)
        };
        let checksum = MigrationChecksum {
            up: row.try_get("up_sha256")?,
            rollback: row.try_get("rollback_sha256")?,
        };
        kept.insert(
            version,
            Kept { checksum, rollback_sql: row.try_get("rollback_sql")?, applied },
        );
    }
    Ok(kept)
}

/// One row of Liftlock's table, to be written in the transaction of what it tells.
pub(crate) struct Entry<'a> {
    pub(crate) action: Action,
    pub(crate) id: &'a MigrationId,
    pub(crate) checksum: MigrationChecksum,
    pub(crate) rollback_sql: &'a str,
    pub(crate) duration: Duration,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(migration: &'a Migration, action: Action, duration: Duration) -> Self {
        let (id, rollback_sql) = (&migration.id, migration.rollback.sql.as_str());
        Self { action, id, checksum: migration.checksum(), rollback_sql, duration }
    }

    pub(crate) async fn write(
        self,
        connection: &mut PgConnection,
        settings: &Settings,
    ) -> Result<(), sqlx::Error> {
        let milliseconds = i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "insert into liftlock_schema_history
                 (action, version, name, up_sha256, rollback_sha256, rollback_sql, actor, run, started_at, duration_ms)
             values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() - $9 * interval '1 millisecond', $9)",
        )
        .bind(self.action.as_str())
        .bind(self.id.version)
        .bind(&self.id.name)
        .bind(self.checksum.up)
        .bind(self.checksum.rollback)
        .bind(self.rollback_sql)
        .bind(settings.actor.as_str())
        .bind(settings.run.as_ref().map(RunId::as_str))
        .bind(milliseconds)
        .execute(connection)
        .await
        .map(drop)
    }
}
