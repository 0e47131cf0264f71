//! The place in the server's log at which a snapshot was taken, for a recovery to that point.

use jiff::Timestamp;
use liftlock_model::Marker;
use sqlx::PgConnection;

/// Asks the server where it is, and makes a restore point of that name where that is allowed. Outside of a transaction, since
/// servers that are run by others do not answer each of these questions.
pub(crate) async fn read(connection: &mut PgConnection, name: &str) -> Result<Marker, sqlx::Error> {
    let milliseconds: i64 =
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::int8")
            .fetch_one(&mut *connection)
            .await?;
    let time = Timestamp::from_microsecond(milliseconds)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    // First the point, so that the place is not before it.
    let point =
        "select case when has_function_privilege('pg_create_restore_point(text)', 'execute')
                   and not pg_is_in_recovery() and current_setting('wal_level') <> 'minimal'
                 then pg_create_restore_point($1)::text end";
    let name: String = name.chars().take(63).collect();
    let made = sqlx::query_scalar::<_, Option<String>>(point).bind(&name);
    let made = told(made.fetch_one(&mut *connection).await)?.flatten();
    let lsn = "select (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end)::text";
    let lsn = told(sqlx::query_scalar(lsn).fetch_one(&mut *connection).await)?.flatten();
    let timeline = "select timeline_id from pg_control_checkpoint()";
    let timeline = told(sqlx::query_scalar(timeline).fetch_one(connection).await)?;
    Ok(Marker { time, lsn, timeline, restore_point: made.map(|_| name) })
}

/// What the server refuses to tell is not known; a broken connection is an error.
fn told<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "the server does not tell");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
