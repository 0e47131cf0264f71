//! The table that tells how far a script came that runs outside of a transaction. It only grows.

use std::collections::BTreeMap;

use liftlock_model::{MigrationChecksum, MigrationId};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::half::{Before, Direction, Event, Half, Row};
use crate::ask;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::transaction::Workbench;

/// Its name.
pub(crate) const TABLE: &str = "liftlock_schema_journal";

const CREATE_TABLE: &str = "
    create table if not exists liftlock_schema_journal (
        id bigint generated always as identity primary key,
        version integer not null,
        name text not null,
        direction text not null check (direction in ('up', 'rollback')),
        event text not null check (event in ('begun', 'started', 'done', 'failed', 'again', 'finished')),
        statement integer,
        statement_sha256 text,
        up_sha256 text not null,
        rollback_sha256 text not null,
        rollback_sql text,
        indexes_before jsonb,
        note text,
        actor text not null,
        database_user text not null default session_user,
        run text,
        at timestamptz not null default clock_timestamp()
    )";

/// Whose script it is that is written about.
pub(crate) struct Journal<'a> {
    /// The table's name with its schema: a script may set its own search path.
    pub(crate) table: String,
    pub(crate) id: &'a MigrationId,
    pub(crate) direction: Direction,
    pub(crate) checksum: &'a MigrationChecksum,
    pub(crate) settings: &'a Settings,
}

/// What is half done, by number; empty if there is no such table. Writes nothing.
pub(crate) async fn halves(
    connection: &mut PgConnection,
) -> Result<BTreeMap<i32, Half>, sqlx::Error> {
    if name(connection).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let query = "
        select version, name, direction, event, statement, statement_sha256, up_sha256, rollback_sha256,
               coalesce(rollback_sql, '') as rollback_sql, indexes_before
        from liftlock_schema_journal j
        where not exists (select from liftlock_schema_journal f where f.version = j.version and f.event = 'finished' and f.id >= j.id)
        order by id";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    Ok(Half::all(rows.iter().map(read).collect::<Result<_, _>>()?))
}

fn read(row: &PgRow) -> Result<Row, sqlx::Error> {
    let unknown = |what: &str| sqlx::Error::Decode(format!("table {TABLE}: {what}").into());
    let direction = match row.try_get("direction")? {
        "up" => Direction::Up,
        "rollback" => Direction::Rollback,
        other => return Err(unknown(other)),
    };
    let event = match row.try_get("event")? {
        "begun" => Event::Begun,
        "started" => Event::Started(before(row.try_get("indexes_before")?)),
        "done" => Event::Done,
        "failed" => Event::Failed,
        "again" => Event::Again,
        "finished" => Event::Finished,
        other => return Err(unknown(other)),
    };
    let number: Option<i32> = row.try_get("statement")?;
    let hash: Option<String> = row.try_get("statement_sha256")?;
    let number = number.and_then(|number| usize::try_from(number).ok()).filter(|n| *n > 0);
    Ok(Row {
        id: MigrationId { version: row.try_get("version")?, name: row.try_get("name")? },
        direction,
        event,
        statement: number.zip(hash),
        checksum: MigrationChecksum {
            up: row.try_get("up_sha256")?,
            rollback: row.try_get("rollback_sha256")?,
        },
        rollback_sql: row.try_get("rollback_sql")?,
    })
}

fn before(kept: Option<serde_json::Value>) -> Before {
    let numbers = |name: &str| {
        let numbers = kept.as_ref().and_then(|kept| kept[name].as_array());
        numbers.into_iter().flatten().filter_map(serde_json::Value::as_i64).collect()
    };
    Before { invalid: numbers("invalid"), table: numbers("table") }
}

/// The table's name with its schema; none if it is not there.
pub(crate) async fn name(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let query = format!(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.oid = to_regclass('{TABLE}')"
    );
    ask::maybe(connection, query).await
}

/// Makes the table if it is not there. To be called inside a transaction that may write.
pub(crate) async fn create(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(CREATE_TABLE).execute(connection).await.map(drop)
}

/// Notes in an open transaction that nothing is left of what was half done.
pub(crate) async fn forget(
    bench: &mut Workbench<'_>,
    id: &MigrationId,
    checksum: &MigrationChecksum,
) -> Result<(), Failure> {
    let (table, direction, settings) = (TABLE.to_owned(), Direction::Rollback, bench.settings);
    let journal = Journal { table, id, direction, checksum, settings };
    let written = journal.write(bench.connection, &Event::Finished, None, None, None).await;
    written.map_err(|error| bench.failed(&error))
}

/// What is written about a statement: its number and the hash of its text.
pub(crate) type About = Option<(usize, String)>;

impl Journal<'_> {
    /// Writes a row, inside a transaction that may write.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        event: &Event,
        about: About,
        rollback_sql: Option<&str>,
        note: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let (event, before) = match event {
            Event::Begun => ("begun", None),
            Event::Started(before) => {
                ("started", Some(json!({ "invalid": before.invalid, "table": before.table })))
            }
            Event::Done => ("done", None),
            Event::Failed => ("failed", None),
            Event::Again => ("again", None),
            Event::Finished => ("finished", None),
        };
        let (number, hash) = about.unzip();
        let sql = format!(
            "insert into {} (version, name, direction, event, statement, statement_sha256, up_sha256, rollback_sha256,
                 rollback_sql, indexes_before, note, actor, run)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            self.table
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(self.id.version)
            .bind(&self.id.name)
            .bind(self.direction.as_str())
            .bind(event)
            .bind(number.and_then(|number| i32::try_from(number).ok()))
            .bind(hash)
            .bind(&self.checksum.up)
            .bind(&self.checksum.rollback)
            .bind(rollback_sql)
            .bind(before)
            .bind(note)
            .bind(self.settings.actor.as_str())
            .bind(self.settings.run.as_ref().map(liftlock_model::RunId::as_str))
            .execute(connection)
            .await
            .map(drop)
    }

    /// Writes a row in a small transaction of its own, whatever role and search path the script has set.
    pub(crate) async fn note(
        &self,
        connection: &mut PgConnection,
        event: &Event,
        about: About,
        note: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
        sqlx::raw_sql(AS_OURSELVES).execute(&mut *connection).await?;
        self.write(connection, event, about, None, note).await?;
        sqlx::raw_sql("commit").execute(connection).await.map(drop)
    }
}

/// Begins a transaction in a script that runs outside of one.
pub(crate) const BEGIN: &str = "begin isolation level read committed read write";
/// What comes before our own writes: until the transaction ends, the role that we came with.
pub(crate) const AS_OURSELVES: &str = "set local session authorization default; set local role none; set local lock_timeout = '30s'; set local statement_timeout = '60s'";
