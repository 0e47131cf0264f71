//! refinery's own history table, read and made through refinery-core, so that databases that refinery migrated go on as
//! they are, and refinery can go on with those that Liftlock migrated.

use std::hash::{Hash as _, Hasher as _};

use liftlock_model::MigrationId;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration};
use siphasher::sip::SipHasher13;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ask;
use crate::text::quoted;

/// The name that refinery gives its table.
pub(crate) const TABLE: &str = "refinery_schema_history";

/// An sqlx connection as refinery wants one.
pub(crate) struct Refinery<'a>(pub(crate) &'a mut PgConnection);

impl AsyncTransaction for Refinery<'_> {
    type Error = sqlx::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, sqlx::Error> {
        let mut count = 0;
        for query in queries {
            sqlx::raw_sql(AssertSqlSafe(query)).execute(&mut *self.0).await?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for Refinery<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, sqlx::Error> {
        let rows = sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(&mut *self.0).await?;
        rows.iter().map(read_row).collect()
    }
}

impl AsyncMigrate for Refinery<'_> {}

fn read_row(row: &sqlx::postgres::PgRow) -> Result<Migration, sqlx::Error> {
    let unreadable = |error: String| sqlx::Error::Decode(format!("table {TABLE}: {error}").into());
    let version: i32 = row.try_get(0)?;
    let name: String = row.try_get(1)?;
    let applied_on: String = row.try_get(2)?;
    let checksum: String = row.try_get(3)?;
    let applied_on = OffsetDateTime::parse(&applied_on, &Rfc3339)
        .map_err(|error| unreadable(format!("applied_on {applied_on:?}: {error}")))?;
    let checksum = checksum
        .parse::<u64>()
        .map_err(|error| unreadable(format!("checksum {checksum:?}: {error}")))?;
    Ok(Migration::applied(version, name, applied_on, checksum))
}

/// What refinery's table says is applied, in order; nothing if there is no such table.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<Vec<Migration>, sqlx::Error> {
    if !ask::is_there(connection, TABLE).await? {
        return Ok(Vec::new());
    }
    let query = Refinery::get_applied_migrations_query(TABLE);
    Refinery(connection).query(&query).await
}

/// The newest migration that refinery's table says is applied; 0 for none.
pub(crate) async fn newest(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    if !ask::is_there(connection, TABLE).await? {
        return Ok(0);
    }
    let newest = "select coalesce(max(version), 0) from refinery_schema_history";
    sqlx::query_scalar(newest).fetch_one(connection).await
}

/// refinery's checksum of a migration: SipHash 1-3 over name, number and SQL.
pub(crate) fn checksum(id: &MigrationId, sql: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    id.name.hash(&mut hasher);
    id.version.hash(&mut hasher);
    sql.hash(&mut hasher);
    hasher.finish()
}

/// The SQL that makes refinery's table if it is not there.
pub(crate) fn create_table() -> String {
    <Refinery<'_> as AsyncMigrate>::assert_migrations_table_query(TABLE)
}

/// What refinery's table says of a migration beside its number and name.
pub(crate) struct Row {
    pub(crate) applied_on: String,
    pub(crate) checksum: u64,
}

impl Row {
    /// That the migration `id`, of this text, is applied now, as refinery itself would put it.
    pub(crate) fn now(id: &MigrationId, sql: &str) -> Result<Self, sqlx::Error> {
        Self::at(id, sql, OffsetDateTime::now_utc())
    }

    fn at(id: &MigrationId, sql: &str, at: OffsetDateTime) -> Result<Self, sqlx::Error> {
        let at = at.format(&Rfc3339).map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(Self { applied_on: at, checksum: checksum(id, sql) })
    }

    /// The SQL that writes it.
    pub(crate) fn sql(&self, id: &MigrationId) -> String {
        format!(
            "insert into {TABLE} (version, name, applied_on, checksum) values ({}, {}, {}, {})",
            id.version,
            quoted(&id.name),
            quoted(&self.applied_on),
            quoted(&self.checksum.to_string())
        )
    }
}

/// The SQL that writes down that the migration `id`, of this text, is applied, as refinery itself would.
pub(crate) fn record(id: &MigrationId, sql: &str) -> Result<String, sqlx::Error> {
    Ok(Row::now(id, sql)?.sql(id))
}

/// Writes down that the migration of this number, name and text was applied at that time.
pub(crate) async fn record_at(
    connection: &mut PgConnection,
    (id, sql): (&MigrationId, &str),
    at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let sql = Row::at(id, sql, at)?.sql(id);
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Takes note that a migration is no longer applied.
pub(crate) async fn forget(connection: &mut PgConnection, version: i32) -> Result<(), sqlx::Error> {
    sqlx::query("delete from refinery_schema_history where version = $1")
        .bind(version)
        .execute(connection)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn our_checksum_is_refinerys_own(version in 1..i32::MAX, name in "[A-Za-z0-9_]{1,40}", sql in "\\PC*") {
            let refinery = Migration::unapplied(&format!("V{version}__{name}"), &sql).unwrap();
            let id = MigrationId { version, name };
            assert_eq!(checksum(&id, &sql), refinery.checksum());
        }
    }
}
