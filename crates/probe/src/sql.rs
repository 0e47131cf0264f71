//! One query on the environment's database, read-only.

use std::str::FromStr as _;
use std::time::Duration;

use liftlock_model::Verdict;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    ValueRef as _,
};
use tokio::time::{Instant, timeout};

use crate::exchange::milliseconds;
use crate::smoke::Finding;
use crate::text::{clean, root_cause};

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a query answered.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    NoRow,
    Null,
    Text(String),
}

pub(crate) async fn run(
    url: &SecretString,
    query: &str,
    equals: Option<&str>,
    within: Duration,
) -> Finding {
    let Some(options) = options(url) else {
        let expected = "expected postgres://user:password@host:port/database";
        return (
            Verdict::Inconclusive,
            format!("not run: the database's URL cannot be read, {expected}"),
        );
    };
    let start = Instant::now();
    match timeout(within, ask(&options, query, within)).await {
        Ok(Ok(value)) => judge(&value, equals, &milliseconds(start).1),
        Ok(Err(error)) => (Verdict::Fail, explain(&error, within)),
        Err(_) => (Verdict::Fail, format!("the database gave no answer within {within:?}")),
    }
}

/// None for what is no URL of a PostgreSQL database: sqlx would take any scheme, and its own message quotes the URL's parts.
fn options(url: &SecretString) -> Option<PgConnectOptions> {
    let text = url.expose_secret().trim();
    let scheme = text.split_once("://")?.0;
    let options = PgConnectOptions::from_str(text).ok()?;
    matches!(scheme, "postgres" | "postgresql")
        .then(|| options.application_name("liftlock smoke").disable_statement_logging())
}

async fn ask(
    options: &PgConnectOptions,
    query: &str,
    within: Duration,
) -> Result<Value, sqlx::Error> {
    let mut connection = options.connect().await?;
    let answer = first_value(&mut connection, query, within).await;
    // The answer is known; a connection that does not close in good order is dropped. The transaction ends with it.
    drop(timeout(GOODBYE, connection.close()).await);
    answer
}

async fn first_value(
    connection: &mut PgConnection,
    query: &str,
    within: Duration,
) -> Result<Value, sqlx::Error> {
    let limit = within.as_millis().max(1);
    let begin = format!(
        "begin transaction read only; set local statement_timeout = {limit}; set local lock_timeout = {limit}"
    );
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    // Preparing refuses more than one statement, which the simple protocol below would run; that in turn answers in
    // text whatever the type.
    connection.prepare(AssertSqlSafe(query).into_sql_str()).await?;
    let row = sqlx::raw_sql(AssertSqlSafe(query)).fetch_optional(&mut *connection).await?;
    row.map_or(Ok(Value::NoRow), |row| first_column(&row))
}

fn first_column(row: &PgRow) -> Result<Value, sqlx::Error> {
    if row.is_empty() {
        return Ok(Value::Null);
    }
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    value.as_str().map(|text| Value::Text(text.to_owned())).map_err(sqlx::Error::Decode)
}

fn judge(value: &Value, equals: Option<&str>, took: &str) -> Finding {
    let shown = match value {
        Value::NoRow => "no row".to_owned(),
        Value::Null => "NULL".to_owned(),
        Value::Text(text) => format!("{:?}", clean(text, 80)),
    };
    match (value, equals) {
        (_, None) => (Verdict::Pass, format!("answered in {took}")),
        (Value::Text(text), Some(expected)) if text == expected => {
            (Verdict::Pass, format!("{shown} in {took}"))
        }
        (_, Some(expected)) => {
            (Verdict::Fail, format!("{shown}, expected {:?}", clean(expected, 80)))
        }
    }
}

/// What went wrong, with SQLSTATE codes of PostgreSQL's appendix A told apart.
fn explain(error: &sqlx::Error, within: Duration) -> String {
    let sqlx::Error::Database(failure) = error else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
                format!("the database cannot be reached: {}", root_cause(error))
            }
            _ => format!("the query failed: {}", root_cause(error)),
        };
    };
    let said = clean(failure.message(), 200);
    match failure.code().as_deref() {
        Some("28P01" | "28000") => format!("the database refuses these credentials: {said}"),
        Some("3D000") => format!("the server has no such database: {said}"),
        Some("57P03" | "57P01" | "53300") => format!("the database cannot be reached: {said}"),
        Some("57014") => format!("the query took longer than {within:?}"),
        Some("25006") => format!("the query writes, and smoke tests run read-only: {said}"),
        Some("42601") if said.contains("multiple commands") => {
            "a smoke test is one statement only; make several tests of it".to_owned()
        }
        code => format!("the query failed: {said} (SQLSTATE {})", code.unwrap_or("unknown")),
    }
}
