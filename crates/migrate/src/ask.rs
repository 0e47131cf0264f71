//! Small questions, each in one message: what is not kept prepared takes two otherwise, one to prepare it and one to run it.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::{AssertSqlSafe, Decode, PgConnection, Row as _, Type};

/// The first value of the only row.
pub(crate) async fn one<T>(connection: &mut PgConnection, sql: String) -> Result<T, sqlx::Error>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    row(connection, sql).await?.try_get(0)
}

/// The only row.
pub(crate) async fn row(connection: &mut PgConnection, sql: String) -> Result<PgRow, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await
}

/// The first value of the row, if there is one.
pub(crate) async fn maybe<T>(
    connection: &mut PgConnection,
    sql: String,
) -> Result<Option<T>, sqlx::Error>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    let row: Option<PgRow> = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Whether there is a table of this name on the search path.
pub(crate) async fn is_there(
    connection: &mut PgConnection,
    table: &str,
) -> Result<bool, sqlx::Error> {
    one(connection, format!("select to_regclass('{table}') is not null")).await
}
