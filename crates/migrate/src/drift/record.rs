//! What is kept: each run with the schema before and after it, and each schema once.

use jiff::Timestamp;
use liftlock_model::{Actor, RunId};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row as _};

use super::Baseline;
use crate::schema::{Fingerprint, Schema};
use crate::settings::Settings;
use crate::{ask, refinery};

/// `applied` is a hash of what refinery's history table holds, which others may write to. The rows of `liftlock_schema_history` that a run wrote are those above `history_after`, up to `history_to`.
const CREATE_TABLES: &str = "
    create table if not exists liftlock_schema_snapshot (
        fingerprint text primary key,
        schema text not null,
        taken_at timestamptz not null default clock_timestamp()
    );
    create table if not exists liftlock_schema_run (
        id bigint generated always as identity primary key,
        action text not null,
        actor text not null,
        database_user text not null default session_user,
        run text,
        reason text,
        started_at timestamptz not null default clock_timestamp(),
        ended_at timestamptz,
        succeeded boolean,
        history_after bigint not null,
        history_to bigint,
        server_version integer not null default current_setting('server_version_num')::integer,
        applied text,
        schema_before text not null references liftlock_schema_snapshot,
        schema_after text references liftlock_schema_snapshot
    )";

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Apply,
    Rollback,
    /// Nothing but to take the schema as it is.
    Accept,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Accept => "accept",
        }
    }
}

/// The last run.
pub(super) struct Kept {
    pub(super) baseline: Baseline,
    /// What it left: none if the schema is still that; or why it is not known.
    pub(super) schema: Result<Option<Schema>, String>,
}

pub(super) async fn create_tables(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(CREATE_TABLES).execute(connection).await.map(drop)
}

/// The last run, and what it left if that is another schema than `live`.
pub(super) async fn last(
    connection: &mut PgConnection,
    live: &Fingerprint,
) -> Result<Option<Kept>, sqlx::Error> {
    if !ask::is_there(connection, "liftlock_schema_run").await? {
        return Ok(None);
    }
    let row = sqlx::query(
        "select r.action, r.actor, r.reason, (extract(epoch from coalesce(r.ended_at, r.started_at)) * 1000)::int8 as at,
                r.schema_after, r.applied, r.server_version / 10000 as then_on,
                current_setting('server_version_num')::integer / 10000 as now_on, s.schema
         from liftlock_schema_run r
         left join liftlock_schema_snapshot s on s.fingerprint = r.schema_after and s.fingerprint <> $1
         order by r.id desc limit 1",
    );
    let row = row.bind(live.as_str()).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let others = row.try_get::<Option<String>, _>("applied")? != Some(applied(connection).await?);
    read(&row, live, others).map(Some)
}

fn read(
    row: &sqlx::postgres::PgRow,
    live: &Fingerprint,
    others: bool,
) -> Result<Kept, sqlx::Error> {
    let at = Timestamp::from_millisecond(row.try_get("at")?)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    let baseline = Baseline {
        action: row.try_get("action")?,
        by: Actor::new(row.try_get("actor")?),
        at,
        reason: row.try_get("reason")?,
    };
    let after: Option<String> = row.try_get("schema_after")?;
    let (then_on, now_on): (i32, i32) = (row.try_get("then_on")?, row.try_get("now_on")?);
    let kept: Option<String> = row.try_get("schema")?;
    let schema = match (after, kept) {
        (None, _) => Err(format!("{baseline} was cut off before it could look at the schema")),
        (Some(after), _) if after == live.as_str() => Ok(None),
        (Some(_), _) if others => Err(format!(
            "others than Liftlock have applied or taken back migrations since {baseline}"
        )),
        (Some(_), _) if then_on != now_on => Err(format!(
            "{baseline} was on PostgreSQL {then_on}, which words schemas differently from {now_on}"
        )),
        (Some(_), Some(text)) => {
            Schema::from_text(&text).map(Some).map_err(|error| error.to_string())
        }
        (Some(_), None) => Err("what was kept is gone".to_owned()),
    };
    Ok(Kept { baseline, schema })
}

/// Keeps a schema, once.
pub(super) async fn keep(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Fingerprint, sqlx::Error> {
    let fingerprint = schema.fingerprint();
    let known: bool = sqlx::query_scalar(
        "select exists (select from liftlock_schema_snapshot where fingerprint = $1)",
    )
    .bind(fingerprint.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if !known {
        sqlx::query("insert into liftlock_schema_snapshot (fingerprint, schema) values ($1, $2)")
            .bind(fingerprint.as_str())
            .bind(schema.to_text())
            .execute(connection)
            .await?;
    }
    Ok(fingerprint)
}

/// A hash of which migrations refinery's table holds.
async fn applied(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let mut hash = Sha256::new();
    for migration in refinery::applied(connection).await? {
        hash.update(format!("{} {}\n", migration.version(), migration.checksum()));
    }
    Ok(hex::encode(hash.finalize()))
}

/// Writes down that a run begins. Gives its number.
pub(super) async fn begin(
    connection: &mut PgConnection,
    action: Action,
    settings: &Settings,
    before: &Fingerprint,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into liftlock_schema_run (action, actor, run, history_after, schema_before)
         values ($1, $2, $3, coalesce((select max(id) from liftlock_schema_history), 0), $4) returning id",
    )
    .bind(action.as_str())
    .bind(settings.actor.as_str())
    .bind(settings.run.as_ref().map(RunId::as_str))
    .bind(before.as_str())
    .fetch_one(connection)
    .await
}

/// Writes down how a run ended.
pub(super) async fn end(
    connection: &mut PgConnection,
    id: i64,
    succeeded: bool,
    reason: Option<&str>,
    after: &Fingerprint,
) -> Result<(), sqlx::Error> {
    let applied = applied(connection).await?;
    sqlx::query(
        "update liftlock_schema_run
         set ended_at = clock_timestamp(), succeeded = $2, reason = $3, schema_after = $4, applied = $5,
             history_to = coalesce((select max(id) from liftlock_schema_history), 0)
         where id = $1",
    )
    .bind(id)
    .bind(succeeded)
    .bind(reason)
    .bind(after.as_str())
    .bind(applied)
    .execute(connection)
    .await
    .map(drop)
}
