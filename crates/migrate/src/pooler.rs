//! Finding out, before anything is touched, whether a pooler between us and the server hands each transaction to another
//! session (PgBouncer's transaction mode). A session's lock, its limits and its guard would be left with others there.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::connect::{LIMITED, MARK};
use crate::lock::LockError;
use crate::session::Watcher;

/// How often it is looked while another session keeps the server's session busy that we had.
const LOOKS: usize = 4;
/// How long one look may take. A pooler that has no other server session for us does not answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The number of the server's process that serves this connection, and only this one; and whether what limits its transactions
/// has held since the session's beginning.
///
/// # Errors
/// [`LockError::Pooled`] if it is not always the same one.
pub(crate) async fn own_process(
    connection: &mut PgConnection,
    watcher: &Watcher,
) -> Result<(i32, bool), LockError> {
    let set = |name: &str| format!("coalesce(current_setting('{name}', true) = 'on', false)");
    let sql = format!("select pg_backend_pid(), {}, {}", set(MARK), set(LIMITED));
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let pid = row.try_get(0)?;
    // PostgreSQL itself keeps what a connection says of itself when it begins; poolers drop it.
    if !row.try_get(1)? {
        stays(connection, watcher, pid).await?;
    }
    Ok((pid, row.try_get(2)?))
}

/// Looks whether `pid` serves this connection also while another connection is in a transaction: a pooler in transaction mode
/// gives to that one the session that we had.
async fn stays(
    connection: &mut PgConnection,
    watcher: &Watcher,
    pid: i32,
) -> Result<(), LockError> {
    let mut other = watcher
        .another()
        .await
        .map_err(|error| LockError::Database(sqlx::Error::Configuration(error.into())))?;
    sqlx::raw_sql("begin").execute(&mut other).await?;
    if process(&mut other).await? == pid {
        return Err(LockError::Pooled);
    }
    for _ in 0..LOOKS {
        let now = tokio::time::timeout(LIMIT, process(connection)).await;
        if now.map_err(|_| LockError::Pooled)?? != pid {
            return Err(LockError::Pooled);
        }
    }
    Ok(())
}

/// In the simple protocol: prepared statements do not survive in every pooler.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let rows = sqlx::raw_sql("select pg_backend_pid()").fetch_all(connection).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}
